"""Native histograms over grids: exponential buckets of schema 5, dense per series. Pure.

Source: Prometheus 3.x `model/histogram` and `promql/quantile.go`.
"""
