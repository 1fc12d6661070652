"""The rule files of all tenants: read when they change, checked before they replace those that run.

A bad file keeps its last good groups and says why. Blocks: call it in a thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from indexer.access.grants import MAX_ID
from shim.model.tenancy import Tenant
from shim.rules.rule_file import RuleGroup, parse_rule_file
from shim.rules.rule_yaml import MAX_FILE_BYTES, RuleFileError

#: Directories of orgs of which an error tells.
_MAX_ERRORS: Final = 10
_SUFFIXES: Final = (".yml", ".yaml")


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A rule file with its last good groups. `name` is its path below the tenant's directory."""

    tenant: Tenant
    name: str
    groups: Sequence[RuleGroup]
    error: str  # why the file as it is now cannot be used; empty: it is used
    loaded_s: float


class _Found(NamedTuple):
    tenant: Tenant
    name: str
    state: tuple[int, int, int]  # of the file: change time, size, inode


class RuleDirectory:
    """`single`: the tenant of all files; None: directories name the tenants."""

    def __init__(self, path: str, single: Tenant | None, now_s: Callable[[], float] = time.time) -> None:
        self._path = Path(path)
        self._single = single
        self._now_s = now_s
        self._states: dict[Path, tuple[int, int, int]] = {}
        self.files: Mapping[Path, LoadedFile] = {}
        self._errors: list[str] = []  # of the orgs' directories
        #: Why the directory, or one of an org, cannot be read; empty: they were.
        self.error = ""

    def load(self) -> bool:
        """Read files that are new or changed, forget those that are gone; return whether any changed."""
        before, self._errors = self.error, []
        try:
            found = dict(self._scan())
        except OSError as e:
            self.error = f"shim.rules.path: {e}"
            return not before
        self.error = "; ".join(self._errors[:_MAX_ERRORS])
        files, changed = dict(self.files), self.error != before
        for path in files.keys() - found.keys():
            del files[path], self._states[path]
            changed = True
        for path, one in found.items():
            if self._states.get(path) != one.state:
                files[path] = self._read(path, one, files.get(path))
                self._states[path] = one.state
                changed = True
        self.files = files
        return changed

    def _read(self, path: Path, found: _Found, before: LoadedFile | None) -> LoadedFile:
        now_s = self._now_s()
        try:
            if found.state[1] > MAX_FILE_BYTES:
                raise RuleFileError(f"{found.name}: at most {MAX_FILE_BYTES} bytes are accepted")
            groups = parse_rule_file(found.name, path.read_text(encoding="utf-8"))
        except Exception as e:  # also a bug: one tenant's file never keeps others' from being read
            error = str(e) if isinstance(e, RuleFileError) else f"{found.name}: {e}"
            if before is not None:
                return replace(before, error=error)
            return LoadedFile(found.tenant, found.name, (), error, now_s)
        return LoadedFile(found.tenant, found.name, groups, "", now_s)

    def _scan(self) -> Iterator[tuple[Path, _Found]]:
        """Yield the files that are there. Raises OSError."""
        if self._single is not None:
            if self._path.is_file():
                yield self._path, _Found(self._single, self._path.name, _state(self._path))
            else:
                yield from _files_of(self._path, self._single)
            return
        for org in _directories(self._path):
            if (org_id := _id(org.name)) is not None:
                yield from self._of_org(org, org_id)

    def _of_org(self, org: Path, org_id: int) -> Sequence[tuple[Path, _Found]]:
        """Return the files of an org; those that are known if its directory cannot be read."""
        try:
            found = list(_files_of(org, Tenant(org_id, None)))
            for project in _directories(org):
                if (project_id := _id(project.name)) is not None:
                    found += _files_of(project, Tenant(org_id, project_id))
        except OSError as e:
            self._errors.append(f"shim.rules.path: {e}")
            return [
                (path, _Found(one.tenant, one.name, self._states[path]))
                for path, one in self.files.items()
                if one.tenant.org_id == org_id
            ]
        return found


def _files_of(directory: Path, tenant: Tenant) -> Iterator[tuple[Path, _Found]]:
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        if entry.name.endswith(_SUFFIXES) and not entry.name.startswith(".") and entry.is_file():
            yield Path(entry.path), _Found(tenant, entry.name, _state(Path(entry.path)))


def _directories(path: Path) -> list[Path]:
    return sorted(Path(entry.path) for entry in os.scandir(path) if entry.is_dir())


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _id(name: str) -> int | None:
    """Return the id that a directory's name is, None for other names."""
    if name.isascii() and name.isdigit() and len(name) <= len(str(MAX_ID)) and 1 <= int(name) <= MAX_ID:
        return int(name)
    return None
