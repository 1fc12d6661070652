"""Listeners: bytes from sockets and streams in, whole lines out."""
