"""Values of a settings profile that change answers."""

from __future__ import annotations

import pytest

from indexer.clickhouse.expected_settings import EXPECTED, refusal, sent_values, unexpected

#: A value of each setting with which answers would change, or rows be lost or doubled, and the value that is
#: sent. A list of its own: a setting that is taken from the code's list is missed here.
HARMFUL: dict[str, tuple[str, str]] = {
    "optimize_skip_unused_shards": ("1", "0"),
    "skip_unavailable_shards": ("1", "0"),
    "distributed_group_by_no_merge": ("1", "0"),
    "limit": ("1", "0"),
    "offset": ("1", "0"),
    "apply_deleted_mask": ("0", "1"),
    "additional_table_filters": ("{'series': '0'}", "{}"),
    "additional_result_filter": ("x = 1", ""),
    "read_overflow_mode": ("break", "throw"),
    "read_overflow_mode_leaf": ("break", "throw"),
    "group_by_overflow_mode": ("break", "throw"),
    "sort_overflow_mode": ("break", "throw"),
    "result_overflow_mode": ("break", "throw"),
    "timeout_overflow_mode": ("break", "throw"),
    "timeout_overflow_mode_leaf": ("break", "throw"),
    "set_overflow_mode": ("break", "throw"),
    "join_overflow_mode": ("break", "throw"),
    "transfer_overflow_mode": ("break", "throw"),
    "distinct_overflow_mode": ("break", "throw"),
    "final": ("1", "0"),
    "distributed_product_mode": ("local", "deny"),
    "enable_parallel_replicas": ("1", "0"),
    "allow_experimental_parallel_reading_from_replicas": ("1", "0"),
    "do_not_merge_across_partitions_select_final": ("1", "0"),
    "count_distinct_implementation": ("uniq", "uniqExact"),
    "empty_result_for_aggregation_by_constant_keys_on_empty_set": ("0", "1"),
    "session_timezone": ("Asia/Tokyo", ""),
    "enable_extended_results_for_datetime_functions": ("1", "0"),
    "output_format_native_encode_types_in_binary_format": ("1", "0"),
    "aggregate_functions_null_for_empty": ("1", "0"),
    "empty_result_for_aggregation_by_empty_set": ("1", "0"),
    "join_use_nulls": ("1", "0"),
    "join_default_strictness": ("ANY", "ALL"),
    "any_join_distinct_right_table_keys": ("1", "0"),
    "transform_null_in": ("1", "0"),
    "prefer_column_name_to_alias": ("1", "0"),
    "cast_keep_nullable": ("1", "0"),
    "data_type_default_nullable": ("1", "0"),
    "use_query_cache": ("1", "0"),
    "input_format_native_decode_types_in_binary_format": ("1", "0"),
    "insert_shard_id": ("1", "0"),
    "insert_distributed_one_random_shard": ("1", "0"),
    "input_format_defaults_for_omitted_fields": ("0", "1"),
    "insert_deduplicate": ("0", "1"),
    "deduplicate_insert": ("disable", "enable"),
    "materialized_views_ignore_errors": ("1", "0"),
    "ignore_materialized_views_with_dropped_target_table": ("1", "0"),
}


def test_each_harmful_value_is_replaced() -> None:
    found = {name: value for name, (value, _) in HARMFUL.items()}
    wanted = {name: value for name, (_, value) in HARMFUL.items()}
    assert sent_values(found) == unexpected(found) == wanted
    assert sent_values(wanted) == wanted
    assert unexpected(wanted) == {}


def test_only_other_values_are_set() -> None:
    values = {name: accepted[-1] for name, accepted in EXPECTED.items()}
    assert unexpected(values) == {}
    assert unexpected({**values, "limit": "10", "deduplicate_insert": "disable"}) == {
        "limit": "0",
        "deduplicate_insert": "enable",
    }


def test_every_setting_that_a_server_knows_is_sent() -> None:
    """Also one that is right now: a profile may change, and differ on another node."""
    assert sent_values({"limit": "9", "offset": "0", "session_timezone": "UTC", "max_threads": "7"}) == {
        "limit": "0",
        "offset": "0",
        "session_timezone": "UTC",
    }


def test_settings_that_a_server_does_not_know_are_left_alone() -> None:
    assert unexpected({"max_threads": "7"}) == {}


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"readonly": ("2", True), "limit": ("0", True)}, ""),
        ({"readonly": ("2", True), "limit": ("9", False)}, ""),
        (
            {"readonly": ("2", True), "skip_unavailable_shards": ("1", True)},
            "the user's profile fixes skip_unavailable_shards = 1: expected 0",
        ),
        (
            {
                "readonly": ("1", True),
                "join_use_nulls": ("1", True),
                "session_timezone": ("Asia/Tokyo", True),
            },
            (
                "the user may send no settings (readonly = 1), and these of its profile would change answers:"
                " session_timezone = Asia/Tokyo (expected '' or 'UTC'), join_use_nulls = 1 (expected '0')"
            ),
        ),
        ({"readonly": ("1", True), "join_use_nulls": ("0", True), "max_threads": ("1", True)}, ""),
        ({"readonly": ("1", True), "insert_deduplicate": ("0", True)}, ""),  # it writes nothing
        (
            {"max_threads": ("1", False)},
            "the user's profile has a limit or an offset of rows: expected 0",
        ),
    ],
)
def test_settings_that_a_user_may_not_send(known: dict[str, tuple[str, bool]], said: str) -> None:
    assert refusal(known) == said
