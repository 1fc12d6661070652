"""Fixtures of all tests that start services within their own process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from indexer.receive import readiness


@pytest.fixture(scope="session", autouse=True)
def _patient_readiness() -> Iterator[None]:
    """Let /readyz wait long for a store: on a busy machine an answer may take more than 2 s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readiness, "_ANSWER_S", 120.0)
        yield
