"""The files under deploy/ name the ports, settings and services that the code has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

import meterhouse
from agent.config.load import load
from indexer.access.grants import holds_plain, parse_file
from shim.cli.serve import File
from shim.http.status import PROMETHEUS_VERSION
from shim.model.tenancy import PROXY_SECRET
from tests.support.dashboards import ALL, FILES, filled, macros, scrape_intervals, written
from tests.support.dashboards import read as read_dashboard

DEPLOY = Path(__file__).parents[2] / "deploy"
DEFAULTS = File()
#: The value of each variable that compose.yaml demands.
PASSWORD = "given-by-the-user"


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    text = re.sub(r"(?<!\$)\$\{\w+:\?[^}]*\}", PASSWORD, (DEPLOY / "compose.yaml").read_text())
    services: dict[str, Any] = yaml.safe_load(text)["services"]
    return services


@pytest.mark.parametrize("name", ["agent", "indexer", "shim"])
def test_service_is_a_command_with_known_settings(services: dict[str, Any], name: str) -> None:
    service = services[name]
    assert service["command"] == [name]
    assert name in meterhouse.COMMANDS
    load(File, "", service["environment"])  # raises on a name or a value that is none


def test_the_three_meet(services: dict[str, Any]) -> None:
    environ = {
        k: v for name in ("agent", "indexer", "shim") for k, v in services[name]["environment"].items()
    }
    settings = load(File, "", environ)
    forward = urlsplit(settings.agent.forward.url)
    assert (forward.hostname, forward.port) == ("indexer", _port(settings.indexer.listen))
    assert settings.indexer.dsn == settings.shim.dsn
    dsn, clickhouse = urlsplit(settings.indexer.dsn), services["clickhouse"]["environment"]
    assert dsn.hostname == "clickhouse"
    assert (dsn.username, dsn.password) == (clickhouse["CLICKHOUSE_USER"], clickhouse["CLICKHOUSE_PASSWORD"])
    assert dsn.path == f"/{clickhouse['CLICKHOUSE_DB']}"
    assert urlsplit(settings.indexer.redis_url).hostname == "redis"


def test_ports_are_the_defaults(services: dict[str, Any]) -> None:
    published = {p for name in ("agent", "shim") for p in services[name]["ports"]}
    statsd, api = _port(DEFAULTS.agent.udp), _port(DEFAULTS.shim.listen)
    assert published == {
        f"127.0.0.1:{statsd}:{statsd}/udp",
        f"127.0.0.1:{statsd}:{statsd}/tcp",
        f"127.0.0.1:{api}:{api}",
    }
    assert _port(DEFAULTS.agent.tcp) == statsd


def test_grafana_data_source(services: dict[str, Any]) -> None:
    text = (DEPLOY / "grafana/provisioning/datasources/meterhouse.yaml").read_text()
    source, itself = yaml.safe_load(text)["datasources"]
    assert itself["url"] == "http://prometheus:9090"
    assert source["type"] == "prometheus"
    assert source["jsonData"]["timeInterval"] == "10s"
    assert source["jsonData"]["httpMethod"] == "POST"
    url = urlsplit(source["url"])
    assert url.hostname in services
    assert url.port == _port(services["shim"]["environment"]["METERHOUSE_SHIM__LISTEN"])


def test_dashboards_use_the_data_source_and_the_demos_names(services: dict[str, Any]) -> None:
    text = (DEPLOY / "grafana/provisioning/datasources/meterhouse.yaml").read_text()
    source, _ = yaml.safe_load(text)["datasources"]
    (provider,) = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/meterhouse.yaml").read_text())[
        "providers"
    ]
    mounted = {v.split(":")[1] for v in services["grafana"]["volumes"]}
    assert provider["options"]["path"] in mounted
    names = ("shop_requests", "shop_request_duration", "shop_users", "shop_memory_bytes", "shop_queue_depth")
    for query in read_dashboard("shop.json").queries():
        assert query.source == source["uid"]
        assert any(n in query.expr for n in names)


@pytest.mark.parametrize("file", FILES)
def test_a_dashboard_is_whole(file: str) -> None:
    """Each panel has a description, a unit and a provisioned data source."""
    dashboard, known = read_dashboard(file), scrape_intervals()
    document = dashboard.document
    assert document["schemaVersion"] == 39
    assert document["title"]
    assert document["description"]
    ids = [panel["id"] for panel in document["panels"]]
    assert len(set(ids)) == len(ids)
    assert all(panel["title"].strip() for panel in document["panels"])
    for panel in dashboard.panels:
        assert dashboard.source(panel) in known
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        refs = [target["refId"] for target in panel["targets"]]
        assert refs, panel["title"]
        assert len(set(refs)) == len(refs), panel["title"]


@pytest.mark.parametrize("file", FILES)
def test_panels_do_not_overlap(file: str) -> None:
    seen: set[tuple[int, int]] = set()
    for panel in read_dashboard(file).document["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not cells & seen, panel["title"]
        seen |= cells


@pytest.mark.parametrize("file", FILES)
def test_every_variable_is_used_and_known(file: str) -> None:
    dashboard = read_dashboard(file)
    values = {v["name"]: f"<{v['name']}>" for v in dashboard.variables} | macros(10, 300)
    texts = [filled(q.expr, values) for q in (*dashboard.queries(), *dashboard.annotations())]
    assert all(any(f"<{v['name']}>" in text for text in texts) for v in dashboard.variables)
    for panel in dashboard.document["panels"]:
        filled(panel["title"], values)  # raises on an unknown one


def test_dashboards_have_names_of_their_own() -> None:
    documents = [read_dashboard(file).document for file in FILES]
    for field in ("uid", "title"):
        assert len({document[field] for document in documents}) == len(FILES)


def test_values_are_written_as_grafana_does() -> None:
    many = {"type": "query", "multi": True, "allValue": ".*"}
    assert written(many, ALL) == ".*"
    assert written(many, "a.b|c") == r"a\\.b\\|c"
    assert written({"type": "query"}, 'a."b"') == r"a.\"b\""
    assert written({"type": "textbox"}, "a.+") == "a.+"
    assert filled('$a ${b} "$1"', {"a": "1", "b": "2"}) == '1 2 "$1"'
    with pytest.raises(KeyError):
        filled("$other", {})


def test_mounted_files_are_there(services: dict[str, Any]) -> None:
    volumes = [v for name in ("grafana", "prometheus") for v in services[name]["volumes"]]
    for volume in volumes:
        assert not volume.startswith("./") or (DEPLOY / volume.split(":")[0]).is_dir(), volume


def test_dockerfile_copies_what_the_wheel_is_made_of() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    for name in ("pyproject.toml", "README.md", "LICENSE", "meterhouse.py", "agent", "indexer", "shim"):
        assert name in text


def test_secure_settings_are_settings() -> None:
    """deploy/secure: every listener that others reach has TLS, and no credential has more than it needs."""
    settings = load(File, (DEPLOY / "secure" / "meterhouse.toml").read_text())
    for listen, tls in (
        (settings.agent.tcp, settings.agent.tcp_tls),
        (settings.indexer.listen, settings.indexer.tls),
        (settings.shim.listen, settings.shim.tls),
    ):
        assert tls.cert
        assert listen.startswith("0.0.0.0:")
    assert all(at.startswith("127.0.0.1:") for at in (settings.agent.udp, settings.agent.ops))
    assert settings.agent.tcp_tls.require_client_cert
    assert settings.indexer.tokens_file == settings.shim.tenancy.tokens_file == "/etc/meterhouse/tokens"
    text = (DEPLOY / "secure" / "tokens").read_text()
    assert not holds_plain(text)
    granted = {(str(e.grant), *sorted(e.grant.rights)) for e in parse_file(text)}
    assert granted == {("1:1", "write"), ("1:*", "query"), ("*:*", "admin")}


def test_the_proxy_sets_what_header_mode_reads() -> None:
    text = (DEPLOY / "secure" / "nginx.conf").read_text()
    for name in ("X-Scope-OrgID", "X-Org-Id", "X-Project-Id", PROXY_SECRET):
        assert f"proxy_set_header {name} " in text


def test_no_password_is_written_down() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    assert len(re.findall(r"PASSWORD: \$\{\w+:\?", text)) == 2
    assert not re.search(r"PASSWORD: (?!\$)|ANONYMOUS|://\w+:(?!\$)[^@\s]+@", text)


def test_health_checks(services: dict[str, Any]) -> None:
    """Each service that another waits for has one; ClickHouse's does not pass on its server of the set-up."""
    for name in ("agent", "indexer", "shim"):
        assert services[name]["healthcheck"]["test"] == ["CMD", "meterhouse", "healthcheck", name]
    for service in services.values():
        waits = service.get("depends_on", {})
        for other in waits if isinstance(waits, dict) else ():
            assert "healthcheck" in services[other], other
    assert "--host $$HOSTNAME" in services["clickhouse"]["healthcheck"]["test"][1]


