"""Lists looked up again after files moved, merged, were reprocessed or went: every event is accounted for."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from builders import GUIDS, SCHEMA, build, rows, workspace
from hypothesis import given, settings
from hypothesis import strategies as st

from tagsel.api import Workspace
from tagsel.cli.main import run
from tagsel.errors import CatalogError, EventListError
from tagsel.events import EventList
from tagsel.schema import Attribute, Schema


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


def placed(part: dict[str, Any], guid: int, first: int = 0, take: Any = None) -> dict[str, Any]:
    """Rows of a part, in a file of their own from entry `first`."""
    take = np.arange(len(part["run"])) if take is None else np.asarray(take)
    part = {c: [v[k] for k in take] if isinstance(v, list) else v[take] for c, v in part.items()}
    n = len(take)
    return {**part, "aod_guid": np.array([GUIDS[guid]] * n, object), "aod_entry": np.arange(first, first + n)}


def ids(events: EventList) -> list[tuple[int, int]]:
    return [(e.run, e.event) for e in events]


def test_feature_03_select_in_one_pass_and_find_in_the_next(home: Workspace) -> None:
    """Of 60 events 20 stay where they are, 30 are in another file now, 10 are not in the new pass: rows 50 to 59."""
    part = rows(60, 1)
    build(home, "v1.TAG", placed(part, 0))
    build(home, "v2.TAG", placed(part, 0, 0, range(20)), placed(part, 1, 5, range(20, 50)))
    old = home["v1.TAG"].select("true")
    done = old.rebase("v2.TAG")
    assert done.ledger.to_json() == {"kept": 20, "moved": 30, "vanished": 10, "ambiguous": 0, "repeated": 0}
    assert (done.onto, done.came_from) == (("v2.TAG@1",), ("v1.TAG@1",))
    at = {(int(part["run"][k]), int(part["event"][k])): k for k in range(60)}
    for event in done.events:
        k = at[event.run, event.event]
        assert (event.guid, event.entry) == ((GUIDS[0], k) if k < 20 else (GUIDS[1], 5 + k - 20))
    assert sorted(at[i] for i in ids(done.vanished)) == list(range(50, 60))
    assert done.events.digest == home["v2.TAG"].select("true").digest
    said = done.events.provenance
    assert said["datasets"] == ["v2.TAG@1"] and said["parents"] == [old.digest]
    counts = {"kept": 20, "moved": 30, "vanished": 10, "ambiguous": 0, "repeated": 0, "events": 60}
    assert said["rebase"] == {**counts, "from": ["v1.TAG@1"], "onto": ["v2.TAG@1"]}
    assert home.lists.rebase(done.events, "v2.TAG@1").ledger.kept == 50
    back = home.lists.rebase(done.events, "v1.TAG@latest")
    assert (back.ledger.kept, back.ledger.moved, back.events.digest) == (20, 30, done.events.digest)


def test_references_to_all_stages_are_the_new_ones(home: Workspace) -> None:
    stages = (
        Attribute("raw_guid", "string", role="reference", hot=False),
        Attribute("raw_entry", "int64", role="reference"),
    )
    schema = Schema((*SCHEMA.attributes, *stages), "with RAW")
    part = rows(30, 1)
    for name, raw in (("v1.TAG", 40), ("v2.TAG", 41)):
        more = {"raw_guid": np.array([GUIDS[raw]] * 30, object), "raw_entry": np.arange(30) + raw}
        build(home, name, {**placed(part, raw - 40), **more}, schema=schema)
    done = home["v1.TAG"].select("nMuon >= 1").rebase("v2.TAG")
    assert done.ledger.moved == len(done.events) == int((part["nMuon"] >= 1).sum())
    assert done.events.stage("raw").guid.values == (GUIDS[41],)
    assert (done.events.stage("raw").entry - done.events.entry == 41).all()


def test_the_first_of_repeated_rows_decides_for_data(home: Workspace) -> None:
    """Twice in the new pass, in files 3 and 2: the one in file 2 counts. Streams: the first by name does."""
    part = rows(10, 1)
    build(home, "v1.TAG", placed(part, 0))
    build(home, "v2.TAG", placed(part, 3), placed(part, 2, 7))
    build(home, "v2b.TAG", placed(part, 1))
    old = home["v1.TAG"].select("true")
    assert {e.guid for e in old.rebase("v2.TAG").events} == {GUIDS[2]}
    both = old.rebase("v2.TAG,v2b.TAG")
    assert both.ledger.moved == 10 and {e.guid for e in both.events} == {GUIDS[2]}
    assert both.onto == ("v2.TAG@1", "v2b.TAG@1")


def test_the_luminosity_block_is_checked(home: Workspace) -> None:
    part = rows(10, 1)
    build(home, "v1.TAG", placed(part, 0))
    other = {**placed(part, 0), "lumi": part["lumi"] + (np.arange(10) < 4)}
    build(home, "v2.TAG", other)
    done = home["v1.TAG"].select("true").rebase("v2.TAG")
    assert (done.ledger.kept, done.ledger.vanished) == (6, 4)
    found = {(e["run"], e["event"]): e["in_lumi"] for e in done.to_json()["vanished"]}
    assert found == {(int(part["run"][k]), int(part["event"][k])): int(part["lumi"][k]) + 1 for k in range(4)}


def test_a_list_of_numbers_alone_gets_its_places(home: Workspace) -> None:
    part = rows(10, 1)
    build(home, "v1.TAG", placed(part, 0))
    given = EventList.from_arrays([*part["run"], 99], [-1] * 11, [*part["event"], 5])
    done = home.lists.rebase(given, "v1.TAG")
    assert (done.ledger.moved, done.ledger.vanished, done.came_from) == (10, 1, ())
    assert {e.guid for e in done.events} == {GUIDS[0]}


def test_rows_that_a_list_repeats_are_counted_apart(home: Workspace) -> None:
    part = rows(10, 1)
    build(home, "v1.TAG", placed(part, 0), placed(part, 1))
    old = home["v1.TAG"].select("true", duplicates="all")
    done = old.rebase("v1.TAG")
    assert done.ledger.to_json() == {"kept": 10, "moved": 0, "vanished": 0, "ambiguous": 0, "repeated": 10}
    assert len(done.events) == 10


def simulated(home: Workspace, name: str, *parts: dict[str, Any], sample: str = "s") -> None:
    build(home, name, *parts, simulation=True, sample=sample)


def test_simulation_stays_in_its_file_and_follows_it_when_it_is_gone(home: Workspace) -> None:
    """Files 0, 1, 2 have the same numbers. 0 stays, 1 is now 5 (all rows), 2 was retracted: its events are in none."""
    part = rows(10, 1)
    simulated(home, "v1.TAG", *(placed(part, g) for g in range(3)))
    simulated(home, "v2.TAG", placed(part, 0), placed(part, 5))
    old = home["v1.TAG"].select("true")
    zero, one, two = (old[np.array([e.guid == GUIDS[g] for e in old])] for g in range(3))
    assert zero.rebase("v2.TAG").ledger.kept == 10
    done = one.rebase("v2.TAG")
    assert (done.ledger.moved, {e.guid for e in done.events}) == (10, {GUIDS[5]})
    # Of 1 and 2 together nobody can say whose the rows of 5 are.
    both = (one | two).rebase("v2.TAG")
    assert (both.ledger.ambiguous, both.ledger.moved) == (20, 0)
    assert both.to_json()["ambiguous"][0]["places"] == [{"guid": GUIDS[5], "entry": 0}]
    simulated(home, "v3.TAG", placed(part, 0), placed(part, 1))
    assert two.rebase("v3.TAG").ledger.vanished == 10  # 0 and 1 were there before: they hold other events
    simulated(home, "v4.TAG", placed(part, 5), placed(part, 6))
    assert one.rebase("v4.TAG").ledger.ambiguous == 10


def test_a_retracted_simulated_file_is_not_taken_for_another(home: Workspace) -> None:
    part = rows(10, 1)
    simulated(home, "v1.TAG", placed(part, 0), placed(part, 1))
    old = home["v1.TAG"].select("true")
    one = old[np.array([e.guid == GUIDS[1] for e in old])]
    home.datasets.retract(GUIDS[1], reason="bad")
    assert one.rebase("v1.TAG").ledger.vanished == 10
    home.home.table("v1.TAG").gc(dry_run=False, grace_s=0)
    assert old.rebase("v1.TAG").ledger.to_json()["kept"] == 10
    home.datasets.retract(GUIDS[0], reason="bad")
    assert old.rebase("v1.TAG").ledger.vanished == 20


def test_samples_are_told_apart(home: Workspace) -> None:
    part = rows(10, 1)
    simulated(home, "v1.TAG", placed(part, 0), sample="")
    simulated(home, "v2.TAG", placed(part, 1), sample="")
    old = home["v1.TAG"].select("true")
    with pytest.raises(EventListError, match="the list is of v1.TAG, the dataset of v2.TAG") as caught:
        old.rebase("v2.TAG")
    assert "--sample" in caught.value.hint
    for name in ("v1.TAG", "v2.TAG"):
        build(home, name, sample="top")
    done = old.rebase("v2.TAG")
    assert done.ledger.moved == 10 and done.events.sample.values == ("top",)  # type: ignore[union-attr]
    build(home, "data.TAG", rows(5, 3))
    with pytest.raises(EventListError, match="the list is simulation, data.TAG is data"):
        old.rebase("data.TAG")


def test_lists_without_events_and_names_that_do_not_exist(
    home: Workspace, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("TAGSEL_WORKSPACE", str(home.folder))
    monkeypatch.chdir(tmp_path)
    build(home, "v1.TAG", rows(30, 1))
    build(home, "v2.TAG", placed(rows(30, 1), 0, 0, range(10)))
    none = home["v1.TAG"].select("run < 0")
    assert home.lists.rebase(none, "v2.TAG").ledger.to_json() == dict.fromkeys(
        ("kept", "moved", "vanished", "ambiguous", "repeated"), 0
    )
    home["v1.TAG"].select("true").save("l.events")
    with pytest.raises(CatalogError, match="no dataset 'v3.TAG'"):
        home.lists.rebase("l.events", "v3.TAG")
    assert run(["lists", "rebase", "l.events", "--onto", "v3.TAG"]) == 2
    assert "v2.TAG" in capsys.readouterr().err
    assert run(["lists", "rebase", "none.events", "--onto", "v2.TAG"]) == 2
    capsys.readouterr()
    assert run(["lists", "rebase", "l.events", "--onto", "v2.TAG", "-o", "n.events"]) == 3
    said = capsys.readouterr()
    assert said.out.startswith("10 events, digest ")
    assert said.err.count("vanished:") == 10 and "… and 10 more; --json names all 20" in said.err
    assert run(["lists", "rebase", "l.events", "--onto", "v2.TAG@1", "--json"]) == 3
    answer = json.loads(capsys.readouterr().out)
    assert (answer["events"], len(answer["vanished"]), answer["ambiguous"]) == (10, 20, [])
    assert answer["ledger"]["moved"] + answer["ledger"]["kept"] == 10
    assert home.lists["n.events"].digest == answer["digest"]
    assert 1 in home.home.table("v2.TAG").pins()  # what a saved list is of stays readable


# -- against a loop over all rows


class Row(NamedTuple):
    run: int
    lumi: int
    event: int
    guid: int
    entry: int


FEW = st.builds(Row, st.integers(7, 8), st.integers(1, 2), st.integers(1, 3), st.integers(0, 3), st.integers(0, 3))
OLD = st.lists(FEW, max_size=8, unique_by=lambda r: (r.guid, r.entry))
NEW = st.lists(FEW.map(lambda r: r._replace(guid=r.guid + 2)), max_size=10, unique_by=lambda r: (r.guid, r.entry))


def columns(table: list[Row]) -> dict[str, Any]:
    of = {c: np.array([getattr(r, c) for r in table], np.int64) for c in Row._fields}
    return rows(
        len(table),
        1,
        run=of["run"].astype(np.int32),
        lumi=of["lumi"].astype(np.int32),
        event=of["event"],
        aod_guid=np.array([GUIDS[g] for g in of["guid"]], object),
        aod_entry=of["entry"],
    )


def brute_data(old: list[Row], new: list[Row]) -> tuple[Counter[str], set[Row]]:
    """Of each (run, event) the row that is first by file and entry, if its luminosity block is the same."""
    fates, found = Counter[str](), set[Row]()
    for r in old:
        same = [n for n in new if (n.run, n.event) == (r.run, r.event)]
        first = min(same, key=lambda n: (n.guid, n.entry), default=None)
        if first is None or first.lumi != r.lumi:
            fates["vanished"] += 1
        else:
            fates["kept" if (first.guid, first.entry) == (r.guid, r.entry) else "moved"] += 1
            found.add(first)
    return fates, found


def brute_simulation(old: list[Row], new: list[Row]) -> tuple[Counter[str], set[Row]]:
    """The rules of simulation, one after another, for each event by itself."""
    fates, found = Counter[str](), set[Row]()
    kept = [r for r in old if r in new]
    former, present = {r.guid for r in old}, {n.guid for n in new}
    chosen: dict[Row, list[Row]] = {}
    for r in old:
        if r in kept:
            continue
        same = [n for n in new if (n.run, n.lumi, n.event) == (r.run, r.lumi, r.event) and n not in kept]
        chosen[r] = [n for n in same if (n.guid == r.guid if r.guid in present else n.guid not in former)]
    claims = Counter(options[0] for options in chosen.values() if len(options) == 1)
    fates["kept"], found = len(kept), set(kept)
    for options in chosen.values():
        if not options:
            fates["vanished"] += 1
        elif len(options) > 1 or claims[options[0]] > 1:
            fates["ambiguous"] += 1
        else:
            fates["moved"] += 1
            found.add(options[0])
    return fates, found


@settings(max_examples=60)
@given(OLD, NEW, st.booleans(), st.integers(0, 10))
def test_feature_03_a_rebase_is_what_a_loop_over_all_rows_finds(
    old: list[Row], new: list[Row], simulation: bool, cut: int
) -> None:
    if not simulation:  # a list of data says each event once, and in one luminosity block
        old = list({(r.run, r.event): r for r in old}.values())
    with tempfile.TemporaryDirectory() as folder:
        home = workspace(Path(folder))
        build(home, "v1.TAG", columns(old), simulation=simulation, sample="s")
        build(home, "v2.TAG", columns(new[:cut]), columns(new[cut:]), simulation=simulation, sample="s")
        listed = home["v1.TAG"].select("true")
        assert len(listed) == len(old)
        done = listed.rebase("v2.TAG")
        fates, found = (brute_simulation if simulation else brute_data)(old, new)
        ledger = done.ledger.to_json()
        assert ledger == {**dict.fromkeys(ledger, 0), **fates}
        assert sum(ledger.values()) == len(old) and len(done.events) == ledger["kept"] + ledger["moved"]
        mine = {Row(e.run, e.lumi, e.event, GUIDS.index(e.guid), e.entry) for e in done.events}
        assert mine == found
        assert len(done.vanished) == ledger["vanished"] and len(done.ambiguous) == ledger["ambiguous"]
