"""The site of the documents: the way to each answer, and the check of the built pages.

`make docs` builds it, in CI as well.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.docs_site import DOCS, pages, staged
from tests.support.markdown import ROOT
from tests.support.site_check import faults

#: Questions of newcomers: the page and heading of the answer, and words that are in that section.
QUESTIONS = [
    ("How do I send my first line?", "clients.md#python", "client.increment"),
    ("Why is my graph empty for 20 seconds?", "first-hour.md#when-a-line-shows", "20 seconds"),
    ("Why does a graph end before now?", "first-hour.md#the-right-end-of-a-graph", "shim.settle_s"),
    ("Why is my counter gone?", "first-hour.md#quiet-counters", "shim.counter_lookback_s"),
    ("Which window should `rate` have?", "first-hour.md#rates-of-short-windows", "$__rate_interval"),
    ("How do I get one percentile of all hosts?", "first-hour.md#percentiles-over-groups", "sum first"),
    ("Why is a line refused?", "first-hour.md#a-line-that-does-not-show", "check-config --line"),
    ("How much disk does it take?", "retention.md#how-much-disk-it-takes", "MB of one series"),
    ("How long is data kept?", "retention.md#how-long-data-is-kept", "indexer.retention.days_10s"),
    ("How do I run two?", "two-of-each.md", "urls = ["),
    ("How do I upgrade?", "upgrade.md#steps", "Indexers, one after another"),
    ("How do I go back?", "upgrade.md#going-back-a-version", "too new for Meterhouse"),
    ("When is another tool better?", "comparison.md#take-another-tool-if", "does not scrape"),
    ("How do I keep teams apart?", "several-teams.md", "meterhouse token --scope 2:1"),
    ("What does this message mean?", "troubleshooting.md#a-message", "no tables yet"),
    ("Why is my query refused?", "troubleshooting.md#a-message", "shim.max_series"),
    ("Do I need Redis?", "two-of-each.md#indexers", "Redis is optional"),
    ("How do I delete series?", "deletion.md", "meterhouse delete"),
    ("How do I back up?", "clickhouse.md#backup-and-restore", "BACKUP DATABASE"),
    ("What is lost at kill -9?", "reliability.md#up", "kill -9"),
    ("How do I make a token?", "security.md#credentials", "token"),
    ("How do I get an alert?", "rules.md#notifications", "Alertmanager"),
    ("How do I import old data?", "backfill.md", "meterhouse backfill"),
    ("Who makes so many series?", "reliability.md#cardinality", "/debug/top"),
    ("Where do settings go in a container?", "settings.md", "METERHOUSE_AGENT__FORWARD__URL"),
]
_LINK = re.compile(r"\]\(([^)\s#]+\.md)[^)\s]*\)")


def linked(name: str) -> set[str]:
    """Return the pages that a page links to in its text."""
    found = _LINK.findall(pages()[name].read_text())
    places = ((DOCS / name).parent / link for link in found if "://" not in link)
    return {
        place.resolve().relative_to(DOCS).as_posix()
        for place in places
        if place.resolve().is_relative_to(DOCS)
    }


def section(path: Path, anchor: str) -> str:
    """Return the text below a heading, or the whole page."""
    text = path.read_text()
    if not anchor:
        return text
    for match in re.finditer(r"^(#+) (.*)$", text, re.MULTILINE):
        if re.sub(r"[^\w\- ]", "", match[2].lower()).replace(" ", "-") == anchor:
            rest = text[match.end() :]
            end = re.search(rf"^#{{1,{len(match[1])}}} ", rest, re.MULTILINE)
            return rest[: end.start()] if end else rest
    raise AssertionError(f"{path.name} has no heading #{anchor}")


@pytest.mark.parametrize(("question", "answer", "words"), QUESTIONS, ids=[q[0] for q in QUESTIONS])
def test_an_answer_is_two_clicks_away(question: str, answer: str, words: str) -> None:
    """By links in the text, from the start page on: the navigation is a third way."""
    page, _, anchor = answer.partition("#")
    first = linked("index.md")
    assert page in first or any(page in linked(name) for name in first)
    assert words in section(DOCS / page, anchor)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](../mapping.md#keys)", "[a](../mapping.md#keys)"),
        ("[a](../../CHANGELOG.md)", "[a](../changelog.md)"),
        ("[a](../../pyproject.toml)", "[a](../files/pyproject.toml)"),
        ("[a](../images/ui-query.png)", "[a](../images/ui-query.png)"),
        ("[the folder](../../deploy)", "the folder"),
        ("[a](https://x.example/y.md)", "[a](https://x.example/y.md)"),
        ("[a](#b)", "[a](#b)"),
        ("[mapping.md](../mapping.md#keys)", "[Names to labels](../mapping.md#keys)"),
        ("[../CHANGELOG.md](../../CHANGELOG.md)", "[Changelog](../changelog.md)"),
        ("| `n:1\\|c` \\| |", "| `n:1|c` \\| |"),
        ("```\n[a](../../pyproject.toml)\n```", "```\n[a](../../pyproject.toml)\n```"),
    ],
)
def test_links_out_of_the_documents_lead_to_copies(text: str, expected: str) -> None:
    names = {DOCS / "mapping.md": "mapping.md", ROOT / "CHANGELOG.md": "changelog.md"}
    found, files = staged("decisions/x.md", text, DOCS / "decisions", names)
    assert found == expected
    assert files == ({ROOT / "pyproject.toml"} if "/files/" in expected else set())


def test_faults_of_a_built_site_are_found(tmp_path: Path) -> None:
    head = '<script src="https://cdn.example/x.js"></script><link rel="stylesheet" href="a.css">'
    article = "<article><h2 id='here'>1. x</h2><p>**bold** <code>**not**</code></p></article>"
    links = '<a href="b.html#there">x</a><a href="#here">x</a><a href="gone.html">x</a><a href="https://x.example">x</a>'
    (tmp_path / "index.html").write_text(head + article + links)
    (tmp_path / "b.html").write_text('<p id="elsewhere">x</p>')
    (tmp_path / "a.css").write_text("@import 'https://x.example/font.css'")
    assert list(faults(tmp_path)) == [
        "index.html: loads https://cdn.example/x.js",
        "index.html: Markdown as text: '**bold**'",
        "index.html: b.html#there leads nowhere",
        "index.html: gone.html leads nowhere",
        "a.css: @import loads from another host",
    ]


def test_messages_of_the_symptoms_are_in_the_code() -> None:
    messages = re.findall(r"^\| `([^`]+)`", section(DOCS / "troubleshooting.md", "a-message"), re.MULTILINE)
    assert len(messages) >= 10
    code = "".join(
        path.read_text() for part in ("agent", "indexer", "shim") for path in (ROOT / part).rglob("*.py")
    )
    assert [message for message in messages if message not in code] == []
