"""label_join: a label made of other labels."""

from __future__ import annotations

from collections.abc import Sequence

from shim.eval.functions.signature import (
    CallContext,
    Function,
    all_labels,
    target_of,
    text_of,
    vector_of,
)
from shim.eval.label_bytes import LabelBytes
from shim.eval.merge import relabelled
from shim.model import labels as lbl
from shim.model.errors import ExecutionError
from shim.model.label_naming import first_of
from shim.model.labels import Labels
from shim.model.values import Value
from shim.promql.functions import UNBOUNDED
from shim.promql.go_strings import is_label_name, shown


def _label_join(context: CallContext, args: Sequence[Value]) -> Value:
    """Set `dst` to the source labels' values, joined with the separator; missing ones are empty."""
    dst, separator, *sources = (text_of(arg) for arg in args[1:])
    for source in sources:
        if not is_label_name(source):
            raise ExecutionError(f"invalid source label name in label_join(): {shown(source)}")
    if not is_label_name(dst):
        raise ExecutionError(f"invalid destination label name in label_join(): {shown(dst)}")

    vector = vector_of(args[0])
    meant = [context.naming.answering(source, all_labels(vector)) for source in sources]
    target = target_of(context, dst, vector)

    made = LabelBytes("label_join()")

    def change(labels: Labels) -> Labels:
        joined = made.joined([first_of(labels, names) for names in meant], shown(separator))
        return lbl.changed(labels, target(labels), joined)

    return relabelled(vector, change)


FUNCTIONS = (
    Function(
        "label_join",
        ("vector", "string", "string", "string"),
        "vector",
        _label_join,
        optional=UNBOUNDED,
        made_labels=slice(1, 2),
        read_labels=slice(3, None),
    ),
)
