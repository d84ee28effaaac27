"""Reading just the selected entries: the right events in the list's order, or a named loss."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from tagsel.aod import Layout, arrays, forecast, iterate, map_events, reading, template
from tagsel.errors import AccessError
from tagsel.events import EventList

SOME = [3, 117, 48, 50, 79, 80, 0, 22, 21, 23, 99]


def check(sample: Any, events: EventList, found: Any) -> None:
    """The array holds the truth of the list, in its order."""
    truth = sample.truth(events)
    assert found.run.to_list() == [r[2] for r in truth]
    assert found.lumi.to_list() == [r[3] for r in truth]
    assert found.event.to_list() == [r[4] for r in truth]
    assert found.MET_pt.to_list() == [r[5] for r in truth]
    assert found.Muon_pt.to_list() == [r[6] for r in truth]


def test_arrays_in_the_order_of_the_list(sample: Any) -> None:
    events = sample.events(SOME)
    found = arrays(sample.map(events), events, ["Muon_*", "MET_pt"])
    check(sample, events, found)
    assert found.fields == ["run", "lumi", "event", "MET_pt", "Muon_pt", "Muon_charge", "Muon_tight"]
    assert str(found.event.type.content) == "int64"  # event numbers above 2^53, from uint64


def test_every_batch_size_gives_the_same_events(sample: Any) -> None:
    events = sample.events(SOME)
    for batch in (1, 4, 11, 100):
        parts = list(iterate(sample.map(events), events, "Muon_pt,MET_pt", batch))
        assert [len(p) for p in parts[:-1]] == [batch] * (len(parts) - 1)
        check(sample, events, ak.concatenate(parts))


def test_a_list_ordered_unlike_the_files_of_its_stage(maker: ModuleType, sample: Any) -> None:
    """RAW files hold the events in another order than AOD files: the list's order wins."""
    from tagsel.events import Reference

    rows = list(range(0, 120, 5))
    random.Random(2).shuffle(rows)
    chosen = [sample.rows[k] for k in rows]
    # The AOD place (one file, entries 0, 1, …) orders the list; the files lie at stage raw.
    raw = Reference.of([r[0] for r in chosen], [f.guid for f in sample.files], [r[1] for r in chosen])
    n = len(rows)
    events = EventList.from_arrays(
        [r[2] for r in chosen],
        [r[3] for r in chosen],
        [r[4] for r in chosen],
        [0] * n,
        ["0" * 8 + "-0000-0000-0000-" + "0" * 12],
        range(n),
        references={"raw": raw},
    )
    found = arrays(map_events(events, sample.files, {}, stage="raw"), events, "MET_pt")
    assert found.event.to_list() == [r[4] for r in chosen]
    assert found.MET_pt.to_list() == [r[5] for r in chosen]


def test_feature_56_only_the_baskets_of_the_entries_are_read(sample: Any) -> None:
    events = sample.events([12, 13])  # entries 12 and 13 of the first file: its second basket of ten
    source = reading(sample.map(events), events, "MET_pt")
    assert [len(b.events) for b in source] == [2]
    with uproot.open(sample.files[0].pfn) as file:
        columns = [file["Events"][c] for c in ("run", "luminosityBlock", "event", "MET_pt")]
        second = sum(c.basket_compressed_bytes(1) for c in columns)
        full = sum(c.basket_compressed_bytes(i) for c in columns for i in range(5))
    report = source.report
    assert (report.bytes_read, report.bytes_branches) == (second, full)
    assert report.bytes_total == sample.files[0].bytes
    assert (report.files, report.ledger.delivered, report.unchecked) == (1, 2, ())
    assert forecast(sample.map(events), events, "MET_pt") == report


def test_fault_25_no_events_give_an_empty_array_of_the_same_type(sample: Any) -> None:
    some, none = sample.events(SOME), sample.events([])
    full = arrays(sample.map(some), some, "Muon_*,MET_pt")
    empty = arrays(sample.map(none), none, "Muon_*,MET_pt")
    assert len(empty) == 0
    assert empty.type.content == full.type.content
    assert list(iterate(sample.map(none), none, "MET_pt")) == []
    assert template("", "*").fields == ["run", "lumi", "event"]


