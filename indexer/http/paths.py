"""Paths of the indexer that other services ask."""

from __future__ import annotations

from typing import Final

#: An org's limits, `?org_id=N` (indexer/receive/limits_http.py).
LIMITS: Final = "/v1/limits"
#: Definitions and results of subscriptions (indexer/receive/subscription_pages.py).
SUBSCRIPTIONS: Final = "/v1/subscriptions"
#: Deletions of samples (indexer/receive/deletion_page.py).
DELETIONS: Final = "/v1/deletions"
