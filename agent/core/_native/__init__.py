"""The compiled core of the agent; `open_core` chooses it where it was built."""
