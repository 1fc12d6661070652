"""The documents in docs/openapi have every route of agent, indexer and shim, and no other.

tests/integration/test_access_matrix.py compares the answers of a running indexer and shim with them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any, Final
from unittest.mock import Mock

import pytest
from aiohttp import web
from jsonschema import Draft202012Validator

from agent.net.sockets import address_of
from agent.settings import AgentSettings
from agent.telemetry import admin_http
from agent.telemetry.top_series import top_series
from indexer.metrics import Metrics
from indexer.receive.receiver import Receiver
from indexer.settings import Settings
from shim.http.app import make_app
from shim.settings import ShimSettings
from tests.support.cores.rows import CORES, new_core
from tests.support.markdown import ROOT
from tests.support.openapi import FOLDER, PARTS, OpenApi, names_in

#: Links of Prometheus have up to 12 expressions, `g0.expr` to `g11.expr`.
_NUMBERED: Final = {"g0.expr"}
#: Names of variables that hold the parameters in handlers.
_READ: Final = frozenset({"given", "params", "body", "query"})


def _agent() -> admin_http.Answers:
    return admin_http.pages(lambda: b"", lambda: "", lambda: b"{}", lambda: "")


def _app(part: str) -> web.Application:
    if part == "indexer":
        return Receiver(Settings(), Metrics(), Mock(), Mock()).app()
    return make_app(Mock(settings=ShimSettings()), Mock())


def routes(part: str) -> set[tuple[str, str]]:
    """Return the routes of a service; HEAD is as GET."""
    if part == "agent":
        return {("GET", path) for path in _agent()}
    found = [(one.method, one.resource.canonical) for one in _app(part).router.routes() if one.resource]
    return {one for one in found if one[0] != "HEAD"}


@pytest.fixture(scope="module", params=PARTS)
def document(request: pytest.FixtureRequest) -> OpenApi:
    return OpenApi(request.param)


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a document."""
    if isinstance(node, dict):
        yield node
    for one in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _objects(one)


def test_there_is_one_document_a_service() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == {*PARTS}


def test_every_route_is_documented_and_no_other(document: OpenApi) -> None:
    documented = {(method, path) for method, path, _ in document.operations()}
    assert documented == routes(document.part)
    assert len(documented) >= {"agent": 4, "indexer": 16, "shim": 50}[document.part]


def test_parameters_of_paths_are_declared(document: OpenApi) -> None:
    for method, path, operation in document.operations():
        parameters = document.parameters(path, operation)
        declared = {one["name"] for one in parameters if one["in"] == "path"}
        assert declared == names_in(path), (method, path)
        names = [(one["in"], one["name"]) for one in parameters]
        assert len(names) == len(set(names)), (method, path)


def test_references_lead_somewhere_and_every_component_is_used(document: OpenApi) -> None:
    used = {one["$ref"] for one in _objects(document.document) if "$ref" in one}
    for reference in used:
        assert document.resolved({"$ref": reference})
    components = document.document["components"]
    there = {f"#/components/{kind}/{name}" for kind in components for name in components[kind]}
    assert {one for one in there if "/securitySchemes/" not in one} == used
    tags = {one["name"] for one in document.document["tags"]}
    assert tags == {tag for _, _, operation in document.operations() for tag in operation["tags"]}
    ids = [operation["operationId"] for _, _, operation in document.operations()]
    assert len(ids) == len(set(ids))


def test_schemas_are_schemas(document: OpenApi) -> None:
    schemas = [one["schema"] for one in _objects(document.document) if isinstance(one.get("schema"), dict)]
    schemas += document.document["components"]["schemas"].values()
    assert len(schemas) > 3
    for schema in schemas:
        Draft202012Validator.check_schema(schema)
        assert set(schema.get("required", ())) <= set(schema.get("properties", ()))


@pytest.mark.parametrize("name", CORES)
def test_answers_of_the_agent_are_as_documented(name: str) -> None:
    core = new_core(name, AgentSettings())
    core.add(b"a:1|c|#k:1", 1_700_000_001_000, address_of("10.0.0.1"))
    document, metrics = OpenApi("agent"), b"# TYPE a counter\n"
    for unready in (lambda: "", lambda: "no indexer answers"):
        pages = admin_http.pages(lambda: metrics, unready, lambda: top_series(core), lambda: "")
        for path, answer in pages.items():
            status, kind, body = answer()
            assert document.problem("GET", path, status, kind, body.decode()) == ""


@pytest.mark.parametrize(
    ("status", "kind", "text", "problem"),
    [
        (200, "application/json", '{"rows": 1}', ""),
        (200, "application/json", '{"rows": "1"}', "$.rows: '1' is not of type 'integer'"),
        (200, "application/json", "{}", "$: 'rows' is a required property"),
        (200, "text/plain; charset=utf-8", "ok", "text/plain; charset=utf-8: expected ['application/json']"),
        (503, "application/json", '{"error": "later"}', ""),
        (
            418,
            "text/plain",
            "",
            "status 418: expected ['200', '400', '401', '403', '409', '413', '429', '503']",
        ),
    ],
)
def test_other_answers_than_the_documented_ones_are_found(
    status: int, kind: str, text: str, problem: str
) -> None:
    assert OpenApi("indexer").problem("POST", "/v1/frames", status, kind, text) == problem


def _read_names() -> set[str]:
    """Return the literal names of parameters that the shim's handlers read."""
    found: set[str] = set()
    for file in sorted((ROOT / "shim" / "http").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                found |= _names_of(node)
    return found


def _names_of(call: ast.Call) -> set[str]:
    of, reads = call.func, False
    if isinstance(of, ast.Attribute) and of.attr in ("get", "all"):
        source = ast.unparse(of.value)
        reads = source in _READ or "params_of(" in source
    first = call.args[0] if call.args else None
    reads = reads or (isinstance(first, ast.Name) and first.id in _READ)
    literals = [one.value for one in call.args if isinstance(one, ast.Constant)]
    return {one for one in literals if isinstance(one, str) and one} if reads else set()


def test_parameters_are_those_that_the_shim_reads() -> None:
    document = OpenApi("shim")
    parameters = {
        one["name"]
        for _, path, operation in document.operations()
        for one in document.parameters(path, operation)
        if one["in"] == "query"
    }
    forms = {
        name
        for _, _, operation in document.operations()
        for body in _objects(operation.get("requestBody", {}))
        for name in body.get("properties", ())
    }
    read = _read_names()
    assert len(read) > 30
    assert read - parameters - forms == set()
    assert parameters - read == _NUMBERED
