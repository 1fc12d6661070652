"""Notifications of alerts: to Alertmanagers and to a webhook."""
