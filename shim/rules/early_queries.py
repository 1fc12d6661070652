"""Which queries of a group read no result of its own tick, so that they can be evaluated before it."""

from __future__ import annotations

from collections.abc import Sequence

from shim.rules.alert_states import FOR_STATE, KEEP_FIRING_SINCE
from shim.rules.overlay_leaves import names_read
from shim.rules.rule_file import AlertingRule, RecordingRule, Rule


def early_queries(rules: Sequence[Rule], *, alerts: bool) -> Sequence[str]:
    """Return the expressions, in order and each once, that read nothing which earlier rules yield."""
    yielded: set[str] = set()
    found: dict[str, None] = {}
    for rule in rules:
        if isinstance(rule, AlertingRule) and not alerts:
            continue
        names = set(names_read(rule.expr))
        if isinstance(rule, RecordingRule) and rule.is_histogram:
            pass  # its result is read as histograms
        elif not yielded or (None not in names and yielded.isdisjoint(names)):
            found[rule.text] = None
        yielded |= {"ALERTS", FOR_STATE, KEEP_FIRING_SINCE} if isinstance(rule, AlertingRule) else {rule.name}
    return tuple(found)
