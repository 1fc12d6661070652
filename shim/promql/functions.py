"""The signature of a function, as the parser checks its calls. Pure.

Which functions exist is the caller's to say: the parser is given a look-up by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

ValueType = Literal["vector", "matrix", "scalar", "string"]
#: As `Signature.variadic`: the last argument may be given any number of times, or be missing.
UNBOUNDED: Final = -1


@dataclass(frozen=True, slots=True)
class Signature:
    """The types of the arguments and of the value.

    With `variadic` the last argument may be missing, or be given up to this number of times.
    """

    args: tuple[ValueType, ...]
    returns: ValueType
    variadic: int = 0

    def accepts(self, count: int) -> bool:
        """Return whether a call may have this number of arguments."""
        if not self.variadic:
            return count == len(self.args)
        required = len(self.args) - 1
        return count >= required and (self.variadic == UNBOUNDED or count <= required + self.variadic)


#: Returns the signature of the function with this name, None where there is none.
SignatureOf = Callable[[str], Signature | None]
