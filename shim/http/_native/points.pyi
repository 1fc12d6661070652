"""Types of the compiled part; points.pyx is the code."""

from shim.model.values import Bools, Floats, Ints

def write_rows(times_ms: Ints, values: Floats, present: Bools) -> list[bytes]: ...
