"""The compiled part of the HTTP edge; `shim.http.points` uses it if it was built."""
