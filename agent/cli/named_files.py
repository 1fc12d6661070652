"""Opens the files that settings name: certificates, keys, CAs and files of tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from agent.config.load import ConfigError
from agent.runtime.logs import Log
from agent.settings import ClientTls, Tls

_SUFFIX = "_file"


def check_files(settings: msgspec.Struct, path: str = "") -> None:
    """Open every file that `settings`, named `path` in the settings file, and its sections name.

    Raises ConfigError with the setting and the file for one that cannot be used.
    """
    for section, found in _sections(settings, path):
        if isinstance(found, Tls | ClientTls):
            _check_tls(section, found)
        for name in found.__struct_fields__:
            value = getattr(found, name)
            if name.endswith(_SUFFIX) and isinstance(value, str) and value:
                _check_readable(f"{section}.{name}", value)


def _sections(settings: msgspec.Struct, path: str) -> Iterator[tuple[str, msgspec.Struct]]:
    if path:
        yield path, settings
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if isinstance(value, msgspec.Struct):
            yield from _sections(value, f"{path}.{name}" if path else name)


def _check_tls(section: str, settings: Tls | ClientTls) -> None:
    if not (settings.cert or (isinstance(settings, ClientTls) and settings.ca)):
        return
    from agent.net import tls  # not where no certificate is set: ssl costs memory

    try:
        if isinstance(settings, Tls):
            tls.listener_contexts(section, settings, Log("check-config"))
        else:
            tls.client_contexts(section, settings, Log("check-config"))
    except tls.TlsError as e:
        raise ConfigError(str(e)) from None


def _check_readable(setting: str, path: str) -> None:
    try:
        with Path(path).open("rb") as file:
            file.read(1)
    except OSError as e:
        raise ConfigError(f"{setting} = {path!r}: {e.strerror}: expected a readable file") from None
