"""The use case of a series: a hidden tag, or the namespace of its metric's MRI. Pure.

Messages name it in the field `use_case_id`. It is stored as a tag where the metric's name does not say the
same, so that series of MRIs have one id whether or not their messages have the field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

#: The key of the tag. A client's tag has no NUL at its start.
USE_CASE_TAG: Final = "\0use_case_id"
#: An MRI up to its namespace: `c:custom/requests@none`.
_MRI: Final = re.compile(r"[a-z]{1,2}:([a-z0-9_-]+)/", re.ASCII)


def namespace(name: str) -> str:
    """Return the namespace of a name that is an MRI, else ""."""
    found = _MRI.match(name)
    return found[1] if found else ""


def with_use_case(
    tags: Mapping[str, int | str], metric: int | str, use_case: str | None
) -> Mapping[str, int | str]:
    """Return the tags to store of a message about `metric` (a name or an id) with that field."""
    if not use_case or (isinstance(metric, str) and namespace(metric) == use_case):
        return tags
    return {**tags, USE_CASE_TAG: use_case}
