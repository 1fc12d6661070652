"""What a query can fail with: each error knows its Prometheus errorType and HTTP status. Pure."""

from __future__ import annotations

from typing import ClassVar


class QueryError(Exception):
    """The root of all that is the asker's to see."""

    error_type: ClassVar[str] = "execution"
    status: ClassVar[int] = 422


class BadData(QueryError):
    """The request cannot be understood: syntax, types, parameters."""

    error_type = "bad_data"
    status = 400


class Unsupported(BadData):
    """PromQL that is not built yet; the text names it."""


class ExecutionError(QueryError):
    """Understood, but the data forbids it (many-to-many matching, duplicate label sets, limits)."""


class Canceled(QueryError):
    error_type = "canceled"
    status = 499


class TimedOut(QueryError):
    error_type = "timeout"
    status = 503


class Unavailable(QueryError):
    """The store cannot be reached or answer now; the same request may succeed later."""

    error_type = "unavailable"
    status = 503


class InternalError(QueryError):
    error_type = "internal"
    status = 500


class Unauthorized(QueryError):
    """No tenant in a multi-tenant request."""

    error_type = "bad_data"
    status = 401


class Forbidden(QueryError):
    """A known credential that does not open what is asked for."""

    error_type = "bad_data"
    status = 403
