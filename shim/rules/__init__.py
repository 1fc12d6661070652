"""Alerting and recording rules as Prometheus has them: files, templates, alert states, unit tests."""
