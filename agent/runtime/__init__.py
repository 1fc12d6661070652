"""Access to the machine: the loop, time, logs, and files that survive a crash."""
