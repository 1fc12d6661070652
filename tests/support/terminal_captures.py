"""Captures of the terminal for docs/terminal.md: real commands against a real `meterhouse up`.

python -m tests.support.terminal_captures    writes them there; it takes a minute

Ports and folders of the run are shown as the defaults: `meterhouse`, 127.0.0.1:8125, 127.0.0.1:9090.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.e2e.product import PROGRAM, Starter, Up
from tests.support.markdown import ROOT, write_between

FILE: Final = ROOT / "docs" / "terminal.md"
MARK: Final = "tests.support.terminal_captures"
_DEMO_S: Final = 45
_COLUMNS: Final = 100
#: After the demo's end all of it is stored.
_SETTLED_S: Final = 8


class Terminal:
    """Runs commands against a product, and returns their output."""

    def __init__(self, up: Up, folder: Path) -> None:
        self._up = up
        self._folder = folder

    def run(self, *arguments: str, url: bool = True) -> str:
        """Return the output of a command, below its line."""
        more = ("--url", self._up.api.url) if url else ()
        done = subprocess.run(
            [*PROGRAM, *arguments, *more],
            cwd=self._folder,
            env={**os.environ, "COLUMNS": str(_COLUMNS)},
            capture_output=True,
            text=True,
            check=False,
        )
        return self.shown(f"$ meterhouse {shlex.join(arguments)}\n{done.stdout}{done.stderr}")

    def shown(self, text: str) -> str:
        """Return the text with the defaults in place of this run's addresses and folders."""
        host, port = self._up.udp
        text = text.replace(f"{shlex.join(PROGRAM)} ", "meterhouse ").replace(" ".join(PROGRAM), "meterhouse")
        text = text.replace(f" --url {self._up.api.url}", "").replace(f" --address {host}:{port}", "")
        for mine, usual in (
            (f"{host}:{port}", "127.0.0.1:8125"),
            (self._up.api.url, "http://127.0.0.1:9090"),
            (self._up.indexer, "http://127.0.0.1:8126"),
            (self._up.agent, "http://127.0.0.1:8127"),
            (f"tcp {self._up.tcp[0]}:{self._up.tcp[1]}", "tcp 127.0.0.1:8125"),
            (str(self._folder), "."),
        ):
            text = text.replace(mine, usual)
        return text.rstrip()


def captures(up: Up, folder: Path) -> str:
    """Return all captures as Markdown."""
    terminal = Terminal(up, folder)
    demo = terminal.run(
        "demo",
        "--seconds",
        str(_DEMO_S),
        "--address",
        f"{up.udp[0]}:{up.udp[1]}",
        "--url",
        up.api.url,
        url=False,
    )
    up.send(["shop.requests:twelve|c"] * 900)
    refused = up.find(r"[^\n]* lines_refused [^\n]*")[0]
    time.sleep(_SETTLED_S)
    by_status, by_route = (
        f"sum by ({of}) (increase(shop_requests[1m]))" for of in ("route, status", "route")
    )
    drawn = ("--range", "5m", "--chart")
    file = ('{__name__=~"shop_.*"}', "shop.csv", "--start", "now-1h", "--end", "now")
    blocks: Sequence[tuple[str, str]] = (
        ("Start", terminal.shown("$ meterhouse up\n" + _banner(up.output))),
        ("Traffic", demo),
        ("A table", terminal.run("query", by_status)),
        ("A chart", terminal.run("query", "sum by (route) (rate(shop_requests[10s]))", *drawn)),
        ("A heatmap", terminal.run("query", "sum(increase(shop_request_duration[10s]))", *drawn)),
        ("CSV", terminal.run("query", by_route, "-o", "csv")),
        ("Metrics with the most series", terminal.run("top", "--once")),
        ("The values of the next bucket", terminal.run("tail", "up", "--buckets", "1")),
        ("Values into a file", terminal.run("export", *file)),
        ("How a query is answered", terminal.run("explain", by_route)),
        ("Refused lines in the log", refused),
        ("Mistakes", "\n".join((terminal.run("querry", url=False), terminal.run("query", "shop.requests")))),
    )
    return "\n\n".join(f"## {title}\n\n```text\n{text}\n```" for title, text in blocks)


def _banner(output: str) -> str:
    """Return the output of `up`, without the log of its agent."""
    return "\n".join(line for line in output.splitlines() if not re.match(r"\d{4}-\d\d-\d\d ", line))


def main() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        folder = Path(directory)
        starter = Starter(folder)
        try:
            write_between(FILE, MARK, captures(starter.up(), folder))
        finally:
            starter.clear()


if __name__ == "__main__":
    main()
