"""Bytes in string literals."""

from __future__ import annotations

import pytest

from shim.plan.parse import parse
from shim.promql import go_strings
from shim.promql.ast import StringLiteral


def value(literal: str) -> str:
    node = parse(literal)
    assert isinstance(node, StringLiteral)
    return node.val


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
    assert go_strings.is_label_name(text)


@pytest.mark.parametrize("literal", [r'"\xff"', r'"a\xc3"', r'"\303a"', r'"\xc3\x28"', r'"\xed\xa0\x80"'])
def test_stray_bytes_make_no_name(literal: str) -> None:
    text = value(literal)
    assert not go_strings.is_label_name(text)
    assert "�" in go_strings.shown(text)
    assert "\\x" in go_strings.quoted(text)


@pytest.mark.parametrize("text", [r"\d+", r"a\nb", r"\q\"", 'a\n\\"', r"\\", r"it's \.", "\\", "\\é"])
def test_between_backquotes_everything_means_itself(text: str) -> None:
    assert value(f"`{text}`") == text
    matchers = parse(f"x{{a=`{text}`}}").matchers  # type: ignore[union-attr]
    assert [m.value for m in matchers] == ["x", text]
