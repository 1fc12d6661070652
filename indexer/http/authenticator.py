"""Finds the grant of a request: checks its credential against settings and token file.

Owns the file (checked once a second, read again after a change; a broken one changes nothing), the clock, and
the cost of passwords: one at once is checked, and correct ones are remembered. Runs in one event loop;
indexer/access/grants.py is the model itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import secrets
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from indexer.access.grants import (
    Certificate,
    CheckingError,
    Credentials,
    Entry,
    EntryError,
    Grant,
    Password,
    Presented,
    Right,
    checked,
    holds_plain,
    parse_file,
    presented,
)
from indexer.settings import OF_PLAIN_TOKENS, Settings, entries

log = logging.getLogger(__name__)

#: Minimum time between two looks at the file.
_LOOK_S: Final = 1.0
MAX_FILE_BYTES: Final = 4 << 20
#: Passwords that may wait to be checked, some 60 ms each.
MAX_WAITING: Final = 32
#: Correct passwords that are remembered.
_MAX_REMEMBERED: Final = 1_024
_OTHERS: Final = stat.S_IROTH

_Mark = tuple[int, int, int]


class UnreadableError(EntryError):
    """A token file that is missing or unreadable for this process."""


class Authenticator:
    """Checks credentials. `entries`: those of the settings. `file`: more of them; empty for none.

    Raises EntryError for a file that cannot be used at the start. `now_s` and `clock_s` are time.time and
    time.monotonic.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        file: str = "",
        *,
        now_s: Callable[[], float] = time.time,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._entries = list(entries)
        self._path = Path(file) if file else None
        self._now_s = now_s
        self._clock_s = clock_s
        self._mark: _Mark | None = None
        self._looked_s = clock_s()
        self._key = secrets.token_bytes(32)
        self._right: dict[bytes, Entry] = {}
        self._nobody = Password(bytes(16), bytes(32))
        self._checking = asyncio.Semaphore(1)
        self._waiting = 0
        self._credentials = Credentials(self._entries)
        if self._path is not None:
            self._mark = _mark(self._path)
            self._credentials = Credentials([*self._entries, *_read(self._path)])
        _warn_of_admins(self._entries)

    @property
    def asks(self) -> bool:
        """Whether requests need a credential."""
        return bool(self._credentials) or self._path is not None

    @property
    def challenge(self) -> str:
        """The header WWW-Authenticate of a refusal."""
        basic = ', Basic realm="meterhouse"' if self._credentials.users else ""
        return f'Bearer realm="meterhouse"{basic}'

    @property
    def knows_certificates(self) -> bool:
        """Whether the credentials include a certificate."""
        return bool(self._credentials.certificates)

    async def grant(self, authorization: Sequence[str], certificate: Certificate | None = None) -> Grant:
        """Return the grant of a request: by its headers `Authorization`, without one by its certificate.

        Raises AccessError. Rights never add up: a wrong header is refused, whatever the certificate.
        """
        self._look()
        if not authorization and certificate is not None:
            return self._credentials.of_certificate(certificate, self._now_s())
        given = presented(authorization)
        if given.token:
            return checked(self._credentials.of_token(given.token), self._now_s())
        return checked(await self._of_password(given), self._now_s())

    async def _of_password(self, given: Presented) -> Grant | None:
        user = self._credentials.users.get(given.name)
        remembered = self._digest(given)
        if user is not None and self._right.get(remembered) == user:
            return user.grant
        if self._waiting >= MAX_WAITING:
            raise CheckingError("too many passwords are being checked: try again in a second")
        self._waiting += 1
        try:
            async with self._checking:
                password = user.password if user is not None and user.password else self._nobody
                right = await asyncio.to_thread(password.matches, given.password)
        finally:
            self._waiting -= 1
        if user is None or not right:
            return None
        if len(self._right) >= _MAX_REMEMBERED:
            self._right.clear()
        self._right[remembered] = user
        return user.grant

    def _digest(self, given: Presented) -> bytes:
        """Return a digest of a password for memory, keyed by this process and useless elsewhere."""
        text = f"{given.name}:{given.password}".encode(errors="surrogatepass")
        return hashlib.blake2b(text, key=self._key, digest_size=32).digest()

    def _look(self) -> None:
        """Read the file again if it changed. If it is broken, log that and keep the last credentials."""
        now_s = self._clock_s()
        if self._path is None or now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        try:
            mark = _mark(self._path)
            if mark == self._mark:
                return
            self._mark = mark
            self._credentials = Credentials([*self._entries, *_read(self._path)])
            log.info("event=tokens_read path=%s credentials=%d", self._path, len(self._credentials))
        except EntryError as e:
            if isinstance(e, UnreadableError):
                if self._mark is None:
                    return  # said before
                self._mark = None
            log.error("event=tokens_not_read error=%s", e)


def _mark(path: Path) -> _Mark:
    try:
        found = path.stat()
    except OSError as e:
        raise UnreadableError(f"{path} cannot be read: {e.strerror}") from None
    return found.st_mtime_ns, found.st_size, found.st_ino


def check_tokens(entries: Sequence[Entry], file: str) -> None:
    """Raise EntryError for a token file that cannot be used beside these entries; empty: there is none."""
    if file:
        Credentials([*entries, *_parsed(Path(file))[0]])


def _read(path: Path) -> list[Entry]:
    """Return the entries of a token file, and log doubtful ones. Raises EntryError."""
    entries, shown = _parsed(path)
    _warn_of_admins(entries)
    if shown:
        log.warning("event=readable_tokens path=%s hint=chmod 600, or hash them: meterhouse token", path)
    return entries


def _parsed(path: Path) -> tuple[list[Entry], bool]:
    """Return the entries of a token file, and whether others may read its tokens. Raises EntryError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
            readable = bool(os.fstat(file.fileno()).st_mode & _OTHERS)
        text = data.decode()
    except OSError as e:
        raise UnreadableError(f"{path} cannot be read: {e.strerror}") from None
    except UnicodeDecodeError:
        raise EntryError(f"{path}: not UTF-8") from None
    if len(data) > MAX_FILE_BYTES:
        raise EntryError(f"{path}: more than {MAX_FILE_BYTES} bytes")
    try:
        entries = parse_file(text)
    except EntryError as e:
        raise EntryError(f"{path}: {e}") from None
    return entries, readable and holds_plain(text)


def _warn_of_admins(entries: Sequence[Entry]) -> None:
    """Say that credentials of one org do not see the server any more with the right admin."""
    grants = [one.grant for one in entries]
    found = [grant for grant in grants if Right.ADMIN in grant.rights and not grant.operates]
    if found:
        log.warning(
            "event=admin_of_an_org count=%d effect=deletes data of its org, and does not see the server"
            ' hint=/metrics, /-/reload, notifications and Alertmanagers need the right "operator"',
            len(found),
        )


def open_authenticator(settings: Settings) -> Authenticator:
    """Return an authenticator for the settings. Raises OSError for an unusable token file."""
    if settings.tokens and isinstance(settings.tokens, list):
        log.warning(
            "event=tokens_without_scope count=%d scope=%s"
            ' hint=say whose data a token may write: indexer.tokens = {"TOKEN" = "org:project"}',
            len(settings.tokens),
            OF_PLAIN_TOKENS,
        )
    try:
        return Authenticator(entries(settings), settings.tokens_file)
    except EntryError as e:
        raise OSError(f"indexer.tokens_file: {e}") from None
