"""Event lists: one order, algebra as of Python's sets, and a digest that can be computed by hand."""

from __future__ import annotations

import hashlib
import random
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagsel.errors import EventListError
from tagsel.events import EventList, Ledger, Names, Overlap, Reference
from tagsel.events.identity import data_digest, order_of, pack

GUIDS = tuple(f"0000000{n}-AAAA-BBBB-CCCC-00000000000{n}" for n in range(4))
BIG = 2**53 + 1

Row = tuple[int, int, int, int, int]  # run, lumi, event, file, entry

identities = st.tuples(st.integers(1, 3), st.sampled_from([1, 2, 3, 4, BIG, 2**63 - 1]))


def data_list(pairs: list[tuple[int, int]], known: bool = True) -> EventList:
    """Data whose lumi, file and entry are functions of the identity, so that lists agree."""
    rows = [(run, event % 7 if known else -1, event) for run, event in pairs]
    run, lumi, event = zip(*rows, strict=True) if rows else ((), (), ())
    if not known:
        return EventList.from_arrays(np.array(run, int), np.array(lumi, int), np.array(event, int))
    codes = [(r + e) % 4 for r, e in pairs]
    entries = [e % 1000 for _, e in pairs]
    return EventList.from_arrays(np.array(run, int), np.array(lumi, int), np.array(event, int), codes, GUIDS, entries)


def simulated(rows: list[Row], sample: str = "mc.zmumu") -> EventList:
    run, lumi, event, file, entry = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    whole = [np.array(column, int) for column in (run, lumi, event)]
    return EventList.from_arrays(*whole, file, GUIDS, entry, simulation=True, sample=sample)


def ids(events: EventList) -> set[tuple[int, int]]:
    return {(e.run, e.event) for e in events}


# -- order and content


@given(st.lists(identities, unique=True), st.randoms(use_true_random=False))
def test_feature_48_one_order_however_the_events_come(pairs: list[tuple[int, int]], rng: random.Random) -> None:
    shuffled = rng.sample(pairs, len(pairs))
    a, b = data_list(pairs), data_list(shuffled)
    assert list(a) == list(b)
    assert [(e.guid, e.entry) for e in a] == sorted((e.guid, e.entry) for e in a)
    assert a.digest == b.digest
    assert a.guids == b.guids == tuple(sorted({GUIDS[(r + e) % 4] for r, e in pairs}))


def test_columns_records_and_slices() -> None:
    events = EventList.from_arrays([7, 7, 8], [1, 2, 3], [10, 11, BIG], [1, 1, 0], GUIDS[:2], [5, 3, 0])
    assert list(events) == [
        (8, 3, BIG, GUIDS[0], 0),
        (7, 2, 11, GUIDS[1], 3),
        (7, 1, 10, GUIDS[1], 5),
    ]
    assert (events[0].event, events[-1].run, len(events[:2])) == (BIG, 7, 2)
    assert [e.event for e in events[::-1]] == [e.event for e in events], "the order stays that of the list"
    assert ids(events[events.run == 7]) == {(7, 10), (7, 11)}
    assert ids(events[np.array([2, 0])]) == {(7, 10), (8, BIG)}
    assert [(g, e.tolist()) for g, e in events.files()] == [(GUIDS[0], [0]), (GUIDS[1], [3, 5])]
    assert [a.dtype for a in (events.run, events.lumi, events.event, events.entry, events.guid_codes)] == [
        np.int32,
        np.int32,
        np.int64,
        np.int64,
        np.int32,
    ]
    with pytest.raises(IndexError):
        events[3]


def test_a_list_does_not_change() -> None:
    given_event = np.array([10, 11])
    events = EventList.from_arrays([7, 7], [1, 1], given_event)
    given_event[0] = 99
    assert events.event.tolist() == [10, 11]
    for column in (events.run, events.lumi, events.event, events.entry, events.guid_codes):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 0


