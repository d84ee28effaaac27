"""Counts of trigger chains and overlaps of chains, streams and cuts, against sets made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import IDS, MENU, OTHER_MENU, SCHEMA, build, rows, workspace
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tagsel.api import Workspace
from tagsel.errors import CatalogError, EventListError, SchemaError
from tagsel.schema import Attribute, Menu, Schema
from tagsel.selection.overlap import shared_rows

Columns = Mapping[str, Any]
CHAINS = ("HLT_mu10", "HLT_mu20")


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


def menus_of(n: int, seed: int) -> np.ndarray[Any, Any]:
    """Rows of two menus and of none, mixed."""
    return np.random.default_rng(seed).choice([MENU.id, OTHER_MENU.id, 0], n)


def fired(columns: Columns, row: int) -> dict[str, bool]:
    """The decisions of one row, of the chains that its menu has: what the language means, spelt out."""
    menu = {m.id: m for m in (MENU, OTHER_MENU)}.get(int(columns["menu"][row]))
    word = int(columns["trigger_0"][row])
    return {} if menu is None else {name: bool(word >> bit & 1) for name, (_, bit) in menu.bits.items()}


def by_hand(columns: Columns, kept: Sequence[int], key: Sequence[str]) -> dict[tuple[Any, ...], list[int]]:
    """(chain, *block) -> [fired, present, absent]."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for row in kept:
        decided = fired(columns, row)
        for chain in CHAINS:
            counts = found.setdefault((chain, *(int(columns[k][row]) for k in key)), [0, 0, 0])
            counts[0] += decided.get(chain, False)
            counts[1] += chain in decided
            counts[2] += chain not in decided
    return found


@pytest.mark.parametrize(("by", "key"), [("", ()), ("run", ("run",)), ("lumi", ("run", "lumi"))])
def test_feature_39_feature_40_chains_counted_by_menu_run_and_block(
    home: Workspace, by: str, key: tuple[str, ...]
) -> None:
    columns = [
        rows(300, seed, menu=menus_of(300, seed), trigger_0=np.arange(300, dtype=np.int32) % 64) for seed in (1, 2)
    ]
    build(home, "a.TAG", *columns)
    both = {name: [*columns[0][name], *columns[1][name]] for name in ("run", "lumi", "menu", "trigger_0", "MET_pt")}
    for cut, kept in {
        "true": range(600),
        "MET_pt > 30": [i for i in range(600) if both["MET_pt"][i] > np.float32(30)],
        "MET_pt < 0": [],
    }.items():
        found = home["a.TAG"].triggers("*", cut, by=by)
        expected = by_hand(both, list(kept), key)
        if not by and not expected:
            expected = {(chain,): [0, 0, 0] for chain in CHAINS}  # all events are one block, of none
        assert {r[: 1 + len(key)]: list(r[1 + len(key) : -1]) for r in found.rows()} == expected
        assert int(found.events.sum()) == found.count.accepted == len(list(kept))
        for chain, *_, share in found.rows() if not by else ():
            n, present, _ = expected[(chain,)]
            assert share == (round(n / present, 6) if present else None)


def test_feature_40_counts_are_those_of_a_count(home: Workspace) -> None:
    build(home, "a.TAG", rows(200, 3, menu=menus_of(200, 3)))
    found = {r["chain"]: r for r in home["a.TAG"].triggers().table()}
    for chain in CHAINS:
        assert found[chain]["fired"] == home["a.TAG"].count(chain).accepted
        assert found[chain]["present"] == home["a.TAG"].count(f"present({chain})").accepted


def test_chains_of_duplicates_good_runs_and_damaged_parts_follow_the_rules_of_every_verb(home: Workspace) -> None:
    one = rows(60, 1)
    table = build(home, "a.TAG", one, one)  # each event twice
    n = int((one["trigger_0"] & 1).sum())
    assert [r[1:4] for r in home["a.TAG"].triggers("HLT_mu10").rows()] == [(n, 60, 0)]
    assert [r[1:4] for r in home["a.TAG"].triggers("HLT_mu10", duplicates="all").rows()] == [(2 * n, 120, 0)]
    part = table.snapshot().parts[0]  # whose rows count
    part.path.write_bytes(part.path.read_bytes()[:500])
    lossy = home["a.TAG"].triggers(allow_losses=True)
    assert lossy.count.ledger.unreadable == 60 and lossy.count.losses


