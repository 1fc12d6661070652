"""`POST /v1/deletions`: deletes samples, for shims in other processes.

It is off unless the settings allow it. If credentials are required, it needs one with the right admin for the
projects that lose samples.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from aiohttp import web

from indexer.access.grants import ForbiddenError, Grant, foreign
from indexer.clickhouse.store import StoreError
from indexer.deletion.deletion_request import (
    DeletionBusyError,
    DeletionError,
    DeletionRequest,
    DeletionResult,
    TooManyDeletionsError,
    decode_deletion,
)
from indexer.deletion.deletion_threads import DeletionThreads
from indexer.deletion.running_deletions import RunningDeletion
from indexer.http.paths import DELETIONS
from indexer.receive.answers import error_answer, grant_of, json_answer

#: Deletes, or counts. Raises DeletionError, DeletionBusyError, StoreError.
Delete = Callable[[DeletionRequest], DeletionResult]
_OFF: Final = "deletions are off: expected indexer.admin_api = true"


class DeletionPage:
    """The HTTP handler. `delete` is None where deletions are off."""

    def __init__(self, delete: Delete | None) -> None:
        self._delete = delete
        self._threads = DeletionThreads()

    def add_to(self, app: web.Application) -> None:
        """Add the route."""
        app.router.add_post(DELETIONS, self._post)

    async def _post(self, request: web.Request) -> web.Response:
        if self._delete is None:
            return error_answer(403, _OFF)
        try:
            asked = decode_deletion(await request.read())
            _require(grant_of(request), asked)
            return json_answer(await self._threads.run(self._delete, asked))
        except DeletionError as e:
            return error_answer(400, str(e))
        except DeletionBusyError as e:
            status = 429 if isinstance(e, TooManyDeletionsError) else 503
            return error_answer(status, str(e), {"Retry-After": "10"})
        except StoreError as e:
            return error_answer(503, e.told, {"Retry-After": "10"})


def shown_deletions(running: Iterable[RunningDeletion], grant: Grant) -> list[dict[str, object]]:
    """Return the deletions of the grant's orgs, as `/status` shows them."""
    now_s = time.monotonic()
    return [
        {"org_id": one.org_id, "step": one.step, "running_s": round(now_s - one.since_s, 1)}
        for one in running
        if grant.operates or grant.tenant is None or grant.tenant.org_id == one.org_id
    ]


def _require(grant: Grant, asked: DeletionRequest) -> None:
    """Raise ForbiddenError for projects outside the grant, and for another org, also without series."""
    if grant.tenant is not None and grant.tenant.org_id != asked.org_id:
        raise ForbiddenError(foreign(asked.org_id, "*", grant))
    for project_id in {one.project_id for one in asked.metrics}:
        if not grant.covers(asked.org_id, project_id):
            raise ForbiddenError(foreign(asked.org_id, project_id, grant))
