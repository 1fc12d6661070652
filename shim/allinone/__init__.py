"""`meterhouse up`: agent, indexer and API in one process group, with its status line."""
