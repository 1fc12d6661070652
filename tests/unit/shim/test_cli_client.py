"""The client of the commands: whatever ends a request is an error in words."""

from __future__ import annotations

import http.client
import urllib.request

import pytest

from shim.cli.client import AskError, ask


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (http.client.BadStatusLine("-ERR unknown command"), "this is not a Prometheus API"),
        (http.client.IncompleteRead(b"{"), "IncompleteRead"),
        (http.client.RemoteDisconnected("closed without a response"), "closed without a response; is `mete"),
        (ConnectionResetError("reset"), "reset; is `meterhouse up` running"),
    ],
)
def test_an_answer_that_is_none(raised: Exception, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    with pytest.raises(AskError, match=r"http://127\.0\.0\.1:6379: ") as error:
        ask("http://127.0.0.1:6379", "/api/v1/query", {"query": "1"}, {})
    assert said in str(error.value)
