"""Names that two public classes or two modules share; `tests/unit/names.toml` holds the exceptions of today.

python -m tests.support.names            list every shared name with its files
python -m tests.support.names --write    record today's as the exceptions
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Final

from tests.support.markdown import ROOT

PACKAGES: Final = ("agent", "indexer", "shim")
EXCEPTIONS: Final = ROOT / "tests" / "unit" / "names.toml"
#: Module names that every part may have: they mean the same in each.
SAME_IN_EACH_PART: Final = frozenset(
    {"__init__", "__main__", "settings", "metrics", "service", "query", "nodes", "metadata", "parser"}
)
#: Its families name their modules after the construct: `rate` of floats, of histograms.
NAMED_AFTER_CONSTRUCT: Final = "shim/eval/"
_HEADER: Final = """\
# Names that more than one public class, or more than one module, of a package has today.
# The lists may only shrink. `python -m tests.support.names --write` records today's.
"""

Shared = dict[str, list[str]]


def shared_classes(package: str) -> Shared:
    """Map each name that several public classes of a package have to their files."""
    found: Shared = defaultdict(list)
    for file in sorted((ROOT / package).rglob("*.py")):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(_path(file))
    return _several(found)


def shared_modules(package: str) -> Shared:
    """Map each name that several modules of a package have to their files."""
    found: Shared = defaultdict(list)
    for file in sorted((ROOT / package).rglob("*.py")):
        path = _path(file)
        if file.stem not in SAME_IN_EACH_PART and not path.startswith(NAMED_AFTER_CONSTRUCT):
            found[file.stem].append(path)
    return _several(found)


def exceptions() -> dict[str, dict[str, list[str]]]:
    """Return the recorded exceptions: package, then `classes` or `modules`, then names."""
    recorded: dict[str, dict[str, list[str]]] = tomllib.loads(EXCEPTIONS.read_text())
    return recorded


def _several(found: Shared) -> Shared:
    return {name: files for name, files in sorted(found.items()) if len(files) > 1}


def _path(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def _recorded() -> str:
    """Return the text of the file of exceptions, one name a line so that changes merge."""
    out = [_HEADER]
    for package in PACKAGES:
        out.append(f"\n[{package}]\n")
        for kind, shared in (("classes", shared_classes(package)), ("modules", shared_modules(package))):
            names = "".join(f'  "{name}",\n' for name in shared)
            out.append(f"{kind} = [\n{names}]\n" if names else f"{kind} = []\n")
    return "".join(out)


if __name__ == "__main__":
    if "--write" in sys.argv:
        EXCEPTIONS.write_text(_recorded())
    else:
        for package in PACKAGES:
            for name, files in (shared_classes(package) | shared_modules(package)).items():
                print(f"{package}: {name}: {' '.join(files)}")