def test_one_build_and_read_only_containers(services: dict[str, Any]) -> None:
    ours = [services[name] for name in ("agent", "indexer", "shim")]
    assert [s["image"] for s in ours] == ["meterhouse"] * 3
    assert sum("build" in s for s in services.values()) == 1
    for service in ours:
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])


def test_what_is_written_is_in_a_volume(services: dict[str, Any]) -> None:
    for name in ("agent", "indexer"):
        written = [v for v in services[name]["environment"].values() if v.startswith("/")]
        mounted = [v.split(":")[1] for v in services[name]["volumes"]]
        assert written
        assert all(any(path.startswith(f"{at}/") for at in mounted) for path in written)


def test_the_image_listens_on_all_addresses_as_another_user_than_root() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    environ = dict(re.findall(r"(METERHOUSE_\w+)=(\S+)", text))
    settings = load(File, "", environ)
    agent, indexer, shim = settings.agent, settings.indexer, settings.shim
    listening = [agent.udp, agent.tcp, agent.ops, indexer.listen, shim.listen]
    assert all(address.startswith("0.0.0.0:") for address in listening)
    assert {f"{_port(address)}/tcp" for address in listening} < set(text.split())
    assert "\nUSER 10001:10001\nVOLUME /var/lib/meterhouse\nWORKDIR /var/lib/meterhouse\n" in text


def test_one_version_is_told_to_grafana() -> None:
    text = (DEPLOY / "grafana/provisioning/datasources/meterhouse.yaml").read_text()
    assert set(re.findall(r"prometheusVersion: (\S+)", text)) == {PROMETHEUS_VERSION}
    assert f"prom/prometheus:v{PROMETHEUS_VERSION}\n" in (DEPLOY / "compose.yaml").read_text()
