"""Gives Hypothesis the same examples in each run of a commit: a plugin.

By default Hypothesis also draws constants of all local modules that are loaded, so examples depend on the
files that a worker of pytest-xdist ran before. `--hypothesis-profile=random` draws other examples.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

settings.register_profile("random", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeated", settings.get_profile("random"), derandomize=True)
settings.load_profile("repeated")


def _no_local_constants() -> Any:
    return providers._local_constants  # empty, since nothing else adds to them


# tests/unit/test_repeated_examples.py fails when a later Hypothesis has another name for it.
providers._get_local_constants = _no_local_constants
