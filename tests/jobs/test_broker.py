"""Brokering: pieces go where copies are, least bytes move, what is down is not used, and each refusal is explained."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagsel.aod import EventMap
from tagsel.aod.mapping import MappedFile
from tagsel.jobs.broker import Brokered, Standing, Topology, broker


def _file(k: int, events: int = 10, size: int = 1_000_000, pfn: str = "") -> MappedFile:
    entries = np.arange(events)
    return MappedFile(f"G{k}", f"f{k}", pfn, entries, entries, file_entries=events, bytes=size)


def _map(*files: MappedFile) -> EventMap:
    return EventMap(files, np.empty(0, np.int64), sum(len(f.entries) for f in files), "aod", len(files), 0)


def _at(*sites: str, k: int = 0) -> list[tuple[str, str]]:
    return [(s, f"root://{s.lower()}.example.org//f{k}.root") for s in sites]


def _sites(done: Brokered) -> list[str]:
    return [c.site for c in done.choices]


def test_files_go_where_they_are_and_nothing_moves() -> None:
    done, ordered = broker(_map(_file(0), _file(1)), {"G0": _at("CERN"), "G1": _at("CNAF", k=1)}, Topology())
    assert (_sites(done), done.moved, done.refused) == (["CERN", "CNAF"], 0, ())
    assert [f.lfn for f in ordered.files] == ["f0", "f1"]


def test_without_slots_they_gather_where_most_events_are() -> None:
    """CNAF holds 10 + 20 of the events, CERN 10 + 5: the file that both hold goes to CNAF."""
    files = (_file(0), _file(1, 20), _file(2, 5))
    done, _ = broker(_map(*files), {"G0": _at("CERN", "CNAF"), "G1": _at("CNAF"), "G2": _at("CERN")}, Topology())
    assert _sites(done) == ["CNAF", "CNAF", "CERN"]


def test_with_slots_the_load_is_shared() -> None:
    """Three slots to one, four files of a size that both hold: three go to CERN."""
    topology = Topology({"CERN": Standing("CERN", slots=3), "CNAF": Standing("CNAF", slots=1)})
    done, _ = broker(_map(*(_file(k) for k in range(4))), {f"G{k}": _at("CERN", "CNAF") for k in range(4)}, topology)
    assert sorted(_sites(done)) == ["CERN", "CERN", "CERN", "CNAF"]


def test_feature_61_a_site_that_is_down_is_not_used_and_that_is_said() -> None:
    down = Standing("CERN", "down: power", "down: power", remedy="tagsel sites up CERN")
    done, ordered = broker(
        _map(_file(0, pfn="root://cern.example.org//f0.root")), {"G0": _at("CERN", "CNAF")}, Topology({"CERN": down})
    )
    (choice,) = done.choices
    assert (choice.site, choice.source, choice.refused) == ("CNAF", "CNAF", {"CERN": "down: power"})
    assert ordered.files[0].pfn == "root://cern.example.org//f0.root"  # the only place that the map has


def test_what_no_usable_site_holds_moves_over_the_fastest_link() -> None:
    """1 MB from CERN, which takes no jobs, at 100 MB/s to KIT and 10 MB/s to CNAF: 0.01 s to KIT."""
    topology = Topology(
        {"CERN": Standing("CERN", "excluded: full"), "CNAF": Standing("CNAF"), "KIT": Standing("KIT")},
        {("CERN", "CNAF"): 10.0, ("CERN", "KIT"): 100.0, ("CNAF", "KIT"): 999.0},
    )
    (choice,) = broker(_map(_file(0)), {"G0": _at("CERN")}, topology)[0].choices
    assert (choice.site, choice.source, choice.moved, choice.seconds) == ("KIT", "CERN", 1_000_000, 0.01)
    assert choice.refused == {"CERN": "excluded: full"}
    assert "transfer" in choice.remedy


@pytest.mark.parametrize(
    ("topology", "problem", "remedy"),
    [
        (
            Topology({"CERN": Standing("CERN", "down", "down", remedy="wait until noon"), "KIT": Standing("KIT")}),
            "no site with a copy gives it",
            "wait until noon",
        ),
        (
            Topology({"CERN": Standing("CERN", "excluded: full", remedy="tagsel sites up CERN")}),
            "no usable site has a link",
            "tagsel sites up CERN",
        ),
        (
            Topology({"CERN": Standing("CERN", "excluded: full"), "KIT": Standing("KIT")}, {("KIT", "CERN"): 1.0}),
            "no usable site has a link",
            "transfer",
        ),
    ],
)
def test_a_file_that_can_be_read_nowhere_is_refused_with_the_nearest_remedy(
    topology: Topology, problem: str, remedy: str
) -> None:
    done, _ = broker(_map(_file(0)), {"G0": _at("CERN")}, topology)
    (choice,) = done.refused
    assert problem in choice.problem
    assert remedy in choice.remedy
    assert choice.site == ""


def test_a_file_without_any_copy_is_refused_unless_it_lies_here() -> None:
    done, _ = broker(_map(_file(0), _file(1, pfn="/data/f1.root")), {}, Topology())
    assert [c.problem for c in done.choices] == ["no catalog knows where it is", ""]


SITES = ["A", "B", "C", "D"]
STANDINGS = st.builds(
    lambda name, closed, silent, slots: Standing(name, "no" if closed or silent else "", "no" if silent else "", slots),
    st.just(""),
    st.booleans(),
    st.booleans(),
    st.integers(0, 3),
)


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(-1, 10**7), st.sets(st.sampled_from(SITES))), max_size=8),
    st.lists(STANDINGS, min_size=4, max_size=4),
    st.dictionaries(st.tuples(st.sampled_from(SITES), st.sampled_from(SITES)), st.floats(0.1, 1e4), max_size=8),
)
def test_every_file_has_a_usable_site_or_a_reason_and_nothing_moves_in_vain(
    files: list[tuple[int, int, set[str]]], standings: list[Standing], rates: dict[tuple[str, str], float]
) -> None:
    """Against the definition, by brute force: least bytes moved; of links the fastest."""
    sites = {n: Standing(n, s.closed, s.silent, s.slots) for n, s in zip(SITES, standings, strict=True)}
    copies = {f"G{k}": _at(*sorted(held), k=k) for k, (_, _, held) in enumerate(files)}
    made = _map(*(_file(k, events, size) for k, (events, size, _) in enumerate(files)))
    done, ordered = broker(made, copies, Topology(sites, rates))
    again, _ = broker(made, copies, Topology(sites, rates))
    assert done == again
    assert [c.guid for c in done.choices] == [f.guid for f in ordered.files] == [f.guid for f in made.files]
    open_ = {n for n, s in sites.items() if not (s.closed or s.silent)}
    for choice, (_, _, held) in zip(done.choices, files, strict=True):
        giving = {n for n in held if not sites[n].silent}
        reach = {(a, b) for a in giving for b in open_ if (a, b) in rates or not rates}
        assert set(choice.refused) == held - open_
        if held & open_:
            assert choice.site in held & open_
            assert (choice.source, choice.moved, choice.problem) == (choice.site, 0, "")
        elif reach:
            assert (choice.source, choice.site) in reach
            assert choice.moved == choice.bytes
            assert rates.get((choice.source, choice.site), 0) == max(rates.get(w, 0) for w in reach)
        else:
            assert choice.problem
            assert not choice.site
