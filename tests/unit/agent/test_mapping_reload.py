"""A changed mapping file: lines after it have their new names, those before it count once under the old."""

from __future__ import annotations

import logging
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest

from agent.core.interface import Core
from agent.mapping.mapper import Mapper
from agent.mapping.mapping_reload import MappingReload
from agent.mapping.open_mapper import open_mapper
from agent.runtime.logs import Log
from agent.runtime.reload_actions import ReloadActions
from agent.settings import AgentSettings
from tests.support.cores.rows import CORES, new_core, take_rows

T = 1_700_000_000_000
FIRST = "mappings: [{match: shop.*, name: shop, labels: {of: $1}}, {match: noise.*, action: drop}]"
SECOND = "mappings: [{match: shop.a, name: first}, {match: level, name: level, gauge_deltas: signed}]"


class Reloaded:
    """A core with a mapping file, and its reloads."""

    def __init__(self, core: str, file: Path) -> None:
        self.file = file
        settings = AgentSettings(mapping=str(file))
        mapper = open_mapper(settings, Log("test.mapping"))
        assert mapper is not None
        self.mapper = mapper
        self.core: Core = new_core(core, settings, mapper)
        self.action = MappingReload(settings, mapper, self._adopt, Log("test.mapping"))

    def _adopt(self, mapper: Mapper) -> None:
        self.mapper = mapper
        self.core.remap(mapper)

    def write(self, text: str) -> list[str]:
        """Change the file, reload, and return the problems."""
        self.file.write_text(text)
        reloads = ReloadActions(Log("test.mapping"))
        reloads.add("mapping", self.action)
        return list(reloads.run_at_once())

    def rows(self) -> list[tuple[Any, ...]]:
        """Return name, tags and value of all rows since the last call, in order."""
        self.core.flush_all(T)
        found = take_rows(self.core)
        return sorted((*row[1:3], row[4]) for kind in ("counter", "gauge") for row in found[kind])


@pytest.fixture(params=CORES)
def reloaded(request: pytest.FixtureRequest, tmp_path: Path) -> Reloaded:
    file = tmp_path / "mapping.yml"
    file.write_text(FIRST)
    return Reloaded(request.param, file)


def one(value: float) -> tuple[int, ...]:
    return struct.unpack("<Q", struct.pack("<d", value))


def test_no_line_of_the_open_bucket_is_lost_or_counted_twice(reloaded: Reloaded) -> None:
    lines = b"shop.a:1|c\nshop.b:10|c\nnoise.x:1|c\nother:100|c"
    reloaded.core.add(lines, T)
    assert reloaded.write(SECOND) == []
    reloaded.core.add(lines, T)
    reloaded.core.add(lines, T)
    assert reloaded.core.stats.lines == 12
    assert reloaded.rows() == [
        ("first", (), one(2.0)),
        ("noise.x", (), one(2.0)),
        ("other", (), one(300.0)),  # in one row: the series goes on in its cell
        ("shop", (("of", "a"),), one(1.0)),
        ("shop", (("of", "b"),), one(10.0)),
        ("shop.b", (), one(20.0)),
    ]
    assert reloaded.mapper.counts() == {"mapped": 3, "dropped": 1, "unmapped": 4, "error": 0}
    assert reloaded.core.remembered_series == 4


def test_deltas_go_on_from_the_value_before(reloaded: Reloaded) -> None:
    reloaded.core.add(b"level:5|g\nlevel:+2|g", T)
    reloaded.rows()
    assert reloaded.write(SECOND) == []
    reloaded.core.add(b"level:+1|g", T + 1)
    ((name, _, columns),) = reloaded.rows()
    assert name == "level"
    assert one(8.0)[0] in columns


def test_a_file_with_an_error_keeps_the_mapping(reloaded: Reloaded, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        (problem,) = reloaded.write("mappings: [{match: a, name: b}, {mach: c}]")
        assert str(reloaded.file) in problem
        assert problem.endswith("; the mapping before is kept")
        assert "reload_failed what=mapping problems=1 error=" in caplog.text
    reloaded.file.unlink()
    reloaded.core.add(b"shop.a:1|c", T)
    assert reloaded.rows() == [("shop", (("of", "a"),), one(1.0))]
    assert reloaded.action.counts() == {"changed": 0, "same": 0, "failed": 1}
    assert reloaded.write(SECOND) == reloaded.write(SECOND) == []
    assert reloaded.action.counts() == {"changed": 1, "same": 1, "failed": 1}


def test_the_same_file_leaves_heads_alone(reloaded: Reloaded) -> None:
    reloaded.core.add(b"shop.a:1|c", T)
    assert reloaded.write(FIRST) == []
    reloaded.core.add(b"shop.a:1|c", T)
    assert reloaded.mapper.counts()["mapped"] == 1
    assert reloaded.action.counts() == {"changed": 0, "same": 1, "failed": 0}


def test_names_of_quiet_metrics_are_bounded_in_bytes_and_kept_without_tags(reloaded: Reloaded) -> None:
    told: list[str] = []
    reloaded.mapper.keep = lambda *_: None
    for number in range(4_000):
        tags = ",".join(f"k{tag}:{number:0100d}" for tag in range(20))
        reloaded.core.add(b"level.%0500d:1|g|#%s" % (number, tags.encode()), T)
    assert len(pickle.dumps(reloaded.mapper._heads.all())) < 3 << 20
    heads = reloaded.mapper._heads.all()
    assert 2_000 < len(heads) < 4_000
    reloaded.write("mappings: [{match: level.*, name: level, ttl: 1h}]")
    reloaded.mapper.keep = lambda name, _: told.append(name)
    reloaded.mapper.tell_again()
    assert told == ["level"] * len(heads)
