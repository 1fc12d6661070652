"""Computes the id of a string: a hash, so that ids need no coordination between indexers.

Pure. An id is 63 bits of blake2b over (org, salt, string), never 0. The salt is 0 until two strings of an org
meet in one id; then the later one takes the next salt (indexer/intern/id_store.py detects that). Well-known
strings have fixed ids with the top bit set, the same in every org.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from types import MappingProxyType
from typing import Final

#: Salts to try. Eight strings in one id of 2^63 do not happen; a broken hash does.
MAX_SALT: Final = 8

HashId = Callable[[int, str, int], int]

_STATIC_BASE: Final = 1 << 63

#: The position gives the id: the top bit plus the position. Append only.
_WELL_KNOWN: Final = (
    None,  # 0 is not an id
    "",
    "true",
    "false",
    "__overflow__",
    "environment",
    "env",
    "release",
    "version",
    "service",
    "host",
    "hostname",
    "instance",
    "pod",
    "namespace",
    "node",
    "region",
    "zone",
    "container",
    "method",
    "status",
    "code",
    "route",
    "path",
    "le",
    "quantile",
    "production",
    "staging",
    "development",
)

STATIC_IDS: Final[Mapping[str, int]] = MappingProxyType(
    {s: _STATIC_BASE | i for i, s in enumerate(_WELL_KNOWN) if s is not None}
)
STATIC_STRINGS: Final[Mapping[int, str]] = MappingProxyType({i: s for s, i in STATIC_IDS.items()})


def string_id(org_id: int, string: str, salt: int = 0) -> int:
    """Return the id of a string in an org: 1 ... 2^63-1."""
    data = f"{org_id}:{salt}:{string}".encode("utf-8", "surrogatepass")
    return (int.from_bytes(blake2b(data, digest_size=8).digest(), "little") >> 1) or 1
