"""One name has one meaning: public classes and modules of a package do not share a name."""

from __future__ import annotations

import pytest

from tests.support import names


@pytest.mark.parametrize("package", names.PACKAGES)
def test_public_classes_have_names_of_their_own(package: str) -> None:
    _check(names.shared_classes(package), names.exceptions()[package]["classes"])


@pytest.mark.parametrize("package", names.PACKAGES)
def test_modules_have_names_of_their_own(package: str) -> None:
    _check(names.shared_modules(package), names.exceptions()[package]["modules"])


def _check(shared: names.Shared, excepted: list[str]) -> None:
    assert {name: files for name, files in shared.items() if name not in excepted} == {}
    unneeded = [name for name in excepted if name not in shared]
    assert not unneeded, (
        f"no longer shared ({unneeded}): `python -m tests.support.names --write` shrinks the list"
    )
