"""Settings that a profile may change, and that would then change answers or lose rows without an error.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_OVERFLOW_MODES: Final = (
    *("read_overflow_mode", "read_overflow_mode_leaf", "group_by_overflow_mode", "sort_overflow_mode"),
    *("result_overflow_mode", "timeout_overflow_mode", "timeout_overflow_mode_leaf", "set_overflow_mode"),
    *("join_overflow_mode", "transfer_overflow_mode", "distinct_overflow_mode"),
)

#: Settings of reads: other values would change answers.
_OF_READS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        # Rows left out: of shards, beyond a limit, or deleted ones that come back.
        "optimize_skip_unused_shards": ("0",),
        "skip_unavailable_shards": ("0",),
        "distributed_group_by_no_merge": ("0",),
        "limit": ("0",),
        "offset": ("0",),
        "apply_deleted_mask": ("1",),
        "additional_table_filters": ("{}",),
        "additional_result_filter": ("",),
        **dict.fromkeys(_OVERFLOW_MODES, ("throw",)),
        # Rows read from one shard or replica for all, or twice.
        "final": ("0",),
        "distributed_product_mode": ("deny", "global", "allow"),
        "enable_parallel_replicas": ("0",),
        "allow_experimental_parallel_reading_from_replicas": ("0",),
        "do_not_merge_across_partitions_select_final": ("0",),
        # The meaning of a statement.
        "count_distinct_implementation": ("uniqExact",),
        "empty_result_for_aggregation_by_constant_keys_on_empty_set": ("1",),
        "session_timezone": ("", "UTC"),
        "enable_extended_results_for_datetime_functions": ("0",),
        "output_format_native_encode_types_in_binary_format": ("0",),
        "aggregate_functions_null_for_empty": ("0",),
        "empty_result_for_aggregation_by_empty_set": ("0",),
        "join_use_nulls": ("0",),
        "join_default_strictness": ("ALL",),
        "any_join_distinct_right_table_keys": ("0",),
        "transform_null_in": ("0",),
        "prefer_column_name_to_alias": ("0",),
        "cast_keep_nullable": ("0",),
        "data_type_default_nullable": ("0",),
        # Results of before.
        "use_query_cache": ("0",),
    }
)
#: Settings of INSERTs: with other values rows would be stored twice, elsewhere, changed, or in one rollup.
_OF_INSERTS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "input_format_native_decode_types_in_binary_format": ("0",),
        "insert_shard_id": ("0",),
        "insert_distributed_one_random_shard": ("0",),
        "input_format_defaults_for_omitted_fields": ("1",),
        "insert_deduplicate": ("1",),
        "deduplicate_insert": ("enable", "backward_compatible_choice"),
        "materialized_views_ignore_errors": ("0",),
        "ignore_materialized_views_with_dropped_target_table": ("0",),
    }
)

#: The values that Meterhouse works with, by setting; the first one is set where another is found.
EXPECTED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({**_OF_READS, **_OF_INSERTS})

#: Settings of queries that bound or speed a statement and change no answer: they may be left out.
BOUNDS: Final = (
    *("max_execution_time", "max_threads", "optimize_move_to_prewhere"),
    *("output_format_parallel_formatting", "enable_multiple_prewhere_read_steps"),
)


def sent_values(values: Mapping[str, str]) -> dict[str, str]:
    """Return the value to send with every statement, for each setting that a server knows.

    Also those that are right: a profile may change later, and differ on another node.
    """
    return {
        name: values[name] if values[name] in accepted else accepted[0]
        for name, accepted in EXPECTED.items()
        if name in values
    }


#: The value of `readonly` with which a user may send no settings and no tables.
NO_SETTINGS: Final = "1"


def unexpected(values: Mapping[str, str]) -> dict[str, str]:
    """Return the value to set, for each setting of `values` that has another than Meterhouse works with."""
    return _other(values, EXPECTED)


def unexpected_of_reads(values: Mapping[str, str]) -> dict[str, str]:
    """Return the same of the settings that reads need."""
    return _other(values, _OF_READS)


def _other(values: Mapping[str, str], expected: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {
        name: accepted[0]
        for name, accepted in expected.items()
        if name in values and values[name] not in accepted
    }


def refusal(known: Mapping[str, tuple[str, bool]]) -> str:
    """Return which settings a user needs and may not send, in words; empty: none.

    `known`: the value of each setting, and whether the user may not change it. A user who may send none
    (readonly = 1) only reads: its profile needs the values of reads.
    """
    if "readonly" not in known:  # the list itself is cut short
        return "the user's profile has a limit or an offset of rows: expected 0"
    values = {name: value for name, (value, _) in known.items()}
    if values["readonly"] == NO_SETTINGS:
        return _unread(values)
    for name, wanted in unexpected(values).items():
        value, fixed = known[name]
        if fixed:
            return f"the user's profile fixes {name} = {value}: expected {wanted}"
    return ""


def _unread(values: Mapping[str, str]) -> str:
    found = [
        f"{name} = {values[name]} (expected {' or '.join(repr(one) for one in _OF_READS[name])})"
        for name in unexpected_of_reads(values)
    ]
    if not found:
        return ""
    return (
        "the user may send no settings (readonly = 1), and these of its profile would change answers: "
        + ", ".join(found)
    )
