"""Credentials and rights, for writes (indexer) and reads (shim). Pure."""
