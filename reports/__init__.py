"""Reports: what the records say, in sentences, tables and pictures. Reads records only, never torch."""
