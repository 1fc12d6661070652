"""Deletes stored samples of some series and times, from every rollup and from the catalog."""
