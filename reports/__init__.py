"""Reports: what the records say, in a sentence, in tables and in pictures. Reads records only, never torch."""
