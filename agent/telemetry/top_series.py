"""The page /debug/top: metrics, tag keys and clients with the most series. Bounded for any input.

Metrics are counted completely. Tag keys are counted in a sample of series, because a walk over all of them
would delay lines. Values of tags are not shown.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Final

import msgspec

from agent.core.interface import Core
from agent.net.sockets import name_of_address

#: Maximum number of metrics and of tag keys shown.
MAX_SHOWN: Final = 50
#: Approximate number of series whose tags are sampled.
_SAMPLE: Final = 10_000


def top_series(core: Core) -> bytes:
    """Return the page as JSON."""
    sample = core.sample_tags(_SAMPLE)
    series: Counter[str] = Counter()
    values: defaultdict[str, set[str]] = defaultdict(set)
    for tags in sample:
        for key, value in tags:
            series[key] += 1
            values[key].add(value)
    keys = sorted(values, key=lambda key: (-len(values[key]), key))[:MAX_SHOWN]
    return msgspec.json.encode(
        {
            "remembered_series": core.remembered_series,
            "overflow_lines": core.stats.overflow_lines,
            "metrics": [{"metric": name, "series": n} for name, n in core.top_metrics(MAX_SHOWN)],
            "clients": [
                {"client": name_of_address(one.address), "series": one.series, "error": one.error}
                for one in core.top_clients(MAX_SHOWN)
            ],
            "sampled_series": len(sample),
            "tag_keys": [{"key": key, "values": len(values[key]), "series": series[key]} for key in keys],
        }
    )
