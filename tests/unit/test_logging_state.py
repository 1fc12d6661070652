"""Tests leave logging as it was, also tests of commands that configure it."""

from __future__ import annotations

import logging

from agent.runtime.logs import set_up_all
from tests.support.logging_state import kept_logging


def test_what_a_command_configures_is_restored() -> None:
    root, indexer = logging.getLogger(), logging.getLogger("indexer")
    before = (root.level, root.handlers[:], indexer.level)
    with kept_logging():
        set_up_all("text", "error", logging.WARNING)
        assert indexer.level == logging.ERROR
        assert len(root.handlers) == len(before[1]) + 1
    assert (root.level, root.handlers, indexer.level) == before


def test_flags_and_filters_are_restored() -> None:
    logger = logging.getLogger("shim")

    def hide(_: logging.LogRecord) -> bool:
        return False

    raised = logging.raiseExceptions
    with kept_logging():
        logging.disable(logging.CRITICAL)
        logging.raiseExceptions = not raised
        logger.propagate, logger.disabled = False, True
        logger.addFilter(hide)
    assert (logging.root.manager.disable, logging.raiseExceptions) == (logging.NOTSET, raised)
    assert (logger.propagate, logger.disabled, logger.filters) == (True, False, [])
