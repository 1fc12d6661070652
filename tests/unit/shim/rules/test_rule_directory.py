"""One tenant's rule files never keep those of others from being read."""

from __future__ import annotations

from pathlib import Path

import pytest

from shim.rules.rule_directory import RuleDirectory

GOOD = "groups:\n- {name: g, rules: [{record: a, expr: b}]}\n"
BAD = (
    'a: "\\UFFFFFFFF"',
    'a: "\\U00110000"',
    f"groups: [{{name: g, limit: {'9' * 5_000}, rules: []}}]",
)


@pytest.mark.parametrize("bad", BAD, ids=["wide", "beyond", "digits"])
def test_a_file_that_the_reader_stumbles_over_is_bad_alone(tmp_path: Path, bad: str) -> None:
    for org, text in (("1", bad), ("2", GOOD)):
        (tmp_path / org).mkdir()
        (tmp_path / org / "r.yml").write_text(text)
    directory = RuleDirectory(str(tmp_path), None)
    assert directory.load()
    assert {one.tenant.org_id: bool(one.error) for one in directory.files.values()} == {1: True, 2: False}


def test_a_directory_that_cannot_be_read_keeps_its_files_and_those_of_others(tmp_path: Path) -> None:
    for org in ("1", "2"):
        (tmp_path / org).mkdir()
        (tmp_path / org / "r.yml").write_text(GOOD)
    directory = RuleDirectory(str(tmp_path), None)
    assert directory.load()
    (tmp_path / "1" / "s.yml").symlink_to("s.yml")  # in circles
    (tmp_path / "2" / "t.yml").write_text(GOOD)
    assert directory.load()
    assert "s.yml" in directory.error
    found = sorted((one.tenant.org_id, one.name) for one in directory.files.values() if one.groups)
    assert found == [(1, "r.yml"), (2, "r.yml"), (2, "t.yml")]
    assert not directory.load()
    (tmp_path / "1" / "s.yml").unlink()
    assert directory.load()
    assert directory.error == ""
