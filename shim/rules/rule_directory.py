"""The rule files of all tenants: read when they change, checked before they replace those that run.

A bad file keeps its last good groups and says why. So does one that would take its org over a limit; it is
read again once another file of the org changes. Blocks: call it in a thread.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from indexer.access.grants import MAX_ID, MAX_ORG_ID
from shim.model.tenancy import Tenant
from shim.rules.rule_file import RuleGroup, RuleRoom, parse_rule_file
from shim.rules.rule_yaml import MAX_FILE_BYTES, RuleFileError, RuleLimitError
from shim.settings import RulesSettings

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
    over_limit: bool = False  # whether it is refused because its org has too much


class _Found(NamedTuple):
    tenant: Tenant
    name: str
    state: tuple[int, int, int]  # of the file: change time, size, inode


class _TooManyFilesError(Exception):
    """An org has more files or directories than it may."""


class RuleDirectory:
    """`single`: the tenant of all files; None: directories name the tenants. `limits`: of one org."""

    def __init__(
        self,
        path: str,
        single: Tenant | None,
        now_s: Callable[[], float] = time.time,
        limits: RulesSettings | None = None,
    ) -> None:
        self._path = Path(path)
        self._single = single
        self._now_s = now_s
        self._limits = limits or RulesSettings()
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
        except _TooManyFilesError as e:
            self.error = f"shim.rules.path: {e}"
            return self.error != before
        self.error = "; ".join(self._errors[:_MAX_ERRORS])
        files = dict(self.files)
        changed = {files[path].tenant.org_id for path in files.keys() - found.keys()}  # orgs
        for path in files.keys() - found.keys():
            del files[path], self._states[path]
        changed |= {one.tenant.org_id for path, one in found.items() if self._states.get(path) != one.state}
        if changed:
            self._read_orgs(changed, found, files)
        self.files = files
        return bool(changed) or self.error != before

    def _read_orgs(
        self, orgs: Collection[int], found: Mapping[Path, _Found], files: dict[Path, LoadedFile]
    ) -> None:
        """Read files of some orgs: those that changed, and those that did not fit before."""
        usage = _Usage(self._limits, files)
        for path, one in found.items():
            if one.tenant.org_id not in orgs:
                continue
            is_new, older = self._states.get(path) != one.state, files.get(path)
            fits = usage.add_bytes(one)
            if is_new or older is None or older.over_limit:
                files[path] = self._read(path, one, older, usage if fits else None)
                usage.replace(older, files[path])
                self._states[path] = one.state

    def _read(self, path: Path, found: _Found, before: LoadedFile | None, usage: _Usage | None) -> LoadedFile:
        """Return a file as it is now; `usage` is None if the bytes of its org are used up."""
        now_s = self._now_s()
        try:
            if found.state[1] > MAX_FILE_BYTES:
                raise RuleFileError(f"{found.name}: at most {MAX_FILE_BYTES} bytes are accepted")
            if usage is None:
                raise RuleLimitError(
                    f"{found.name}:1: the org's rule files have more than {self._limits.max_bytes} bytes"
                    " with this one (setting shim.rules.max_bytes)"
                )
            room = usage.room(found.tenant.org_id, before)
            groups = parse_rule_file(found.name, path.read_text(encoding="utf-8"), room)
        except Exception as e:  # also a bug: one tenant's file never keeps others' from being read
            error = str(e) if isinstance(e, RuleFileError) else f"{found.name}: {e}"
            over = isinstance(e, RuleLimitError)
            if before is not None:
                return replace(before, error=error, over_limit=over)
            return LoadedFile(found.tenant, found.name, (), error, now_s, over)
        return LoadedFile(found.tenant, found.name, groups, "", now_s)

    def _scan(self) -> Iterator[tuple[Path, _Found]]:
        """Yield the files that are there. Raises OSError."""
        if self._single is not None:
            if self._path.is_file():
                yield self._path, _Found(self._single, self._path.name, _state(self._path))
            else:
                yield from _files_of(self._path, self._single, self._limits.max_files)
            return
        for org in _directories(self._path):
            if (org_id := _id(org.name)) is not None and org_id <= MAX_ORG_ID:
                yield from self._of_org(org, org_id)

    def _of_org(self, org: Path, org_id: int) -> Sequence[tuple[Path, _Found]]:
        """Return the files of an org; those that are known if its directory cannot be read."""
        max_files = self._limits.max_files
        try:
            found = list(_files_of(org, Tenant(org_id, None), max_files))
            for project in _directories(org, max_files):
                if (project_id := _id(project.name)) is not None:
                    found += _files_of(project, Tenant(org_id, project_id), max_files - len(found))
        except (OSError, _TooManyFilesError) as e:
            self._errors.append(f"shim.rules.path: {e}")
            return [
                (path, _Found(one.tenant, one.name, self._states[path]))
                for path, one in self.files.items()
                if one.tenant.org_id == org_id
            ]
        return found


class _Usage:
    """The groups, rules and bytes of each org."""

    def __init__(self, limits: RulesSettings, files: Mapping[Path, LoadedFile]) -> None:
        self._limits = limits
        self._groups, self._rules, self._bytes = Counter[int](), Counter[int](), Counter[int]()
        for one in files.values():
            self.replace(None, one)

    def add_bytes(self, found: _Found) -> bool:
        """Return whether the org may have the bytes of a file beside those of its files before."""
        org_id, size = found.tenant.org_id, found.state[1]
        if self._bytes[org_id] + size > self._limits.max_bytes:
            return False
        self._bytes[org_id] += size
        return True

    def room(self, org_id: int, before: LoadedFile | None) -> RuleRoom:
        """Return the room for a file in place of the one before."""
        room = RuleRoom(self._limits.max_groups, self._limits.max_rules)
        room.groups, room.rules = self._groups[org_id], self._rules[org_id]
        if before is not None:
            room.groups -= len(before.groups)
            room.rules -= _rules(before)
        return room

    def replace(self, before: LoadedFile | None, after: LoadedFile) -> None:
        """Count a file in place of the one before."""
        org_id = after.tenant.org_id
        self._groups[org_id] += len(after.groups) - (len(before.groups) if before else 0)
        self._rules[org_id] += _rules(after) - (_rules(before) if before else 0)


def _rules(of: LoadedFile) -> int:
    return sum(len(group.rules) for group in of.groups)


def _files_of(directory: Path, tenant: Tenant, max_files: int) -> Iterator[tuple[Path, _Found]]:
    with os.scandir(directory) as entries:
        names = (entry.name for entry in entries if _is_rule_file(entry))
        for name in _sorted(names, max_files, f"{directory}: more rule files"):
            path = directory / name
            yield path, _Found(tenant, name, _state(path))


def _is_rule_file(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith(_SUFFIXES) and not entry.name.startswith(".") and entry.is_file()


def _directories(path: Path, max_found: int | None = None) -> list[Path]:
    with os.scandir(path) as entries:
        names = (entry.name for entry in entries if entry.is_dir())
        return [path / name for name in _sorted(names, max_found, f"{path}: more directories")]


def _sorted(names: Iterator[str], max_found: int | None, told: str) -> list[str]:
    """Return the names in order. Raises _TooManyFilesError, before there are many of them."""
    found = list(islice(names, max_found))
    if next(names, None) is not None:
        raise _TooManyFilesError(f"{told} than an org may have (setting shim.rules.max_files)")
    return sorted(found)


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _id(name: str) -> int | None:
    """Return the id that a directory's name is, None for other names."""
    if name.isascii() and name.isdigit() and len(name) <= len(str(MAX_ID)) and 1 <= int(name) <= MAX_ID:
        return int(name)
    return None
