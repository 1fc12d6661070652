"""Parquet files of `meterhouse export`: every row once, in row groups of bounded size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from shim.cli.export_parquet import MAX_GROUP_ROWS
from shim.cli.export_rows import COLUMNS

ROWS = 2 * MAX_GROUP_ROWS + 50_000
#: In a process of its own, as the command: a process has one embedded ClickHouse.
WRITE_AND_ASK = """
import sys; from pathlib import Path; from shim.cli.export_parquet import to_parquet
rows, file = map(Path, sys.argv[1:])
to_parquet(rows, file)
import chdb
quoted = str(file).replace("'", "''")
print(chdb.query(f"SELECT max(g.num_rows) AS largest, length(any(row_groups)) AS groups FROM file('{quoted}', 'ParquetMetadata') ARRAY JOIN row_groups AS g", "JSONEachRow"), end="")
print(chdb.query(f"SELECT toString(count()) AS rows, sum(value) AS total, toString(uniqExact(timestamp, tags)) AS points, any(buckets) AS buckets FROM file('{quoted}', 'Parquet')", "JSONEachRow"), end="")
"""  # noqa: E501 - two statements


def test_row_groups_are_bounded(tmp_path: Path) -> None:
    rows, file = tmp_path / "it's.csv", tmp_path / "it's.parquet"
    with rows.open("w") as out:
        out.write(",".join(COLUMNS) + "\n")
        out.writelines(
            f'x,counter,{n % 10},{1_764_300_000 + n // 1000 * 10},"n:{n % 1000},k:v",,,\n'
            for n in range(ROWS)
        )
    done = subprocess.run(
        [sys.executable, "-c", WRITE_AND_ASK, str(rows), str(file)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    groups, found = map(json.loads, done.stdout.splitlines())
    assert found == {
        "rows": str(ROWS), "total": 4.5 * ROWS, "points": str(ROWS), "buckets": "",
    }  # fmt: skip
    assert int(groups["groups"]) == 3
    assert int(groups["largest"]) < MAX_GROUP_ROWS + 20_000
