"""Numbers of the agent of `meterhouse up`, from its own HTTP port, for the page about the product.

Blocks: call it in a thread.
"""

from __future__ import annotations

import http.client
import ssl
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

_PREFIX: Final = "meterhouse_agent_"
_MAX_BYTES: Final = 1 << 20
#: Numbers that the page shows, summed over their labels: name without prefix -> key.
_SUMS: Final = {
    "lines_total": "lines",
    "skipped_lines_total": "skippedLines",
    "overflow_lines_total": "overflowLines",
    "clamped_lines_total": "movedLines",
    "kernel_dropped_packets_total": "kernelDroppedPackets",
    "dropped_packets_total": "droppedPackets",
    "dropped_lines_total": "lostLines",
    "dropped_frames_total": "lostFrames",
    "live_series": "series",
    "sent_frames_total": "sentFrames",
    "unsent_frames": "unsentFrames",
    "unsent_bytes": "unsentBytes",
    "oldest_unsent_frame_age_seconds": "oldestUnsentSeconds",
    "spool_frames": "spoolFrames",
    "spool_bytes": "spoolBytes",
    "spool_write_errors_total": "spoolErrors",
}
_REFUSED: Final = "bad_lines_total"
_OFF: Final = {"missing": "agent.ops is off: the agent shows its numbers nowhere"}


def agent_numbers(text: str) -> dict[str, Any]:
    """Return the numbers of an agent's /metrics, and its refused lines by reason."""
    sums = dict.fromkeys(_SUMS.values(), 0.0)
    refused: list[dict[str, Any]] = []
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removeprefix(_PREFIX)
            if name in _SUMS:
                sums[_SUMS[name]] += sample.value
            elif name == _REFUSED and sample.value:
                reason = sample.labels.get("reason", "")
                refused.append({"reason": reason, "lines": sample.value})
    return {"numbers": sums, "refused": refused}


class AgentNumbers:
    """Asks the agent; `url` is "" where its port is off. Thread-safe."""

    def __init__(self, url: Callable[[], str], context: ssl.SSLContext | None) -> None:
        self._url = url
        self._context = context

    def __call__(self) -> Mapping[str, Any]:
        """Return its numbers, or under `missing` why there are none."""
        url = self._url()
        if not url:
            return _OFF
        try:
            # Our own agent, by http or https.
            with urllib.request.urlopen(url, timeout=2, context=self._context) as response:  # noqa: S310
                return agent_numbers(str(response.read(_MAX_BYTES), "utf-8"))
        except (OSError, http.client.HTTPException, ValueError) as e:
            return {"missing": f"the agent does not answer at {url}: {e}"}
