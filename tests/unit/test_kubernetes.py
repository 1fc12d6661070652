"""deploy/helm and deploy/kubernetes: valid objects, with settings of ours, and secrets in files alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from agent.cli.common import read_settings
from shim.cli.serve import File
from tests.support.helm_templates import DEPLOY, MANIFESTS, TemplateError, chart_objects, manifests, render

#: Versions of Kubernetes that the objects are valid for: the oldest of the chart, and a recent one.
VERSIONS: Final = ("1.25", "1.31")
SECRETS: Final = {
    "indexer-dsn": "http://writer:hidden-1@clickhouse:8123/meterhouse",
    "shim-dsn": "http://reader:hidden-2@clickhouse:8123/meterhouse",
    "tokens": "hidden-3 1:1 write",
    "agent-token": "hidden-4",
    "metrics-token": "hidden-5",
}
EVERYTHING: Final[dict[str, Any]] = {
    "labels": {"team": 'the "first"'},
    "image": {"pullSecrets": [{"name": "registry"}]},
    "secret": {"create": True, "data": SECRETS, "tokens": True},
    "agent": {
        "env": {"METERHOUSE_AGENT__TAGS": '{"cluster": "eu-1"}'},
        "nodeSelector": {"disk": "ssd"},
        "exposition": True,
    },
    "indexer": {"journal": {"storageClass": "fast"}, "redisUrl": "redis://redis:6379/0"},
    "shim": {"rules": {"a.yml": "groups: []\n"}, "env": {"METERHOUSE_SHIM__LOOKBACK_S": "120"}},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "networkPolicy": {"queryFrom": [{"podSelector": {"matchLabels": {"app": "grafana"}}}]},
}
#: Kinds of Prometheus Operator, whose schemas are not among those of Kubernetes.
OF_OPERATOR: Final = ("ServiceMonitor", "PodMonitor")
NOTHING: Final[dict[str, Any]] = {
    "agent": {"enabled": False},
    "networkPolicy": {"enabled": False},
    "podDisruptionBudget": {"enabled": False},
}
VALUES: Final = {"defaults": {}, "everything": EVERYTHING, "nothing": NOTHING}


def containers(objects: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield each container with its pod's spec."""
    for made in objects:
        pod = made["spec"]["template"]["spec"] if "template" in made.get("spec", {}) else made.get("spec", {})
        for container in pod.get("containers", ()):
            yield container, pod


