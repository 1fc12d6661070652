"""Verifies stored data and derives rollups again."""
