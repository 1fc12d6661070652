"""Bytes in string literals."""

from __future__ import annotations

import pytest

from shim.promql import escapes
from shim.promql.parse import parse


def value(literal: str) -> str:
    text: str = parse(literal).val  # type: ignore[attr-defined]
    return text


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        (r'"\xc3\xa9"', "é"),
        (r"'\303\251'", "é"),
        (r'"\u00e9\xe2\x82\xac"', "é€"),
        (r'"a\x22\x5c\xc3\xa9"', 'a"\\é'),
        (r'"\\xc3\\xa9"', r"\xc3\xa9"),
        (r"`\xc3\xa9`", r"\xc3\xa9"),
        (r'"\x41\101"', "AA"),
    ],
)
def test_bytes_spell_characters(literal: str, text: str) -> None:
    assert value(literal) == text
    assert escapes.is_label_name(text)


@pytest.mark.parametrize("literal", [r'"\xff"', r'"a\xc3"', r'"\303a"', r'"\xc3\x28"', r'"\xed\xa0\x80"'])
def test_stray_bytes_make_no_name(literal: str) -> None:
    text = value(literal)
    assert not escapes.is_label_name(text)
    assert "�" in escapes.shown(text)
    assert "\\x" in escapes.quoted(text)


@pytest.mark.parametrize("text", [r"\d+", r"a\nb", r"\q\"", 'a\n\\"', r"\\", r"it's \.", "\\", "\\é"])
def test_between_backquotes_everything_means_itself(text: str) -> None:
    assert value(f"`{text}`") == text
    matchers = parse(f"x{{a=`{text}`}}").matchers.matchers  # type: ignore[attr-defined]
    assert [m.value for m in matchers] == [text]


def test_what_is_no_literal_stays() -> None:
    for text in ('x{a="b"} # "\\xff"', "# `\\d`", 'x{a="`\\\\d`"}', "`\\d"):
        assert escapes.joined(text) == text
