"""`meterhouse export`: its state at an interruption, at every request, against a file in one go."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shim.cli.export import Exporter, ExportJob, ExportState, state_path
from shim.cli.export_parquet import ExportError

BUCKETS = 12
JOB = ExportJob("m", "csv", 10, 0, BUCKETS * 10)


class _Answered(Exporter):
    """An exporter of a counter that came in every third bucket; ends after `requests`."""

    def __init__(self, file: Path, job: ExportJob, requests: int = 10**9) -> None:
        path = state_path(file)
        state = (
            msgspec.json.decode(path.read_bytes(), type=ExportState) if path.exists() else ExportState(job)
        )
        super().__init__("", {}, file, state, lambda _: None, max_points=1)
        self._left = requests

    def _ask(self, path: str, parameters: Mapping[str, str]) -> Any:
        self._left -= 1
        if self._left < 0:
            raise OSError("interrupted")
        if path == "/api/v1/query":
            return {"result": [{"value": [0, "1"]}]}
        if path == "/api/v1/query_range":
            at = int(parameters["end"])
            return {"result": [{"metric": {}, "values": [[at, str(int(at % 30 == 0))]]}]}
        return {"m": [{"type": "counter"}]} if path.endswith("metadata") else ["m"]


@pytest.mark.parametrize("form", ["csv", "openmetrics"])
@pytest.mark.parametrize("requests", range(3, 16))
def test_each_row_is_there_once(tmp_path: Path, form: str, requests: int) -> None:
    job = msgspec.structs.replace(JOB, format=form)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    rows = _Answered(whole, job).run()
    for more in (requests, 5, 4):  # empty buckets first, then one with a row
        if parts.exists():
            assert state_path(parts).exists()  # else the command refuses to go on
        try:
            _Answered(parts, job, more).run()
        except OSError:
            with parts.open("ab") as out:
                out.write(b"a line that the kernel had, and the state had not\n" * 3)
        else:
            break
    else:
        assert _Answered(parts, job).run() == rows
    assert parts.read_bytes() == whole.read_bytes()


class _TwoTypes(_Answered):
    """Its metric is a counter and a gauge."""

    def _ask(self, path: str, parameters: Mapping[str, str]) -> Any:
        found = super()._ask(path, parameters)
        query = parameters.get("query", "")
        if path.endswith("metadata"):
            return {"m": [{"type": "counter"}, {"type": "gauge"}, {"type": "counter"}]}
        if path == "/api/v1/query_range":
            assert ('__type__="gauge"' in query) == query.startswith("last_over_time")
            assert ('__type__="counter"' in query) == query.startswith("increase")
        return found


@pytest.mark.parametrize("requests", range(3, 30, 4))
def test_a_metric_is_exported_by_each_of_its_types(tmp_path: Path, requests: int) -> None:
    file = tmp_path / "x"
    with pytest.raises(OSError, match="interrupted"):
        _TwoTypes(file, JOB, requests).run()
    assert _TwoTypes(file, JOB).run() == BUCKETS // 3 + BUCKETS
    kinds = [line.split(",")[1] for line in file.read_text().splitlines()[1:]]
    assert kinds == ["counter"] * (BUCKETS // 3) + ["gauge"] * BUCKETS
    om = tmp_path / "om"
    _TwoTypes(om, msgspec.structs.replace(JOB, format="openmetrics")).run()
    heads = [line for line in om.read_text().splitlines() if line.startswith("#")]
    assert heads == ["# TYPE m counter", "# TYPE m_gauge gauge", "# EOF"]


def test_a_file_that_is_shorter_than_its_state_tells_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x"
    with pytest.raises(OSError, match="interrupted"):
        _Answered(file, JOB, 6).run()
    file.write_bytes(b"")
    with pytest.raises(ExportError, match="expected the"):
        _Answered(file, JOB).run()


def test_parquet_that_was_not_written_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, file = msgspec.structs.replace(JOB, format="parquet"), tmp_path / "x.parquet"

    def full(_: str) -> None:
        file.write_bytes(b"PA")
        raise RuntimeError("Code: 243. No space left on device")

    monkeypatch.setattr("chdb.query", full)
    with pytest.raises(OSError, match="not written: Code: 243"):
        _Answered(file, job).run()
    assert not file.exists()
    monkeypatch.setattr("chdb.query", lambda _: file.write_bytes(b"PAR1"))
    assert _Answered(file, job).run() == BUCKETS // 3
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]
