"""Docstrings and comments are plain English: the number of odd words in each package may only shrink."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support import words


@pytest.fixture(scope="module")
def counts() -> dict[str, int]:
    return words.counts()


@pytest.mark.parametrize("package", words.PACKAGES)
def test_odd_words_only_shrink(package: str, counts: dict[str, int]) -> None:
    limit = words.limits()[package]
    assert counts[package] <= limit, (
        f"{package} has {counts[package]} odd words, {limit} are allowed:"
        f" `python -m tests.support.words {package}` lists them"
    )


@pytest.mark.parametrize("prose", [words.prose, words.cython_prose])
def test_docstrings_and_comments_are_counted_and_strings_are_not(
    prose: Callable[[str], Iterator[words.Prose]],
) -> None:
    lines = ['"""File', "", 'that stands here."""', 'x = "what"  # nobody reads', "#: so  many"]
    assert [(line, text.partition(":")[0]) for line, text in words.odd_words(prose("\n".join(lines)))] == [
        (3, "'stands'"),
        (4, "'nobody'"),
        (5, "'so  many'"),
    ]
