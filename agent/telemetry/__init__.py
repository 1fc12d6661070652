"""The agent's own metrics and its HTTP port for operators."""
