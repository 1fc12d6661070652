"""The contract between agent and indexer: frames, bundles, heartbeats and metadata. Pure."""
