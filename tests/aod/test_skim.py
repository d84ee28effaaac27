"""Skims: what was asked is what is in the file, checked by reading it with plain uproot and pyarrow."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from tagsel.aod import map_events, read_note, skim
from tagsel.aod.verify import Fingerprint, read_back
from tagsel.aod.write import collections_of
from tagsel.errors import AccessError
from tagsel.events import EventList, Ledger

SOME = [3, 117, 48, 50, 79, 80, 0, 22, 21, 23, 99]


def test_feature_55_a_root_skim_holds_the_events_in_order(sample: Any, tmp_path: Path) -> None:
    events = sample.events(SOME)
    report = skim(sample.map(events), events, tmp_path / "out.root", "Muon_*,MET_*,HLT_mu,PSWeight,Note")
    truth = sample.truth(events)
    with uproot.open(report.path) as file:
        tree = file["Events"]
        assert tree.keys() == [
            "run",
            "luminosityBlock",
            "event",
            "MET_pt",
            "HLT_mu",
            "Note",
            "nMuon",
            "Muon_pt",
            "Muon_charge",
            "Muon_tight",
            "nPSWeight",
            "PSWeight",
        ]
        got = tree.arrays()
        assert tree["Muon_tight"].typename == "bool[]"
        assert [tree[c].typename for c in ("run", "event")] == ["uint32_t", "uint64_t"]  # as in the input
    assert list(zip(got.run.to_list(), got.luminosityBlock.to_list(), got.event.to_list(), strict=True)) == [
        (r[2], r[3], r[4]) for r in truth
    ]
    assert got.MET_pt.to_list() == [r[5] for r in truth]
    assert got.HLT_mu.to_list() == [r[5] > 30 for r in truth]
    assert got.Muon_pt.to_list() == [r[6] for r in truth]
    assert got.nMuon.to_list() == [len(r[6]) for r in truth]
    assert got.Note.to_list() == [f"event {r[4]}" for r in truth]
    assert (report.events, report.digest) == (11, events.digest)
    assert (report.ledger.accepted, report.ledger.delivered) == (11, 11)
    assert report.bytes_written == Path(report.path).stat().st_size
    assert 0 < report.read.bytes_read <= report.read.bytes_total
    json.dumps(report.to_json())


def test_what_is_read_more_than_once_is_said_to_be(
    sample: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first file has 50 events in few baskets: read one by one, each basket is read for each of its events."""
    events = sample.events(range(50))
    once = skim(sample.map(events), events, tmp_path / "once.root", "*").read
    assert once.amount == f"{once.bytes_asked:,} of {once.bytes_total:,} B read in 1 files"
    monkeypatch.setattr(import_module("tagsel.aod.skim"), "BATCH", 1)
    read = skim(sample.map(events), events, tmp_path / "often.root", "*").read
    assert read.bytes_total == once.bytes_total == Path(sample.map(events).files[0].pfn).stat().st_size
    assert read.bytes_asked > read.bytes_total
    said = f"{read.bytes_asked:,} B read in 1 files of {read.bytes_total:,} B, parts more than once"
    assert read.amount == said


def test_a_parquet_skim_holds_the_same(sample: Any, tmp_path: Path) -> None:
    events = sample.events(SOME)
    report = skim(sample.map(events), events, tmp_path / "out.parquet", "Muon_*,MET_pt,Note")
    table = pq.read_table(report.path)
    truth = sample.truth(events)
    assert table.column_names[:3] == ["run", "luminosityBlock", "event"]
    assert table["event"].to_pylist() == [r[4] for r in truth]
    assert table["Muon_pt"].to_pylist() == [r[6] for r in truth]
    assert table["Note"].to_pylist() == [f"event {r[4]}" for r in truth]
    assert table["Muon_tight"].to_pylist() == [[pt > 15 for pt in r[6]] for r in truth]


def test_feature_75_events_and_branches_in_one_pass(sample: Any, tmp_path: Path) -> None:
    events = sample.events([5, 70])
    report = skim(sample.map(events), events, tmp_path / "slim.root", ["MET_pt"])
    assert report.branches == ("run", "luminosityBlock", "event", "MET_pt")


