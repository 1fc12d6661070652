"""Set-aside batches over HTTP, for `meterhouse set-aside`: list, show, retry, drop.

Owns the paths and the documents. If credentials are required, every path needs one with the right operator
and the scope of all orgs (indexer/receive/receiver.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from aiohttp import web

from indexer.clickhouse.schema.metric_types import KINDS
from indexer.write.accepted_frame import AcceptedFrame
from indexer.write.batch_state import BatchState
from indexer.write.journal import DamagedFramesError, JournalError, KeptBatch
from indexer.write.set_aside_batches import SetAsideBatches

PATH: Final = "/v1/set-aside"
NOTHING: Final = "batching by frame keeps no batches: senders keep frames that are not stored"
#: Names of metrics listed per frame.
_NAMES: Final = 5


def listed(kept: Sequence[KeptBatch], counts: Mapping[BatchState, int]) -> dict[str, Any]:
    """Return the document of a list of batches. `counts`: of all; `more` are not in the list."""
    return {
        "batches": [one._asdict() | {"state": one.state.name.lower()} for one in kept],
        "more": max(0, sum(counts.values()) - len(kept)),
    }


def shown(units: Sequence[AcceptedFrame], damaged: Sequence[str] = ()) -> dict[str, Any]:
    """Return the document of the frames of a batch; of damaged ones only the identities are known."""
    unreadable = [{"identity": identity, "damaged": True} for identity in damaged]
    return {"frames": [*map(_frame, units), *unreadable]}


def shown_of(error: DamagedFramesError) -> dict[str, Any]:
    """Return the document of the frames of a damaged batch."""
    return shown(error.readable, error.identities)


def _frame(unit: AcceptedFrame) -> dict[str, Any]:
    frame = unit.frame
    rows = {kind: len(getattr(frame, kind).bucket) // 4 for kind in KINDS}
    return {
        "identity": unit.identity,
        "org_id": frame.org_id,
        "project_id": frame.project_id,
        "created_ms": frame.created_ms,
        "bytes": len(unit.body),
        "rows": {kind: count for kind, count in rows.items() if count},
        "strings": frame.strings[:_NAMES],
    }


class SetAsidePages:
    """The HTTP handlers. `aside` is None when batching by frame."""

    def __init__(self, aside: SetAsideBatches | None) -> None:
        self._aside = aside

    def add_to(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get(PATH, self._list)
        app.router.add_get(PATH + "/{token}", self._show)
        app.router.add_post(PATH + "/{token}/retry", self._retry)
        app.router.add_post(PATH + "/{token}/drop", self._drop)

    async def _list(self, _: web.Request) -> web.Response:
        if self._aside is None:
            return _answer({"error": NOTHING}, 404)
        try:
            return _answer(listed(await self._aside.listing(), await self._aside.count()))
        except JournalError as e:
            return _answer({"error": f"the journal cannot be read: {e}"}, 503)

    async def _show(self, request: web.Request) -> web.Response:
        if self._aside is None:
            return _answer({"error": NOTHING}, 404)
        try:
            units = await self._aside.units(request.match_info["token"])
        except DamagedFramesError as e:
            return _answer(shown_of(e))
        except JournalError as e:
            return _answer({"error": f"the journal cannot be read: {e}"}, 503)
        return _answer(shown(units)) if units else _unknown(request)

    async def _retry(self, request: web.Request) -> web.Response:
        if self._aside is None:
            return _answer({"error": NOTHING}, 404)
        try:
            failed = await self._aside.retry(request.match_info["token"])
        except KeyError:
            return _unknown(request)
        except JournalError as e:
            return _answer({"error": f"the journal cannot be written: {e}"}, 503)
        return _answer({"stored": failed is None, "reason": failed.told if failed else ""})

    async def _drop(self, request: web.Request) -> web.Response:
        if self._aside is None:
            return _answer({"error": NOTHING}, 404)
        try:
            await self._aside.drop(request.match_info["token"])
        except KeyError:
            return _unknown(request)
        except JournalError as e:
            return _answer({"error": f"the journal cannot be written: {e}"}, 503)
        return _answer({"dropped": True})


def _unknown(request: web.Request) -> web.Response:
    token = request.match_info["token"][:80]
    return _answer({"error": f"no batch {token!r}: expected a token of `meterhouse set-aside list`"}, 404)


def _answer(value: object, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json", status=status)
