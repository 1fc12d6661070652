"""Whose data a request may see. Decided from headers and settings alone, before the query text is read.

Every table is read under `org_id = ...` and, unless the tenant is a whole org, `project_id = ...`; both come
from here and nowhere else. With more than one tenant there is never a default: a request that does not
say whose data it wants, says it twice or says it badly is refused. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, Protocol

import msgspec

from indexer.access.grants import (
    EVERYTHING,
    ID_EXPECTED,
    MAX_ID,
    MAX_ORG_ID,
    Certificate,
    Credentials,
    Entry,
    EntryError,
    Grant,
    Right,
    Tenant,
    parse_certificate,
    parse_entries,
    parse_entry,
    parse_tenant,
)
from shim.model.errors import Forbidden, Unauthorized

__all__ = ["Proxy", "TenancySettings", "Tenant", "TenantResolver", "entries"]

#: The header by which a proxy shows that it is the one.
PROXY_SECRET: Final = "X-Proxy-Secret"  # noqa: S105 - its name
#: The rights of a credential of `shim.tenancy.tokens` that names none.
_RIGHTS: Final = frozenset({Right.QUERY})


class TenancySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Section `[shim.tenancy]`."""

    #: "single": every request sees `org_id` and `project_id`. "token": the bearer token says whose data.
    #: "header": headers of a trusted proxy say it (`X-Org-Id` and `X-Project-Id`, or `X-Scope-OrgID: 1:2`).
    mode: Literal["single", "token", "header"] = "single"
    #: The org of single-tenant mode.
    org_id: int = 1
    #: The project of single-tenant mode.
    project_id: int = 1
    #: Token mode: bearer token, or its hash (`meterhouse token`) -> "org:project", or "org:*" for all
    #: projects of an org; then rights, if not "query" (`"1:* query,admin"`), and `expires=2027-01-31`.
    tokens: dict[str, str] = {}
    #: Token mode: a file of more of them, a line `TOKEN SCOPE RIGHTS` each; read again when it changes.
    tokens_file: str = ""
    #: Header mode: what the proxy sends in `X-Proxy-Secret`, or its hash (`meterhouse token`); empty: not
    #: asked for.
    proxy_secret: str = ""
    #: Header mode: the proxy's client certificate, by common name or `sha256:FINGERPRINT`; empty: not
    #: asked for.
    proxy_cert: str = ""

    def __post_init__(self) -> None:
        for name, last in (("org_id", MAX_ORG_ID), ("project_id", MAX_ID)):
            if not 1 <= getattr(self, name) <= last:
                raise ValueError(f"{name}: {ID_EXPECTED}")
        if self.mode == "token" and not (self.tokens or self.tokens_file):
            raise ValueError('mode "token" without tokens: expected tokens or tokens_file')
        for name in ("proxy_secret", "proxy_cert"):
            if getattr(self, name) and self.mode != "header":
                raise ValueError(f'{name} with mode "{self.mode}": expected mode "header"')
        try:
            entries(self)
        except EntryError as e:
            raise ValueError(f"tokens: {e}") from None
        try:
            Proxy(self)
        except EntryError as e:
            raise ValueError(f"proxy_secret or proxy_cert: {e}") from None


def entries(settings: TenancySettings) -> list[Entry]:
    """Return the credentials of the settings. Raises EntryError."""
    return parse_entries(settings.tokens, _RIGHTS)


class Headers(Protocol):
    """The headers of a request, names in any case (multidict's CIMultiDict fits)."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]: ...


class Proxy:
    """The proxy of header mode: the secret or certificate that only its requests carry. Raises EntryError."""

    def __init__(self, settings: TenancySettings) -> None:
        secret, cert = settings.proxy_secret, settings.proxy_cert
        self._credentials = Credentials([parse_entry(secret, EVERYTHING)] if secret else [])
        if len(self._credentials.users) or self._credentials.certificates:
            raise EntryError("proxy_secret is the secret itself or sha256:<64 hex>")
        self._certificate = parse_certificate(cert) if cert else None

    @property
    def known(self) -> bool:
        """Whether requests of others are told from the proxy's."""
        return bool(len(self._credentials)) or self._certificate is not None

    def require(self, headers: Headers, certificate: Certificate | None) -> None:
        """Raise Unauthorized for a request that is not the proxy's."""
        if len(self._credentials):
            given = headers.getall(PROXY_SECRET, ())
            if len(given) != 1 or self._credentials.of_token(given[0]) is None:
                raise Unauthorized(f"{PROXY_SECRET} is missing or wrong: only the proxy is answered")
        if self._certificate is not None and (
            certificate is None or self._certificate not in (certificate.name, certificate.fingerprint)
        ):
            raise Unauthorized("the proxy's client certificate is missing: only the proxy is answered")


class TenantResolver:
    """Tells the tenant of a request by its headers, and in token mode by its credential's grant."""

    def __init__(self, settings: TenancySettings) -> None:
        self._settings = settings

    def tenant(self, headers: Headers, grant: Grant | None = None) -> Tenant:
        """Return the tenant. Raises Unauthorized, Forbidden."""
        match self._settings.mode:
            case "single":
                return Tenant(self._settings.org_id, self._settings.project_id)
            case "header":
                asked = _asked(headers)
                if asked is None:
                    raise Unauthorized("no tenant: set X-Org-Id and X-Project-Id, or X-Scope-OrgID")
                return asked
            case "token":
                return _narrowed(grant, _asked(headers))


def _narrowed(grant: Grant | None, asked: Tenant | None) -> Tenant:
    """Return the tenant of a grant; for a grant of a whole org, the project that the headers name."""
    if grant is None or grant.tenant is None:  # not let in, or no org to read
        raise Unauthorized("no tenant: a known bearer token is needed")
    if asked is None:
        return grant.tenant
    if grant.tenant.covers(asked.org_id, asked.project_id):
        return asked
    raise Forbidden(
        f"the headers ask for org {asked.org_id} ({asked}); this credential may query {grant} alone"
    )


def _asked(headers: Headers) -> Tenant | None:
    """Return the tenant that the headers name, or None. Raises Unauthorized if they conflict."""
    scope = _single(headers, "X-Scope-OrgID")
    org = _single(headers, "X-Org-Id")
    project = _single(headers, "X-Project-Id")
    if scope is None and org is None and project is None:
        return None
    pair = f"{org}:{project}" if org is not None or project is not None else None
    tenants = {parse_tenant(text) for text in (scope, pair) if text is not None}
    if len(tenants) != 1 or None in tenants:
        raise Unauthorized(
            "the tenant headers are not understood: X-Org-Id: 1 with X-Project-Id: 2, or "
            'X-Scope-OrgID: 1:2; "*" as project for all projects of the org; '
            f"an id: {ID_EXPECTED}"
        )
    return tenants.pop()


def _single(headers: Headers, name: str) -> str | None:
    values = headers.getall(name, ())
    if len(values) > 1:
        raise Unauthorized(f"{name} is given {len(values)} times")
    return values[0].strip() if values else None
