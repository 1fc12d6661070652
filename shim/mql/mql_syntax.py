"""The syntax tree of MQL: frozen values, with the offset of each node in the text. Pure.

Conditions are expressions of SnQL already. The keys of tags in them are texts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from shim.snql.syntax import Expression


@dataclass(frozen=True, slots=True)
class MqlNumber:
    value: float
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class MqlMetric:
    """A metric by its name or its MRI."""

    name: str
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class MqlCall:
    """An aggregate of a metric, or a function of formulas."""

    name: str
    args: tuple[MqlFormula, ...]
    parameters: tuple[MqlFormula, ...] = ()
    at: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class MqlScoped:
    """`of{condition} by (keys)`: holds for every aggregate inside. `keys` is None without BY."""

    of: MqlFormula
    condition: Expression | None
    keys: tuple[str, ...] | None = None
    at: int = field(default=0, compare=False)


MqlFormula = MqlNumber | MqlMetric | MqlCall | MqlScoped
