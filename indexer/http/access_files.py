"""Checks the files of access of a listener before anything else of a start: token file and certificates.

A mistake in them ends the start. It is told before ports are bound, and before tables are altered.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.net.tls import check_listener
from agent.settings import Tls
from indexer.access.grants import Entry, EntryError
from indexer.http.authenticator import check_tokens


def check_access_files(
    section: str, tls: Tls, setting: str, known: Sequence[Entry], tokens_file: str
) -> None:
    """Raise OSError for files of a listener that cannot be used.

    `section`: of its TLS. `setting`: that of the token file; `known`: the credentials of the settings.
    """
    try:
        check_tokens(known, tokens_file)
    except EntryError as e:
        raise OSError(f"{setting}: {e}") from None
    check_listener(section, tls)
