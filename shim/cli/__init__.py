"""The subcommands that serve and ask the HTTP API."""
