"""Label matchers, as Prometheus reads them: regexes are RE2, anchored at both ends, and `.` takes a newline.

RE2 runs in linear time, so no pattern of a stranger can hold a worker. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import re2

from shim.errors import BadData

MatchOp = Literal["=", "!=", "=~", "!~"]


@lru_cache(maxsize=1024)
def compile_regex(pattern: str) -> re2._Regexp:
    """The pattern, anchored. Raises BadData when RE2 refuses it."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(f"^(?s:{pattern})$", options)
    except re2.error as e:
        reason = e.args[0].decode() if e.args and isinstance(e.args[0], bytes) else str(e)
        raise BadData(f"error parsing regexp: {reason}: `{pattern}`") from None


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label; a label that is not there has the value ""."""

    name: str
    op: MatchOp
    value: str

    def matches(self, value: str) -> bool:
        match self.op:
            case "=":
                return value == self.value
            case "!=":
                return value != self.value
            case "=~":
                return compile_regex(self.value).search(value) is not None
            case "!~":
                return compile_regex(self.value).search(value) is None

    def __str__(self) -> str:
        quoted = self.value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'{self.name}{self.op}"{quoted}"'
