"""The embedded store and the export to Parquet, without the packages that deploy/locks leaves out.

chdb-core requires pandas and pyarrow. It has to work without them, or `make run` installs something broken.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.locks import ROOT, UNUSED

#: Refuses the packages `argv[2:]`, then opens a store in the folder `argv[1]`, fills a table and exports it.
PROGRAM = """
import importlib.abc, sys
from pathlib import Path

folder, refused = Path(sys.argv[1]), {name.replace("python-", "") for name in sys.argv[2:]}

class Refusing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refusing())
import numpy as np
from indexer.clickhouse.store import open_store
from shim.cli.export import to_parquet

store = open_store(f"chdb://{folder}/chdb?database=default", pool=1)
store.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
store.insert("t", {"a": np.arange(10, dtype=np.uint64)}, token="once")
print(store.fetch("SELECT sum(a) AS a FROM t", [("a", "<u8")])["a"][0])
store.close()
rows = folder / "rows.csv"
rows.write_text("name,type,value,timestamp,tags,count,sum,buckets\\n" + "a,counter,1,1800000000,{},,,\\n")
to_parquet(rows, folder / "rows.parquet")
print((folder / "rows.parquet").read_bytes()[:4].decode())
print(sorted(refused & set(sys.modules)))
"""


def test_the_engine_works_without_them(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), *UNUSED["all"]],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["45", "PAR1", "[]"]
