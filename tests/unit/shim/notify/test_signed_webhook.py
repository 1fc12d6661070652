"""The headers of a signed webhook, and the pauses between tries."""

from __future__ import annotations

import pytest

from shim.notify.signed_webhook import pause_s, secret_bytes, signed_headers


def test_the_signature_is_the_one_of_standard_webhooks() -> None:
    """Source: the example of the specification's libraries."""
    key = secret_bytes("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', [key], 1614265330.9)
    assert headers == {
        "Content-Type": "application/json",
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_each_secret_signs() -> None:
    keys = [b"a" * 16, b"b" * 16]
    both = signed_headers("id", b"{}", keys, 1.0)["webhook-signature"].split(" ")
    assert both == [signed_headers("id", b"{}", [key], 1.0)["webhook-signature"] for key in keys]
    assert len(set(both)) == 2
    assert "webhook-signature" not in signed_headers("id", b"{}", [], 1.0)


def test_a_secret_may_be_plain_text() -> None:
    assert secret_bytes("sixteen letters!") == b"sixteen letters!"


@pytest.mark.parametrize(
    "text", ["", "short", "whsec_", "whsec_AAAA", "whsec_*not base64 at all, as you see*"]
)
def test_secrets_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected whsec_"):
        secret_bytes(text)


def test_pauses_grow_to_a_bound() -> None:
    assert [pause_s(failures) for failures in (1, 2, 3, 7, 1000)] == [1, 2, 4, 60, 60]
    assert pause_s(1, 30.0) == 30
    assert pause_s(7, 30.0) == 60
