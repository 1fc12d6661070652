"""Values of a settings profile that change answers."""

from __future__ import annotations

import pytest

from indexer.clickhouse.expected_settings import EXPECTED, refusal, sent_values, unexpected


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