def of_kind(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", VALUES)
def test_objects_are_valid(name: str, version: str) -> None:
    objects = chart_objects(VALUES[name])
    assert len({(o["kind"], o["metadata"]["name"]) for o in objects}) == len(objects)
    for made in objects:
        if made["kind"] not in OF_OPERATOR:
            kubernetes_validate.validate(made, version, strict=True)


def test_the_sidecar_is_valid() -> None:
    """`restartPolicy` of an init container is of Kubernetes 1.29."""
    pod = yaml.safe_load((DEPLOY / "kubernetes" / "sidecar.yaml").read_text())
    kubernetes_validate.validate(pod, "1.31", strict=True)
    (agent,) = pod["spec"]["initContainers"]
    settings = settings_of(agent, {})
    assert (settings.agent.udp, len(settings.agent.forward.urls)) == ("127.0.0.1:8125", 2)
    assert pod["spec"]["containers"][0]["env"][0]["value"] == "127.0.0.1"


def test_manifests_are_those_of_the_chart() -> None:
    assert MANIFESTS.read_text() == manifests(), "python -m tests.support.helm_templates writes them"


def settings_of(container: dict[str, Any], files: dict[str, str]) -> File:
    """Load a container's variables as its part does; files of the Secret are at other paths here."""
    given = {e["name"]: e.get("value", "from-the-pod") for e in container["env"]}
    return read_settings(File, None, {name: files.get(value, value) for name, value in given.items()})


@pytest.mark.parametrize("name", ["defaults", "everything"])
def test_variables_are_settings(name: str, tmp_path: Path) -> None:
    files = {}
    for key, value in SECRETS.items():
        (tmp_path / key).write_text(value)
        files[f"/run/secrets/meterhouse/{key}"] = str(tmp_path / key)
    objects = chart_objects(VALUES[name])
    found = {c["name"]: (c, settings_of(c, files)) for c, _ in containers(objects)}
    agent, indexer, shim = (found[part][1] for part in ("agent", "indexer", "shim"))
    for part, (container, _) in found.items():
        assert container["args"] == [part]
    assert indexer.indexer.dsn == SECRETS["indexer-dsn"]
    assert shim.shim.dsn == SECRETS["shim-dsn"]
    assert agent.agent.forward.urls == shim.shim.indexers.urls
    replicas = of_kind(objects, "StatefulSet", "meterhouse-indexer")
    service = of_kind(objects, "Service", replicas["spec"]["serviceName"])["metadata"]["name"]
    assert agent.agent.forward.urls == [
        f"http://meterhouse-indexer-{i}.{service}:8126" for i in range(replicas["spec"]["replicas"])
    ]
    assert bool(agent.agent.forward.token_file) == bool(shim.shim.tenancy.tokens_file) == (name != "defaults")
    listening = {"agent": agent.agent.ops, "indexer": indexer.indexer.listen, "shim": shim.shim.listen}
    for part, address in listening.items():
        ports = [p["containerPort"] for p in found[part][0]["ports"]]
        assert int(address.rpartition(":")[2]) in ports


def test_secrets_are_in_files_alone() -> None:
    """Nothing but the Secret has one: not a variable, an argument, a ConfigMap or an annotation."""
    for made in chart_objects(EVERYTHING):
        assert (made["kind"] == "Secret") == ("hidden-" in json.dumps(made)), made["metadata"]
    assert not any(o["kind"] == "Secret" for o in chart_objects())
    for container, _ in containers(chart_objects(EVERYTHING)):
        assert not any("secretKeyRef" in json.dumps(e) for e in container["env"])


@pytest.mark.parametrize("name", ["defaults", "everything"])
def test_containers_have_the_least_rights(name: str) -> None:
    for container, pod in containers(chart_objects(VALUES[name])):
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container["resources"]) == {"requests", "limits"}
        volumes = {v["name"] for v in pod["volumes"]} | {"journal"}
        assert {m["name"] for m in container["volumeMounts"]} <= volumes
        ports = {p["name"] for p in container["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"]["port"] in ports


def test_selectors_select_the_pods() -> None:
    objects = chart_objects(EVERYTHING)
    pods = [o["spec"]["template"]["metadata"]["labels"] for o in objects if "template" in o.get("spec", {})]
    assert len(pods) == 3
    for made in objects:
        spec = made.get("spec", {})
        selector = spec.get("podSelector") or spec.get("selector") or {}
        selector = selector.get("matchLabels", selector)
        if selector:
            assert sum(selector.items() <= labels.items() for labels in pods) == 1, made["metadata"]["name"]


def test_monitors_scrape_ports_that_are_there() -> None:
    objects = chart_objects(EVERYTHING)
    ports = {p["name"] for c, _ in containers(objects) for p in c["ports"]}
    monitors = [o for o in objects if o["kind"] in OF_OPERATOR]
    assert len(monitors) == 3
    for monitor in monitors:
        endpoint, *more = monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] in ports
        assert endpoint["authorization"]["credentials"] == {"name": "meterhouse", "key": "metrics-token"}
        of_agents = monitor["metadata"]["name"] == "meterhouse-agent"
        assert [(one["port"], one["path"]) for one in more] == [("ops", "/metrics/statsd")] * of_agents


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{{ .Release.Name }}", "not a part of the language"),
        ("{{ .Values.missing }}", "not in values.yaml"),
        ("{{ if .Values.a }}\nx\n", "not ended"),
        ("{{ include .Values.a }}", "not a part of the language"),
    ],
)
def test_the_renderer_refuses_what_it_does_not_know(template: str, problem: str) -> None:
    with pytest.raises(TemplateError, match=problem):
        render(template, {"a": True})


def test_the_renderer_does_as_helm() -> None:
    lines = ["a: {{ quote .Values.t }}", "{{ if .Values.no }}", "x", "{{ else }}"]
    template = "\n".join([*lines, "y: {{ toYaml .Values.m | nindent 2 }}", "{{ end }}", ""])
    text = render(template, {"t": 'a "b"\n', "no": {}, "m": {"k": [1]}})
    assert yaml.safe_load(text) == {"a": 'a "b"\n', "y": {"k": [1]}}