def test_a_chain_whose_word_a_part_lacks_is_absent_there(home: Workspace) -> None:
    bare = Schema(tuple(a for a in SCHEMA if a.name != "trigger_0"), "bare")
    build(home, "a.TAG", rows(10, 1))
    build(home, "a.TAG", {k: v for k, v in rows(10, 2).items() if k != "trigger_0"}, schema=bare)
    (found,) = home["a.TAG"].triggers("HLT_mu20").table()
    assert (found["present"], found["absent"]) == (10, 10)


def test_patterns_of_chains(home: Workspace) -> None:
    build(home, "a.TAG", rows(10, 1))
    assert home["a.TAG"].triggers("HLT_mu20, HLT_mu1*").chains == CHAINS
    with pytest.raises(SchemaError, match="did you mean HLT_mu"):
        home["a.TAG"].triggers("HLT_mu30")
    with pytest.raises(SchemaError, match="cannot be counted by 'year'"):
        home["a.TAG"].triggers(by="year")
    build(home, "none.TAG", rows(10, 1), menus=())
    with pytest.raises(SchemaError, match="no trigger menu"):
        home["none.TAG"].triggers()


# -- overlaps


@given(arrays.arrays(np.uint8, st.tuples(st.integers(0, 40), st.integers(1, 6)), elements=st.integers(0, 1)))
def test_shared_rows_are_the_sizes_of_intersections(inside: Any) -> None:
    sets = [{i for i in range(len(inside)) if inside[i, k]} for k in range(inside.shape[1])]
    shared, alone, anywhere = shared_rows(inside)
    assert shared.tolist() == [[len(a & b) for b in sets] for a in sets]
    others = [set().union(*(b for at, b in enumerate(sets) if at != k)) for k in range(len(sets))]
    assert alone.tolist() == [len(a - o) for a, o in zip(sets, others, strict=True)]
    assert anywhere == len(set().union(*sets))


