"""Rule files that promtool accepts, and those that it refuses."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

import meterhouse
from tests.support.markdown import ROOT

KIT: Final = ROOT.parent / "shared" / "conformance" / "rules"


NO_KIT: Final = "NO CONFORMANCE KIT: ../shared/conformance/rules is missing"


@pytest.mark.skipif(not KIT.is_dir(), reason=NO_KIT)
@pytest.mark.skipif(shutil.which("promtool") is None, reason="NO PROMTOOL: apt-get install prometheus")
def test_check_rules_and_promtool_accept_the_same_files(capsys: pytest.CaptureFixture[str]) -> None:
    files = [file for file in sorted(KIT.iterdir()) if file.suffix in (".yml", ".yaml")]

    def accepts(file: Path) -> bool:
        command = ["promtool", "check", "rules", "--lint=none", str(file)]
        return subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == 0

    ours = {file.name: meterhouse.main(["check-rules", str(file)]) == 0 for file in files}
    assert ours == {file.name: accepts(file) for file in files}
    assert sum(ours.values()) >= 10
    assert 'group "alerts", rule 1, "InstanceDown"' in capsys.readouterr().err
