"""Options that several commands of the API's clients have."""

from __future__ import annotations

import argparse
import re
from typing import Final

from agent.cli.common import DEFAULT_API_URL

#: A header's name. Source: RFC 9110, token.
_HEADER: Final = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*:\s*(.*\S)\s*")


def header(text: str) -> tuple[str, str]:
    """Parse `NAME:VALUE`, for argparse."""
    found = _HEADER.fullmatch(text)
    if found is None or "\n" in text or "\r" in text or not text.isascii():
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME:VALUE, such as 'X-Org-Id: 1'")
    return found[1], found[2]


def api_options(parser: argparse.ArgumentParser) -> None:
    """Add the options `--url` and `--header`."""
    parser.add_argument("--url", default=DEFAULT_API_URL, help="of the API (default %(default)s)")
    parser.add_argument("--header", type=header, action="append", default=[], metavar="NAME:VALUE",
                        help="sent along, such as 'Authorization: Bearer ...' or 'X-Org-Id: 1'")  # fmt: skip


def whole(text: str) -> int:
    """Parse a whole number above 0, for argparse."""
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number above 0")
    return int(text)
