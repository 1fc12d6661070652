"""Which of many regular expressions match a name, and what one of them captured: in linear time.

Owns the matching, in two ways over one program of all expressions:

* `matching`: all at once, by a deterministic automaton that is built while it is used. What a character does
  to a state is worked out once and remembered, up to a bound; a name costs a look-up per character then,
  however many expressions there are.
* `captures`: of one expression, by following all ways at a time in the order of preference (Pike's machine).
  It gives what a backtracking matcher would find first (leftmost, then as the operators prefer), as RE2 does.

Neither ever goes back in the text: no expression and no name can make it take long. Pure.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, assert_never

from agent import regex
from agent.regex import Assertion, Expression, Node

#: Instructions of all expressions together; each is a character class, a branch, a place or a bracket.
MAX_INSTRUCTIONS: Final = 50_000
#: Remembered steps; beyond them the memory begins anew.
MAX_STEPS: Final = 20_000

_CHARS, _SPLIT, _SAVE, _ASSERT, _MATCH = range(5)
#: What stands before or after a place: nothing, a word character, a line's end, something else.
_NOTHING, _WORDLIKE, _NEWLINE, _OTHER = range(4)

_Slots = tuple[int, ...]


class TooLargeError(ValueError):
    """Expressions that together are beyond MAX_INSTRUCTIONS."""


class Automaton:
    """Expressions, known by their place in the sequence."""

    def __init__(self, expressions: Sequence[Expression]) -> None:
        self._groups = [expression.groups for expression in expressions]
        self._code = _Code()
        self._starts = [self._code.add(e, number) for number, e in enumerate(expressions)]
        self._classes = _Classes(self._code.ranges)
        self._accepts = [frozenset(self._classes.of(ranges)) for ranges in self._code.ranges]
        self._begun: dict[tuple[int, int], tuple[frozenset[int], frozenset[int]]] = {}
        self._forget()

    @property
    def remembered(self) -> int:
        """Steps remembered now."""
        return len(self._steps)

    def _forget(self) -> None:
        self._states: list[tuple[frozenset[int], int]] = []
        self._ids: dict[tuple[frozenset[int], int], int] = {}
        self._steps: dict[tuple[int, int], tuple[int, frozenset[int]]] = {}

    def matching(self, text: str) -> frozenset[int]:
        """The expressions that match somewhere in `text`."""
        if not self._starts:
            return frozenset()
        found, state = frozenset[int](), self._state(frozenset(), _NOTHING)
        for char in (*text, ""):
            step = self._steps.get((state, self._classes.of_char(char)))
            if step is None:
                step = self._step(state, char)
            state, matched = step
            if matched:
                found |= matched
        return found

    def _state(self, positions: frozenset[int], before: int) -> int:
        key = (positions, before)
        number = self._ids.get(key)
        if number is None:
            number = self._ids[key] = len(self._states)
            self._states.append(key)
        return number

    def _step(self, state: int, char: str) -> tuple[int, frozenset[int]]:
        """Where a character leads, and what matches before it; no character is the end of the text."""
        positions, before = self._states[state]
        if len(self._steps) >= MAX_STEPS:
            self._forget()
            state = self._state(positions, before)
        after, number = self._kind(char), self._classes.of_char(char)
        opened, matched = self._open(positions, before, after)
        code, accepts = self._code, self._accepts
        reached = frozenset(code.next[at] for at in opened if number in accepts[code.x[at]])
        step = self._steps[state, number] = (self._state(reached, after), matched)
        return step

    def _open(
        self, positions: frozenset[int], before: int, after: int
    ) -> tuple[frozenset[int], frozenset[int]]:
        """What may be read next from there or from a start, and the expressions that end there."""
        begun = self._begun.get((before, after))
        if begun is None:
            begun = self._begun[before, after] = self._closure(self._starts, before, after)
        opened, matched = self._closure(positions, before, after)
        return opened | begun[0], matched | begun[1]

    def _closure(
        self, positions: Sequence[int] | frozenset[int], before: int, after: int
    ) -> tuple[frozenset[int], frozenset[int]]:
        code, seen, waiting = self._code, set(positions), list(positions)
        opened, matched = list[int](), list[int]()
        while waiting:
            at = waiting.pop()
            op = code.op[at]
            if op == _CHARS:
                opened.append(at)
            elif op == _MATCH:
                matched.append(code.x[at])
            elif op != _ASSERT or _holds(code.asserts[code.x[at]], before, after):
                for following in (code.next[at], code.x[at]) if op == _SPLIT else (code.next[at],):
                    if following not in seen:
                        seen.add(following)
                        waiting.append(following)
        return frozenset(opened), frozenset(matched)

    def _kind(self, char: str) -> int:
        if not char:
            return _NOTHING
        if not self._code.asks:  # fewer states where nobody wants to know
            return _OTHER
        if char == "\n":
            return _NEWLINE
        return _WORDLIKE if char.isascii() and (char.isalnum() or char == "_") else _OTHER

    def captures(self, number: int, text: str) -> tuple[str, ...] | None:
        """What expression `number` matched, then its groups (empty if they took no part); None: no match."""
        slots = self._run(number, text)
        if slots is None:
            return None
        return tuple(
            text[slots[i] : slots[i + 1]] if slots[i + 1] >= 0 else "" for i in range(0, len(slots), 2)
        )

    def _run(self, number: int, text: str) -> _Slots | None:
        code, best = self._code, None
        none: _Slots = (-1,) * (2 * self._groups[number] + 2)
        threads: list[tuple[int, _Slots]] = []
        for at in range(len(text) + 1):
            before, after = self._kind(text[at - 1 : at]), self._kind(text[at : at + 1])
            if best is None:
                threads.append((self._starts[number], none))
            elif not threads:
                break
            char_class = self._classes.of_char(text[at : at + 1])
            reached: list[tuple[int, _Slots]] = []
            for position, slots in self._ordered(threads, at, before, after):
                if code.op[position] == _MATCH:
                    best = slots
                    break  # what comes later is preferred less
                if char_class in self._accepts[code.x[position]]:
                    reached.append((code.next[position], slots))
            threads = reached
        return best

    def _ordered(
        self, threads: list[tuple[int, _Slots]], at: int, before: int, after: int
    ) -> list[tuple[int, _Slots]]:
        """The closure of all threads, in the order of preference, each position once."""
        code, seen, out = self._code, set[int](), list[tuple[int, _Slots]]()
        waiting = threads[::-1]
        while waiting:
            position, slots = waiting.pop()
            if position in seen:
                continue
            seen.add(position)
            op = code.op[position]
            if op in (_CHARS, _MATCH):
                out.append((position, slots))
            elif op == _SPLIT:
                waiting += ((code.x[position], slots), (code.next[position], slots))
            elif op == _SAVE:
                slot = code.x[position]
                waiting.append((code.next[position], (*slots[:slot], at, *slots[slot + 1 :])))
            elif _holds(code.asserts[code.x[position]], before, after):
                waiting.append((code.next[position], slots))
        return out


def _holds(assertion: Assertion, before: int, after: int) -> bool:
    match assertion:
        case Assertion.BEGIN:
            return before == _NOTHING
        case Assertion.END:
            return after == _NOTHING
        case Assertion.LINE_BEGIN:
            return before in (_NOTHING, _NEWLINE)
        case Assertion.LINE_END:
            return after in (_NOTHING, _NEWLINE)
        case Assertion.WORD | Assertion.NOT_WORD:
            return ((before == _WORDLIKE) != (after == _WORDLIKE)) == (assertion is Assertion.WORD)
        case _:
            assert_never(assertion)


class _Code:
    """The program: what each instruction does, and which comes next.

    `x` is an index of `ranges` or `asserts`, the second choice of a split, a slot, or an expression's number.
    """

    def __init__(self) -> None:
        self.op: list[int] = []
        self.x: list[int] = []
        self.next: list[int] = []
        self.ranges: list[regex.Ranges] = []
        self.asserts: list[Assertion] = list(Assertion)
        self.asks = False  # is there an assertion about the characters around a place?
        self._known: dict[regex.Ranges, int] = {}

    def add(self, expression: Expression, number: int) -> int:
        """Adds an expression, from its end, so that each knows its next; gives its first instruction."""
        end = self._put(_SAVE, 1, self._put(_MATCH, number, 0))
        return self._put(_SAVE, 0, self._node(expression.node, end))

    def _put(self, op: int, x: int, following: int) -> int:
        if len(self.op) >= MAX_INSTRUCTIONS:
            raise TooLargeError(f"more than {MAX_INSTRUCTIONS} instructions in all")
        self.op.append(op)
        self.x.append(x)
        self.next.append(following)
        return len(self.op) - 1

    def _split(self, first: int, second: int, *, greedy: bool) -> int:
        return self._put(_SPLIT, second, first) if greedy else self._put(_SPLIT, first, second)

    def _node(self, node: Node, end: int) -> int:
        """The instructions of a node that go on at `end`; gives the first of them."""
        match node:
            case regex.Empty():
                return end
            case regex.Chars(ranges):
                place = self._known.setdefault(ranges, len(self.ranges))
                if place == len(self.ranges):
                    self.ranges.append(ranges)
                return self._put(_CHARS, place, end)
            case regex.Assert(assertion):
                self.asks |= assertion not in (Assertion.BEGIN, Assertion.END)
                return self._put(_ASSERT, self.asserts.index(assertion), end)
            case regex.Group(number, inner):
                last = self._put(_SAVE, 2 * number + 1, end)
                return self._put(_SAVE, 2 * number, self._node(inner, last))
            case regex.Sequence(nodes):
                for one in reversed(nodes):
                    end = self._node(one, end)
                return end
            case regex.Choice(nodes):
                first = self._node(nodes[-1], end)
                for one in reversed(nodes[:-1]):
                    first = self._split(self._node(one, end), first, greedy=True)
                return first
            case regex.Repeat():
                return self._repeat(node, end)
            case _:
                assert_never(node)

    def _repeat(self, node: regex.Repeat, end: int) -> int:
        least, inner = node.least, node.node
        if node.most is None:
            loop = self._put(_SPLIT, 0, 0)
            first = self._node(inner, loop)
            self.next[loop], self.x[loop] = (first, end) if node.greedy else (end, first)
            # As RE2: what may match nothing is tried once before it is left out, `(a*)*` is `((a*)+)?`.
            if least == 0 and _may_be_empty(inner):
                first = self._split(first, end, greedy=node.greedy)
            else:
                first = first if least else loop
            least = max(least - 1, 0)
        else:
            first = end
            for _ in range(node.most - least):
                first = self._split(self._node(inner, first), end, greedy=node.greedy)
        for _ in range(least):
            first = self._node(inner, first)
        return first


def _may_be_empty(node: Node) -> bool:
    match node:
        case regex.Chars():
            return False
        case regex.Empty() | regex.Assert():
            return True
        case regex.Group(_, inner):
            return _may_be_empty(inner)
        case regex.Sequence(nodes):
            return all(map(_may_be_empty, nodes))
        case regex.Choice(nodes):
            return any(map(_may_be_empty, nodes))
        case regex.Repeat(inner, least):
            return least == 0 or _may_be_empty(inner)
        case _:
            assert_never(node)


class _Classes:
    """Characters that no expression tells apart, as numbers."""

    def __init__(self, ranges: Sequence[regex.Ranges]) -> None:
        edges = {0, 10, 11, *(ord(c) + more for c in "09AZaz__" for more in (0, 1))}  # and for assertions
        for one in ranges:
            for low, high in one:
                edges |= {low, high + 1}
        self._edges = sorted(edges)
        self._ascii = {chr(code): bisect_right(self._edges, code) for code in range(128)}
        self._ascii[""] = 0  # the end of the text; real classes begin at 1

    def of_char(self, char: str) -> int:
        """The class of a character."""
        found = self._ascii.get(char)
        return bisect_right(self._edges, ord(char)) if found is None else found

    def of(self, ranges: regex.Ranges) -> list[int]:
        """The classes that make up the ranges."""
        return [
            number
            for low, high in ranges
            for number in range(bisect_right(self._edges, low), bisect_right(self._edges, high) + 1)
        ]
