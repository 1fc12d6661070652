"""Options that several commands of the API's clients have."""

from __future__ import annotations

import argparse
import re
from typing import Final

#: A header's name. Source: RFC 9110, token.
_HEADER: Final = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*:\s*(.*\S)\s*")


def header(text: str) -> tuple[str, str]:
    """Parse `NAME:VALUE`, for argparse."""
    found = _HEADER.fullmatch(text)
    if found is None or "\n" in text or "\r" in text or not text.isascii():
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME:VALUE, such as 'X-Org-Id: 1'")
    return found[1], found[2]
