"""The headers that identify us to a receiver, and the keys that sign: from settings or files.

Files are read for each request, so that a changed secret needs no restart.
"""

from __future__ import annotations

import base64
from pathlib import Path

from agent.settings import is_one_line
from shim.notify.signed_webhook import secret_bytes
from shim.settings import AlertmanagerSettings, AlertWebhookSettings


def authorization(settings: AlertmanagerSettings) -> dict[str, str]:
    """Return the header `Authorization`, if there is one. Raises OSError, ValueError."""
    token = _secret("token", settings.token, settings.token_file)
    if token:
        return {"Authorization": f"Bearer {token}"}
    if settings.username:
        password = _secret("password", settings.password, settings.password_file)
        pair = base64.b64encode(f"{settings.username}:{password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}
    return {}


def webhook_url(settings: AlertWebhookSettings) -> str:
    """Return the URL of the webhook. Raises OSError, ValueError."""
    return _secret("url", settings.url, settings.url_file)


def signing_keys(settings: AlertWebhookSettings) -> list[bytes]:
    """Return the keys that sign the webhook; none: unsigned. Raises OSError, ValueError."""
    secret = _secret("secret", settings.secret, settings.secret_file)
    return [secret_bytes(word) for word in secret.split()]


def _secret(name: str, value: str, file: str) -> str:
    """Return a value, or the content of its file. The error never contains it."""
    if not file:
        return value
    try:
        text = Path(file).read_text().strip()
    except UnicodeDecodeError:
        raise ValueError(f"{name}_file = {file!r}: expected text") from None
    if not text or not is_one_line(text):
        raise ValueError(f"{name}_file = {file!r}: expected one line of text")
    return text
