"""What the process needs of its machine: the loop, time, logs and files that survive a crash."""
