"""The HTTP server of indexer and API: sockets, TLS, bounds on connections, credentials of requests."""
