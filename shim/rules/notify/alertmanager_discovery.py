"""The Alertmanagers to send to: of the settings, of files as Prometheus' `file_sd_configs` has, and of DNS.

Names in DNS are written as Thanos has them: `dns+host:port` (A and AAAA, also without the prefix),
`dnssrv+_service._proto.name` (SRV, and the addresses of its targets), `dnssrvnoa+...` (SRV, targets by name).

A file or name that cannot be read keeps the Alertmanagers that it gave before. Blocks: call it in a thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import yaml

from agent.config.host_port import parse_host_port
from shim.settings import ADDRESSES, SERVICES_BY_NAME, AlertmanagerSettings

_log: Final = logging.getLogger("shim.notifications")

_MAX_FILE_BYTES: Final = 1 << 20
#: Alertmanagers in all; further ones are left out.
MAX_ALERTMANAGERS: Final = 64
ALERTS_PATH: Final = "/api/v2/alerts"


class Alertmanager(NamedTuple):
    """`url` without the path of the API. `server_name`: of its certificate; empty: the host of the URL."""

    url: str
    server_name: str = ""


class FoundAlertmanagers(NamedTuple):
    """`problems`: a line for each file or name that cannot be used."""

    alertmanagers: list[Alertmanager]
    problems: dict[str, str]


#: Returns the addresses of a host and port. Raises OSError.
Resolve = Callable[[str, int], list[str]]
#: Returns the hosts and ports of a service. Raises OSError.
Services = Callable[[str], list[tuple[str, int]]]


@dataclass(slots=True)
class AlertmanagerDiscovery:
    """Looks at all sources; remembers the last result of each."""

    settings: AlertmanagerSettings
    resolve: Resolve
    services: Services
    _known: dict[str, list[Alertmanager]] = field(default_factory=dict)

    def look(self) -> FoundAlertmanagers:
        """Return the Alertmanagers of all sources, each once."""
        settings, problems = self.settings, dict[str, str]()
        found = [Alertmanager(url.rstrip("/"), settings.server_name) for url in settings.urls]
        known: dict[str, list[Alertmanager]] = {}
        for source, read in self._sources():
            try:
                known[source] = read(source)
            except (OSError, ValueError, yaml.YAMLError) as e:
                known[source] = self._known.get(source, [])
                problems[source] = " ".join(str(e).split())[:300]
            found += known[source]
        self._known = known
        unique = list(dict.fromkeys(found))
        if len(unique) > MAX_ALERTMANAGERS:
            problems["alertmanagers"] = f"{len(unique)} were found: expected at most {MAX_ALERTMANAGERS}"
        return FoundAlertmanagers(unique[:MAX_ALERTMANAGERS], problems)

    def _sources(self) -> list[tuple[str, Callable[[str], list[Alertmanager]]]]:
        files = [path for pattern in self.settings.files for path in _matching(pattern)]
        return [(path, self._of_file) for path in files] + [
            (name, self._of_name) for name in self.settings.dns
        ]

    def _of_file(self, path: str) -> list[Alertmanager]:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
        if len(data) > _MAX_FILE_BYTES:
            raise ValueError(f"over {_MAX_FILE_BYTES} bytes: expected less")
        found = []
        for target in targets_of(yaml.safe_load(data)):
            host, port = parse_host_port(target, 1)
            found.append(self._at(host, port, self.settings.server_name))
        return found

    def _of_name(self, name: str) -> list[Alertmanager]:
        prefix, found, rest = name.rpartition("+")
        if not found or prefix == ADDRESSES:
            return self._of_addresses(*parse_host_port(rest, 1))
        targets = self.services(rest)
        if prefix == SERVICES_BY_NAME:
            return [self._at(host, port, self.settings.server_name) for host, port in targets]
        return [at for host, port in targets for at in self._of_addresses(host, port)]

    def _of_addresses(self, host: str, port: int) -> list[Alertmanager]:
        server_name = self.settings.server_name or host
        return [self._at(address, port, server_name) for address in self.resolve(host, port)]

    def _at(self, host: str, port: int, server_name: str) -> Alertmanager:
        if any(c in host for c in "/?#@ \\"):
            raise ValueError(f"{host!r}: expected host:port")
        bracketed = f"[{host}]" if ":" in host else host
        prefix = self.settings.path_prefix.strip("/")
        url = f"{self.settings.scheme}://{bracketed}:{port}" + (f"/{prefix}" if prefix else "")
        if urlsplit(url).hostname is None:
            raise ValueError(f"{host!r}: expected host:port")
        return Alertmanager(url, server_name)


def _matching(pattern: str) -> list[str]:
    """Return the files that a name means, whose last part may have wildcards; itself if there are none."""
    path = Path(pattern)
    return sorted(map(str, path.parent.glob(path.name))) or ([] if "*" in path.name else [pattern])


def targets_of(tree: Any) -> list[str]:
    """Return the targets of a file: a list of tables, each with a list `targets`. Raises ValueError."""
    expected = "expected a list of tables with targets: [host:port, ...]"
    groups = [] if tree is None else tree
    if not isinstance(groups, list):
        raise ValueError(expected)
    found: list[str] = []
    for group in groups:
        targets = group.get("targets") if isinstance(group, dict) else None
        if not isinstance(targets, list) or not all(isinstance(one, str) for one in targets):
            raise ValueError(expected)
        found += targets
    return found
