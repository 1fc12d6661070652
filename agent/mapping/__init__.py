"""Mapping files: rules that rename, retype and drop metrics."""
