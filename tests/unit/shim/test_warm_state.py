"""The file of recent queries: whole, bounded, for its owner alone, and never a reason not to start."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from shim.catalog.types import Days, SelectionKey
from shim.engine.warm_state import MAX_BYTES, WarmState, load, save
from shim.model.matchers import Matcher
from shim.model.tenancy import Tenant
from shim.read.cell_cache.chunk import ChunkKey, Source

SOURCE = Source(1, None, (2**63 - 1, 7), "counters", "value")
PLACES = (ChunkKey(SOURCE, 60, 21_600), ChunkKey(SOURCE, 10, 3_600))
LOOKS = (
    SelectionKey(
        Tenant(1, 1), (Matcher("__name__", "=", "hits"), Matcher("host", "!~", 'a"\n|é')), Days(1, 2)
    ),
    SelectionKey(Tenant(2, None), (), Days(0, 65_535)),
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "recent.json"
    assert load(path) == WarmState()
    save(path, WarmState(PLACES, LOOKS))
    assert load(path) == WarmState(PLACES, LOOKS)
    save(path, WarmState(PLACES[:1]))
    assert load(path) == WarmState(PLACES[:1])
    assert [p.name for p in tmp_path.iterdir()] == ["recent.json"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_latest_fit_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "recent.json"
    many = Source(1, 1, tuple(range(2**62, 2**62 + 5_000)), "counters", "value")
    places = tuple(ChunkKey(many, 10, 3_600 * i) for i in range(50))
    long = SelectionKey(Tenant(1, 1), (Matcher("host", "=", "h" * (MAX_BYTES + 1)),), Days(1, 1))
    save(path, WarmState(places, (LOOKS[0], long, *LOOKS)))
    found = load(path)
    assert 5 < len(found.places) < 20
    assert found.places == places[-len(found.places) :]
    assert found.looks == LOOKS
    assert path.stat().st_size <= 2 * MAX_BYTES + 100


@pytest.mark.parametrize(
    "content", [b"", b"\xff\x00", b"[]", b"null", b'{"places":[[1,2,3]]}', b'{"format":2}', b'{"places"']
)
def test_a_strange_file_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "recent.json"
    path.write_bytes(content)
    assert load(path) == WarmState()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert load(tmp_path) == WarmState()
    with pytest.raises(OSError, match="directory"):
        save(tmp_path, WarmState(PLACES))


def test_places_that_are_none_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "recent.json"
    sketches = SOURCE._replace(table="distributions", selection=b"of some series")
    wrong = (
        ChunkKey(sketches, 60, 0),
        ChunkKey(SOURCE, 61, 0),
        ChunkKey(SOURCE, 60, 60),
        ChunkKey(SOURCE, 60, -21_600),
        ChunkKey(SOURCE, 0, 0),
    )
    path.write_bytes(msgspec.json.encode(WarmState((*wrong, *PLACES))))
    assert load(path).places == PLACES
    save(path, WarmState((*PLACES, *wrong)))
    assert load(path).places == PLACES
