"""Limits of a process, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

ASK = """
import resource, sys
from agent.net.fd_limit import connection_limit
soft, hard, listeners, each = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(connection_limit(listeners, each), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "listeners", "each", "given", "soft_after"),
    [
        (400, 4_000, 1, 1_024, 1_024, 1_280),  # raised
        (400, 4_000, 2, 1_024, 1_024, 2_304),
        (400, 1_056, 1, 1_024, 800, 1_056),  # as far as it goes: the rest is for everything else
        (400, 1_056, 2, 1_024, 400, 1_056),
        (3_000, 4_000, 1, 1_024, 1_024, 3_000),  # enough, and stays
        (1_024, 1_024, 3, 512, 256, 1_024),  # the agent's default on many systems
        (100, 100, 1, 1_024, 8, 100),  # hardly any
        (100, 4_000, 0, 1_024, 1_024, 100),  # no request
    ],
)
def test_connections(soft: int, hard: int, listeners: int, each: int, given: int, soft_after: int) -> None:
    command = [sys.executable, "-c", ASK, *map(str, (soft, hard, listeners, each))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(given), str(soft_after)]
