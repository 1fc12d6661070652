"""The shim's own metrics, in a registry of their own: `meterhouse_shim_*`."""

from __future__ import annotations

from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TICK_SECONDS: Final = (
    *(0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7, 7.5),
    *(8, 9, 10, 12.5, 15, 20, 30, 60, 120),
)


class ShimMetrics:
    """Every metric of the shim, by name. Docs: docs/metrics.md."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        self.build_info = Gauge(
            "meterhouse_shim_build_info",
            "1, with the version of the program.",
            ["version"],
            registry=self.registry,
        )
        self.requests = counter(
            "meterhouse_shim_requests", "Requests by endpoint and status.", ["endpoint", "status"]
        )
        self.request_seconds = Histogram(
            "meterhouse_shim_request_seconds",
            "Time to answer a request.",
            ["endpoint"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.errors = counter(
            "meterhouse_shim_errors", "Failed requests by Prometheus' errorType.", ["error_type"]
        )
        self.refused = counter("meterhouse_shim_refused", "Requests not even tried, by reason.", ["reason"])
        self.connections_closed = counter(
            "meterhouse_shim_connections_closed", "Connections the server closed, by reason.", ["reason"]
        )
        self.truncated = counter(
            "meterhouse_shim_truncated", "Answers cut by their limit parameter.", ["endpoint"]
        )
        self._add_ticks()
        self._add_notifications()
        self._add_rules()
        self._add_reading()

    def _add_ticks(self) -> None:
        """Create the metrics of subscriptions and leases."""
        counter, gauge = partial(Counter, registry=self.registry), partial(Gauge, registry=self.registry)
        self.subscriptions = gauge("meterhouse_shim_subscriptions", "Subscriptions of all orgs.")
        self.subscription_ticks = counter(
            "meterhouse_shim_subscription_ticks",
            "Ticks of subscriptions: stored; failed (stored with an error); delayed; skipped as too late.",
            ["outcome"],
        )
        self.subscription_deliveries = counter(
            "meterhouse_shim_subscription_deliveries",
            "Results for the stream and webhooks: delivered; delayed (tries that failed); refused by the"
            " receiver; given_up (others were taken); skipped as too late.",
            ["sink", "outcome"],
        )
        self.clock_ahead = gauge(
            "meterhouse_shim_clock_ahead_seconds",
            "How far the machine's clock is ahead of the indexers', whose time ticks follow; 0 if right.",
        )
        self.leases = gauge("meterhouse_shim_leases", "Leases that this process holds, to evaluate ticks.")
        self.lease_failures = counter(
            "meterhouse_shim_lease_failures",
            "Calls to shim.lease.redis_url that failed; without a lease nothing is evaluated.",
            ["reason"],
        )

    def _add_notifications(self) -> None:
        """Create the metrics of alerts on their way to receivers."""
        counter, gauge = partial(Counter, registry=self.registry), partial(Gauge, registry=self.registry)
        self.notifications_sent = counter(
            "meterhouse_shim_notifications_sent", "Alerts that a receiver took.", ["receiver"]
        )
        self.notification_errors = counter(
            "meterhouse_shim_notification_errors", "Alerts of requests that failed.", ["receiver"]
        )
        self.notifications_dropped = counter(
            "meterhouse_shim_notifications_dropped",
            "Alerts a receiver was not told of: queue_full, refused, too_old or stopped.",
            ["receiver", "reason"],
        )
        self.notification_seconds = Histogram(
            "meterhouse_shim_notification_seconds",
            "Time of a request to a receiver of alerts.",
            ["receiver"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.notification_queue_length = gauge(
            "meterhouse_shim_notification_queue_length", "Alerts that wait for a receiver.", ["receiver"]
        )
        self.notification_queue_capacity = gauge(
            "meterhouse_shim_notification_queue_capacity",
            "Alerts that may wait for a receiver.",
            ["receiver"],
        )
        self.alertmanagers = gauge(
            "meterhouse_shim_alertmanagers_discovered", "Alertmanagers that alerts are sent to."
        )
        self.alertmanager_look_failures = counter(
            "meterhouse_shim_alertmanager_look_failures",
            "Files and names of Alertmanagers that could not be read.",
        )

    def _add_rules(self) -> None:
        """Create the metrics of rule files and their evaluation."""
        counter, gauge = partial(Counter, registry=self.registry), partial(Gauge, registry=self.registry)
        self.rule_groups = gauge("meterhouse_shim_rule_groups", "Groups of rules that are loaded.")
        self.rules = gauge("meterhouse_shim_rules", "Alerting and recording rules that are loaded.")
        self.rule_files_bad = gauge(
            "meterhouse_shim_rule_files_bad",
            "Rule files that cannot be used as they are now; their last good groups still run.",
        )
        self.rule_files_over_limit = gauge(
            "meterhouse_shim_rule_files_over_limit",
            "Those of the bad rule files that would take their org over a limit of shim.rules.",
        )
        self.rule_evaluations = counter(
            "meterhouse_shim_rule_evaluations", "Evaluations of rules: succeeded; failed.", ["outcome"]
        )
        self.rule_ticks = counter(
            "meterhouse_shim_rule_ticks",
            "Ticks of rule groups: stored; known (stored by another shim); refused; delayed; missed.",
            ["outcome"],
        )
        self.rule_samples_dropped = counter(
            "meterhouse_shim_rule_samples_dropped",
            "Results of rules that are not stored: not_finite (their series ends); rejected by the indexer.",
            ["reason"],
        )
        self.rule_group_seconds = Histogram(
            "meterhouse_shim_rule_group_seconds",
            "Time to evaluate and store one tick of a rule group.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.rule_tick_delay_seconds = Histogram(
            "meterhouse_shim_rule_tick_delay_seconds",
            "Time from a tick of a rule group to its end, with the wait for complete buckets.",
            buckets=_TICK_SECONDS,
            registry=self.registry,
        )
        self.rule_tick_lag_seconds = Histogram(
            "meterhouse_shim_rule_tick_lag_seconds",
            "Time from the moment when a tick's buckets are complete until it is stored.",
            buckets=_TICK_SECONDS,
            registry=self.registry,
        )
        self.rules_last_success = gauge(
            "meterhouse_shim_rules_last_success_seconds",
            "When the group that is furthest behind stored its last tick, Unix time; 0: none did.",
        )

    def _add_reading(self) -> None:
        """Create the metrics of queries, the catalog and cells in memory."""
        counter, gauge = partial(Counter, registry=self.registry), partial(Gauge, registry=self.registry)
        self.in_flight = gauge("meterhouse_shim_queries_running", "Queries worked on now.")
        self.waiting = gauge("meterhouse_shim_queries_waiting", "Queries that wait for their turn.")
        self.statements_not_ended = counter(
            "meterhouse_shim_statements_not_ended",
            "Cancelled queries whose statements ClickHouse did not end for us: they end at their deadline.",
        )
        self.answer_bytes = counter("meterhouse_shim_answer_bytes", "Bytes of JSON before compression.")
        self.catalog_lookups = counter(
            "meterhouse_shim_catalog_lookups",
            "Look-ups of series, by where the answer came from.",
            ["source"],
        )
        self.catalog_evictions = counter(
            "meterhouse_shim_catalog_evictions",
            "Entries dropped from a cache of the catalog because it was full.",
            ["cache"],
        )
        self.catalog_series = gauge("meterhouse_shim_catalog_series", "Series whose labels are in memory.")
        self.name_collisions = counter(
            "meterhouse_shim_name_collisions",
            "Series left out of a look-up because one of another type has the same shown name and labels.",
        )
        self.block_lookups = counter(
            "meterhouse_shim_block_lookups", "Blocks of cells that readings wanted.", ["result"]
        )
        self.block_fills = counter(
            "meterhouse_shim_block_fills",
            "Blocks that were to be read into memory, by what became of it.",
            ["outcome"],
        )
        self.blocks_dropped = counter(
            "meterhouse_shim_blocks_dropped", "Blocks taken out of memory.", ["reason"]
        )
        self.agent_restarts = counter(
            "meterhouse_shim_agent_restarts", "Starts of the agent by `up` after it ended by itself."
        )
        self.block_bytes = gauge("meterhouse_shim_block_bytes", "Memory that blocks of cells take.")

    def forget_receiver(self, name: str) -> None:
        """Remove the gauges of a receiver of alerts that is gone; its counters stay."""
        for gauge in (self.notification_queue_length, self.notification_queue_capacity):
            gauge.remove(name)
