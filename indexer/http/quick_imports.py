"""Makes the imports of a start quicker: a restart is an outage for its clients.

The garbage collector looks at modules again and again, and none of them goes away: that is an eighth of the
time. The client of aiohttp reads all certificates of the system, twice, when it is imported: a tenth. Here
they are read when a client first needs them. A sixth of numpy's import gives its functions their texts for
help(), which no server shows.
"""

from __future__ import annotations

import gc
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

#: Modules of numpy that have texts for help() and nothing else.
_HELP_TEXTS: Final = ("numpy._core._add_newdocs", "numpy._core._add_newdocs_scalars")


class _LateContext(ssl.SSLContext):
    """A context for clients that reads the certificates of the system before its first connection."""

    _has_read = False

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        self._read()
        return super().wrap_bio(*args, **kwargs)

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        self._read()
        return super().wrap_socket(*args, **kwargs)

    def _read(self) -> None:
        if not self._has_read:
            self._has_read = True
            self.load_default_certs()


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import modules in the body, at the start of a process: no other thread makes TLS contexts meanwhile."""
    make, read = ssl.create_default_context, ssl.SSLContext.load_default_certs

    def late(*args: Any, **kwargs: Any) -> ssl.SSLContext:
        context = make(*args, **kwargs)
        context.__class__ = _LateContext
        return context

    for name in _HELP_TEXTS:
        sys.modules.setdefault(name, ModuleType(name))
    collected = gc.isenabled()
    gc.disable()
    nothing: Any = lambda *_: None  # noqa: E731
    ssl.create_default_context = late
    ssl.SSLContext.load_default_certs = nothing  # type: ignore[method-assign]
    ssl.SSLContext.set_default_verify_paths = nothing  # type: ignore[method-assign]
    try:
        yield
    finally:
        ssl.create_default_context = make
        ssl.SSLContext.load_default_certs = read  # type: ignore[method-assign]
        del ssl.SSLContext.set_default_verify_paths  # that of its base class is back
        gc.freeze()
        if collected:
            gc.enable()
