"""Restores the state of logging after each test.

`meterhouse up` and its parts set levels and handlers for their whole process. A test that calls them in its
own process would leave them to later tests: their captured INFO lines would be missing, and lines would
go to a stream that pytest has closed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

#: Loggers whose level the product sets: they exist before the first test, so that each is restored.
_SET_BY_PRODUCT: Final = ("meterhouse", "indexer", "shim")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """Run a test with its fixtures, then restore logging."""
    with kept_logging():
        return (yield)


@contextmanager
def kept_logging() -> Iterator[None]:
    """Restore at the end the levels, handlers, filters and flags of all loggers that exist at the start."""
    for name in _SET_BY_PRODUCT:
        logging.getLogger(name)
    manager = logging.root.manager
    loggers = [logging.root, *(one for one in manager.loggerDict.values() if isinstance(one, logging.Logger))]
    before = [_state(logger) for logger in loggers]
    flags = (manager.disable, logging.raiseExceptions, logging.lastResort)
    try:
        yield
    finally:
        manager.disable, logging.raiseExceptions, logging.lastResort = flags
        for logger, state in zip(loggers, before, strict=True):
            if _state(logger) != state:
                _restore(logger, state)


def _state(logger: logging.Logger) -> tuple[Any, ...]:
    return logger.level, logger.propagate, logger.disabled, logger.handlers[:], logger.filters[:]


def _restore(logger: logging.Logger, state: tuple[Any, ...]) -> None:
    level, logger.propagate, logger.disabled, logger.handlers[:], logger.filters[:] = state
    logger.setLevel(level)