def test_repeated_places_are_read_for_each_row(sample: Any) -> None:
    twice = sample.events([4, 4, 5])
    found = arrays(sample.map(twice), twice, "MET_pt")
    assert sorted(found.MET_pt.to_list()) == sorted(sample.rows[k][5] for k in (4, 4, 5))


def test_a_pattern_without_a_match(sample: Any) -> None:
    events = sample.events(SOME)
    with pytest.raises(AccessError, match=r"'Muno_pt' matches no branch of tree Events") as caught:
        arrays(sample.map(events), events, ["MET_pt", "Muno_pt"])
    assert "did you mean Muon_pt" in caught.value.hint
    with pytest.raises(AccessError, match="no branches were asked for"):
        arrays(sample.map(events), events, " , ")


def test_patterns_take_branches_and_take_them_away(sample: Any) -> None:
    events = sample.events([0])
    found = arrays(sample.map(events), events, "Muon_*, -Muon_charge, HLT_?u")
    assert found.fields == ["run", "lumi", "event", "HLT_mu", "Muon_pt", "Muon_tight"]


def test_files_with_other_branches(maker: ModuleType, tmp_path: Path) -> None:
    """What a pattern means must not depend on which file is read first."""
    sample = maker.make(tmp_path, (10, 10))
    first = min(sample.files, key=lambda f: f.guid)
    odd = next(f for f in sample.files if f is not first)
    number = sample.files.index(odd)
    truth = maker.write_file(Path(odd.pfn), 1 + 10 * number, 10, 1, {"HLT_new": "int32"})
    from tagsel.rootio import guid_of

    sample.files[number] = maker.File(guid_of(odd.pfn), odd.lfn, odd.pfn, 10, odd.bytes)
    assert len(truth) == 10
    events = sample.events([0, 1, 10, 11])
    with pytest.raises(AccessError, match=r"(has|lacks) branch HLT_new, unlike the first file"):
        arrays(sample.map(events), events, "HLT_*")
    assert arrays(sample.map(events), events, "HLT_mu").fields[-1] == "HLT_mu"


