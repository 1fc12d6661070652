"""The compiled core of the agent; `open_core` uses it where it was built."""
