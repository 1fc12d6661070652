"""Opens a client of clickhouse-connect, embedded or over HTTP, with the settings of every statement."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ProgrammingError

from indexer.clickhouse.crash_signals import kept_signals
from indexer.clickhouse.expected_settings import NO_SETTINGS, sent_values, unexpected
from indexer.clickhouse.private_files import make_private

_CONNECT_TIMEOUT_S: Final = 5

#: Set on every client if the engine knows them: settings that the schema and the readers need.
_SESSION: Final[Mapping[str, str]] = {
    "enable_alp_codec": "1",
    "enable_time_series_aggregate_functions": "1",
    # The thread that has the rows packs them for the answer: waking three others costs a small statement a
    # tenth of its time, and a large one more CPU than it saves.
    "output_format_parallel_formatting": "0",
    # Conditions are on keys and times, which are small: to read and filter column by column costs more than
    # it saves.
    "enable_multiple_prewhere_read_steps": "0",
    # An INSERT into a Distributed table is stored when it is answered, not queued: also those of notes. Older
    # versions have the second name.
    "distributed_foreground_insert": "1",
    "insert_distributed_sync": "1",
    # Sent tables are read from files whose names are reused for other rows.
    "use_cache_for_count_from_files": "0",
}


def connect_client(address: str, timeout_s: int, *, embedded: bool) -> Client:
    """Return a client of a DSN's address. Raises an error of clickhouse-connect, or OSError."""
    if embedded:
        make_private(Path(address))
        with kept_signals():
            client = clickhouse_connect.get_client(interface="chdb", path=address)
    else:
        # The client's own log lines say less than our errors.
        logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
        # Sessions would forbid concurrent use; long parameters (ids) do not fit into a URL.
        client = clickhouse_connect.get_client(
            dsn=address,
            autogenerate_session_id=False,
            form_encode_query_params=True,
            connect_timeout=_CONNECT_TIMEOUT_S,
            send_receive_timeout=timeout_s,
        )
    profile = {name: one.value for name, one in client.server_settings.items()}
    wanted = unexpected(profile) if embedded else sent_values(profile)
    for name, value in (*_SESSION.items(), *wanted.items()):
        if name in client.server_settings:
            with suppress(ProgrammingError):  # a server may forbid changing it; the schema has a fallback
                client.set_client_setting(name, value)
    if not embedded and profile.get("readonly") == NO_SETTINGS:
        # Lists of ids are in the text then, which may be longer in a body (max_query_size) than in a field.
        client.form_encode_query_params = False  # type: ignore[attr-defined]
    return client