def test_stages_beside_the_aod() -> None:
    raw = Reference.of([1, 0], GUIDS[:2], [4, 9])
    events = EventList.from_arrays([7, 7], [1, 1], [10, 11], [0, 0], GUIDS[:1], [1, 0], references={"raw": raw})
    assert [(g, e.tolist()) for g, e in events.files("raw")] == [(GUIDS[0], [9]), (GUIDS[1], [4])]
    assert events.stage("raw").entry.tolist() == [9, 4], "ordered with the list"
    with pytest.raises(EventListError, match="no references to stage 'esd'"):
        events.files("esd")
    joined = events | EventList.from_arrays([9], [1], [12])
    assert [(e.event, g) for e, g in zip(joined, joined.stage("raw").guid.strings(), strict=True)] == [
        (12, ""),
        (11, GUIDS[0]),
        (10, GUIDS[1]),
    ]


def test_files_of_events_without_a_place() -> None:
    events = EventList.from_arrays([7, 7], [1, 1], [10, 11])
    with pytest.raises(EventListError, match="2 of 2 events do not know their AOD file"):
        events.files()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([-1], [1], [1]), "column run holds -1 to -1, outside 0 to 2147483647"),
        (([1], [-2], [1]), "column lumi holds -2"),
        (([1], [1], [-1]), "column event holds -1"),
        (([1], [1], np.array([2**63], np.uint64)), "column event holds 9223372036854775808"),
        (([2**31], [1], [1]), "column run holds 2147483648"),
        (([1.5], [1], [1]), "column run holds float64"),
        (([1, 2], [1], [1]), "differ in length: run 2, lumi 1, event 1"),
        (([1], [1], [1], [1], GUIDS[:1], [0]), "codes 1 to 1 for a table of 1 names"),
        (([1], [1], [1], [0], ["not-a-guid"], [0]), "'not-a-guid' is no GUID"),
        (([1], [1], [1], [0], [GUIDS[0].lower()], [0]), "is no GUID"),
        (([1], [1], [1], [0], GUIDS[:1], [0, 1]), "aod GUID 1, aod entry 2"),
    ],
)
def test_columns_that_are_refused(columns: tuple[object, ...], message: str) -> None:
    with pytest.raises(EventListError, match=message):
        EventList.from_arrays(*columns)  # type: ignore[arg-type]


def test_a_ledger_that_accepted_other_events_is_refused() -> None:
    with pytest.raises(EventListError, match="ledger's accepted 2"):
        EventList.from_arrays([1], [1], [1], ledger=Ledger(accepted=2))


# -- algebra


@given(st.lists(identities, unique=True), st.lists(identities, unique=True), st.booleans())
def test_feature_45_algebra_is_that_of_sets(
    left: list[tuple[int, int]], right: list[tuple[int, int]], known: bool
) -> None:
    a, b = data_list(left), data_list(right, known)
    x, y = set(left), set(right)
    for got, expected in ((a & b, x & y), (a | b, x | y), (a - b, x - y), (a ^ b, x ^ y)):
        assert ids(got) == expected
        assert len(got) == len(expected)
        assert got == data_list(sorted(expected))
    assert a.overlap(b) == Overlap(len(x - y), len(x & y), len(y - x))
    assert (a == b) == (x == y)
    assert list(a & b) == list(b & a)
    assert list(a | b) == list(b | a)


@given(st.lists(identities, unique=True))
def test_what_is_known_of_an_event_is_kept(pairs: list[tuple[int, int]]) -> None:
    """A list read from text takes its places from the other, whichever side it stands on."""
    full, bare = data_list(pairs), data_list(pairs, known=False)
    assert bare == full
    for got in (full & bare, bare & full, full | bare, bare | full):
        assert list(got) == list(full)


def test_feature_47_an_event_in_two_streams_is_one_event() -> None:
    minbias = EventList.from_arrays([7], [1], [10], [0], [GUIDS[2]], [5])
    muon = EventList.from_arrays([7], [1], [10], [0], [GUIDS[1]], [8])
    assert list(minbias | muon) == list(muon & minbias) == [(7, 1, 10, GUIDS[1], 8)], "the first by (GUID, entry)"
    assert len(minbias - muon) == len(minbias ^ muon) == 0


