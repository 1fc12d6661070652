"""Raises the limit of open files to fit the configured connections, with a reserve for everything else.

Client connections must not use up the descriptors that sending frames needs. Many systems start with 1,024.
"""

from __future__ import annotations

import resource
from typing import Final

#: Reserved for listeners, relays, forwarding, operators and files.
OTHERS: Final = 256
_MIN: Final = 8


def raise_limit(wanted: int) -> int:
    """Raise the soft limit to `wanted` files, as far as the hard limit allows; return the resulting limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    given = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (given, hard))
    return given


def connection_limit(listeners: int, wanted_each: int) -> int:
    """Return how many connections each listener may have: `wanted_each`, or as many as the limit allows."""
    if not listeners:
        return wanted_each
    given = raise_limit(listeners * wanted_each + OTHERS)
    return max(min((given - OTHERS) // listeners, wanted_each), _MIN)


def equal_share(wanted: int, shares: int) -> int:
    """Return `wanted`, or an equal share of the file limit; raises the limit for all `shares`."""
    return max(min(wanted, raise_limit(wanted * shares) // shares), _MIN)
