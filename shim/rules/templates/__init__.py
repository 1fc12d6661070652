"""Go's text/template, as far as labels and annotations of alerts use it, with Prometheus' functions. Pure."""