def test_repeated_identities_count_once_in_the_algebra() -> None:
    twice = EventList.from_arrays([7, 7], [1, 1], [10, 10], [0, 0], GUIDS[:1], [3, 4])
    assert len(twice) == 2
    assert list(twice | twice) == [(7, 1, 10, GUIDS[0], 3)]


def test_data_that_disagree_on_the_luminosity_block() -> None:
    a = EventList.from_arrays([7, 7], [1, 2], [10, 11])
    b = EventList.from_arrays([7, 7], [1, 3], [10, 11])
    with pytest.raises(EventListError, match="run 7, event 11 is in luminosity block 2 and in 3") as caught:
        a | b
    assert caught.value.fields == {"run": 7, "event": 11}
    assert len(a | EventList.from_arrays([7], [-1], [11])) == 2


def test_simulation_is_told_apart_by_its_place() -> None:
    rows: list[Row] = [(1, 1, 5, 0, 0), (1, 1, 5, 0, 1), (1, 1, 5, 1, 0), (1, 2, 5, 1, 0)]
    a, b = simulated(rows), simulated(rows[:2])
    assert (len(a), len(a & b), len(a - b), len(a | b), len(a ^ b)) == (4, 2, 2, 4, 2)
    other = simulated(rows[:2], sample="mc.ttbar")
    assert (len(a & other), len(a | other)) == (0, 6)
    union = a | other
    assert union.sample is not None
    assert union.sample.values == ("mc.ttbar", "mc.zmumu")
    assert union & a == a
    assert b != other


def test_data_and_simulation_do_not_mix() -> None:
    with pytest.raises(EventListError, match="one list is data, the other simulation"):
        data_list([(1, 1)]) & simulated([(1, 1, 1, 0, 0)])
    with pytest.raises(EventListError, match="one list is data, the other simulation"):
        data_list([]).overlap(simulated([]))


