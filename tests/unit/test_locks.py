"""deploy/locks has every package of pyproject.toml, in a version that it accepts, with hashes.

A failure after a change of pyproject.toml: python -m tests.support.locks
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.locks import (
    BUILD,
    INSTALLER,
    LOCKS,
    PAGE,
    PARTS,
    PYTHONS,
    ROOT,
    UNUSED,
    build_requirements,
    project,
)

ENTRY = re.compile(r"^(?P<pin>[^\s#].*?)(?P<hashes>(?: \\\n    --hash=sha256:[0-9a-f]{64})*)$", re.MULTILINE)


def _pins(part: str) -> list[tuple[Requirement, int]]:
    """Each entry of a lock file, with the number of its hashes."""
    text = (LOCKS / f"{part}.txt").read_text()
    return [(Requirement(m["pin"]), m["hashes"].count("--hash")) for m in ENTRY.finditer(text)]


def _wanted(part: str) -> Iterator[Requirement]:
    """Yield the requirements of pyproject.toml, with the extras of its extras."""
    about = project()
    if part in (BUILD, PAGE, INSTALLER):
        yield from map(Requirement, build_requirements()[part])
        return
    yield from map(Requirement, about["project"]["dependencies"])
    open_extras = list(PARTS[part])
    while open_extras:
        for requirement in map(Requirement, about["project"]["optional-dependencies"][open_extras.pop()]):
            if requirement.name == about["project"]["name"]:
                open_extras += requirement.extras
            else:
                yield requirement


@pytest.mark.parametrize("part", [*PARTS, BUILD, PAGE, INSTALLER])
def test_all_is_locked(part: str) -> None:
    pins = _pins(part)
    assert all(count > 0 for _, count in pins), "an entry without a hash"
    for python in PYTHONS:
        linux = {**default_environment(), "python_version": python, "python_full_version": f"{python}.9"}
        environment = {k: str(v) for k, v in linux.items()} | {"sys_platform": "linux", "extra": ""}
        locked = {
            canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
            for pin, _ in pins
            if pin.marker is None or pin.marker.evaluate(environment)
        }
        for wanted in _wanted(part):
            if wanted.marker is None or wanted.marker.evaluate(environment):
                version = locked.get(canonicalize_name(wanted.name))
                assert version is not None, f"{part}: {wanted} is not locked"
                assert version in wanted.specifier, f"{part}: {version} is locked, but {wanted}"


def test_parts_agree() -> None:
    versions = {part: {(pin.name, str(pin.specifier)) for pin, _ in _pins(part)} for part in (*PARTS, BUILD)}
    for part, pinned in versions.items():
        assert pinned <= versions["test"], part


def test_what_the_engine_does_not_need_is_left_out() -> None:
    for part, names in UNUSED.items():
        assert not {canonicalize_name(pin.name) for pin, _ in _pins(part)} & set(names), part


def test_the_container_is_installed_from_locks() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text()
    installs = re.findall(r"pip (?:install|wheel)[^&\n]*(?:\\\n[^&\n]*)*", dockerfile)
    assert installs
    for install in installs:
        assert "--require-hashes" in install or "--no-deps" in install, install
    assert set(re.findall(r"locks/(\w+)\.txt", dockerfile)) <= {BUILD, PAGE}
    (default,) = re.findall(r"^ARG PART=(\w+)$", dockerfile, re.MULTILINE)
    assert default in PARTS
