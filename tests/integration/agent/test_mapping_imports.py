"""The modules that a mapping file loads, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

IMPORTS = """
import sys
from agent.protocol.line import Limits
from agent.mapping.config_file import parse

for match in sys.argv[1:]:
    parse(f"mappings:\\n- {match}").mapper(Limits())
print("re2" in sys.modules)
"""


@pytest.mark.parametrize(
    ("rules", "imported"),
    [
        (["{match: a.*, name: x}", "{match: b.*, action: drop}"], "False"),
        (["{match: a.*, name: x}", "{match: b, match_type: regex, name: x}"], "True"),
    ],
)
def test_globs_alone_do_not_load_re2(rules: list[str], imported: str) -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS, *rules], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == imported
