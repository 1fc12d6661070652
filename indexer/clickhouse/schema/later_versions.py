"""Migrations of later versions of Meterhouse: whether this program works with them. Pure.

A migration keeps the names and types that earlier programs use: they work beside it during a rolling upgrade,
and after a step back. One that does not has in its noted name the first version that works with it. Earlier
programs end then, and change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_NEEDS: Final = re.compile(r" \(needs Meterhouse (\S+)\)$")


def noted_name(name: str, needs: str) -> str:
    """Return the name under which a migration is noted; `needs` is empty if earlier versions work with it."""
    return f"{name} (needs Meterhouse {needs})" if needs else name


def too_new(later: Iterable[tuple[int, str]], database: str, mine: str) -> str:
    """Return why version `mine` does not work with the noted migrations `later`; empty: it does."""
    for version, name in later:
        if (found := _NEEDS.search(name)) is not None:
            return (
                f"the tables of the database {database} are too new for Meterhouse {mine}: "
                f"expected {found[1]} or later, which migration {version} needs"
            )
    return ""
