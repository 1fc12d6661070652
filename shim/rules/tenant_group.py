"""One group of rules of a tenant: its names, its schedule, and the state of its evaluation.

group_runner.py runs it; group_restore.py and resolved_alerts.py restore its state.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from shim.indexers.message_writes import StoreMessages
from shim.metrics import ShimMetrics
from shim.model.tenancy import Tenant
from shim.rules.alert_sink import AlertSink
from shim.rules.group_evaluation import External, GroupEvaluation
from shim.rules.recorded_messages import group_name
from shim.rules.rule_file import RecordingRule, RuleGroup
from shim.rules.store_queries import QueryPlace
from shim.settings import RulesSettings
from shim.ticks.due_ticks import Schedule, spread_offset_s
from shim.ticks.lease import Lease


@dataclass(frozen=True, slots=True)
class RunnerParts:
    """The parts that all groups share. `now_s` is the wall clock."""

    settings: RulesSettings
    place: QueryPlace
    store: StoreMessages
    sink: AlertSink
    lease: Lease
    metrics: ShimMetrics
    external: External
    now_s: Callable[[], float] = time.time
    settle_s: float = 0.0  # after its end a bucket is complete (shim.settle_s)


@dataclass(slots=True)
class TenantGroup:
    """A group. `unique`: numbers of rules whose name and labels no other rule has."""

    tenant: Tenant
    group: RuleGroup
    parts: RunnerParts
    since_s: int
    unique: frozenset[int] = frozenset()
    evaluation: GroupEvaluation = field(init=False)
    schedule: Schedule = field(init=False)

    def __post_init__(self) -> None:
        self.evaluation = self.new_evaluation()
        self.schedule = Schedule(self.step_s, self.since_s, spread_offset_s(self.key, self.step_s))

    def new_evaluation(self) -> GroupEvaluation:
        """Return an evaluation of the group without any state."""
        parts = self.parts
        return GroupEvaluation(self.group, parts.external, time.perf_counter, parts.settings.max_series)

    @property
    def key(self) -> str:
        """The name of the group among those of all tenants."""
        return f"rules/{self.tenant}/{self.name}"

    @property
    def name(self) -> str:
        """The name of the group among those of its tenant."""
        return group_name(self.group.file, self.group.name)

    @property
    def step_s(self) -> int:
        """The interval, in whole seconds."""
        interval_ms = self.group.interval_ms
        return self.parts.settings.interval_s if interval_ms is None else -(-interval_ms // 1000)

    @property
    def deltas(self) -> frozenset[str]:
        """Names of the rules that record deltas."""
        rules = (rule for rule in self.group.rules if isinstance(rule, RecordingRule))
        return frozenset(rule.name for rule in rules if rule.records_deltas)

    @property
    def records(self) -> bool:
        """Whether the group has recording rules."""
        return any(isinstance(rule, RecordingRule) for rule in self.group.rules)
