"""A cluster of two shards, simulated by one engine: the product's tables, read through Distributed ones.

The agent and the indexer write a plain database of the test server. Beside it is another: each table there is
a Distributed one over a plain table, of which a row policy shows each shard its half. So the API merges over
shards as on a real cluster. Both shards are local: a sent table that misses GLOBAL would not be noticed.

`TWO_SHARDS=LAYOUT pytest tests/e2e/test_exactness.py` runs tests over it; all that fit are run by
python -m tests.bench.sharded_answers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final
from xml.sax.saxutils import escape

from indexer.clickhouse.schema import Layout, statements
from indexer.clickhouse.sql_quoting import quote_name
from indexer.clickhouse.store import Store, open_store
from tests.e2e.product import Starter, Up
from tests.e2e.services import Services
from tests.support.clickhouse_http import running
from tests.support.ports import free_port

#: The shard of a row, by layout: as the product's tables say, or by its whole key, so that the rows of one
#: series lie on both.
LAYOUTS: Final[Mapping[str, str]] = MappingProxyType(
    {"by_series": "{shard_by}", "by_row": "cityHash64({order_by})"}
)
#: The variable that runs tests of `product` over this layout.
VARIABLE: Final = "TWO_SHARDS"

_PLAIN: Final = "meterhouse"
_SHARDED: Final = "two_shards"
_CONFIG: Final = """<clickhouse>
  <tcp_port>{port}</tcp_port>
  <listen_host>127.0.0.1</listen_host>
  <users_config>{users}</users_config>
  <remote_servers><two>
    <shard><replica><host>127.0.0.1</host><port>{port}</port></replica></shard>
    <shard><replica><host>127.0.0.1</host><port>{port}</port></replica></shard>
  </two></remote_servers>
</clickhouse>
"""
_USERS: Final = """<clickhouse>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
  <users><default>
    <password/>
    <networks><ip>::/0</ip></networks>
    <profile>default</profile>
    <quota>default</quota>
    <access_management>1</access_management>
    <databases><{database}>{filters}</{database}></databases>
  </default></users>
</clickhouse>
"""
_LOCAL: Final = re.compile(r"CREATE TABLE [^`]*`\w+`\.`(\w+)_local`[^;]*\nORDER BY \(([^\n]*)\)\n")
_DISTRIBUTED: Final = re.compile(r"ENGINE = Distributed\('two', '\w+', '(\w+)_local', (.*)\)$")


def write_config(folder: Path, layout: str) -> Path:
    """Write the engine's configuration: the cluster, and which rows a shard has; return its path.

    A statement that no shard runs sees all rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    filters = []
    for name, (order_by, shard_by) in _keys().items():
        shard = LAYOUTS[layout].format(order_by=order_by, shard_by=shard_by)
        policy = escape(f"shardNum() = 0 OR ({shard}) % 2 = shardNum() - 1")
        filters.append(f"<{name}><filter>{policy}</filter></{name}>")
    users = folder / "users.xml"
    users.write_text(_USERS.format(database=_PLAIN, filters="\n".join(filters)))
    config = folder / "config.xml"
    config.write_text(_CONFIG.format(port=free_port(), users=users))
    return config


def make_shards(store: Store) -> None:
    """Make the Distributed tables over the plain ones, and the views for clients over those."""
    store.create_database()
    ((policies,),) = store.rows("SELECT count() FROM system.row_policies")
    assert policies == len(_keys()) > 20, f"the engine has {policies} row policies, expected {len(_keys())}"
    for name, (_, shard_by) in _keys().items():
        plain = f"{quote_name(_PLAIN)}.{quote_name(name)}"
        engine = f"Distributed('two', '{_PLAIN}', '{name}', {shard_by})"
        store.command(f"CREATE TABLE {quote_name(name)} AS {plain} ENGINE = {engine}")
    for statement in statements(Layout(_SHARDED, "two", on_cluster=False)):
        if statement.text.startswith("CREATE VIEW"):
            store.command(statement.text)


def _keys() -> dict[str, tuple[str, str]]:
    """Return the sort key and the shard of each table that keeps rows, from the statements for a cluster."""
    order_by, found = {}, {}
    for statement in statements(Layout(_SHARDED, "two", on_cluster=False)):
        if local := _LOCAL.match(statement.text):
            order_by[local[1]] = local[2]
        elif (table := _DISTRIBUTED.search(statement.text)) and table[1] in order_by:
            found[table[1]] = order_by[table[1]], table[2]
    return found


class ShardedUp(Up):
    """A product whose API reads two shards; its agent and indexer write the plain database.

    `sharded_dsn` is the DSN of that API.
    """

    def __init__(self, folder: Path, port: int, environ: Mapping[str, str]) -> None:
        dsn = f"http://127.0.0.1:{port}"
        plain = f"{dsn}/{_PLAIN}"
        given = {"METERHOUSE_INDEXER__DSN": plain, "METERHOUSE_SHIM__DSN": plain, **environ}
        super().__init__(folder, environ=given)
        self.sharded_dsn, self._environ = f"{dsn}/{_SHARDED}", environ
        self._start = Starter(folder / "shim")

    def ready(self) -> ShardedUp:
        super().ready()
        with closing(open_store(self.sharded_dsn, pool=1)) as store:
            make_shards(store)
        self.api = Services(self._start, self.sharded_dsn).api(self._environ)
        return self

    def clear(self) -> None:
        self._start.clear()
        super().clear()


@contextmanager
def ready_product(folder: Path, environ: Mapping[str, str] | None = None, layout: str = "") -> Iterator[Up]:
    """Provide a product until the context ends: plain, or over two shards where a layout is given.

    The layout may also come from the variable TWO_SHARDS.
    """
    layout = layout or os.environ.get(VARIABLE, "")
    with ExitStack() as stack:
        if layout:
            config = write_config(folder / "config", layout)
            port = stack.enter_context(running(folder / "server", config=config))
            up: Up = ShardedUp(folder, port, environ or {})
        else:
            up = Up(folder, environ=environ)
        stack.callback(up.clear)
        yield up.ready()
