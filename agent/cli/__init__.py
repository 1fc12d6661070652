"""The subcommands of the agent, and helpers that all subcommands share."""
