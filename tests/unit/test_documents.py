"""Documents name existing things: every link leads somewhere, every path and every make target exists."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import markdown
import msgspec
import pytest

from agent.settings import AgentSettings
from indexer.settings import Settings
from shim.settings import ShimSettings
from tests.support.docs_site import pages, staged, titles
from tests.support.markdown import ROOT
from tests.support.site_check import Page

DOCUMENTS: Final = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES: Final = {source: name for name, source in pages().items()} | {ROOT / "README.md": "index.md"}
_FENCE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_PATH: Final = re.compile(r"`((?:\.ci|agent|deploy|docs|indexer|shim|tests)/[\w./-]*|meterhouse\.py)`")
#: First lines of lists and tables.
_LIST: Final = re.compile(r"[-*] |\d+\. ")
_TABLE: Final = re.compile(r"\|")
_MODULE: Final = re.compile(r"python -m (tests(?:\.\w+)+)")


def by_name(document: Path) -> str:
    return str(document.relative_to(ROOT))


def prose(document: Path) -> str:
    return _FENCE.sub("", document.read_text())


def headings(document: Path) -> Iterator[str]:
    """Yield the anchors that GitHub makes of a document's headings."""
    for title in re.findall(r"^#+ (.*)$", prose(document), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_name)
def test_links_lead_somewhere(document: Path) -> None:
    for link in _LINK.findall(prose(document)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in headings(target), f"{link}: no such heading"


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_name)
def test_lists_and_tables_begin_after_a_blank_line(document: Path) -> None:
    """GitHub needs no blank line, the site does."""
    for kind in (_LIST, _TABLE):
        before, inside = "", False
        for line in prose(document).splitlines():
            starts = bool(kind.match(line))
            assert not starts or inside or not before or before.startswith("#"), (
                f"no blank line before {line}"
            )
            inside = bool(line) and (starts or inside)
            before = line.strip()


@pytest.mark.parametrize("name", sorted(pages()))
def test_the_site_can_show_it(name: str) -> None:
    """The site's Markdown has fewer forms than GitHub's: none is left as text."""
    source = pages()[name]
    written, _ = staged(name, source.read_text(), source.parent, SOURCES)
    page = Page()
    page.feed(
        f"<article>{markdown.markdown(written, extensions=['tables', 'pymdownx.superfences'])}</article>"
    )
    assert page.odd == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_name)
def test_paths_and_modules_are_there(document: Path) -> None:
    text = document.read_text()
    for path in _PATH.findall(text):
        assert (ROOT / path).exists(), f"{path} is not there"
    for module in _MODULE.findall(text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), f"{module} is not there"


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_name)
def test_settings_in_toml_are_accepted(document: Path) -> None:
    sections: dict[str, Any] = {"agent": AgentSettings, "indexer": Settings, "shim": ShimSettings}
    for block in re.findall(r"^```toml\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL):
        for name, values in tomllib.loads(block).items():
            if name in sections:
                msgspec.convert(values, sections[name])


def test_make_targets_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        named = re.findall(r"(?:`|\$ )make ([a-z][a-z -]*[a-z])", document.read_text())
        assert {target for line in named for target in line.split()} <= targets, document


def test_each_page_is_in_the_navigation_once() -> None:
    """A new page goes into `nav` of docs/zensical.toml."""
    found = [name for name, _ in titles()]
    assert sorted(found) == sorted(pages())
    assert found[0] == "index.md"
