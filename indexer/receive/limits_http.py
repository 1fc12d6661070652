"""An org's limits over HTTP: their values, the part in use, and the rows they held back in this process.

The shim shows them in `/api/v1/status/tsdb` where it is another process (shim/http/ingest_limits.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from aiohttp import web

from indexer.access.grants import ID_EXPECTED, MAX_ORG_ID, ForbiddenError
from indexer.http.paths import LIMITS
from indexer.metrics import Limit
from indexer.receive.answers import error_answer, grant_of, json_answer
from indexer.settings import Limits

_MAX_DIGITS: Final = 10


def shown(limits: Limits, series_today: int, limited_rows: Mapping[Limit, int]) -> dict[str, int]:
    """Return the document of an org's limits; `limited_rows` by reason."""
    return {
        "seriesToday": series_today,
        "maxSeriesPerDay": limits.series_per_day,
        "maxRowsPerSecond": limits.rows_per_s,
        "maxNewStringsPerSecond": limits.strings_per_s,
        **{f"{reason}LimitedRows": rows for reason, rows in limited_rows.items()},
    }


class LimitsPage:
    """Needs a credential of that org, or one that operates the server, where credentials are asked for.

    `limits` gives the document of an org.
    """

    def __init__(self, limits: Callable[[int], Mapping[str, int]]) -> None:
        self._limits = limits

    def add_to(self, app: web.Application) -> None:
        """Add the route."""
        app.router.add_get(LIMITS, self._show)

    async def _show(self, request: web.Request) -> web.Response:
        text = request.query.get("org_id", "")
        if not (
            text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS and 1 <= int(text) <= MAX_ORG_ID
        ):
            return error_answer(400, f"org_id: {ID_EXPECTED}")
        grant, org_id = grant_of(request), int(text)
        of_org = grant.tenant is None or grant.tenant.org_id == org_id
        if not (of_org or grant.operates):
            raise ForbiddenError(f"org {org_id}: this credential is for {grant} alone")
        return json_answer(self._limits(org_id))
