"""The agent's aggregated series in Prometheus' formats, for a Prometheus that scrapes them."""
