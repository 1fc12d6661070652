"""File descriptors: room for as many connections as the settings allow, and always some for everything else.

Clients that open connections must not take what sending frames needs. Many systems begin with 1,024.
"""

from __future__ import annotations

import resource
from typing import Final

#: For listeners, relays, forwarding, operators, and files.
OTHERS: Final = 256
_LEAST: Final = 8


def raise_limit(wanted: int) -> int:
    """Lets this process open `wanted` files, if its hard limit does; gives how many it may open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    given = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (given, hard))
    return given


def connection_limit(listeners: int, wanted_each: int) -> int:
    """How many connections each of some listeners may have: `wanted_each`, or what this process may open."""
    if not listeners:
        return wanted_each
    given = raise_limit(listeners * wanted_each + OTHERS)
    return max(min((given - OTHERS) // listeners, wanted_each), _LEAST)


def equal_share(wanted: int, shares: int) -> int:
    """Return `wanted`, or an equal share of what this process may open; makes room for all `shares`."""
    return max(min(wanted, raise_limit(wanted * shares) // shares), _LEAST)
