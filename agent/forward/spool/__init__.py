"""Frames that wait to be acknowledged, in memory and on disk."""
