"""Files of old lines, made into frames with identities of their own (`meterhouse backfill`)."""
