"""Sending to the indexer: frames, heartbeats and metadata, each with its own retries."""
