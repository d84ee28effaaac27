"""Selections against brute force on plain arrays: counts, ledgers, digests, cutflows, duplicates, masks, zones."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import GUIDS, MENU, OTHER_MENU, build, rows, workspace

from tagsel.api import Workspace
from tagsel.errors import CutError, SchemaError, StoreError
from tagsel.quality import LumiSet
from tagsel.selection import Query, count, select
from tagsel.selection.eligible_rows import across_inputs

CUTS = {
    "MET_pt > 30": lambda r, i: r["MET_pt"][i] > np.float32(30),
    "nMuon >= 2": lambda r, i: r["nMuon"][i] >= 2,
    "count(Muon.pt > 15 GeV) >= 1": lambda r, i: sum(p > np.float32(15) for p in r["Muon_pt"][i]) >= 1,
    "HLT_mu20": lambda r, i: bool(r["trigger_0"][i] >> 3 & 1),
    "run == 8 || lumi in (1, 2)": lambda r, i: r["run"][i] == 8 or r["lumi"][i] in (1, 2),
}


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


def passing(parts: list[dict[str, Any]], *cuts: str) -> set[tuple[int, int]]:
    """(run, event) that pass all cuts, by a plain loop."""
    return {
        (int(r["run"][i]), int(r["event"][i]))
        for r in parts
        for i in range(len(r["run"]))
        if all(CUTS[c](r, i) for c in cuts)
    }


def ids(events: Any) -> set[tuple[int, int]]:
    return {(e.run, e.event) for e in events}


@pytest.mark.parametrize("cut", CUTS)
def test_a_selection_is_what_a_plain_loop_finds(home: Workspace, cut: str) -> None:
    parts = [rows(200, 1), rows(150, 2)]
    build(home, "a.TAG", *parts)
    expected = passing(parts, cut)
    counted = home["a.TAG"].count(cut)
    events = home["a.TAG"].select(cut)
    assert 0 < len(expected) < 350
    assert counted.accepted == len(expected) == len(events)
    assert ids(events) == expected
    assert counted.ledger.to_json() == {
        "accepted": len(expected),
        "rejected": 350 - len(expected),
        "masked": 0,
        "duplicate": 0,
        "unreadable": 0,
    }


def test_feature_101_103_the_digest_does_not_depend_on_threads_zones_or_order(tmp_path: Path) -> None:
    parts = [rows(100, seed) for seed in range(1, 6)]
    found = []
    for k, order in enumerate([parts, parts[::-1]]):
        home = Workspace.init(tmp_path / f"W{k}")
        build(home, "a.TAG", *order)
        for threads, zones in itertools.product((1, 2, 5), (True, False)):
            query = home["a.TAG"].query(["MET_pt > 30 && nMuon >= 1"], threads=threads)
            events, counted = select(query, zones=zones)
            found.append((events.digest, counted.accepted, [tuple(e) for e in events]))
    assert len({digest for digest, *_ in found}) == 1
    assert all(f == found[0] for f in found)


def test_both_tiers_give_the_same_list(home: Workspace) -> None:
    build(home, "a.TAG", rows(300, 1), rows(200, 2), rows(100, 3))
    cut = " && ".join(f"({c})" for c in list(CUTS)[:3]) + " || HLT_mu20 && run == 8"
    query = home["a.TAG"].query([cut], lumi=LumiSet.from_ranges([(7, 1, 3), (8, 1, 9)]))
    interpreted, compiled = (select(replace(query, tier=tier)) for tier in ("interpreter", "kernel"))
    assert compiled[1].work.plan.tier == "kernel"
    assert [tuple(e) for e in interpreted[0]] == [tuple(e) for e in compiled[0]]
    assert interpreted[1].ledger == compiled[1].ledger
    assert len(interpreted[0]) > 0


def test_feature_86_throughput_is_stated(home: Workspace) -> None:
    build(home, "a.TAG", rows(300, 1))
    work = home["a.TAG"].count("MET_pt > 30", remember=False).work
    stated = work.to_json()
    assert stated["row_groups"] == {"none": 0, "some": 1, "all": 0}
    assert stated["bytes"] == 300 * 4  # one float32 column
    assert stated["events_per_s"] == round(300 / work.seconds)


def test_feature_09_rows_that_zones_skip_are_not_read(home: Workspace) -> None:
    low, high = (rows(200, k, MET_pt=np.full(200, met, np.float32)) for k, met in ((1, 5), (2, 50)))
    build(home, "a.TAG", low, high)
    counted = home["a.TAG"].count("MET_pt > 20")
    assert counted.accepted == 200
    assert counted.work.to_json()["row_groups"] == {"none": 1, "some": 0, "all": 1}
    assert counted.work.bytes == 0  # NONE and ALL read no column


def test_feature_101_the_selection_hash_names_cut_snapshot_and_masks(home: Workspace) -> None:
    build(home, "a.TAG", rows(50))
    base = home["a.TAG"].count("MET_pt > 30").selection
    assert home["a.TAG"].count(" MET_pt>30 GeV ").selection == base  # the same bound cut
    assert home["a.TAG"].count("MET_pt > 31").selection != base
    assert home["a.TAG"].count("MET_pt > 30", lumi=LumiSet.from_ranges([(8, 1, 2)])).selection != base
    build(home, "a.TAG", rows(50, 9))
    assert home["a.TAG"].count("MET_pt > 30").selection != base
    assert home["a.TAG@1"].count("MET_pt > 30").selection == base  # row 102: as of a snapshot


def test_feature_33_a_good_run_list_masks_and_the_ledger_closes(home: Workspace) -> None:
    parts = [rows(300, 1), rows(300, 2)]
    build(home, "a.TAG", *parts)
    good = LumiSet.from_ranges([(7, 1, 3), (9, 2, 2)])
    inside = [
        (r, i)
        for r in parts
        for i in range(300)
        if (r["run"][i] == 7 and r["lumi"][i] <= 3) or (r["run"][i] == 9 and r["lumi"][i] == 2)
    ]
    expected = sum(CUTS["nMuon >= 2"](r, i) for r, i in inside)
    ledger = home["a.TAG"].count("nMuon >= 2", lumi=good).ledger
    assert (ledger.accepted, ledger.masked, ledger.rejected) == (expected, 600 - len(inside), len(inside) - expected)
    assert ledger.read == 600


def test_a_block_that_zones_skip_is_still_masked_exactly(home: Workspace) -> None:
    """Row group verdict NONE: the small table (run, lumi) counts the masked rows, nothing else is read."""
    parts = [rows(100, 1, MET_pt=np.full(100, 5, np.float32))]
    build(home, "a.TAG", *parts)
    good = LumiSet.from_ranges([(8, 1, 5)])
    counted = home["a.TAG"].count("MET_pt > 10", lumi=good)
    masked = int((parts[0]["run"] != 8).sum())
    assert counted.ledger.to_json() == {
        "accepted": 0,
        "rejected": 100 - masked,
        "masked": masked,
        "duplicate": 0,
        "unreadable": 0,
    }
    work = counted.work.to_json()
    assert work["row_groups"] == {"none": 1, "some": 0, "all": 0}


def test_no_run_in_common_is_a_warning_and_zero_accepted(home: Workspace) -> None:
    build(home, "a.TAG", rows(40))
    counted = home["a.TAG"].count("true", lumi=LumiSet.from_ranges([(100, 1, 5)]))
    assert counted.accepted == 0
    assert counted.ledger.masked == 40
    assert any("no run in common" in w for w in counted.warnings)


def test_feature_47_an_event_in_two_streams_is_accepted_once(home: Workspace) -> None:
    first = rows(100, 1)
    shared = {k: v[:30] for k, v in first.items()}
    second = rows(70, 2)
    both = {
        k: (list(v) + list(second[k])) if k == "Muon_pt" else np.concatenate([v, second[k]]) for k, v in shared.items()
    }
    build(home, "x.A.TAG", first)
    build(home, "x.B.TAG", both)
    counted = home["x.A.TAG,x.B.TAG"].count("true")
    assert counted.ledger.to_json() == {
        "accepted": 170,
        "rejected": 0,
        "masked": 0,
        "duplicate": 30,
        "unreadable": 0,
    }
    assert home["x.*"].count("true", duplicates="all").accepted == 200
    with pytest.raises(StoreError, match="30 one of another dataset"):
        home["x.*"].count("true", duplicates="error")
    cut = "MET_pt > 30 && nMuon >= 1"
    forward, backward = home["x.A.TAG,x.B.TAG"].select(cut), home["x.B.TAG,x.A.TAG"].select(cut)
    assert forward.digest == backward.digest
    assert [tuple(e) for e in forward] == [tuple(e) for e in backward]


def test_fault_09_duplicates_within_a_dataset_count_once_by_guid_and_entry(home: Workspace) -> None:
    once = rows(10, 1)
    again = {**rows(3, 1), "aod_guid": np.array([GUIDS[9]] * 3, object)}
    for k in ("run", "lumi", "event"):
        again[k] = once[k][:3]
    build(home, "a.TAG", again, once)  # the copy arrives first, but its GUID comes last
    counted = home["a.TAG"].count("true")
    assert (counted.ledger.accepted, counted.ledger.duplicate) == (10, 3)
    assert GUIDS[9] not in home["a.TAG"].select("true").guids


def test_feature_54_simulation_takes_all_rows_that_repeat_an_id(home: Workspace) -> None:
    a, b = rows(20, 1), {**rows(20, 1), "aod_guid": np.array([GUIDS[5]] * 20, object)}
    build(home, "mc.TAG", a, b, simulation=True)
    assert home["mc.TAG"].count("true").accepted == 40
    picked = home["mc.TAG"].pick([f"{a['run'][0]}:{a['event'][0]}"])
    assert len(picked.events) == 2 and not picked.misses
    assert home["mc.TAG"].select("true").simulation


def test_data_and_simulation_do_not_mix(home: Workspace) -> None:
    build(home, "a.TAG", rows(5))
    build(home, "mc.TAG", rows(5), simulation=True)
    with pytest.raises(SchemaError, match="data and simulation"):
        home["a.TAG,mc.TAG"].count("true")


def test_feature_39_a_chain_by_name_in_two_menus_and_where_a_menu_lacks_it(home: Workspace) -> None:
    menus = np.where(np.arange(100) < 60, MENU.id, OTHER_MENU.id)
    columns = rows(100, 4, menu=menus)
    build(home, "a.TAG", columns)
    word = columns["trigger_0"]
    mu10 = np.where(np.arange(100) < 60, word & 1, word >> 5 & 1).astype(bool)
    mu20 = (word >> 3 & 1).astype(bool) & (np.arange(100) < 60)
    assert home["a.TAG"].count("HLT_mu10").accepted == int(mu10.sum())
    counted = home["a.TAG"].count("HLT_mu20")
    assert counted.accepted == int(mu20.sum())
    assert counted.triggers_absent["HLT_mu20"]["events"] == 40
    assert counted.triggers_absent["HLT_mu20"]["runs"] == sorted({int(r) for r in columns["run"][60:]})
    assert home["a.TAG"].count("present(HLT_mu20)").accepted == 60
    assert home["a.TAG"].count("present(HLT_mu20) && !HLT_mu20").accepted == 60 - int(mu20.sum())  # row 42
    with pytest.raises(CutError, match="HLT_mu99"):
        home["a.TAG"].count("HLT_mu99")


def test_feature_25_26_27_cutflow_is_brute_force_with_weights(home: Workspace) -> None:
    parts = [rows(120, 1), rows(80, 2)]
    build(home, "a.TAG", *parts)
    cuts = ["MET_pt > 30", "nMuon >= 2", "HLT_mu20"]
    flow = home["a.TAG"].cutflow(*cuts, weight="weight")
    everything = [(r, i) for r in parts for i in range(len(r["run"]))]

    def expected(*names: str) -> tuple[int, float, float]:
        w = [float(r["weight"][i]) for r, i in everything if all(CUTS[n](r, i) for n in names)]
        return len(w), math.fsum(w), math.fsum(x * x for x in w)

    for k, cut in enumerate(cuts):
        step = flow[cut]
        for way, names in {
            "alone": [cut],
            "sequential": cuts[: k + 1],
            "all_but": cuts[:k] + cuts[k + 1 :],
        }.items():
            got = getattr(step, way)
            n, sumw, sumw2 = expected(*names)
            assert got.n == n
            assert got.sumw == pytest.approx(sumw, rel=1e-14)
            assert got.sumw2 == pytest.approx(sumw2, rel=1e-14)
    assert (flow + flow)["nMuon >= 2"].alone.n == 2 * flow["nMuon >= 2"].alone.n
    assert flow.ledger.accepted == flow[2].sequential.n == home["a.TAG"].count(*cuts).accepted


def test_feature_32_top_n_is_exact_and_streams(home: Workspace) -> None:
    parts = [rows(90, s) for s in (1, 2, 3)]
    build(home, "a.TAG", *parts)
    everything = [
        (-float(r["MET_pt"][i]), int(r["run"][i]), int(r["event"][i]))
        for r in parts
        for i in range(90)
        if CUTS["nMuon >= 2"](r, i)
    ]
    best = {(run, event) for _, run, event in sorted(everything)[:7]}
    for threads in (1, 3):
        events, counted = home["a.TAG"].select_counted("nMuon >= 2", top=(7, "MET_pt"), threads=threads)
        assert ids(events) == best
        assert counted.ledger.accepted == 7 and counted.ledger.read == 270
    assert len(home["a.TAG"].select("nMuon >= 2", top=(0, "MET_pt"))) == 0
    assert len(home["a.TAG"].select("nMuon >= 2", top=(10_000, "event"))) == len(everything)


def test_feature_72_nothing_accepted_is_a_normal_answer(home: Workspace, tmp_path: Path) -> None:
    build(home, "a.TAG", rows(20))
    events = home["a.TAG"].select("false")
    events.save(tmp_path / "none.events")
    again = home.lists[tmp_path / "none.events"]
    assert len(events) == len(again) == 0
    assert again.digest == events.digest
    assert home["a.TAG"].cutflow("false", "true")[1].sequential.n == 0
    assert home.lists[again].map().files == ()


def test_fault_04_an_empty_dataset_answers(home: Workspace) -> None:
    build(home, "a.TAG")
    assert home["a.TAG"].count("nMuon >= 2").ledger.read == 0
    assert len(home["a.TAG"].select("nMuon >= 2")) == 0
    assert home["a.TAG"].cutflow("nMuon >= 2")[0].alone.n == 0


def test_fault_02_a_damaged_part_stops_or_is_counted(home: Workspace) -> None:
    table = build(home, "a.TAG", rows(30, 1), rows(50, 2))
    part = table.snapshot().parts[1]
    content = bytearray(part.path.read_bytes())
    value = part.read(0, ["MET_pt"])["MET_pt"].tobytes()
    content[content.find(value) + 5] ^= 4
    del part
    path = table.snapshot().parts[1].path
    path.chmod(0o644)
    path.write_bytes(bytes(content))
    with pytest.raises(StoreError, match="MET_pt"):
        home["a.TAG"].count("MET_pt > 1")
    counted = home["a.TAG"].count("MET_pt > 1", allow_losses=True)
    assert counted.ledger.unreadable == 50
    assert counted.ledger.read == 80
    assert len(counted.losses) == 1 and path.name in counted.losses[0]


def test_why_agrees_with_the_selection_for_every_event(home: Workspace) -> None:
    parts = [rows(25, 1), rows(25, 2)]
    build(home, "a.TAG", *parts)
    cuts = ["MET_pt > 30", "count(Muon.pt > 15 GeV) >= 1"]
    good = LumiSet.from_ranges([(7, 1, 9), (8, 1, 3)])
    accepted = ids(home["a.TAG"].select(*cuts, lumi=good))
    for r in parts:
        for i in range(25):
            run, event = int(r["run"][i]), int(r["event"][i])
            answer = home["a.TAG"].why((run, event), *cuts, lumi=good)
            assert (answer.verdict == "accepted") == ((run, event) in accepted)
            verdicts = [c.passed for c in answer.rows[0].cuts]
            assert verdicts == [CUTS[c](r, i) for c in cuts]
            assert dict(answer.rows[0].cuts[0].values)["MET_pt"] == pytest.approx(float(r["MET_pt"][i]))
    assert home["a.TAG"].why((7, 999_999), *cuts).verdict == "not in dataset"


def test_feature_51_52_every_id_is_found_or_listed(home: Workspace) -> None:
    parts = [rows(60, 1), rows(60, 2)]
    build(home, "a.TAG", *parts)
    wanted = [(int(r["run"][i]), int(r["lumi"][i]), int(r["event"][i])) for r in parts for i in range(0, 60, 7)]
    absent = [(7, 1, 10**12), (8, 3, 5)]
    wrong_lumi = (wanted[0][0], wanted[0][1] + 1, wanted[0][2])
    texts = [f"{r}:{lumi}:{e}" for r, lumi, e in (*wanted, *absent)]
    picked = home["a.TAG"].pick(texts)
    assert {(e.run, e.lumi, e.event) for e in picked.events} == set(wanted)
    assert set(picked.misses) == set(absent)
    assert home["a.TAG"].pick(["{}:{}:{}".format(*wrong_lumi)]).misses == (wrong_lumi,)
    by_run_event = home["a.TAG"].pick([f"{r}:{e}" for r, _, e in wanted])
    assert by_run_event.events.digest == picked.events.digest


def test_overflow_names_the_event(home: Workspace) -> None:
    columns = rows(5, 1, event=np.array([1, 2, 2**62, 4, 5], np.int64))
    build(home, "a.TAG", columns)
    with pytest.raises(CutError, match=f"{columns['run'][2]}:{2**62}"):
        home["a.TAG"].count("event * 4 > 7")
    assert home["a.TAG"].count("event == 4611686018427387904").accepted == 1


def test_queries_are_values(home: Workspace) -> None:
    build(home, "a.TAG", rows(10))
    lazy = home["a.TAG"].where("nMuon >= 1").where(met="MET_pt > 20 GeV")
    assert int(lazy.count()) == home["a.TAG"].count("nMuon >= 1", "MET_pt > 20").accepted
    assert lazy.events().digest == home["a.TAG"].select("nMuon >= 1", "MET_pt > 20").digest
    assert lazy.cutflow()["met"].cut == "MET_pt > 20 GeV"
    assert isinstance(home["a.TAG"].query(["true"]), Query)
    assert count(home["a.TAG"].query(["true"])).accepted == 10
    head = lazy.head(2, ["run", "event", "Muon.pt", "MET_pt"])
    assert head.fields == ["run", "event", "Muon.pt", "MET_pt"]


def test_fault_02_losses_are_allowed_whatever_is_damaged(home: Workspace) -> None:
    """An id column of one of two streams, and a part that is gone with its sidecar."""
    first = build(home, "x.A.TAG", rows(40, 1), rows(30, 3))
    build(home, "x.B.TAG", {**rows(40, 2), **{k: rows(40, 1)[k] for k in ("run", "lumi", "event")}})
    part = first.snapshot().parts[0]
    content = bytearray(part.path.read_bytes())
    content[content.find(part.read(0, ["event"])["event"].tobytes()) + 8] ^= 1
    part.path.chmod(0o644)
    part.path.write_bytes(bytes(content))
    with pytest.raises(StoreError, match="event"):
        home["x.*"].count("HLT_mu20")
    counted = home["x.*"].count("HLT_mu20", allow_losses=True)
    assert counted.ledger.unreadable == 40 and counted.ledger.read == 110
    gone = first.snapshot().parts[1]
    gone.path.unlink()
    for sidecar in (first.folder / "_tagsel" / "zones").glob(f"{gone.path.stem}*"):
        sidecar.unlink()
    counted = home["x.*"].count("HLT_mu20", allow_losses=True, lumi=LumiSet.from_ranges([(7, 1, 9)]))
    assert counted.ledger.unreadable == 70 and counted.ledger.read == 110


def test_streams_that_differ_in_the_luminosity_block_of_an_event_are_an_error(home: Workspace) -> None:
    first = rows(20, 1)
    build(home, "x.A.TAG", first)
    build(home, "x.B.TAG", {**rows(20, 1), "lumi": first["lumi"] + 1})
    with pytest.raises(StoreError, match="luminosity block"):
        home["x.*"].count("true")


def test_streams_that_share_no_run_are_not_read_for_duplicates(home: Workspace) -> None:
    for name, run in (("x.A.TAG", 7), ("x.B.TAG", 8)):
        table = build(home, name, rows(20, run, run=np.full(20, run, np.int32)))
        for part in table.snapshot().parts:
            part.zones(["run"])
            part.path.unlink()  # whoever reads a column now fails
    assert across_inputs(home.home.inputs("x.*")).rows == {}


def test_one_policy_for_every_verb(home: Workspace) -> None:
    once = rows(10, 1)
    again = {**rows(2, 1), **{k: once[k][:2] for k in ("run", "lumi", "event")}}
    build(home, "a.TAG", once, {**again, "aod_guid": np.array([GUIDS[9]] * 2, object)})
    identity = f"{once['run'][0]}:{once['event'][0]}"
    data = home["a.TAG"]
    for verb in (data.count, data.select, data.cutflow):
        with pytest.raises(StoreError, match="repeat an event"):
            verb("true", duplicates="error")
    with pytest.raises(StoreError, match="repeat an event"):
        home["a.TAG"].pick([identity], duplicates="error")
    assert len(home["a.TAG"].pick([identity]).events) == 1
    assert len(home["a.TAG"].pick([identity], duplicates="all").events) == 2
    wrong = f"{once['run'][0]}:{once['lumi'][0] + 1}:{once['event'][0]}"
    assert home["a.TAG"].why(wrong, "true").verdict == "not in dataset"
    assert home["a.TAG"].why(identity, "true").verdict == "accepted"


def test_why_reads_only_what_the_cut_needs(home: Workspace) -> None:
    columns = rows(30, 1)
    table = build(home, "a.TAG", columns)
    part = table.snapshot().parts[0]
    content = bytearray(part.path.read_bytes())
    content[content.find(part.read(0, ["weight"])["weight"].tobytes()) + 3] ^= 1
    part.path.chmod(0o644)
    part.path.write_bytes(bytes(content))
    answer = home["a.TAG"].why((int(columns["run"][3]), int(columns["event"][3])), "MET_pt > 0")
    assert answer.verdict == "accepted"


def test_a_top_list_has_a_hash_of_its_own(home: Workspace) -> None:
    build(home, "a.TAG", rows(30, 1))
    whole, top = (home["a.TAG"].select_counted("true", top=t)[1].selection for t in (None, (3, "MET_pt")))
    assert whole == home["a.TAG"].count().selection != top
