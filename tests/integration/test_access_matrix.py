"""Every endpoint with every kind of credential, for reads and writes: who is let in, and which data shows."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.support import access_matrix
from tests.support.access_matrix import CREDENTIALS, OURS, THEIRS, Answers, Endpoint, running
from tests.support.markdown import between
from tests.support.openapi import OpenApi

#: Endpoints that ask for no credential; everything else must.
OPEN: Final = {
    "indexer GET /healthz", "indexer GET /readyz",
    "shim GET /", "shim GET /graph", "shim GET /ui/{file}", "shim GET /-/healthy", "shim GET /-/ready",
    "shim OPTIONS /api/v1/{path}",
    "shim OPTIONS /{dataset}/snql", "shim OPTIONS /{dataset}/mql",
}  # fmt: skip
UNKNOWN: Final = {
    *("none", "wrong", "expired", "two headers", "own and other's", "X-Scope-OrgID alone"),
    *("unknown certificate", "expired certificate", "own certificate, wrong token"),
}
OWN: Final = {
    *("own", "own, by password", "own certificate", "own certificate, by fingerprint"),
    *("own, admin", "own, operator"),
}
#: The clients that see the server.
OPERATORS: Final = ("admin", "own, operator")
#: The client that reads and writes for org 2; a header wins over a certificate.
OTHER: Final = ("other org", "own certificate, other org's token")
#: Other answers to known clients: a subscription is made, and none has the id that is asked for.
ANSWERS: Final = {
    "shim POST /api/v1/rules/backfill": 503,  # there are no rules
    "shim POST /{dataset}/{entity}/subscriptions": 202,
    "shim GET /{dataset}/{entity}/subscriptions/{partition}/{uuid}": 404,
    "shim DELETE /{dataset}/{entity}/subscriptions/{partition}/{uuid}": 404,
}

#: Off by default; tests/integration/shim/test_admin_api.py has them on.
DELETING: Final = {
    "indexer POST /v1/deletions",
    *(
        f"shim {method} /api/v1/admin/tsdb/{name}"
        for method in ("POST", "PUT")
        for name in ("delete_series", "clean_tombstones", "snapshot")
    ),
}


def expected(endpoint: Endpoint, credential: str) -> set[int]:
    """Return the statuses that an endpoint may answer with."""
    name = str(endpoint)
    if name in OPEN:
        return {200, 204}
    if credential in UNKNOWN:
        return {401}
    if endpoint.path in ("/metrics", "/-/reload") or name in DELETING:
        return {200} if credential in OPERATORS and name not in DELETING else {403}
    if endpoint.path.startswith("/v1/set-aside"):  # no batch is set aside
        return {404 if "{token}" in endpoint.path else 200} if credential == "admin" else {403}
    if endpoint.path in ("/status", "/v1/limits"):  # the limits are of org 1
        return {403} if endpoint.path != "/status" and credential.startswith(OTHER) else {200}
    if (
        endpoint.part == "indexer"
    ):  # a write says its org and project itself: the headers of readers say nothing
        return {403} if credential == "admin" or credential.startswith(OTHER) else {200}
    if credential == "admin":
        return {403}
    if name == "shim DELETE /api/v1/series":
        return {500}  # as Prometheus: it is not implemented
    if (
        "X-" in credential
    ):  # the headers ask for more than the token covers; some endpoints show no tenant's data
        return {200, 403} if endpoint.path.endswith(("/buildinfo", "/walreplay")) else {403}
    return {ANSWERS.get(name, 200)}


def undocumented(answers: Answers) -> set[tuple[str, str]]:
    """Return the endpoints whose answers differ from docs/openapi, each with the reason."""
    documents = {part: OpenApi(part) for part in ("indexer", "shim")}
    problems = {
        (
            str(one),
            documents[one.part].problem(one.method, one.path, answer.first_status, answer.kind, answer.text),
        )
        for one, given in answers.items()
        for answer in given.values()
    }
    return {(endpoint, problem) for endpoint, problem in problems if problem}


async def test_matrix(chdb_dsn: str, tmp_path: Path) -> None:
    async with running(chdb_dsn, tmp_path) as world:
        answers = await world.answers()
        stored = world.stored()
    assert len(answers) > 30
    wrong = {
        (str(endpoint), credential): answer.status
        for endpoint, given in answers.items()
        for credential, answer in given.items()
        if answer.status not in expected(endpoint, credential)
    }
    assert wrong == {}
    assert undocumented(answers) == set()
    seen = 0
    for endpoint, given in answers.items():
        for credential, answer in given.items():
            foreign = (
                OURS if credential.startswith(OTHER) else THEIRS if credential.startswith("own") else OURS
            )
            if endpoint.part == "shim" and credential != "admin":
                assert foreign not in answer.text, (str(endpoint), credential)
            seen += credential in OWN and OURS in answer.text
    assert seen >= len(OWN) * 8  # answers show the values that this looks for
    writes = sum(
        answer.status == 200
        for endpoint, given in answers.items()
        if endpoint.path in ("/v1/frames", "/v1/bundles", "/v1/messages")
        for answer in given.values()
    )
    assert writes == 3 * (len(OWN) + 1)
    assert stored == {1: 1.0 + writes, 2: 1.0}
    assert set(CREDENTIALS) >= UNKNOWN | OWN
    there = between(access_matrix.FILE, access_matrix.MARK)
    assert there == access_matrix.matrix(answers), f"python -m {access_matrix.MARK} writes it"
