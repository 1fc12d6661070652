"""The help of every subcommand, as the command prints it; docs/cli.md holds it.

python -m tests.support.cli_help    writes it there
"""

from __future__ import annotations

import contextlib
import io
import os
from typing import Final

import meterhouse
from tests.support.markdown import ROOT, write_between

FILE: Final = ROOT / "docs" / "cli.md"
MARK: Final = "tests.support.cli_help"
_COLUMNS: Final = "100"


def help_of(command: str) -> str:
    """Return the text of `meterhouse COMMAND --help`, 100 columns wide."""
    before, out = os.environ.get("COLUMNS"), io.StringIO()
    os.environ["COLUMNS"] = _COLUMNS
    try:
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            meterhouse.main([command, "--help"])
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before
    return out.getvalue().strip()


def sections() -> str:
    """Return a section for each subcommand, as Markdown."""
    return "\n\n".join(f"## {name}\n\n```text\n{help_of(name)}\n```" for name in meterhouse.COMMANDS)


if __name__ == "__main__":
    write_between(FILE, MARK, sections())
