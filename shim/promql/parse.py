"""PromQL text -> the syntax tree of promql-parser, or BadData.

Owns the guard in front of the parser: the parser recurses in native code, where a tree too deep would end the
process, so a text that could make one is refused before (measured: it dies above some 20,000 levels; ours is
far below). Also says which tree nodes stand for PromQL that Prometheus does not have.
"""

from __future__ import annotations

import re
from typing import Final

import promql_parser as pp

from shim.eval.functions.registry import FUNCTIONS
from shim.eval.window.registry import RANGE_FUNCTIONS
from shim.model.errors import BadData
from shim.promql import escapes, rewrite
from shim.promql.behind import During
from shim.promql.complain import complaint, resolved
from shim.promql.lexer import ComplaintError

#: Where the caller gives no bound.
MAX_QUERY_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 100
MAX_OPERATORS: Final = 300

#: Strings and comments. A string without an end goes on to the end of the text (the parser will refuse it):
#: to try again behind its quote would take time by the square of the length.
_SKIP: Final = re.compile(
    r""""(?:\\.|[^"\\])*+(?:"|\\?\Z)|'(?:\\.|[^'\\])*+(?:'|\\?\Z)|`[^`]*+(?:`|\Z)|#[^\n]*""", re.DOTALL
)
_OPERATOR: Final = re.compile(r"[-+*/%^]|[<>=!]=?|\b(?:and|or|unless|atan2)\b", re.IGNORECASE)
_BRACKET: Final = re.compile(r"[(\[{]|[)\]}]")
_BRACES: Final = re.compile(r"\{[^{}]*\}")
_UNARY_PLUS: Final = re.compile(r"(?:\A|[-+*/%^(,=<>]|\b(?:and|or|unless|atan2|bool))\s*\+", re.IGNORECASE)
#: A duration that may be longer than Prometheus' 292 years, which the parser takes and Python cannot hold.
_LONG: Final = re.compile(r"(?:\boffset\b|[\[:])[-+(\s]*(?:[\w.]{6}|[\w.]*[exy])", re.IGNORECASE)
#: The parser keeps no time before 1970: it panics on some ways of asking for one, and says 0 on others. What
#: rewrite.py has left of them is no number.
_BEFORE_1970: Final = re.compile(r'@(?:\s|"")*-')


_TYPES: Final = {
    "vector": pp.ValueType.Vector,
    "matrix": pp.ValueType.Matrix,
    "scalar": pp.ValueType.Scalar,
    "string": pp.ValueType.String,
}


def _extra_functions() -> list[pp.Function]:
    """Return the functions that are built and that the parser does not know."""
    ours = [
        *(
            pp.Function(f.name, [_TYPES[a] for a in f.args], _TYPES[f.returns], f.optional)
            for f in FUNCTIONS.values()
        ),
        *(
            pp.Function(f.name, [_TYPES[a] for a in f.args], pp.ValueType.Vector)
            for f in RANGE_FUNCTIONS.values()
        ),
    ]
    return [function for function in ours if not _parser_knows(function.name)]


def _parser_knows(name: str) -> bool:
    """Return whether the parser has a function of this name: without arguments it complains of those."""
    try:
        pp.parse(f"{name}()")
    except ValueError as e:
        return "unknown function" not in str(e)
    return True


def _register() -> None:
    try:
        pp.register_extra_functions(_extra_functions())
    except ValueError:  # registered before: the parser's table belongs to the process
        return


_register()


def parse(text: str, during: During | None = None, max_bytes: int = MAX_QUERY_BYTES) -> pp.Expr:
    """The syntax tree; `during` allows durations that are computed, `smoothed` and `anchored`.

    A text of many bytes takes a second of CPU (1 MiB of matchers): not for an event loop.

    Raises BadData with what Prometheus would say, or the parser where Prometheus would say nothing.
    """
    check_size(text, max_bytes)
    try:
        tree = _parsed(_accepted(text))
    except BadData as e:
        known = _resolved(text, during)
        if known is None:
            raise worded(text, e, during) from None
        return _parsed(_accepted(known))
    # The parser forgets the sign of `+"a"`, which is a string to it then.
    if (_UNARY_PLUS.search(text) or _LONG.search(text)) and (found := complaint(text, during)):
        raise BadData(found)
    return tree


def _accepted(text: str) -> str:
    """The query in words the parser accepts."""
    return rewrite.marked(rewrite.rewritten(escapes.joined(text)))


def _resolved(text: str, during: During | None) -> str | None:
    """In the parser's words what it does not know; None for what is wrong anyway."""
    try:
        return resolved(text, during)
    except (ComplaintError, RecursionError):
        return None


def worded(text: str, error: BadData, during: During | None = None) -> BadData:
    """The error that Prometheus gives for a query we refuse with `error`; itself where it gives none."""
    complained = complaint(text, during)
    return BadData(complained) if complained else error


def _parsed(text: str) -> pp.Expr:
    _check_times(text)
    try:
        tree = pp.parse(text)
    except (ValueError, OverflowError) as e:
        raise BadData(f"parse error: {e}") from None
    except BaseException as e:
        # A panic in the parser's native code, which is no Exception and has no name to import: `x[1e30]`.
        if type(e).__name__ != "PanicException":
            raise
        raise BadData(f"parse error: {e}") from None
    assert isinstance(tree, pp.Expr)
    return tree


def _check_times(text: str) -> None:
    if _BEFORE_1970.search(_SKIP.sub('""', text)):
        raise BadData("parse error: timestamp out of bounds for @ modifier")


def check_size(text: str, max_bytes: int = MAX_QUERY_BYTES) -> None:
    """Refuses a text that is too long, nested too deep or chains too many operators. Raises BadData."""
    if size_of(text) > max_bytes:
        raise BadData(f"parse error: query is longer than {max_bytes} bytes (setting shim.max_query_bytes)")
    try:
        text.encode()
    except UnicodeEncodeError as e:
        raise BadData(f"parse error: invalid UTF-8 at character {e.start}") from None
    bare = _SKIP.sub('""', text)
    depth = deepest = 0
    for m in _BRACKET.finditer(bare):
        depth += 1 if m[0] in "([{" else -1
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise BadData(f"parse error: nested deeper than {MAX_DEPTH} levels")
    operators = sum(1 for _ in _OPERATOR.finditer(_BRACES.sub("", bare)))
    if operators > MAX_OPERATORS:
        raise BadData(f"parse error: more than {MAX_OPERATORS} operators")


def size_of(text: str) -> int:
    """Count the bytes of a text in UTF-8, whatever is in it."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