@given(
    st.lists(st.tuples(*[st.integers(0, 2)] * 4, st.integers(0, 3)), unique=True, max_size=30),
    st.integers(0, 30),
)
def test_simulation_algebra_is_that_of_sets(rows: list[Row], cut: int) -> None:
    a, b = simulated(rows[:cut]), simulated(rows[cut // 2 :])
    x, y = set(rows[:cut]), set(rows[cut // 2 :])

    def got(events: EventList) -> set[Row]:
        return {(e.run, e.lumi, e.event, GUIDS.index(e.guid), e.entry) for e in events}

    assert [got(s) for s in (a & b, a | b, a - b, a ^ b)] == [x & y, x | y, x - y, x ^ y]


def test_fault_25_feature_72_no_events_everywhere() -> None:
    for empty, some in (
        (data_list([]), data_list([(1, 2)])),
        (simulated([]), simulated([(1, 1, 1, 0, 0)])),
    ):
        assert (empty | some) == (some - empty) == (some ^ empty) == (some | some) == some
        assert (empty & some) == (empty - some) == (some - some) == some[:0] == empty
        assert len(empty) == 0
        assert list(empty) == list(empty[:5]) == empty.files() == []
        assert empty.overlap(some) == Overlap(0, 0, 1)
        assert "0 events" in repr(empty)
        assert "<table>" in empty._repr_html_()
    assert data_list([]) != simulated([]), "a list knows what it is, empty or not"


# -- digest


def test_feature_44_digest_of_data_by_hand() -> None:
    """The test vector of docs/reference/event-lists.md: title, then 12 bytes an event, ordered by (run, event)."""
    events = EventList.from_arrays([315267, 315267, 7], [93, 93, 1], [197818706, 5, BIG], [0, 0, 1], GUIDS, [3, 1, 2])
    rows = [(7, BIG), (315267, 5), (315267, 197818706)]
    content = b"tagsel.events.1 data\n" + b"".join(struct.pack("<iq", *row) for row in rows)
    assert events.digest == hashlib.sha256(content).hexdigest()
    moved = EventList.from_arrays([7, 315267, 315267], [-1, -1, -1], [BIG, 5, 197818706])
    assert moved.digest == events.digest, "places of data do not enter"


def test_feature_44_digest_of_simulation_by_hand() -> None:
    """For each sample: length and name, number of rows, then 40 bytes an event in identity order."""
    a = simulated([(1, 2, 9, 1, 0), (1, 1, 9, 0, 7)], sample="zmumu")
    b = EventList.from_arrays([1], [1], [9], simulation=True, sample="tt")

    def row(run: int, lumi: int, event: int, guid: str, entry: int) -> bytes:
        return struct.pack("<iiq", run, lumi, event) + bytes.fromhex(guid) + struct.pack("<q", entry)

    content = b"tagsel.events.1 simulation\n"
    content += struct.pack("<I", 2) + b"tt" + struct.pack("<Q", 1) + row(1, 1, 9, "00" * 16, -1)
    content += struct.pack("<I", 5) + b"zmumu" + struct.pack("<Q", 2)
    content += row(1, 1, 9, GUIDS[0].replace("-", ""), 7) + row(1, 2, 9, GUIDS[1].replace("-", ""), 0)
    assert (a | b).digest == hashlib.sha256(content).hexdigest()


@given(st.lists(identities, unique=True))
def test_the_packed_order_is_the_slow_order(pairs: list[tuple[int, int]]) -> None:
    run, event = np.array(pairs, np.int64).reshape(-1, 2).T
    order = order_of([run, event])
    slow = sorted(range(len(pairs)), key=lambda i: pairs[i])
    assert (np.arange(len(pairs)) if order is None else order).tolist() == slow
    content = b"tagsel.events.1 data\n" + b"".join(struct.pack("<iq", *pairs[i]) for i in slow)
    assert data_digest(run, event) == hashlib.sha256(content).hexdigest()


def test_packing_says_when_63_bits_are_too_few() -> None:
    assert pack([np.array([0, 2**31 - 1]), np.array([0, 2**32 - 1])]) is not None  # 31 + 32 bits
    assert pack([np.array([0, 2**31 - 1]), np.array([0, 2**32])]) is None
    assert pack([np.array([0, 1]), np.array([-1, 2**63 - 1])]) is None


# -- provenance


def test_provenance_of_algebra_is_flat_and_readable() -> None:
    a = EventList.from_arrays([7], [1], [10], provenance={"cut": "nMuon >= 2"}, ledger=Ledger(1, 39))
    b = EventList.from_arrays([7], [1], [11], provenance={"cut": "true"})
    both = a | b
    assert both.ledger is None
    assert both.provenance == {
        "operation": "union",
        "parents": [a.digest, b.digest],
        "lists": {
            a.digest: {"cut": "nMuon >= 2", "ledger": Ledger(1, 39).to_json(), "events": 1},
            b.digest: {"cut": "true", "events": 1},
        },
    }
    again = both - b
    assert again.provenance["parents"] == [both.digest, b.digest]
    assert set(again.provenance["lists"]) == {a.digest, b.digest, both.digest}  # type: ignore[call-overload]
    for _ in range(2000):  # never nests, so it never overflows
        both = both | b
    assert set(both.provenance["lists"]) == {a.digest, b.digest, (a | b).digest}  # type: ignore[call-overload]


def test_names_are_canonical() -> None:
    names = Names.of([2, 0, 2], ["z", "never", "a"])
    assert (names.values, names.codes.tolist()) == (("a", "z"), [0, 1, 0])
    assert Names.of([0, 1], ["same", "same"]).values == ("same",)
    assert names.join(Names.same("m", 1)).strings() == ["a", "z", "a", "m"]
    assert Names.same("x", 0).values == ()
    assert Names.of_strings(["b", "", "b"]).known().tolist() == [True, False, True]


def test_html_is_escaped() -> None:
    text = data_list([(1, 2), (2, 3)])._repr_html_()
    assert text.count("<tr>") == 3
    assert "2 events of data in 2 runs" in text