def damaged(sample: Any, number: int) -> str:
    """Cut file `number` of a sample in half; its path."""
    path = Path(sample.files[number].pfn)
    path.write_bytes(path.read_bytes()[: sample.files[number].bytes // 2])
    return str(path)


def test_fault_26_an_unreadable_file_costs_its_own_events_only(own: Any) -> None:
    path = damaged(own, 1)
    events = own.events(SOME)  # of these, 50 and 79 are in the second file (rows 50 to 79)
    source = reading(own.map(events), events, "MET_pt,Muon_pt", 3)
    good = ak.concatenate([b.events for b in source])
    check(own, own.events([k for k in SOME if k not in (50, 79)]), good)
    report = source.report
    report.ledger.check()
    assert (report.ledger.accepted, report.ledger.delivered, report.ledger.unreadable) == (11, 9, 2)
    assert [(p.pfn, p.events) for p in report.problems] == [(path, 2)]
    assert "truncated" in report.problems[0].reason
    with pytest.raises(AccessError, match=r"2 of 11 events cannot be read.*AOD\.01\.root") as caught:
        arrays(own.map(events), events, "MET_pt")
    assert caught.value.fields["problems"] == [path]


def test_fault_26_a_damaged_basket_in_the_middle(own: Any) -> None:
    """The file opens, its ids are good; one basket of one branch is not."""
    target = Path(own.files[0].pfn)
    with uproot.open(target) as file:
        branch = file["Events"]["MET_pt"]
        seek = branch.member("fBasketSeek")[2]
    content = bytearray(target.read_bytes())
    content[seek : seek + 60] = b"\xff" * 60
    target.write_bytes(content)
    events = own.events(range(60))
    source = reading(own.map(events), events, "MET_pt", 10)
    delivered = [e for b in source for e in b.events.event.to_list()]
    report = source.report
    report.ledger.check()
    assert len(delivered) == report.ledger.delivered == len(set(delivered))
    assert report.ledger.unreadable == 60 - len(delivered) > 0
    assert {p.pfn for p in report.problems} == {str(target)}
    bad = {r[4] for r in own.rows if r[0] == 0 and 20 <= r[1] < 30}
    assert not bad & set(delivered)


def test_fault_27_another_file_under_the_same_name(own: Any) -> None:
    shutil.copy(own.files[2].pfn, own.files[1].pfn)
    events = own.events(SOME)
    source = reading(own.map(events), events, "MET_pt")
    assert sum(len(b.events) for b in source) == 9
    (problem,) = source.report.problems
    assert problem.reason.startswith(f"{own.files[1].pfn}: not the file that is meant: its GUID is {own.files[2].guid}")
    assert (problem.events, source.report.ledger.unreadable) == (2, 2)


def test_fault_27_another_number_of_entries(maker: ModuleType, own: Any) -> None:
    f = own.files[0]
    own.files[0] = maker.File(f.guid, f.lfn, f.pfn, 51, f.bytes)
    events = own.events([0])
    source = reading(own.map(events), events, "MET_pt")
    assert list(source) == []
    assert source.report.problems[0].reason.endswith("it has 50 entries, the catalog says 51")


def test_fault_27_an_entry_past_the_end(sample: Any) -> None:
    events = EventList.from_arrays([100], [1], [1], [0], [sample.files[0].guid], [50])
    found = map_events(events, [], {sample.files[0].guid: [type("R", (), {"site": "", "pfn": sample.files[0].pfn})]})
    source = reading(found, events, "MET_pt")
    assert list(source) == []
    assert "it has 50 entries, the list asks for entry 50" in source.report.problems[0].reason


def test_fault_27_ids_that_are_not_the_lists(sample: Any) -> None:
    """GUID and entry count agree, but an entry holds another event: the whole file is refused."""
    good = sample.events([1, 2, 60])
    event = good.event.copy()
    guid_of_row = [e.guid for e in good]
    wrong = guid_of_row.index(sample.files[0].guid)
    event[wrong] += 1
    listed = EventList.from_arrays(good.run, good.lumi, event, good.guid_codes, good.guids, good.entry)
    source = reading(sample.map(listed), listed, "MET_pt")
    (batch,) = source
    assert batch.events.event.to_list() == [sample.rows[60][4]]
    reason = source.report.problems[0].reason
    entry, was = good.entry[wrong], good.event[wrong]
    assert f"entry {entry} holds run:lumi:event" in reason
    assert f":{was} and the list says" in reason
    assert "(1 of 2 entries differ)" in reason
    assert source.report.ledger.unreadable == 2


def test_ids_that_the_list_does_not_know_are_not_compared(sample: Any) -> None:
    good = sample.events([1, 2])
    listed = EventList.from_arrays(good.run, [-1, -1], good.event, good.guid_codes, good.guids, good.entry)
    assert len(arrays(sample.map(listed), listed, "MET_pt")) == 2


def test_files_that_nobody_knows_and_events_without_address(sample: Any) -> None:
    f = sample.files[0]
    other = "FFFFFFFF-0000-0000-0000-000000000000"
    row = sample.rows[0]
    events = EventList.from_arrays(
        [row[2], 5, 6], [row[3], 5, 6], [row[4], 5, 6], [1, 2, 0], ["", f.guid, other], [row[1], 0, -1]
    )
    source = reading(sample.map(events), events, "MET_pt")
    assert [b.events.event.to_list() for b in source] == [[row[4]]]
    assert [p.reason for p in source.report.problems] == [f"file {other} is in no catalog"]
    assert (source.report.ledger.delivered, source.report.ledger.unreadable) == (1, 2)


def test_a_layout_of_ones_own(tmp_path: Path, maker: ModuleType) -> None:
    path = tmp_path / "mine.root"
    with uproot.recreate(path) as file:
        tree = file.mktree("ntuple", {"rn": "int32", "ls": "int32", "ev": "int64", "x": "float64"})
        tree.extend(
            {
                "rn": np.full(5, 7, np.int32),
                "ls": np.arange(5, dtype=np.int32),
                "ev": np.arange(5) + 10,
                "x": np.arange(5) / 4,
            }
        )
    from tagsel.rootio import RootFile

    with RootFile(path) as opened:
        guid = opened.guid
    known = [maker.File(guid, "mine", str(path), 5, 0)]
    layout = Layout("ntuple", {"run": ["rn"], "lumi": ["ls"], "event": ["ev"]})
    events = EventList.from_arrays([7, 7], [1, 3], [11, 13], [0, 0], [guid], [1, 3])
    assert arrays(map_events(events, known, {}, layout=layout), events, "x").x.to_list() == [0.25, 0.75]
    wrong = EventList.from_arrays([7], [1], [12], [0], [guid], [1])
    with pytest.raises(AccessError, match="holds run:lumi:event 7:1:11 and the list says 7:1:12"):
        arrays(map_events(wrong, known, {}, layout=layout), wrong, "x")


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "branch", "ids"),
    [
        ("nano_dimuon.root", "Muon_pt", ("run", "luminosityBlock", "event")),
        ("nano_dimuon_rntuple.root", "Muon_pt", ("run", "luminosityBlock", "event")),
        ("nano_tt_v12.root", "Jet_pt", ("run", "luminosityBlock", "event")),
        (
            "uproot-issue-951.root",
            "AnalysisElectronsAuxDyn.pt",
            ("EventInfoAuxDyn.runNumber", "EventInfoAuxDyn.lumiBlock", "EventInfoAuxDyn.eventNumber"),
        ),
        (
            "PHYSLITE_example.root",
            "AnalysisElectronsAuxDyn.pt",
            ("EventInfoAuxDyn.runNumber", "EventInfoAuxDyn.lumiBlock", "EventInfoAuxDyn.eventNumber"),
        ),
    ],
)
def test_published_files_against_plain_uproot(real: Any, maker: ModuleType, name: str, branch: str, ids: Any) -> None:
    from tagsel.rootio import guid_of

    path = real(name)
    with uproot.open(path) as file:
        tree = next(file[t] for t in ("Events", "CollectionTree") if t in file)
        plain = {c: tree[c].array() for c in (*ids, branch)}
    rows = np.arange(2, len(plain[branch]), 7)
    run, lumi, event = (np.asarray(plain[c]).astype(np.int64)[rows] for c in ids)
    guid = guid_of(path)
    events = EventList.from_arrays(run, lumi, event, np.zeros(len(rows), int), [guid], rows)
    known = [maker.File(guid, name, str(path), len(plain[branch]), path.stat().st_size)]
    found = arrays(map_events(events, known, {}), events, branch)
    assert found[branch].to_list() == plain[branch][rows].to_list()
    assert found.event.to_list() == event.tolist()


def test_a_copy_that_breaks_while_it_is_read_gives_way_to_the_next(own: Any, maker: ModuleType, tmp_path: Path) -> None:
    """One basket of the first file is damaged, another copy is good. Without that the events are unreadable."""
    good = tmp_path / "good.root"
    shutil.copy(own.files[0].pfn, good)
    with uproot.open(own.files[0].pfn) as file:
        seek = int(file["Events"]["MET_pt"].member("fBasketSeek")[2])
    with Path(own.files[0].pfn).open("r+b") as file:
        file.seek(seek + 70)
        file.write(b"\0" * 24)
    events = own.events(range(120))
    lost = reading(own.map(events), events, "MET_pt", batch=7)
    list(lost)
    assert lost.report.ledger.unreadable > 0
    two = replace(own, replicas={own.files[0].guid: [maker.Replica("OTHER", str(good))]})
    for batch in (7, 1000):
        source = reading(two.map(events), events, "MET_pt", batch=batch)
        found = [x for made in source for x in made.events.MET_pt.tolist()]
        assert found == [row[5] for row in own.truth(events)]
        assert source.report.ledger.unreadable == 0
