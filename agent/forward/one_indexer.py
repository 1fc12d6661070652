"""Keeps frames to one indexer where a URL leads to several, as that of a load balancer does.

Only the indexer that got a frame knows whether it is stored. So each request names the indexer that the agent
keeps to, and others refuse it with nothing taken (agent/wire/addressee.py). When that one was not reached for
`failover_s`, the agent keeps to the next one that answers: frames that were sent before count as released
(agent/wire/release.py), once more with each such change. Of indexers that get the same frame each so has
another number of releases, and their claims decide which of them stores it. As a frame is released a few
times only, each change takes twice as long as the one before.

The name and the number of changes are in the spool's directory, and written before they hold. Frames of an
earlier run count as sent; without a name of that run, any indexer may have them. Once no frame is unsent the
changes are counted anew. Thread-safe.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from agent.config.secrets import masked_url
from agent.forward.spool.record import EncodedFrame
from agent.runtime.logs import Log
from agent.runtime.replace_file import replace_file
from agent.wire.addressee import ANY, FOR_HEADER
from agent.wire.release import MAX_HOP, Release, earlier_hops

_NAME: Final = "indexer"
_HINT: Final = "give each an address of its own in agent.forward.urls"
#: Beyond this number of unsent frames all count as sent before.
_MAX_SENT: Final = 100_000
#: Changes that frames of an earlier run may have seen: without the file (older agents have none), and where
#: it is damaged.
_NO_FILE, _DAMAGED = 1, 5


class _Kept(msgspec.Struct):
    """The indexer that the agent keeps to (ANY: not known), and how often that changed."""

    name: str = ANY
    changes: int = 0


class OneIndexer:
    """Headers of requests to one URL. `directory`: of the spool; None: memory only.

    `unsent`: the number of unsent frames. `journals_lost`: the operator says that no earlier indexer returns.
    """

    def __init__(
        self,
        url: str,
        log: Log,
        directory: Path | None = None,
        *,
        unsent: Callable[[], int] = lambda: 1,
        failover_s: float = 10.0,
        journals_lost: bool = False,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._log = log
        self._path = directory / _NAME if directory else None
        self._unsent = unsent
        self._failover_s = self._patience_s = failover_s
        self._journals_lost = journals_lost
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._kept = self._read()
        self._heard_s = clock_s()
        self._sent: set[str] = set()  # unsent frames that an indexer may have
        self._all_sent = False
        self._told = False

    @property
    def warning(self) -> str:
        """A fault for an operator to mend, once it was seen; else empty."""
        return f"{masked_url(self._url)} leads to several indexers: {_HINT}" if self._told else ""

    def headers(self, frame: EncodedFrame) -> dict[str, str] | None:
        """Return the headers of a request with a frame; None: it must not be sent now."""
        with self._lock:
            before = self._all_sent or not frame.number or frame.identity in self._sent
            hop = self._kept.changes if before else 0
            if hop > MAX_HOP:
                return None
            lost = earlier_hops(hop) if self._journals_lost else 0
            return {FOR_HEADER: self._kept.name} | Release(hop, lost).headers()

    def heard(self, name: str, *, refused: bool) -> bool:
        """Note that an indexer answered (empty: none of a name); return whether it is the one from now on.

        A request that it refused may then be repeated, with other headers.
        """
        with self._lock:
            now_s = self._clock_s()
            if name == self._kept.name:
                self._heard_s = now_s
            if name in ("", self._kept.name):
                return False
            first = self._kept.name == ANY
            if not first:
                self._tell()
            if not refused or not (first or now_s >= self._heard_s + self._patience_s):
                return False
            if not self._keep(_Kept(name, self._kept.changes + (not first))):
                return False
            self._heard_s = now_s
            self._patience_s *= 1 if first else 2
            return True

    def sent(self, frame: EncodedFrame) -> None:
        """Note that an indexer may have a frame."""
        with self._lock:
            self._all_sent = self._all_sent or len(self._sent) >= _MAX_SENT
            if not self._all_sent:
                self._sent.add(frame.identity)

    def done(self, frame: EncodedFrame) -> None:
        """Note that a frame is over."""
        with self._lock:
            self._sent.discard(frame.identity)

    def settled(self) -> None:
        """Count changes anew if no frame is unsent."""
        with self._lock:
            if (self._kept.changes or self._sent or self._all_sent) and not self._unsent():
                self._sent.clear()
                self._all_sent = False
                self._patience_s = self._failover_s
                if self._kept.changes:
                    self._keep(_Kept(self._kept.name))

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            self._log.warning("several_indexers_at_one_url", url=masked_url(self._url), hint=_HINT)

    def _keep(self, kept: _Kept) -> bool:
        """Change the indexer; return False, and change nothing, if that cannot be written."""
        try:
            if self._path is not None:
                replace_file(self._path, msgspec.json.encode(kept))
        except OSError as e:
            self._log.throttled("indexer_not_noted", error=e.strerror or str(e))
            return False
        self._kept = kept
        return True

    def _read(self) -> _Kept:
        """Return the indexer of an earlier run, if it left frames."""
        changes = 0
        if self._path is not None:
            try:
                return msgspec.json.decode(self._path.read_bytes(), type=_Kept)
            except OSError:
                changes = _NO_FILE
            except msgspec.DecodeError:
                changes = _DAMAGED
        return _Kept(changes=changes if self._unsent() else 0)
