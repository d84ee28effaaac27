"""Ledgers close, or that is an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagsel.errors import EventListError
from tagsel.events import DeliveryLedger, Ledger

counts = st.lists(st.integers(0, 2**40), min_size=5, max_size=5)


@given(counts, counts)
def test_ledgers_add_up(left: list[int], right: list[int]) -> None:
    both = Ledger(*left) + Ledger(*right)
    assert list(both.to_json().values()) == [a + b for a, b in zip(left, right, strict=True)]
    assert both.read == sum(left) + sum(right)
    both.check(sum(left) + sum(right))
    assert Ledger.from_json(both.to_json()) == both


def test_a_selection_ledger_that_does_not_close() -> None:
    ledger = Ledger(accepted=17, rejected=20, masked=2, duplicate=1)  # 17 + 20 + 2 + 1 = 40
    ledger.check(40)
    with pytest.raises(EventListError, match="does not close: 41 rows in the dataset, 40 accounted for") as caught:
        ledger.check(41)
    assert caught.value.fields["ledger"] == {
        "accepted": 17,
        "rejected": 20,
        "masked": 2,
        "duplicate": 1,
        "unreadable": 0,
    }
    with pytest.raises(EventListError):
        Ledger(accepted=41, rejected=-1).check(40)


def test_a_delivery_ledger_that_does_not_close() -> None:
    DeliveryLedger(accepted=17, delivered=14, unreadable=2, failed=1).check()
    with pytest.raises(EventListError, match="17 accepted, 16 accounted for"):
        DeliveryLedger(accepted=17, delivered=14, unreadable=2).check()
    both = DeliveryLedger(accepted=2, delivered=2) + DeliveryLedger(accepted=3, failed=3)
    assert both == DeliveryLedger(accepted=5, delivered=2, failed=3)


def test_fault_25_nothing_read_closes() -> None:
    Ledger().check(0)
    DeliveryLedger().check()
