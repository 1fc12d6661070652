"""Requests to servers that others run: Alertmanagers and webhooks."""
