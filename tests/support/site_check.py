"""Faults of a built site: links that lead nowhere, files of other hosts, Markdown that was left as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

#: Attributes whose address a browser loads at once.
_LOADED: Final = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}
_VERBATIM: Final = frozenset({"code", "pre", "script", "style", "title", "svg", "h1", "h2", "h3"})
#: Pieces that only Markdown has: a link, emphasis, code, a row of a table, an item of a list.
_MARKDOWN: Final = re.compile(r"\]\(|\*\*|`|^\|.*\|$|^[-*] |^\d+\. ", re.MULTILINE)
_CSS_ADDRESS: Final = re.compile(r"@import|url\(\s*[\"']?(?:https?:)?//")


@dataclass
class Page(HTMLParser):
    """The anchors, links, loaded addresses and odd texts of a page."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    _open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element's anchor and addresses."""
        if tag in _VERBATIM or tag == "article":
            self._open.append(tag)
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.ids.add(value)
            elif (tag, name) in _LOADED and value:
                self.loaded.append(value)
            elif (tag, name) == ("a", "href") and value:
                self.links.append(value)

    def handle_endtag(self, tag: str) -> None:
        """Leave an element whose text is special."""
        if self._open and self._open[-1] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        """Note text of the article that looks like Markdown."""
        if self._open and self._open[-1] == "article" and (match := _MARKDOWN.search(data)):
            self.odd.append(data[max(0, match.start() - 30) : match.end() + 30].strip())


def read(file: Path) -> Page:
    """Return the parsed page."""
    page = Page()
    page.feed(file.read_text())
    return page


def faults(site: Path) -> Iterator[str]:
    """Yield each fault, with its page."""
    found = {file.resolve(): read(file) for file in sorted(site.rglob("*.html")) if file.name != "404.html"}
    for file, page in found.items():
        name = file.relative_to(site.resolve())
        yield from (f"{name}: loads {address}" for address in page.loaded if urlsplit(address).netloc)
        yield from (f"{name}: Markdown as text: {text!r}" for text in page.odd)
        for link in page.links + page.loaded:
            if not led(file, link, found):
                yield f"{name}: {link} leads nowhere"
    for file in site.rglob("*.css"):
        if match := _CSS_ADDRESS.search(file.read_text()):
            yield f"{file.relative_to(site)}: {match[0]} loads from another host"


def led(file: Path, link: str, pages: dict[Path, Page]) -> bool:
    """Return whether a link of `file` leads to a file of the site, or to another host."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    if target.is_dir():
        target = target / "index.html"
    page = pages.get(target)
    if page is None:
        return target.is_file() and not parts.fragment
    return not parts.fragment or unquote(parts.fragment) in page.ids
