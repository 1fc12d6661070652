"""No text may do more than be refused: 100,000 of them, in a process whose death would be seen.

More: HOSTILE_TEXTS=1000000 HOSTILE_SEED=anything pytest tests/property/test_hostile.py
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.hostile_texts import text

ROOT = Path(__file__).parents[2]
TEXTS = int(os.environ.get("HOSTILE_TEXTS", "100000"))
SEED = os.environ.get("HOSTILE_SEED", "meterhouse")
COMMAND = (sys.executable, "-X", "faulthandler", "-m", "tests.support.hostile")
#: Different texts that are asked in earnest.
RUN = 1_200


@pytest.mark.long
def test_no_text_does_more_than_be_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, tmp_path, SEED, str(TEXTS), str(RUN)],
        cwd=ROOT, env={**os.environ, "RUST_BACKTRACE": "0"},
        capture_output=True, text=True, timeout=1_800, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        (at,) = struct.unpack("<q", (tmp_path / "at").read_bytes())
        raise AssertionError(
            f"{done.returncode} at text {at}: {text(SEED, at)[:300]!r}\n{done.stderr[-4_000:]}"
        )
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{TEXTS} texts, the slowest {found['slowest_s']:.2f} s: {found['seen']}")
    assert not found["failed"], "\n".join([f"{found['failed']} defects:", *found["failures"]])
    assert found["seen"]["answered"] > RUN / 4, "most texts must not be mere noise"
    assert found["seen"]["not parsed"] > TEXTS / 4
    assert found["seen"]["repeated"] < TEXTS / 4, "most texts must be new"
