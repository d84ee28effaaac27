"""Rows of the feature map that no single room shows: each test names its row."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from builders import GUIDS, build, rows, workspace

import tagsel
from tagsel.api import Workspace
from tagsel.cli.main import run
from tagsel.errors import CutError

_BRANCHES = {
    "run": "uint32",
    "luminosityBlock": "uint32",
    "event": "uint64",
    "MET_pt": "float32",
    "HLT_IsoMu24": "bool",
    "Muon": "var * {pt: float32, charge: int32}",
}


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


@pytest.fixture
def nano(tmp_path: Path) -> list[Path]:
    """Three small NanoAOD-like files of 40 events each."""
    random = np.random.default_rng(5)
    paths = []
    for k in range(3):
        counts = random.integers(0, 4, 40)
        paths.append(tmp_path / f"nano{k}.root")
        with uproot.recreate(paths[-1]) as file:
            file.mktree("Events", _BRANCHES)
            file["Events"].extend(
                {
                    "run": np.full(40, 315267, np.uint32),
                    "luminosityBlock": np.full(40, 10 + k, np.uint32),
                    "event": (np.arange(40) + 100 * k).astype(np.uint64),
                    "MET_pt": random.exponential(30, 40).astype(np.float32),
                    "HLT_IsoMu24": random.random(40) < 0.3,
                    "Muon": ak.zip(
                        {
                            "pt": ak.unflatten(random.exponential(20, int(counts.sum())).astype(np.float32), counts),
                            "charge": ak.unflatten(random.choice([-1, 1], int(counts.sum())).astype(np.int32), counts),
                        }
                    ),
                }
            )
    return paths


def test_feature_04_quantifiers_over_lists(home: Workspace) -> None:
    columns = rows(80, 3)
    build(home, "a.TAG", columns)
    lists = columns["Muon_pt"]
    cut = np.float32(20)
    expected = {
        "any(Muon.pt > 20)": sum(any(p > cut for p in v) for v in lists),
        "all(Muon.pt > 20)": sum(all(p > cut for p in v) for v in lists),
        "count(Muon.pt > 20) == 1": sum(sum(p > cut for p in v) == 1 for v in lists),
        "Muon.pt[0] > 20": sum(len(v) > 0 and v[0] > cut for v in lists),
        "max(Muon.pt) > 20": sum(len(v) > 0 and max(v) > cut for v in lists),
        "sum(Muon.pt) > 20": sum(sum(map(float, v)) > 20 for v in lists),
        "any(m in Muon: m.pt > 20 && m.pt < 40)": sum(any(20 < p < 40 for p in v) for v in lists),
    }
    assert {c: home["a.TAG"].count(c).accepted for c in expected} == expected


def test_feature_11_93_files_in_rows_out_and_the_chain_in_python(home: Workspace, nano: list[Path]) -> None:
    done = home.ingest(*nano, dataset="data18.Test.TAG")
    assert (done.events, len(done.landed), done.failed) == (120, 3, ())
    with_pt = [uproot.open(p)["Events"].arrays() for p in nano]
    expected = sum(int(ak.sum(ak.num(e.Muon_pt[e.Muon_pt > 20]) >= 1)) for e in with_pt)
    ds = home["data18.Test.TAG"]
    selection = ds.where(hard="count(Muon.pt > 20 GeV) >= 1")
    assert int(selection.count()) == expected
    events = selection.events()
    batch = events.arrays(["Muon_pt", "MET_pt"])
    assert ak.all(ak.num(batch.Muon_pt[batch.Muon_pt > 20]) >= 1)
    assert batch.event.to_list() == [e.event for e in events]
    assert "<Dataset data18.Test.TAG@1" in repr(ds) and "not run" in repr(selection)
    assert "Muon.pt" in ds.attributes("Muon*").names()
    assert "<table>" in ds.attributes()._repr_html_() and "<table>" in events._repr_html_()
    assert "data18.Test.TAG" in home._ipython_key_completions_()
    again = home.ingest(*nano, dataset="data18.Test.TAG")
    assert (again.events, again.landed, len(again.already), again.snapshot) == (120, (), 3, done.snapshot)


def test_feature_21_30_errors_come_before_any_data_is_read(home: Workspace) -> None:
    table = build(home, "a.TAG", rows(10))
    for part in table.snapshot().parts:
        part.path.unlink()  # whoever reads data now gets another error
    home["a.TAG"].query(["true"])
    for cut, said in {
        "MET_pt > 20 mm": "mm",
        "MET_pT > 20": "MET_pt",
        "Muon.pt > 20": "any",
        "MET_pt & 1 == 2": "",
        "HLT_mu11": "HLT_mu10",
    }.items():
        with pytest.raises(CutError) as caught:
            home["a.TAG"].count(cut)
        assert said in str(caught.value) and caught.value.cut


def test_feature_30_a_suspicious_unit_draws_a_warning(home: Workspace) -> None:
    build(home, "a.TAG", rows(10))
    warnings = home["a.TAG"].count("!(Muon.pt[0] > 20)").warnings
    assert any("nMuon" in w for w in warnings)  # names the guard


def test_feature_40_counts_per_chain_and_luminosity_block_equal_a_scan(home: Workspace) -> None:
    columns = rows(200, 6)
    build(home, "a.TAG", columns)
    found = home.sql(
        'select run, lumi, count(*) filter (where trigger_0 & 8 != 0) as mu20 from "a.TAG" group by all order by all'
    )
    for row in found.to_pylist():
        here = (columns["run"] == row["run"]) & (columns["lumi"] == row["lumi"])
        assert row["mu20"] == int((here & (columns["trigger_0"] >> 3 & 1 == 1)).sum())
        cut = f"run == {row['run']} && lumi == {row['lumi']} && HLT_mu20"
        assert home["a.TAG"].count(cut).accepted == row["mu20"]


def test_feature_42_events_that_fail_a_chain_but_look_relevant(home: Workspace) -> None:
    columns = rows(200, 6)
    build(home, "a.TAG", columns)
    expected = int(((columns["trigger_0"] >> 3 & 1 == 0) & (columns["MET_pt"] > np.float32(50))).sum())
    assert 0 < expected == home["a.TAG"].count("not HLT_mu20 and MET_pt > 50 GeV").accepted


def test_feature_70_failed_pieces_are_named_with_their_events(
    home: Workspace, nano: list[Path], tmp_path: Path
) -> None:
    home.ingest(*nano, dataset="data18.Test.TAG")
    events = home["data18.Test.TAG"].select("true")
    script = tmp_path / "job.py"
    script.write_text(
        'branches = ["MET_pt"]\ndef process(events):\n'
        "    assert 100 not in events.event, 'no hundred'\n    return {'n': len(events)}\n"
    )
    job = events.submit(script, by="file")
    assert job.wait().state == "failed"
    known = job.to_json()
    assert known["ledger"] == {"accepted": 120, "delivered": 80, "unreadable": 0, "failed": 40}
    (failed,) = known["errors"]
    assert failed["events"] == 40 and "no hundred" in failed["error"]


def test_feature_94_verbs_pipe_into_each_other(
    home: Workspace, nano: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setenv("TAGSEL_WORKSPACE", str(home.folder))
    home.ingest(*nano, dataset="data18.Test.TAG")
    assert run(["select", "data18.Test.TAG", "MET_pt > 30", "-o", str(tmp_path / "met.events")]) == 0
    capsys.readouterr()
    assert run(["lists", "export", str(tmp_path / "met.events"), "--format", "run event"]) == 0
    lines = capsys.readouterr().out
    (tmp_path / "ids.txt").write_text(lines)
    assert run(["pick", "data18.Test.TAG", "-f", str(tmp_path / "ids.txt"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == tagsel.read_events(tmp_path / "met.events").digest


def test_feature_111_a_subset_of_the_files_works_offline_and_says_what_is_not_there(
    home: Workspace, nano: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setenv("TAGSEL_WORKSPACE", str(home.folder))
    home.ingest(*nano, dataset="data18.Test.TAG", site="LAPTOP")
    nano[1].unlink()
    run(["select", "data18.Test.TAG", "true", "-o", str(tmp_path / "all.events")])
    capsys.readouterr()
    assert run(["map", str(tmp_path / "all.events"), "--json"]) == 0
    mapped = json.loads(capsys.readouterr().out)
    assert [f["sites"] for f in mapped["files"]] == [["LAPTOP"]] * 3
    assert run(["skim", str(tmp_path / "all.events"), "-o", str(tmp_path / "s.root"), "--json"]) == 3
    report = json.loads(capsys.readouterr().out)
    assert report["ledger"] == {"accepted": 120, "delivered": 80, "unreadable": 40, "failed": 0}
    assert "nano1.root" in report["problems"][0]["pfn"]


def test_feature_02_references_to_every_stage_by_name(home: Workspace) -> None:
    from builders import SCHEMA

    from tagsel.schema import Attribute, Schema

    extra = (
        Attribute("raw_guid", "string", role="reference", hot=False),
        Attribute("raw_entry", "int64", role="reference"),
    )
    schema = Schema((*SCHEMA.attributes, *extra), "with RAW")
    columns = rows(30, 1, raw_guid=np.array([GUIDS[40 + i % 2] for i in range(30)], object), raw_entry=np.arange(30))
    build(home, "a.TAG", columns, schema=schema)
    events = home["a.TAG"].select("nMuon >= 1")
    kept = [i for i in range(30) if columns["nMuon"][i] >= 1]
    by_id = {int(columns["event"][i]): (columns["raw_guid"][i], i) for i in kept}
    raw = events.map("raw")
    pairs = [(f.guid, row, entry) for f in raw.files for row, entry in zip(f.rows, f.entries, strict=True)]
    found = {int(events.event[row]): (guid, int(entry)) for guid, row, entry in pairs}
    assert found == by_id
    assert len(events.map("aod").files) == 3


def test_feature_26_the_sum_of_weights_is_exact_for_any_number_of_parts(home: Workspace) -> None:
    weights = np.array([1e16, 1.0, -1e16, 1.0] * 5)
    columns = rows(20, 1, weight=weights)
    pieces = [{name: values[k : k + 2] for name, values in columns.items()} for k in range(0, 20, 2)]
    build(home, "one.TAG", columns)
    build(home, "ten.TAG", *pieces)
    assert math.fsum(weights) == 10.0
    for name in ("one.TAG", "ten.TAG"):
        assert home[name].cutflow("true", weight="weight")[0].alone.sumw == 10.0
        assert home["ten.TAG"].where("true").weight("weight").count().weighted.sumw == 10.0
        assert home[name].select_counted("true", weight="weight")[1].weighted.sumw == 10.0


def test_weights_that_are_not_finite_are_summed_as_ieee_says(home: Workspace) -> None:
    build(home, "a.TAG", rows(4, 1, weight=np.array([1.0, np.inf, 2.0, -np.inf])))
    assert math.isnan(home["a.TAG"].cutflow("true", weight="weight")[0].alone.sumw)
    assert home["a.TAG"].cutflow("weight > 0", weight="weight")[0].alone.sumw == math.inf


def test_count_select_and_cutflow_agree_where_a_cut_guards_another(home: Workspace) -> None:
    columns = rows(60, 2)
    build(home, "a.TAG", columns)
    cuts = ("nMuon > 0", "event % nMuon == 0")
    expected = sum(n > 0 and e % n == 0 for n, e in zip(columns["nMuon"], columns["event"], strict=True))
    assert home["a.TAG"].count(*cuts).accepted == len(home["a.TAG"].select(*cuts)) == expected
    flow = home["a.TAG"].cutflow(*cuts)
    assert flow[1].sequential.n == flow.ledger.accepted == expected
    assert any("guard" in w for w in flow.warnings)
    with pytest.raises(CutError, match="% 0"):
        home["a.TAG"].count(cuts[1])


def test_a_guard_guards_weights_and_the_attribute_of_top_too(home: Workspace) -> None:
    columns = rows(60, 2)
    build(home, "a.TAG", columns)
    remainder = {int(e): int(e) % int(n) for n, e in zip(columns["nMuon"], columns["event"], strict=True) if n > 0}
    counted = home["a.TAG"].count("nMuon > 0", weight="event % nMuon")
    assert counted.weighted.sumw == sum(remainder.values())
    top = home["a.TAG"].select("nMuon > 0", top=(5, "event % nMuon"))
    assert sorted(remainder[e.event] for e in top) == sorted(remainder.values())[-5:]
    with pytest.raises(CutError, match=r"takes % 0 at event \d+:\d+"):
        home["a.TAG"].count("true", weight="event % nMuon")


def test_a_skim_never_takes_the_place_of_a_file_that_it_reads(
    home: Workspace, nano: list[Path], tmp_path: Path
) -> None:
    home.ingest(*nano, dataset="data18.Test.TAG")
    events = home["data18.Test.TAG"].select("run > 0")
    before = nano[1].read_bytes()
    (tmp_path / "link.root").symlink_to(nano[1])
    for out in (nano[1], tmp_path / "link.root"):
        with pytest.raises(tagsel.AccessError, match="read from"):
            events.skim(out)
    assert nano[1].read_bytes() == before
    with pytest.raises(tagsel.AccessError, match="no folder"):
        events.skim(tmp_path / "nowhere" / "out.root")
    assert not (tmp_path / "nowhere").exists()


def test_ids_out_of_range_are_named(home: Workspace) -> None:
    build(home, "a.TAG", rows(5))
    with pytest.raises(tagsel.EventListError, match="event is above 9223372036854775807"):
        home["a.TAG"].pick(["1:9223372036854775808"])
    with pytest.raises(tagsel.EventListError, match="run is above"):
        home["a.TAG"].pick(["9999999999:1"])


def test_fault_26_the_first_aod_is_the_damaged_one(home: Workspace, nano: list[Path], tmp_path: Path) -> None:
    home.ingest(*nano, dataset="data18.Test.TAG")
    events = home["data18.Test.TAG"].select("true")
    first = next(f for f in events.map().files).pfn
    Path(first).write_bytes(Path(first).read_bytes()[:900])
    report = events.skim(tmp_path / "rest.root", "MET_pt")
    assert report.ledger.to_json() == {"accepted": 120, "delivered": 80, "unreadable": 40, "failed": 0}
    script = tmp_path / "job.py"
    script.write_text('branches = ["MET_pt"]\ndef process(events):\n    return {"n": len(events)}\n')
    job = events.submit(script, by="file")
    assert job.wait().state == "done"
    assert job.ledger.to_json() == {"accepted": 120, "delivered": 80, "unreadable": 40, "failed": 0}
