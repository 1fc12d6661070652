"""Look-ups that were refused: repeated for a moment, and bounded in number and in bytes."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from indexer.clickhouse.store import Store
from shim.catalog import Catalog
from shim.catalog.large_selection import LargeSelection
from shim.catalog.refusals import Refusals
from shim.catalog.types import Days, SelectionKey
from shim.catalog.unlabelled_series import UnlabelledSeries
from shim.model.errors import ExecutionError
from shim.model.matchers import Matcher
from shim.model.numeric_labels import _long_numbers, _short_numbers, named
from shim.model.tenancy import Tenant
from shim.settings import CatalogSettings, ShimSettings


def _key(number: int, length: int) -> SelectionKey:
    return SelectionKey(Tenant(1, 1), (Matcher("a", "=", f"{number:0{length}d}"),), Days(0, 1))


def _refuse(refusals: Refusals, key: SelectionKey) -> None:
    with pytest.raises(ExecutionError), refusals.remembering(key):
        raise ExecutionError("too many series")


def test_long_look_ups_make_room_for_each_other() -> None:
    refusals = Refusals(60.0, lambda: 0.0)
    for number in range(20):
        _refuse(refusals, _key(number, 1_000_000))
    refusals.check(_key(0, 1_000_000))  # 10 MB of texts are kept
    for number in range(12, 20):
        with pytest.raises(ExecutionError):
            refusals.check(_key(number, 1_000_000))


def test_few_long_patterns_are_remembered() -> None:
    before = _short_numbers.cache_info().currsize
    for number in range(20):
        long = "|".join(f"{n}" for n in range(1_000 + number, 2_000))
        assert named([Matcher("le", "=~", long)]) == tuple(map(float, range(1_000 + number, 2_000)))
    assert _short_numbers.cache_info().currsize == before
    assert _long_numbers.cache_info().currsize <= 16


def test_long_look_ups_of_totals_make_room_for_each_other() -> None:
    """Each has up to a megabyte of matchers, whether or not its ids are kept."""
    catalog = Catalog(Mock(spec=Store), ShimSettings(catalog=CatalogSettings(cache_series=30_000)))
    unlabelled = Mock(spec=UnlabelledSeries, ids=None)
    for number in range(5):
        catalog._keep_total(_key(number, 1_000_000), 0, 1, Mock(spec=LargeSelection), unlabelled)
    assert [key.matchers for key, _ in list(catalog._totals.keys())] == [
        _key(number, 1_000_000).matchers for number in (2, 3, 4)
    ]
