"""How many indexers the URL of agents leads to: each tells its name to a request that is for none of them.

Nothing is sent that could be stored. Blocks.
"""

from __future__ import annotations

import http.client
import ssl
from typing import Final
from urllib.parse import urlsplit

from agent.config.secrets import masked_url
from agent.wire.addressee import ANY, FOR_HEADER, INDEXER_HEADER, MISDIRECTED
from indexer.diagnosis.check import DoctorCheck, Judgement, failed, passed, skipped

#: A load balancer that chooses at random shows one of two indexers alone in one of 32,768 looks.
_CONNECTIONS: Final = 16
_TIMEOUT_S: Final = 5.0
_PATH: Final = "/v1/frames"

AGENT_URL: Final = DoctorCheck(
    "agents' URL",
    "",
    lambda _, __: skipped("not a statement"),
    "Give each indexer an address of its own in agent.forward.urls: over one URL, requests that meet another"
    " indexer than the agent's are sent again.",
)


def look_at_url(url: str) -> Judgement:
    """Return whether a URL leads to one indexer, over several connections."""
    try:
        answers = [_ask(url) for _ in range(_CONNECTIONS)]
    except (OSError, http.client.HTTPException, ValueError) as e:
        return failed(f"{masked_url(url)} does not answer ({type(e).__name__})")
    names = {name for status, name in answers if status == MISDIRECTED and name}
    if len(names) > 1:
        return failed(f"{masked_url(url)} leads to {len(names)} indexers")
    if names:
        return passed("it leads to one indexer")
    return skipped("its indexer tells no name: it is the only one, has no journal, or is older")


def _ask(url: str) -> tuple[int, str]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        tls = ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, parts.port, timeout=_TIMEOUT_S, context=tls)
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", f"{parts.path.rstrip('/')}{_PATH}", b"", {FOR_HEADER: ANY})
        answer = connection.getresponse()
        return answer.status, answer.getheader(INDEXER_HEADER, "")
    finally:
        connection.close()
