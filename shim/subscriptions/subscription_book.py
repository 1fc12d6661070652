"""The subscriptions of tenants: made, removed and listed. Blocks: call it in a thread."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from indexer.clickhouse.store import Store
from indexer.subscriptions.messages_of_subscriptions import Subscription, SubscriptionWrites
from indexer.subscriptions.subscription_rows import read_results, read_subscriptions
from shim.model.errors import NotFound, Unavailable
from shim.model.tenancy import Tenant
from shim.settings import ShimSettings
from shim.subscriptions.remote_writes import Write
from shim.subscriptions.validators import Wanted, check
from shim.subscriptions.webhook_rules import WebhookRules

#: The partition of every subscription: there is one.
PARTITION: Final = 0
#: Results of one subscription in an answer.
MAX_RESULTS: Final = 1_000


def public_id(of: Subscription) -> str:
    """Return the id that clients know: `<partition>/<hex>`."""
    return f"{PARTITION}/{of.id}"


@dataclass(frozen=True, slots=True)
class SubscriptionBook:
    """`write` None: no indexer is known."""

    store: Store
    write: Write | None
    max_query_bytes: int
    now_s: Callable[[], float] = time.time
    webhooks: WebhookRules = field(default_factory=lambda: WebhookRules(ShimSettings()))

    def add(self, wanted: Wanted, webhook: str = "") -> Subscription:
        """Check and store a subscription. Raises QueryError."""
        tenant = check(wanted, self.max_query_bytes)
        if webhook:
            self.webhooks.check(webhook)
        made = Subscription(
            org_id=tenant.org_id,
            project_id=tenant.project_id or 0,
            id=uuid.uuid4().hex,
            dataset=wanted.asked.dataset,
            entity=wanted.entity,
            query=wanted.query,
            time_window_s=wanted.time_window_s,
            resolution_s=wanted.resolution_s,
            since_s=int(self.now_s()),
            webhook=webhook,
        )
        self._writes()(SubscriptionWrites(put=[made]))
        return made

    def remove(self, of: Subscription) -> None:
        """Remove a subscription; its results stay until they expire. Raises QueryError."""
        self._writes()(SubscriptionWrites(remove=[of]))

    def of_entity(self, tenant: Tenant, dataset: str, entity: str) -> list[Subscription]:
        """List the subscriptions of a tenant, the oldest first. Raises StoreError."""
        return [
            one
            for one in read_subscriptions(self.store, tenant.org_id)
            if tenant.covers(one.org_id, one.project) and (one.dataset, one.entity) == (dataset, entity)
        ]

    def find(self, tenant: Tenant, dataset: str, entity: str, id_: str) -> Subscription:
        """Return the subscription with a public id. Raises NotFound, StoreError."""
        for one in self.of_entity(tenant, dataset, entity):
            if public_id(one) == id_:
                return one
        raise NotFound(f'no subscription "{id_[:80]}" of {entity}: expected the id of one that is listed')

    def results(self, of: Subscription, limit: int) -> list[str]:
        """Return the last results, as JSON, the latest first. Raises StoreError."""
        return read_results(self.store, of, min(limit, MAX_RESULTS))

    def secret(self, of: Subscription) -> str:
        """Return the secret of a subscription's webhook, "" for none."""
        return self.webhooks.secret(of.id) if of.webhook else ""

    def _writes(self) -> Write:
        if self.write is None:
            raise Unavailable("subscriptions are stored by an indexer: expected one in shim.indexers.urls")
        return self.write