@pytest.mark.parametrize("suffix", [".root", ".parquet"])
def test_feature_76_cut_ledger_and_cutflow_travel_in_the_output(sample: Any, tmp_path: Path, suffix: str) -> None:
    cutflow = {"cuts": [{"cut": "nMuon >= 2", "alone": {"n": 2, "sumw": 2.0, "sumw2": 2.0}}]}
    events = sample.events(
        [5, 70], ledger=Ledger(accepted=2, rejected=118), provenance={"cut": "nMuon >= 2", "cutflow": cutflow}
    )
    out = tmp_path / f"out{suffix}"
    skim(sample.map(events), events, out, "MET_pt")
    note = read_note(out)
    assert note["provenance"] == {"cut": "nMuon >= 2", "cutflow": cutflow}
    assert note["ledger"] == {"accepted": 2, "rejected": 118, "masked": 0, "duplicate": 0, "unreadable": 0}
    assert note["list"] == events.digest
    with pytest.raises(AccessError, match="no provenance"):
        read_note(sample.files[0].pfn)


@pytest.mark.parametrize("suffix", [".root", ".parquet"])
def test_fault_25_a_skim_of_no_events(sample: Any, tmp_path: Path, suffix: str) -> None:
    events = sample.events([])
    report = skim(sample.map(events), events, tmp_path / f"none{suffix}", "Muon_*,MET_pt")
    assert (report.events, report.ledger.accepted) == (0, 0)
    if suffix == ".root":
        with uproot.open(report.path) as file:
            assert file["Events"].num_entries == 0
            assert "Muon_pt" in file["Events"].keys()  # noqa: SIM118
    else:
        table = pq.read_table(report.path)
        assert (table.num_rows, table.schema.field("Muon_pt").type.value_type) == (0, pa.float32())


def test_feature_72_no_event_and_no_file_at_all(tmp_path: Path) -> None:
    none = EventList.from_arrays([], [], [])
    report = skim(map_events(none, [], {}), none, tmp_path / "none.root", "*")
    assert report.branches == ("run", "luminosityBlock", "event")


def test_fault_26_the_rest_is_delivered(own: Any, tmp_path: Path) -> None:
    Path(own.files[1].pfn).unlink()
    events = own.events(SOME)
    report = skim(own.map(events), events, tmp_path / "out.root", "MET_pt")
    rest = own.events([k for k in SOME if k not in (50, 79)])
    assert (report.ledger.accepted, report.ledger.delivered, report.ledger.unreadable) == (11, 9, 2)
    assert report.digest == rest.digest
    assert [(p.lfn, p.events) for p in report.read.problems] == [("aod/AOD.01.root", 2)]
    with uproot.open(report.path) as file:
        assert file["Events/event"].array().to_list() == [r[4] for r in own.truth(rest)]


def test_nothing_is_written_where_nothing_can_be_read(own: Any, tmp_path: Path) -> None:
    for f in own.files:
        Path(f.pfn).write_bytes(b"root, but no more")
    events = own.events([1, 60])
    with pytest.raises(AccessError, match="none of 2 events can be read"):
        skim(own.map(events), events, tmp_path / "out.root", "MET_pt")
    assert not (tmp_path / "out.root").exists()


def test_an_old_output_stands_until_the_new_one_is_whole(sample: Any, tmp_path: Path) -> None:
    out = tmp_path / "out.root"
    events = sample.events([1])
    skim(sample.map(events), events, out, "MET_pt")
    old = out.read_bytes()
    with pytest.raises(AccessError, match=r"'Elektron_\*' matches no branch"):
        skim(sample.map(events), events, out, "Elektron_*", force=True)
    assert out.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["out.root"]
    with pytest.raises(AccessError, match=r"a skim is \.root or \.parquet"):
        skim(sample.map(events), events, tmp_path / "out.txt", "*")


def test_a_dry_run_writes_nothing_and_says_what_would_be_read(own: Any, tmp_path: Path) -> None:
    events = own.events(SOME)
    would = skim(own.map(events), events, tmp_path / "out.root", "MET_pt", dry_run=True)
    assert would.dry_run
    assert not (tmp_path / "out.root").exists()
    did = skim(own.map(events), events, tmp_path / "out.root", "MET_pt")
    assert (would.read.bytes_read, would.read.files, would.ledger) == (did.read.bytes_read, did.read.files, did.ledger)
    Path(own.files[1].pfn).unlink()
    with pytest.raises(AccessError, match="exists"):
        skim(own.map(events), events, tmp_path / "out.root", "MET_pt", dry_run=True)
    would = skim(own.map(events), events, tmp_path / "other.root", "MET_pt", dry_run=True)
    assert would.ledger.unreadable == 2


