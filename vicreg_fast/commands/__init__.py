"""The subcommands, one module each. Heavy imports stand inside the functions, so that `--help` never pays for
them."""
