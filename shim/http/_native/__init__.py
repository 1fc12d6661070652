"""What is compiled of the HTTP edge; `shim.http.points` chooses it where it was built."""
