"""Webhooks of subscriptions: which URLs are accepted, and the secret that each is signed with. Pure.

A secret is an HMAC of the subscription's id, so that no table has one.
"""

from __future__ import annotations

import base64
import hmac
from typing import Final

from shim.model.allowed_hosts import AllowedHosts
from shim.model.errors import BadData
from shim.settings import ShimSettings

_PREFIX: Final = "whsec_"


class WebhookRules:
    """The rules of the settings."""

    def __init__(self, settings: ShimSettings) -> None:
        self._secret = settings.subscriptions.webhook_secret.encode()
        self.allowed = AllowedHosts(settings.webhooks.allowed_hosts)

    @property
    def on(self) -> bool:
        """Whether webhooks can be signed."""
        return bool(self._secret)

    def check(self, url: str) -> None:
        """Raise BadData for a webhook that would never be sent to."""
        if not self.on:
            raise BadData("webhook: expected none, as shim.subscriptions.webhook_secret is not set")
        try:
            self.allowed.check(url)
        except BadData as e:
            raise BadData(f"webhook: {e}") from None

    def key(self, subscription: str) -> bytes:
        """Return the key that the results of a subscription (its id without partition) are signed with."""
        return hmac.digest(self._secret, f"subscription/{subscription}".encode(), "sha256")

    def secret(self, subscription: str) -> str:
        """Return that key as receivers are given it."""
        return _PREFIX + base64.b64encode(self.key(subscription)).decode()
