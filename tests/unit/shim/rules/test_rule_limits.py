"""One org's rule files, groups, rules and bytes are bounded, and leave those of other orgs alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from shim.rules import rule_yaml
from shim.rules.rule_directory import LoadedFile, RuleDirectory
from shim.rules.rule_file import parse_rule_file
from shim.rules.rule_yaml import RuleFileError
from shim.settings import RulesSettings


def text(groups: int, rules: int = 1) -> str:
    lines = ["groups:"]
    for g in range(groups):
        lines += [f"- name: g{g}", "  rules:", *(f"  - {{record: r{n}, expr: x}}" for n in range(rules))]
    return "\n".join(lines)


def write(root: Path, name: str, content: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def loaded(directory: RuleDirectory) -> dict[tuple[int, str], LoadedFile]:
    return {(one.tenant.org_id, one.name): one for one in directory.files.values()}


LIMITS = (
    (
        RulesSettings(max_groups=2),
        text(3),
        "r.yml:8: the org's rule files have more than 2 groups (setting shim.rules.max_groups)",
    ),
    (
        RulesSettings(max_rules=3),
        text(1, 4),
        "r.yml:7: the org's rule files have more than 3 rules (setting shim.rules.max_rules)",
    ),
    (
        RulesSettings(max_bytes=80),
        text(1, 4),
        "r.yml:1: the org's rule files have more than 80 bytes with this one (setting shim.rules.max_bytes)",
    ),
)


@pytest.mark.parametrize(("limits", "much", "error"), LIMITS, ids=["groups", "rules", "bytes"])
def test_a_file_over_a_limit_is_refused_alone(
    tmp_path: Path, limits: RulesSettings, much: str, error: str
) -> None:
    write(tmp_path, "1/1/r.yml", much)
    write(tmp_path, "2/1/r.yml", text(1))
    directory = RuleDirectory(str(tmp_path), None, limits=limits)
    assert directory.load()
    found = loaded(directory)
    assert (found[1, "r.yml"].error, found[1, "r.yml"].groups) == (error, ())
    assert found[1, "r.yml"].over_limit
    assert (found[2, "r.yml"].error, len(found[2, "r.yml"].groups)) == ("", 1)
    assert not directory.load()


def test_all_files_of_an_org_count_and_a_refused_one_is_used_once_there_is_room(tmp_path: Path) -> None:
    write(tmp_path, "1/a.yml", text(2))
    write(tmp_path, "1/7/b.yml", text(1))
    write(tmp_path, "1/7/c.yml", text(1))
    directory = RuleDirectory(str(tmp_path), None, limits=RulesSettings(max_groups=3))
    assert directory.load()
    assert [name for (_, name), one in loaded(directory).items() if one.over_limit] == ["c.yml"]
    write(tmp_path, "1/7/b.yml", text(4))  # its last good group stays
    assert directory.load()
    over = {name: len(one.groups) for (_, name), one in loaded(directory).items() if one.over_limit}
    assert over == {"b.yml": 1, "c.yml": 0}
    write(tmp_path, "1/a.yml", text(1))
    assert directory.load()
    used = {name: len(one.groups) for (_, name), one in loaded(directory).items() if not one.over_limit}
    assert used == {"a.yml": 1, "c.yml": 1}


def test_an_org_with_too_many_files_keeps_those_that_run(tmp_path: Path) -> None:
    for org in ("1", "2"):
        write(tmp_path, f"{org}/r.yml", text(1))
    directory = RuleDirectory(str(tmp_path), None, limits=RulesSettings(max_files=2))
    assert directory.load()
    for n in range(2):
        write(tmp_path, f"1/3/{n}.yml", text(1))
    write(tmp_path, "2/s.yml", text(1))
    assert directory.load()
    assert "3: more rule files than an org may have (setting shim.rules.max_files)" in directory.error
    assert set(loaded(directory)) == {(1, "r.yml"), (2, "r.yml"), (2, "s.yml")}
    (tmp_path / "1/3/1.yml").unlink()
    assert directory.load()
    assert directory.error == ""
    assert (1, "0.yml") in loaded(directory)


def test_directories_of_projects_count(tmp_path: Path) -> None:
    for project in range(1, 5):
        write(tmp_path, f"1/{project}/r.yml", text(1))
    directory = RuleDirectory(str(tmp_path), None, limits=RulesSettings(max_files=3))
    assert directory.load()
    assert "more directories than an org may have (setting shim.rules.max_files)" in directory.error
    assert not directory.files


def test_values_are_counted_while_a_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule_yaml, "_MAX_MADE", 50)
    with pytest.raises(RuleFileError, match=r"r.yml:3: more than 50 values"):
        parse_rule_file("r.yml", "groups:\n- []\n- [" + "[]," * 60 + "]")
