"""The documents in docs/openapi: requests and answers of each HTTP endpoint, one document a service."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

import yaml
from jsonschema import Draft202012Validator

from tests.support.markdown import ROOT

FOLDER: Final = ROOT / "docs" / "openapi"
PARTS: Final = ("agent", "indexer", "shim")
METHODS: Final = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
_JSON: Final = "application/json"


class OpenApi:
    """The document of one service."""

    def __init__(self, part: str) -> None:
        self.part = part
        self.document: dict[str, Any] = yaml.safe_load((FOLDER / f"{part}.yaml").read_text())

    def operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield method, path and operation."""
        for path, item in self.document["paths"].items():
            for method, operation in item.items():
                if method in METHODS:
                    yield method.upper(), path, operation

    def resolved(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the target of a reference; other nodes as they are. Raises KeyError."""
        while "$ref" in node:
            found: Any = self.document
            for name in node["$ref"].removeprefix("#/").split("/"):
                found = found[name]
            node = found
        return node

    def parameters(self, path: str, operation: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Return the parameters of an operation and of its path."""
        of_path = self.document["paths"][path].get("parameters", ())
        return [self.resolved(one) for one in (*of_path, *operation.get("parameters", ()))]

    def validator(self, schema: Mapping[str, Any]) -> Draft202012Validator:
        """Return a validator of a schema, whose references lead into this document."""
        return Draft202012Validator({**schema, "components": self.document["components"]})

    def problem(self, method: str, path: str, status: int, kind: str, text: str) -> str:
        """Return why an answer is not as documented; empty if it is."""
        operation = self.document["paths"][path][method.lower()]
        if str(status) not in operation["responses"]:
            return f"status {status}: expected {sorted(operation['responses'])}"
        content = self.resolved(operation["responses"][str(status)]).get("content")
        if not content:
            return (
                f"a body of {len(text)} characters: expected none"
                if text and status != HTTPStatus.FOUND
                else ""
            )
        if (base := kind.partition(";")[0]) not in content:
            return f"{kind}: expected {sorted(content)}"
        if base != _JSON:
            return ""
        errors = self.validator(content[base]["schema"]).iter_errors(json.loads(text))
        return "; ".join(f"{error.json_path}: {error.message[:200]}" for error in errors)


def names_in(path: str) -> set[str]:
    """Return the names of a path's parameters."""
    return set(re.findall(r"\{(\w+)\}", path))
