"""The required columns: org and project, inside the caller's tenant and never wider. Pure."""

from __future__ import annotations

from collections.abc import Collection

from indexer.access.grants import ID_EXPECTED, MAX_ID, PROJECT_EXPECTED
from shim.model.errors import BadData, Forbidden
from shim.model.tenancy import Tenant


def narrowed(
    caller: Tenant,
    orgs: Collection[int] | None,
    projects: Collection[int] | None,
    *,
    org_wide: bool,
) -> Tenant:
    """Return whose data a query reads: the caller's tenant, or the one project of it that is named.

    `orgs` and `projects`: the ids that the query (or `tenant_ids`) names; None for none.
    `org_wide`: the entity needs no project. Raises BadData, Forbidden.
    """
    if orgs is not None:
        _check("org_id", orgs)
        if list(orgs) != [caller.org_id]:
            raise Forbidden(f"org_id = {_shown(orgs)}: this request may read org {caller.org_id} alone")
    if projects is None:
        if caller.project_id is None and not org_wide:
            raise BadData("no condition on project_id: expected project_id = N, or project_id IN (N, ...)")
        return caller
    _check("project_id", projects)
    outside = [p for p in projects if not caller.covers(caller.org_id, p)]
    if outside:
        raise Forbidden(
            f"project_id = {_shown(outside)}: this request may read project {caller.project_id} alone"
        )
    if len(projects) == 1:
        return Tenant(caller.org_id, next(iter(projects)))
    return caller


def _check(column: str, ids: Collection[int]) -> None:
    wrong = [i for i in ids if not 1 <= i <= MAX_ID]
    if wrong or not ids:
        expected = PROJECT_EXPECTED if column == "project_id" else ID_EXPECTED
        raise BadData(f"{column} = {_shown(wrong)}: {expected}")


def _shown(ids: Collection[int]) -> str:
    return ", ".join(map(str, list(ids)[:3])) or "nothing"
