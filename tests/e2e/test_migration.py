"""Stores, journals, settings and requests of each release since 3b2ee7e, opened with today's code."""

from __future__ import annotations

import json
import re
import socket
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

import pytest

from agent.runtime.program_version import VERSION_HEADER, program_version
from tests.e2e.product import START_S, Starter, Up, get, wait_for
from tests.support.releases import END_S, SentRequest, SentValue, folder_of, read_sent, releases

pytestmark = pytest.mark.e2e

#: A table's definition in a data directory, and a column in it: its name and type.
_DEFINITION: Final = re.compile(r"^data/chdb/store/[^/]+/[^/]+/(\w+)\.sql$")
_COLUMN: Final = re.compile(r"^    `(\w+)` (.+?)(?: CODEC\(.*| DEFAULT .*)?,?$", re.MULTILINE)
#: How old a fixture may become before a line in its time is moved.
TEN_YEARS_S: Final = 10 * 366 * 86_400


@pytest.fixture(scope="module", params=releases("data.tar.xz"))
def release(request: pytest.FixtureRequest) -> str:
    """Provide the name of a release whose store there is."""
    return str(request.param)


@pytest.fixture(scope="module")
def opened(release: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Provide the product on a copy of a release's data directory, with the settings of then."""
    starter = Starter(tmp_path_factory.mktemp("opened"))
    try:
        with tarfile.open(folder_of(release) / "data.tar.xz") as archive:
            archive.extractall(starter.folder, filter="tar")
        yield starter.up(
            environ={
                "METERHOUSE_CONFIG": str(folder_of(release) / "meterhouse.toml"),
                "METERHOUSE_AGENT__AGGREGATE__LATENESS_S": str(TEN_YEARS_S),
            }
        )
    finally:
        starter.clear()


def _sorted(data: Any) -> Any:
    """Return the answer with its series in the order of their labels: no order is promised."""
    if isinstance(data, dict) and "result" in data:
        result = sorted(data["result"], key=lambda one: json.dumps(one["metric"], sort_keys=True))
        return {**data, "result": result}
    return data


def _post(up: Up, sent: SentRequest) -> int:
    request = urllib.request.Request(
        up.indexer + sent.path, data=sent.body, headers={"Content-Type": sent.content_type}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        status: int = response.status
        return status


def _wait_for(up: Up, wanted: SentValue) -> None:
    found: list[float | None] = [None]

    def reached() -> bool:
        found[0] = up.api.one(wanted.query, END_S)
        return found[0] == wanted.value

    try:
        wait_for(reached, wanted.query, 180)
    except AssertionError:
        raise AssertionError(f"{wanted.query} gives {found[0]}, not {wanted.value}") from None


def test_an_old_store_answers_the_same(opened: Up, release: str) -> None:
    for asked in json.loads((folder_of(release) / "answers.json").read_text()):
        found = opened.api.data(asked["path"], **asked["parameters"])
        assert _sorted(found) == _sorted(asked["data"]), asked["parameters"]


def test_an_old_journal_knows_its_frames_and_the_store_goes_on(opened: Up, release: str) -> None:
    total = "sum(increase(old_framed[30m]))"
    assert opened.api.one(total, END_S) == 7.0
    frame = (folder_of(release) / "frame.bin").read_bytes()
    known = SentRequest("/v1/frames", "application/x-meterhouse-frame", frame)
    assert _post(opened, known) == 200  # the journal of then knows it: stored already
    opened.send([f"old.framed:5|c|#a:b|T{END_S - 600}"])
    opened.api.wait_until(total, END_S, 12.0)


def test_requests_of_old_agents_count_once(opened: Up) -> None:
    """Frames and heartbeats of each release's agent, sent twice, and a message."""
    for release in releases("sent.json"):
        sent = read_sent(release)
        for request in sent.requests:
            again = 1 if request.path == "/v1/messages" else 2  # without a key each message counts
            assert [_post(opened, request) for _ in range(again)] == [200] * again, (release, request.path)
        for value in sent.values:
            _wait_for(opened, value)


def test_each_part_tells_its_version(opened: Up) -> None:
    """In its answer once it is ready, in its metrics, and an agent in its heartbeats."""
    mine = program_version()
    for url in (f"{opened.agent}/readyz", f"{opened.indexer}/readyz", f"{opened.api.url}/-/ready"):
        assert wait_for(partial(_version_of, url), f"{url} is ready", START_S) == mine
    for url, part in ((opened.agent, "agent"), (opened.indexer, "indexer"), (opened.api.url, "shim")):
        shown = get(f"{url}/metrics")[1].decode()
        assert f'meterhouse_{part}_build_info{{version="{mine}"}} 1' in shown
    name = socket.gethostname()

    def told() -> bool:
        agents = opened.api.data("meterhouse/status")["agents"]
        return any(one["agent"] == name and one["version"] == mine for one in agents)

    wait_for(told, f"the version of the agent {name}", 180)


def test_it_ends_well_and_all_columns_of_then_are_there(opened: Up, release: str) -> None:
    """Tables, views and columns have the types of then: indexers and shims of then work beside today's."""
    with tarfile.open(folder_of(release) / "data.tar.xz") as archive:
        then = _columns({name: _text(archive, name) for name in archive.getnames()})
    assert len(then) > 300
    assert opened.terminate() == 0, opened.output
    folder = opened.log.parent
    paths = (folder / "data" / "chdb" / "store").glob("*/*/*.sql")
    assert then - _columns({str(path.relative_to(folder)): path.read_text() for path in paths}) == set()


def _version_of(url: str) -> str | None:
    """Return the version that a part tells; None if it is not ready, as its store is slow."""
    try:
        with urllib.request.urlopen(url, timeout=120) as response:
            return str(response.headers[VERSION_HEADER])
    except urllib.error.HTTPError as e:
        with e:
            return None


def _text(archive: tarfile.TarFile, name: str) -> str:
    file = archive.extractfile(name) if _DEFINITION.search(name) else None
    return file.read().decode() if file else ""


def _columns(definitions: Mapping[str, str]) -> set[tuple[str, str, str]]:
    """Return table, column and type of ClickHouse's own files of definitions."""
    tables = ((found[1], text) for name, text in definitions.items() if (found := _DEFINITION.search(name)))
    return {(table, *column) for table, text in tables for column in _COLUMN.findall(text)}