def test_a_branch_that_root_cannot_hold(maker: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "nested.root"
    columns = {
        "run": np.full(3, 1, np.int32),
        "luminosityBlock": np.full(3, 1, np.int32),
        "event": np.arange(3, dtype=np.int64),
        "Jet_consts": ak.Array([[[1.0], [2.0, 3.0]], [], [[]]]),
    }
    with uproot.recreate(path) as file:
        file.mkrntuple("Events", columns)
    from tagsel.rootio import guid_of

    known = [maker.File(guid_of(path), "nested", str(path), 3, 0)]
    events = EventList.from_arrays([1, 1], [1, 1], [0, 2], [0, 0], [known[0].guid], [0, 2])
    found = map_events(events, known, {})
    with pytest.raises(AccessError, match=r"branch Jet_consts .* cannot be written to a ROOT tree") as caught:
        skim(found, events, tmp_path / "out.root", "*")
    assert ".parquet" in caught.value.hint
    assert "-Jet_consts" in caught.value.hint
    assert skim(found, events, tmp_path / "out.root", "*,-Jet_consts").events == 2
    skim(found, events, tmp_path / "out.parquet", "*")
    assert pq.read_table(tmp_path / "out.parquet")["Jet_consts"].to_pylist() == [[[1.0], [2.0, 3.0]], [[]]]


def test_a_fingerprint_sees_order_lengths_and_values() -> None:
    def digest(*parts: Any) -> dict[str, str]:
        made = Fingerprint()
        for part in parts:
            made.add(ak.Array({"x": ak.Array(part)}))
        return made.digests()

    whole = digest([[1.0, 2.0], [], [3.0]])
    assert digest([[1.0, 2.0]], [[], [3.0]]) == whole
    assert digest([[1.0], [2.0], [3.0]]) != whole
    assert digest([[], [1.0, 2.0], [3.0]]) != whole
    assert digest([[1.0, 2.0], [], [3.5]]) != whole
    assert digest(np.array([1, 2], np.int32)) == digest(np.array([1, 2], np.uint8))
    assert digest(np.array([1, 2], np.float32)) != digest(np.array([1, 2], np.float64))
    assert digest(["a", "bc"]) != digest(["ab", "c"])


@pytest.mark.parametrize("suffix", [".root", ".parquet"])
def test_what_was_written_is_read_back_whole(sample: Any, tmp_path: Path, suffix: str) -> None:
    events = sample.events(range(0, 120, 2))
    report = skim(sample.map(events), events, tmp_path / f"a{suffix}", "*")
    direct, back = Fingerprint(), Fingerprint()
    for part in read_back(Path(report.path), ["Muon_pt", "MET_pt"], 7):
        back.add(part)
    truth = sample.truth(events)
    direct.add(
        ak.Array(
            {
                "Muon_pt": ak.values_astype(ak.Array([r[6] for r in truth]), np.float32),
                "MET_pt": np.array([r[5] for r in truth], np.float32),
            }
        )
    )
    assert back.digests() == direct.digests()


def test_collections_by_their_counters() -> None:
    assert collections_of(["Muon_mva_ID", "Muon_pt"], ["nMuon", "nMuon_pt"]) == {
        "Muon_mva_ID": "Muon",
        "Muon_pt": "Muon",
    }
    assert collections_of(["SubJet_pt"], ["nSubJet_pt"]) == {"SubJet_pt": "SubJet_pt"}
    assert collections_of(["pt"], []) == {}


@pytest.mark.real
@pytest.mark.parametrize("name", ["nano_dimuon.root", "nano_tt_v12.root"])
def test_published_files_skim_to_what_they_hold(real: Any, maker: ModuleType, tmp_path: Path, name: str) -> None:
    from tagsel.rootio import guid_of

    path = real(name)
    with uproot.open(path) as file:
        tree = file["Events"]
        plain = tree.arrays(["run", "luminosityBlock", "event", "Muon_pt", "Muon_charge", "MET_pt", "nMuon"])
    rows = np.flatnonzero(np.asarray(ak.sum(plain.Muon_pt > 10, axis=1) >= 2))
    run, lumi, event = (np.asarray(plain[c]).astype(np.int64)[rows] for c in ("run", "luminosityBlock", "event"))
    guid = guid_of(path)
    events = EventList.from_arrays(run, lumi, event, np.zeros(len(rows), int), [guid], rows)
    known = [maker.File(guid, name, str(path), len(plain), path.stat().st_size)]
    report = skim(map_events(events, known, {}), events, tmp_path / "out.root", "Muon_*,MET_*")
    if name == "nano_dimuon.root":  # answer 1 of the published files
        assert (report.events, int(event.sum())) == (17, 3364367842)
    with uproot.open(report.path) as file:
        got = file["Events"].arrays(["event", "nMuon", "Muon_pt", "Muon_charge", "MET_pt"])
    for field in got.fields:
        assert got[field].to_list() == plain[field][rows].to_list()
