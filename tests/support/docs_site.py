"""Builds the site of the documents, and checks the result.

    python -m tests.support.docs_site

docs/zensical.toml orders the pages. They are written for GitHub, and copied to build/docs first. There, links
to files outside of docs/ lead to copies. Escaped pipes in code in tables lose their backslash, as Zensical
shows it. Zensical stops at links that lead nowhere. tests/support/site_check.py examines the built pages.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.support.markdown import ROOT
from tests.support.site_check import faults

DOCS: Final = ROOT / "docs"
CONFIG: Final = DOCS / "zensical.toml"
STAGE: Final = ROOT / "build" / "docs"
SITE: Final = STAGE / "site"
#: Folder of the site with copies of the tree's files that pages link to.
FILES: Final = "files"
_PARTS: Final = re.compile(r"(^```.*?^```[^\n]*$)", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
_CODE: Final = re.compile(r"`[^`]+`")


def pages() -> dict[str, Path]:
    """Return the source of each page by its name in the site."""
    found = {path.relative_to(DOCS).as_posix(): path for path in sorted(DOCS.rglob("*.md"))}
    return found | {"changelog.md": ROOT / "CHANGELOG.md"}


def titles(entries: Any = None) -> Iterator[tuple[str, str]]:
    """Yield name and title of each page, in the order of docs/zensical.toml."""
    for entry in tomllib.loads(CONFIG.read_text())["project"]["nav"] if entries is None else entries:
        for title, target in entry.items():
            if isinstance(target, str):
                yield target, title
            else:
                yield from titles(target)


def staged(name: str, page: str, folder: Path, names: Mapping[Path, str]) -> tuple[str, set[Path]]:
    """Return a page's text for the site, and the files outside of docs/ that it links to.

    `folder` is that of its source. A link whose text is the file's name gets the page's title.
    """
    files: set[Path] = set()
    shown = dict(titles())

    def link(match: re.Match[str]) -> str:
        text, target = match.groups()
        path, hash_, anchor = target.partition("#")
        if "://" in target or not path:
            return match[0]
        there = (folder / path).resolve()
        if there.is_dir():
            return str(text)
        if there in names:
            place = names[there]
            if text.rpartition("/")[2] == there.name:
                text = shown.get(place, text)
        elif there.is_relative_to(DOCS):
            place = there.relative_to(DOCS).as_posix()
        else:
            files.add(there)
            place = f"{FILES}/{there.relative_to(ROOT).as_posix()}"
        return f"[{text}]({os.path.relpath(place, Path(name).parent)}{hash_}{anchor})"

    def line(text: str) -> str:
        if text.startswith("|"):
            text = _CODE.sub(lambda code: code[0].replace("\\|", "|"), text)
        return _LINK.sub(link, text)

    parts = _PARTS.split(page)
    for index in range(0, len(parts), 2):  # the others are fenced
        parts[index] = "\n".join(line(text) for text in parts[index].split("\n"))
    return "".join(parts), files


def stage() -> None:
    """Write the pages, and the files that they show or link to, to build/docs."""
    shutil.rmtree(STAGE, ignore_errors=True)
    target = STAGE / "pages"
    shutil.copytree(DOCS, target, ignore=shutil.ignore_patterns("*.md", CONFIG.name))
    shutil.copy(CONFIG, STAGE)
    sources = pages()
    names = {source: name for name, source in sources.items()} | {ROOT / "README.md": "index.md"}
    for name, source in sources.items():
        text, files = staged(name, source.read_text(), source.parent, names)
        (target / name).parent.mkdir(exist_ok=True)
        (target / name).write_text(text)
        for file in files:
            copy = target / FILES / file.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)


def main() -> int:
    stage()
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", CONFIG.name]
    done = subprocess.run(command, cwd=STAGE, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout + done.stderr, file=sys.stderr)
        return 1
    found = list(faults(SITE))
    for fault in found:
        print(fault, file=sys.stderr)
    if not found:
        place = SITE.relative_to(ROOT)
        print(f"{len(pages())} pages in {place}; with search: python -m http.server --directory {place}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
