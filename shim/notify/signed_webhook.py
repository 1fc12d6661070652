"""Signed webhooks: a POST whose receiver can check who sent it, and notice that it came twice.

Owns the headers. Source: Standard Webhooks (standardwebhooks.com), symmetric signatures: `webhook-id` is the
same for each try of one message, `webhook-timestamp` the second of the try, `webhook-signature` the base64 of
HMAC-SHA256 over `id.timestamp.body`, one for each secret, separated by spaces.

At least once is the caller's part: it keeps the message until the answer is DELIVERED or REFUSED.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from typing import Final

from shim.model.allowed_hosts import AllowedHosts
from shim.model.errors import BadData
from shim.notify.http_poster import HttpPoster, PostAnswer, PostOutcome

MIN_SECRET_BYTES: Final = 16
_PREFIX: Final = "whsec_"
#: Pauses between tries: doubled each time, from the first to the last.
_FIRST_PAUSE_S: Final = 1.0
_MAX_PAUSE_S: Final = 60.0


def secret_bytes(text: str) -> bytes:
    """Return the key of a secret: base64 with the prefix `whsec_`, or any text. Raises ValueError."""
    expected = f"expected whsec_ and base64, or text, of at least {MIN_SECRET_BYTES} bytes"
    try:
        found = (
            base64.b64decode(text.removeprefix(_PREFIX), validate=True)
            if text.startswith(_PREFIX)
            else text.encode()
        )
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError(f"the secret cannot be read: {expected}") from None
    if len(found) < MIN_SECRET_BYTES:
        raise ValueError(f"the secret is short: {expected}")
    return found


def signed_headers(id_: str, body: bytes, secrets: Sequence[bytes], now_s: float) -> dict[str, str]:
    """Return the headers of one try; unsigned without secrets. `id_` is ASCII without dots."""
    headers = {"Content-Type": "application/json", "webhook-id": id_, "webhook-timestamp": str(int(now_s))}
    if secrets:
        signed = f"{id_}.{int(now_s)}.".encode() + body
        headers["webhook-signature"] = " ".join(
            f"v1,{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode()}" for key in secrets
        )
    return headers


def pause_s(failures: int, retry_after_s: float | None = None) -> float:
    """Return how long to wait after a number of failed tries in a row, at least 1."""
    pause = min(_MAX_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16))
    return max(pause, retry_after_s or 0.0)


class SignedWebhook:
    """Sends messages. Runs in one event loop.

    `allowed` None: the URLs are the operator's own, and any host may be sent to. Else they are tenants', and
    each try checks the host and the address that is connected to. `max_connections`: tries at once, all URLs
    together.
    """

    def __init__(
        self, allowed: AllowedHosts | None, *, timeout_s: float = 10.0, max_connections: int = 32
    ) -> None:
        self._allowed = allowed
        check = None if allowed is None else self._allows
        self._poster = HttpPoster(timeout_s=timeout_s, check=check, max_connections=max_connections)

    async def send(
        self, url: str, id_: str, body: bytes, secrets: Sequence[bytes], now_s: float
    ) -> PostAnswer:
        """Try once. Failures are answers, too."""
        try:
            if self._allowed is not None:
                self._allowed.check(url)
            return await self._poster.post(url, body, signed_headers(id_, body, secrets, now_s))
        except (BadData, ValueError) as e:
            return PostAnswer(PostOutcome.REFUSED, text=str(e))

    async def close(self) -> None:
        """Close all connections."""
        await self._poster.close()

    def _allows(self, host: str, port: int, address: str) -> bool:
        """Check the address of a name. Of both schemes one is enough: `check` saw the URL before."""
        bracketed = f"[{host}]" if ":" in host else host
        allowed = self._allowed
        return allowed is None or any(
            allowed.allows_address(f"{scheme}://{bracketed}:{port}/", address) for scheme in ("http", "https")
        )
