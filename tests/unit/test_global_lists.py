"""Lists that are sent beside a statement: on a cluster every shard needs them, so each IN has its GLOBAL.

The two shards of the tests are local (tests/support/two_shards.py), where a missing GLOBAL changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.support.markdown import ROOT

_SENDS: Final = re.compile(r"\bSentTable\(|\bself\._send\(|FROM \{SENT\}")
#: The word before IN (or NOT IN) and a subquery; `wanted` is one in indexer/intern/id_store.py.
_IN: Final = re.compile(r"(\w+) (?:NOT |\{op\})?IN (?:\(SELECT|\{wanted\})")


def _found() -> Iterator[tuple[Path, str, str]]:
    """Yield each such condition in a module that sends lists: its file, its text, and the word before."""
    for part in ("indexer", "shim"):
        for path in sorted((ROOT / part).rglob("*.py")):
            text = path.read_text()
            if _SENDS.search(text):
                yield from ((path.relative_to(ROOT), found[0], found[1]) for found in _IN.finditer(text))


def test_each_subquery_over_a_sent_list_is_global() -> None:
    found = list(_found())
    assert len(found) >= 4
    assert [(str(path), text) for path, text, before in found if before != "GLOBAL"] == []
