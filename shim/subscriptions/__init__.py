"""Subscriptions: queries in SnQL that are evaluated at each tick of their resolution."""
