"""The program's version, from the folder of its distribution."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from agent.runtime.program_version import UNKNOWN, program_version, version_in


def test_it_is_that_of_the_distribution() -> None:
    assert program_version() == metadata.version("meterhouse")


def test_the_first_on_the_path_is_taken(tmp_path: Path) -> None:
    for folder, name in (("a", "meterhouse_tools-9.dist-info"), ("b", "meterhouse-0.3.0rc1.dist-info")):
        (tmp_path / folder / name).mkdir(parents=True)
    (tmp_path / "c" / "meterhouse-0.2.0.dist-info").mkdir(parents=True)
    paths = [str(tmp_path / name) for name in ("not-there", "a", "b", "c")]
    assert version_in(paths) == "0.3.0rc1"
    assert version_in(paths[:2]) == UNKNOWN
