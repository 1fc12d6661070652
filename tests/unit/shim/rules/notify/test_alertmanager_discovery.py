"""Which Alertmanagers files and DNS give."""

from __future__ import annotations

from pathlib import Path

import pytest

from shim.rules.notify.alertmanager_discovery import Alertmanager, AlertmanagerDiscovery, targets_of
from shim.settings import AlertmanagerSettings


def refuse(host: str, port: int) -> list[str]:
    raise OSError(f"{host}: not known")


def no_services(name: str) -> list[tuple[str, int]]:
    raise OSError(f"{name}: not known")


def test_names_of_dns_are_of_addresses_and_of_services() -> None:
    asked: list[object] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return [f"10.0.0.{len(asked)}"]

    names = ["dns+am.test:9093", "dnssrv+_web._tcp.am.test", "dnssrvnoa+_web._tcp.am.test"]
    services = [("one.test", 81), ("two.test", 82)]
    found = AlertmanagerDiscovery(AlertmanagerSettings(dns=names), resolve, lambda _: services).look()
    assert found.problems == {}
    assert asked == [("am.test", 9093), *services]
    assert found.alertmanagers == [
        Alertmanager("http://10.0.0.1:9093", "am.test"),
        Alertmanager("http://10.0.0.2:81", "one.test"),
        Alertmanager("http://10.0.0.3:82", "two.test"),
        Alertmanager("http://one.test:81"),
        Alertmanager("http://two.test:82"),
    ]


@pytest.mark.parametrize(
    ("dns", "reason"),
    [
        ("dns+am", "expected host:port"),
        ("srv+_web._tcp.am", r"dns\+host:port, dnssrv\+NAME"),
        ("dnssrv+_web._tcp.am:9093", "without a port"),
        ("dnssrvnoa+", "without a port"),
    ],
)
def test_names_that_are_refused(dns: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        AlertmanagerSettings(dns=[dns])


def test_a_name_server_is_an_address() -> None:
    AlertmanagerSettings(dns_server="[::1]:53")
    with pytest.raises(ValueError, match="expected an IP address and a port"):
        AlertmanagerSettings(dns_server="ns.test:53")


def test_all_sources_give_alertmanagers_each_once(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"targets": ["one:9093", "10.0.0.1:9093"], "labels": {"x": "y"}}]')
    (tmp_path / "b.yml").write_text("- targets: ['one:9093', '[::1]:9093']\n- targets: []\n")
    settings = AlertmanagerSettings(
        urls=["http://one:9093/am/"],
        files=[f"{tmp_path}/*.json", f"{tmp_path}/b.yml", f"{tmp_path}/*.none"],
        dns=["alertmanager.local:9093"],
        path_prefix="/am",
    )
    found = AlertmanagerDiscovery(settings, lambda *_: ["10.0.0.7", "fd00::7"], no_services).look()
    assert found.problems == {}
    assert found.alertmanagers == [
        Alertmanager("http://one:9093/am"),
        Alertmanager("http://10.0.0.1:9093/am"),
        Alertmanager("http://[::1]:9093/am"),
        Alertmanager("http://10.0.0.7:9093/am", "alertmanager.local"),
        Alertmanager("http://[fd00::7]:9093/am", "alertmanager.local"),
    ]


def test_a_source_that_cannot_be_read_keeps_its_alertmanagers(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    discovery = AlertmanagerDiscovery(
        AlertmanagerSettings(files=[str(path)], dns=["am:9093"]), refuse, no_services
    )
    found = discovery.look()
    assert found.alertmanagers == []
    assert list(found.problems) == [str(path), "am:9093"]
    path.write_text("- targets: ['one:9093']")
    assert discovery.look().alertmanagers == [Alertmanager("http://one:9093")]
    path.write_text("- targets: 'one:9093'")
    found = discovery.look()
    assert found.alertmanagers == [Alertmanager("http://one:9093")]
    assert "expected a list of tables" in found.problems[str(path)]
    path.write_text("[]")
    assert discovery.look().alertmanagers == []


@pytest.mark.parametrize("target", ["one", "one:0", "one:x", "a/b:80", "u@h:80", "http://one:80"])
def test_targets_that_are_refused(tmp_path: Path, target: str) -> None:
    path = tmp_path / "a.yml"
    path.write_text(f"- targets: ['{target}']")
    found = AlertmanagerDiscovery(AlertmanagerSettings(files=[str(path)]), refuse, no_services).look()
    assert found.alertmanagers == []
    assert "expected host:port" in found.problems[str(path)]


@pytest.mark.parametrize("tree", [{}, "a", [1], [{}], [{"targets": "a"}], [{"targets": [1]}]])
def test_trees_that_are_refused(tree: object) -> None:
    with pytest.raises(ValueError, match="expected a list of tables"):
        targets_of(tree)
