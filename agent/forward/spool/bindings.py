"""Which frames are bound to an indexer: they were sent to it, and only it knows whether they are stored.

Owns the file `bindings` in the spool's directory, for frames on disk: a line for each binding, the latest one
of a frame counts. A line is written before the frame is sent, or before it is written itself. A line without
its end was being written when the agent died, so its frame was not sent.

A line of its own says since which file of the spool every frame that was sent has a binding. Frames of
earlier files may have been sent to an indexer that is not known: under `agent.forward.url`, or before
`bindings` was lost. They count as released (docs/reliability.md).

Not thread-safe: agent/forward/lanes.py holds the spool's lock.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from agent.runtime.replace_file import replace_file, sync_directory
from agent.wire.release import Release, earlier_hops

#: The file is written anew, with the bindings that still count, when it has grown to this size, and has
#: doubled since the last time: so each line is written twice at most on average.
_MAX_BYTES: Final = 1 << 20
#: The file is written anew when no binding counts and it is larger than this.
_KEPT_BYTES: Final = 64 << 10
_NAME: Final = "bindings"
#: The hop of frames that may have been sent, and are not known to have been released: higher than the hops
#: that a lost binding may have had, with room for later releases.
_UNKNOWN_HOP: Final = 5


class Binding(msgspec.Struct, frozen=True, array_like=True):
    """The indexer that has a frame (empty: any may), and how often it was released.

    `earlier`: the indexers of the last hops before, in order; of hops before those only `journal_lost` is
    known, which older agents noted.
    """

    url: str = ""
    hop: int = 0
    journal_lost: bool = False
    earlier: tuple[str, ...] = ()

    def released(self) -> Binding:
        """Return the binding once the frame is free again."""
        return Binding("", self.hop + 1, self.journal_lost, (*self.earlier, self.url))

    def to(self, url: str) -> Binding:
        """Return the binding of the frame to another indexer, or to none."""
        return Binding(url, self.hop, self.journal_lost, self.earlier)

    def release(self, gone: Mapping[str, bool]) -> Release:
        """Return the release; `gone`: indexers that do not return, by whether their journals are lost."""
        unknown = max(0, self.hop - len(self.earlier))
        lost = earlier_hops(unknown) if self.journal_lost or (gone and all(gone.values())) else 0
        hops = enumerate(self.earlier, unknown)
        return Release(self.hop, lost | sum(1 << hop for hop, url in hops if gone.get(url)))


class _Line(msgspec.Struct, frozen=True, array_like=True):
    identity: str
    binding: Binding


class _Covered(msgspec.Struct, frozen=True):
    """The line that says since which file frames have bindings; older agents pass over it."""

    first_file: int


_decoder: Final = msgspec.json.Decoder(_Line)
_covered: Final = msgspec.json.Decoder(_Covered)
#: The binding of a frame that any indexer may have.
_UNKNOWN: Final = Binding(hop=_UNKNOWN_HOP)


class Bindings:
    """The bindings of unsent frames by identity. `directory`: of the spool; None: memory only.

    Raises OSError for a file that cannot be read.
    """

    def __init__(self, directory: Path | None, *, sync: bool = False) -> None:
        self._path = directory / _NAME if directory else None
        self._sync = sync
        self._size = 0
        self._limit = _MAX_BYTES
        self._held: dict[str, Binding] = {}
        self._written: set[str] = set()
        self._recovered: set[str] = set()
        self._first_file: int | None = None  # frames of earlier files may lack their bindings
        if self._path is not None and self._path.exists():
            self._read(self._path)
            self._recovered = set(self._held)

    def of(self, identity: str) -> Binding | None:
        """Return the binding of a frame; None: it was never sent."""
        self._recovered.discard(identity)
        return self._held.get(identity)

    def cover(self, next_file: int) -> None:
        """Note that frames of this file and later ones have bindings once they are sent, unless it is noted.

        Where it cannot be written, the next run notes it.
        """
        if self._first_file is None:
            self._first_file = next_file
            if self._path is not None:
                with contextlib.suppress(OSError):
                    self._append(self._path, self._covered())

    def uncover(self) -> None:
        """Forget the file: frames will be sent without bindings. Raises OSError."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def before_sending(self, identity: str, file: int | None) -> Binding:
        """Return the binding of a frame that is about to be sent; `file`: the number of its file, if any."""
        found = self.of(identity)
        if found is None and file is not None and self._first_file is not None and file < self._first_file:
            return _UNKNOWN
        return found or Binding()

    def forget_recovered(self) -> None:
        """Forget bindings of an earlier run whose frames were not met: no frame of it is left."""
        for identity in self._recovered:
            self.unbind(identity)
        self._recovered.clear()

    def urls(self) -> set[str]:
        """Return the indexers that frames are bound to."""
        return {binding.url for binding in self._held.values() if binding.url}

    def bind(self, identity: str, binding: Binding) -> None:
        """Bind a frame; a binding on disk is not changed before `persist`."""
        if self._held.get(identity) != binding:
            self._held[identity] = binding
            self._written.discard(identity)

    def persist(self, identity: str) -> None:
        """Write the binding of a frame that is on disk, or about to be. Raises OSError."""
        binding = self._held.get(identity)
        if binding is None or identity in self._written or self._path is None:
            return
        data = _encoded(identity, binding)
        if self._size + len(data) > self._limit:
            self._rewrite(self._path)
        self._append(self._path, data)
        self._written.add(identity)

    def unbind(self, identity: str) -> None:
        """Forget the binding of a frame that was not sent, or needs no more sending."""
        if self._held.pop(identity, None) is not None:
            self._written.discard(identity)
            if not self._held and self._size > _KEPT_BYTES and self._path is not None:
                with contextlib.suppress(OSError):
                    self._rewrite(self._path)

    def _append(self, path: Path, data: bytes) -> None:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.write(file, data) != len(data):
                raise OSError(28, "No space left on device")
            if self._sync:
                os.fsync(file)
                if not self._size:  # it may be new
                    sync_directory(path.parent)
        finally:
            os.close(file)
        self._size += len(data)

    def _covered(self) -> bytes:
        return b"" if self._first_file is None else msgspec.json.encode(_Covered(self._first_file)) + b"\n"

    def _rewrite(self, path: Path) -> None:
        """Write the bindings that are on disk and still count to a new file. Raises OSError."""
        kept = [_encoded(i, self._held[i]) for i in self._held if i in self._written]
        data = b"".join([self._covered(), *kept])
        replace_file(path, data)
        self._size = len(data)
        self._limit = max(_MAX_BYTES, 2 * self._size)

    def _read(self, path: Path) -> None:
        data = path.read_bytes()
        self._size = len(data)
        whole, _, torn = data.rpartition(b"\n")
        damaged = False
        for line in filter(None, whole.split(b"\n")):
            try:
                if line.startswith(b"{"):
                    self._first_file = _covered.decode(line).first_file
                    continue
                found = _decoder.decode(line)
                identity = found.identity.encode("latin-1").decode(errors="surrogatepass")
            except (msgspec.DecodeError, UnicodeError):
                damaged = True
                continue
            self._held[identity] = found.binding
            self._written.add(identity)
        if damaged:  # a frame lacks its binding
            self._first_file = None
        if torn:  # the next line begins a line of its own
            self._append(path, b"\n")


def _encoded(identity: str, binding: Binding) -> bytes:
    text = identity.encode(errors="surrogatepass").decode("latin-1")  # JSON knows no lone surrogates
    return msgspec.json.encode(_Line(text, binding)) + b"\n"
