"""The compiled core of the agent; `agent.core.open_core` chooses it where it was built."""
