"""Whose data a request may see. Decided from headers and settings alone, before the query text is read.

Every table is read under `org_id = ...` and, unless the tenant is a whole org, `project_id = ...`; both come
from here and nowhere else. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tenant:
    """One project of one org, or the whole org (`project_id` None: it is then a label of every series)."""

    org_id: int
    project_id: int | None
