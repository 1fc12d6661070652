"""The end of a query's data: who is asked, and that it never goes back."""

from __future__ import annotations

import time

from shim.engine.live_edge import LiveEdge
from shim.model.tenancy import Tenant

PAST_S = int(time.time()) // 10 * 10  # rows of long ago would be gone
SETTLED_S = PAST_S - 10
NOW_S = PAST_S + 1.0
TENANT = Tenant(1, 1)
LIVE_MS = round(NOW_S * 1000)


class Told:
    """Agents that are as far as a test says."""

    def __init__(self, complete_s: int) -> None:
        self.complete = complete_s
        self.asked = 0

    def complete_s(self, *_: object) -> int:
        self.asked += 1
        return self.complete


def test_it_is_off_with_zero_and_by_time_without_agents() -> None:
    assert LiveEdge(0.0, Told(PAST_S)).complete_s(TENANT, LIVE_MS, NOW_S) is None
    assert LiveEdge(5.0).complete_s(TENANT, LIVE_MS, NOW_S) == SETTLED_S


def test_only_live_queries_ask() -> None:
    agents = Told(PAST_S)
    edge = LiveEdge(5.0, agents)
    assert edge.complete_s(TENANT, (SETTLED_S + 10) * 1000 - 1, NOW_S) == SETTLED_S
    assert agents.asked == 0
    assert edge.complete_s(TENANT, (SETTLED_S + 10) * 1000, NOW_S) == PAST_S
    assert agents.asked == 1


def test_it_never_goes_back() -> None:
    agents = Told(PAST_S)
    edge = LiveEdge(5.0, agents)
    assert edge.complete_s(TENANT, LIVE_MS, NOW_S) == PAST_S
    agents.complete = SETTLED_S  # an agent came that lags
    assert edge.complete_s(TENANT, LIVE_MS, NOW_S + 1) == PAST_S
    assert edge.complete_s(Tenant(1, 2), LIVE_MS, NOW_S) == SETTLED_S, "of others nothing was shown"
    assert edge.complete_s(TENANT, LIVE_MS + 100_000, NOW_S + 100) == SETTLED_S + 100
