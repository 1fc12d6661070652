"""The languages beside PromQL: a text -> an answer, in the engine's pool and within its limits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from shim.catalog import Catalog
from shim.engine.api import OnSubmitted, QueryOptions
from shim.engine.engine import QueryEngine
from shim.model.errors import BadData, TimedOut
from shim.model.tenancy import Tenant
from shim.mql.mql_lower import MqlContext, to_snql
from shim.mql.mql_parser import parse_mql
from shim.read.reader import Reader
from shim.settings import ShimSettings
from shim.snql.answering import LanguageAnswer, answer
from shim.snql.lower import Asked, lower
from shim.snql.lowered import Lowered
from shim.snql.parser import parse_snql

#: Bytes of a query's text at most: half a second of CPU.
MAX_TEXT_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Languages:
    """Answers queries in SnQL and MQL."""

    engine: QueryEngine
    catalog: Catalog
    settings: ShimSettings

    async def snql(
        self,
        text: str,
        asked: Asked,
        options: QueryOptions,
        begun: OnSubmitted | None = None,
        *,
        dry_run: bool,
    ) -> LanguageAnswer:
        """Answer a query in SnQL. Raises QueryError."""

        def lowered(full: Asked) -> Lowered:
            return lower(text, parse_snql(text, self._max_bytes), full)

        return await self._answered(lowered, asked, options, begun, dry_run=dry_run)

    async def mql(
        self,
        text: str,
        context: MqlContext,
        asked: Asked,
        options: QueryOptions,
        begun: OnSubmitted | None = None,
        *,
        dry_run: bool,
    ) -> LanguageAnswer:
        """Answer a query in MQL. Raises QueryError."""

        def lowered(full: Asked) -> Lowered:
            return lower(text, to_snql(text, parse_mql(text, self._max_bytes), context), full)

        return await self._answered(lowered, asked, options, begun, dry_run=dry_run)

    @property
    def _max_bytes(self) -> int:
        return min(MAX_TEXT_BYTES, self.settings.max_query_bytes)

    async def _answered(
        self,
        lowered: Callable[[Asked], Lowered],
        asked: Asked,
        options: QueryOptions,
        begun: OnSubmitted | None,
        *,
        dry_run: bool,
    ) -> LanguageAnswer:
        tenant: Tenant = asked.tenant

        def work(reader: Reader) -> LanguageAnswer:
            if time.monotonic() >= reader.deadline_s:
                raise TimedOut("query timed out in query queue")
            full = replace(asked, kept_from_s=reader.limits.kept_from_s, max_buckets=self.settings.max_points)
            try:
                return answer(lowered(full), reader, self.catalog, self.engine.reads, dry_run=dry_run)
            except RecursionError:
                raise BadData("the query is nested too deep: expected fewer brackets or aliases") from None

        return await self.engine.read(tenant, work, asked.now_s * 1000, options, begun)