def words(n: int, seed: int, number: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {f"trigger_{k}": random.integers(-(2**31), 2**31, n).astype(np.int32) for k in range(number)}


def wide(number: int, names: Sequence[str]) -> tuple[Schema, Menu]:
    """A schema of `number` words, and a menu that spreads chains over them, not in the order of their names."""
    extra = tuple(Attribute(f"trigger_{k}", "bits32", role="trigger") for k in range(number))
    bits = {name: (f"trigger_{at * 7 % number}", at * 7 // number % 32) for at, name in enumerate(names)}
    return Schema((*IDS, SCHEMA["MET_pt"], *extra), "wide"), Menu(bits)


def test_feature_41_chains_overlap_as_sets_do(home: Workspace) -> None:
    names = [f"HLT_c{k}" for k in range(40)]
    schema, menu = wide(13, names)
    columns = rows(500, 1, menu=np.where(np.arange(500) % 5, menu.id, 0), **words(500, 4, 13))
    build(home, "a.TAG", columns, schema=schema, menus=[menu])
    found = home["a.TAG"].overlap("MET_pt > 20", chains="HLT_*")
    passing = [i for i in range(500) if columns["MET_pt"][i] > np.float32(20) and i % 5]
    sets = {
        n: {i for i in passing if int(columns[menu.bits[n][0]][i]) & 0xFFFFFFFF & 1 << menu.bits[n][1]} for n in names
    }
    assert found.names == tuple(sorted(names)) and found.events == len(set().union(*sets.values()))
    assert found.shared.tolist() == [[len(sets[a] & sets[b]) for b in found.names] for a in found.names]
    for at, name in enumerate(found.names):
        others = set().union(*(s for n, s in sets.items() if n != name))
        assert found.alone[at] == len(sets[name] - others)
    some = home["a.TAG"].overlap("MET_pt > 20", chains="HLT_c1,HLT_c3?")
    picked = [found.names.index(n) for n in some.names]
    assert some.shared.tolist() == found.shared[np.ix_(picked, picked)].tolist()


@pytest.mark.slow
def test_feature_41_two_thousand_chains_of_100_000_events(home: Workspace) -> None:
    """Measured at 2.8 s on two cores of an AMD EPYC that did other work, too."""
    names = [f"HLT_c{k:04d}" for k in range(2000)]
    schema, menu = wide(63, names)
    columns = rows(100_000, 1, menu=np.full(100_000, menu.id), **words(100_000, 5, 63))
    build(home, "a.TAG", columns, schema=schema, menus=[menu])
    found = home["a.TAG"].overlap(chains="*")
    decided = {n: columns[w].view(np.uint32) >> np.uint32(bit) & 1 for n, (w, bit) in menu.bits.items()}
    assert found.shared.diagonal().tolist() == [int(decided[n].sum()) for n in found.names]
    for a, b in ((0, 1), (3, 1999), (777, 778), (1024, 31)):
        expected = int((decided[found.names[a]] & decided[found.names[b]]).sum())
        assert found.shared[a, b] == found.shared[b, a] == expected


def streams(home: Workspace, sizes: Sequence[tuple[int, int]]) -> list[set[tuple[int, int]]]:
    """Streams of the events [first, last), one with each of its first ten rows twice; run and event of each."""
    made = []
    for k, (first, last) in enumerate(sizes):
        whole = rows(100, 1)
        columns = {name: values[first:last] for name, values in whole.items()}
        build(home, f"s{k}.TAG", columns, *([{n: v[:10] for n, v in columns.items()}] if k == 0 else []))
        made.append(set(zip(columns["run"].tolist(), columns["event"].tolist(), strict=True)))
    return made


def test_feature_43_streams_overlap_by_identity(home: Workspace) -> None:
    sets = streams(home, [(0, 50), (40, 80), (45, 90), (95, 100)])
    found = home["s?.TAG"].overlap()
    assert found.names == ("s0.TAG", "s1.TAG", "s2.TAG", "s3.TAG")
    assert found.shared.tolist() == [[len(a & b) for b in sets] for a in sets]
    # [0,50) without [40,90): 40; [40,80) is in [0,50) to 50 and in [45,90) from 45: 0; [45,90): 80 to 90; [95,100): 5
    assert found.alone.tolist() == [40, 0, 10, 5]
    assert found.events == 95
    assert [r["alone of own"] for r in found.table()] == [0.8, 0.0, round(10 / 45, 6), 1.0]
    near = found.nearest().to_json()
    assert (near[0]["most shared with"], near[0]["shared"]) == ("s1.TAG", 10)
    assert [c.ledger.duplicate for c in found.counts] == [10, 0, 0, 0]


def test_feature_43_streams_overlap_among_the_events_that_pass(home: Workspace) -> None:
    streams(home, [(0, 60), (30, 100)])
    met = rows(100, 1)["MET_pt"] > np.float32(25)
    found = home["s0.TAG,s1.TAG"].overlap("MET_pt > 25")
    assert found.shared.tolist() == [[met[:60].sum(), met[30:60].sum()], [met[30:60].sum(), met[30:].sum()]]
    nothing = home["s0.TAG,s1.TAG"].overlap("MET_pt < 0")
    assert nothing.shared.tolist() == [[0, 0], [0, 0]] and nothing.events == 0
    assert [r["alone of own"] for r in nothing.table()] == [None, None]


def test_simulation_overlaps_by_sample_and_place(home: Workspace) -> None:
    columns = rows(30, 1, run=np.ones(30, np.int32), event=np.arange(30) % 10)
    build(home, "a.SIM", columns, simulation=True, sample="Z")
    build(home, "b.SIM", {n: v[20:] for n, v in columns.items()}, simulation=True, sample="Z")
    build(home, "c.SIM", columns, simulation=True, sample="W")
    found = home["?.SIM"].overlap()
    assert found.shared.tolist() == [[30, 10, 0], [10, 10, 0], [0, 0, 30]]


def test_streams_that_disagree_on_a_luminosity_block_are_refused(home: Workspace) -> None:
    columns = rows(10, 1)
    build(home, "a.TAG", columns)
    build(home, "b.TAG", {**columns, "lumi": columns["lumi"] + 1})
    with pytest.raises(EventListError, match="luminosity block"):
        home["?.TAG"].overlap()


def test_cuts_overlap_as_their_events_do(home: Workspace) -> None:
    columns = rows(200, 4)
    build(home, "a.TAG", columns)
    met, n = columns["MET_pt"], columns["nMuon"]
    sets = {"low": met < np.float32(30), "mid": (met > np.float32(20)) & (met < np.float32(60)), "two": n >= 2}
    found = home["a.TAG"].overlap(
        "nMuon < 3", regions={"low": "MET_pt < 30", "mid": "MET_pt > 20 && MET_pt < 60", "two": "nMuon >= 2"}
    )
    sets = {name: mask & (n < 3) for name, mask in sets.items()}
    assert found.shared.tolist() == [[int((a & b).sum()) for b in sets.values()] for a in sets.values()]
    times = np.sum(list(sets.values()), axis=0)
    assert found.alone.tolist() == [int((a & (times == 1)).sum()) for a in sets.values()]
    assert found.events == int((times > 0).sum())


def test_what_cannot_overlap_is_said(home: Workspace) -> None:
    build(home, "a.TAG", rows(10, 1))
    with pytest.raises(CatalogError, match="two datasets or more"):
        home["a.TAG"].overlap()
    with pytest.raises(CatalogError, match="two questions"):
        home["a.TAG"].overlap(chains="*", regions={"x": "true"})
