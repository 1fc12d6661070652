"""Sockets and TLS contexts, for all three packages."""
