"""Converts files of old lines to frames with identities of their own (`meterhouse backfill`)."""
