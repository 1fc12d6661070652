"""Odd words in docstrings and comments of each top-level package; `tests/unit/words.toml` has the limits.

python -m tests.support.words            list every occurrence, and the number per 1,000 words of each package
python -m tests.support.words PATH       list those of one file or directory
python -m tests.support.words --write    record today's numbers as the limits
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.support.markdown import ROOT

PACKAGES: Final = ("agent", "indexer", "shim", "tests")
LIMITS: Final = ROOT / "tests" / "unit" / "words.toml"
_ODD: Final = re.compile(
    r"\b(?:what|whoever|nobody|stands|behind|parted|is\s+no|at\s+a\s+time|so\s+many|cannot\s+be\s+had)\b",
    re.IGNORECASE,
)
_SUFFIXES: Final = frozenset({".py", ".pyx", ".pxi"})
_CYTHON: Final = re.compile(r'"""(.*?)"""|#([^\n]*)', re.DOTALL)
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z'-]*")
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_HEADER: Final = """\
# Odd words (tests/support/words.py has the list) in docstrings and comments of each top-level package.
# A limit may only shrink. `python -m tests.support.words --write` records today's numbers.

"""


class Prose(NamedTuple):
    """A docstring or a comment, and the line it begins at."""

    line: int
    text: str


def prose(source: str) -> Iterator[Prose]:
    """Yield the docstrings and the comments of a source of Python."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _Documented) and (text := ast.get_docstring(node, clean=False)):
            yield Prose(node.body[0].lineno, text)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Prose(token.start[0], token.string)


def cython_prose(source: str) -> Iterator[Prose]:
    """Yield the docstrings and the comments of a source of Cython, which Python cannot parse."""
    for found in _CYTHON.finditer(source):
        yield Prose(source.count("\n", 0, found.start()) + 1, found[1] or found[2] or "")


def prose_of(file: Path) -> Iterator[Prose]:
    """Yield the docstrings and the comments of a file."""
    return (prose if file.suffix == ".py" else cython_prose)(file.read_text())


def odd_words(texts: Iterable[Prose]) -> Iterator[tuple[int, str]]:
    """Yield the line of each odd word in prose, and the word with its line as context."""
    for line, text in texts:
        for found in _ODD.finditer(text):
            before = text[: found.start()]
            context = text[before.rfind("\n") + 1 :].partition("\n")[0]
            yield line + before.count("\n"), f"{found[0]!r}: {context.strip()}"


def sources(top: Path) -> list[Path]:
    """Return the files of Python and Cython in a directory, or the file itself, in order."""
    return [top] if top.is_file() else sorted(f for f in top.rglob("*") if f.suffix in _SUFFIXES)


def counts() -> dict[str, int]:
    """Return the number of odd words in each top-level package."""
    return {
        package: sum(
            1
            for file in sources(ROOT / package)
            if _ODD.search(file.read_text())  # most files need no parsing
            for _ in odd_words(prose_of(file))
        )
        for package in PACKAGES
    }


def limits() -> dict[str, int]:
    """Return the recorded limit of each top-level package."""
    recorded: dict[str, int] = tomllib.loads(LIMITS.read_text())
    return recorded


def _list(top: Path) -> None:
    odd = words = 0
    for file in sources(top):
        texts = list(prose_of(file))
        words += sum(len(_WORD.findall(text)) for _, text in texts)
        for line, text in odd_words(texts):
            odd += 1
            print(f"{file.relative_to(ROOT)}:{line}: {text}")
    rate = 1000 * odd / max(words, 1)
    print(f"{top.relative_to(ROOT)}: {odd} odd words of {words}, {rate:.1f} per 1,000", file=sys.stderr)


if __name__ == "__main__":
    if "--write" in sys.argv:
        LIMITS.write_text(_HEADER + "".join(f"{name} = {count}\n" for name, count in counts().items()))
    else:
        for name in sys.argv[1:] or PACKAGES:
            _list((ROOT / name).resolve())
