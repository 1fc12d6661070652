"""The errors of queries: each has its Prometheus errorType and HTTP status. Pure."""

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
    """The client went away or an operator cancelled the query."""

    error_type = "canceled"
    status = 499


class TimedOut(QueryError):
    """The query ran, or waited, longer than its timeout."""

    error_type = "timeout"
    status = 503


class Unavailable(QueryError):
    """The store cannot be reached or answer now; the same request may succeed later."""

    error_type = "unavailable"
    status = 503


class TooMany(QueryError):  # names the answer, like HTTP's
    """More requests of this kind than may run; the same one may succeed later."""

    error_type = "unavailable"
    status = 429


class InternalError(QueryError):
    """A bug of ours."""

    error_type = "internal"
    status = 500


class AdminDisabled(QueryError):
    """The settings do not allow requests that delete."""

    error_type = "unavailable"
    status = 403


class Unauthorized(QueryError):
    """No tenant in a multi-tenant request."""

    error_type = "bad_data"
    status = 401


class NotFound(QueryError):
    """The named thing is missing in the data of the tenant."""

    error_type = "not_found"
    status = 404


class Forbidden(QueryError):
    """A known credential without the right that the request needs."""

    error_type = "bad_data"
    status = 403
