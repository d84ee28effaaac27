"""Profiles: slim, standard and full of one file, in the published forms of several NanoAOD versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from tagsel.api.workspace import Workspace
from tagsel.errors import CutError, IngestError
from tagsel.ingest import IngestReport, TagSource, open_source

JAGGED = [[1, 2], [], [3]]


def lists(dtype: Any, scale: int = 1) -> ak.Array:
    return ak.values_astype(ak.Array(JAGGED) * scale, dtype)


def nano_file(path: Path, version: str, first: int = 1) -> Path:
    """Three events as NanoAOD v9 (2015, too) writes them, or v15: other counters' and indices' types, other names."""
    index = np.int32 if version == "v9" else np.int16
    events = {
        "run": np.full(3, 1, np.uint32),
        "luminosityBlock": np.full(3, 1, np.uint32),
        "event": np.arange(first, first + 3, dtype=np.uint64),
        "MET_pt" if version == "v9" else "PuppiMET_pt": np.arange(3, dtype=np.float32),
        "HLT_a": np.array([True, False, True]),
        "Muon": ak.zip({"pt": lists(np.float32, 10), "charge": lists(index), "jetIdx": lists(index) - 2}),
        "GenPart": ak.zip({"pt": lists(np.float32, 7), "statusFlags": lists(np.uint16)}),
        "mystery": np.arange(3, dtype=np.float64),
    }
    with uproot.recreate(path) as file:
        types = {name: getattr(values, "type", None) or values.dtype for name, values in events.items()}
        file.mktree("Events", {name: getattr(t, "content", t) for name, t in types.items()})
        file["Events"].extend(events)
    return path


def rows(source: TagSource) -> pa.Table:
    return pa.Table.from_batches(list(source.batches()))


def left_out(source: TagSource) -> list[str]:
    report = IngestReport()
    report.add(source.lines)
    return [line.name for line in report.left_out()]


def test_fault_51_full_takes_every_collection_that_a_counter_announces(tmp_path: Path) -> None:
    source = open_source(nano_file(tmp_path / "a.root", "v9"), profile="full")
    table = rows(source)
    assert left_out(source) == []
    assert table["GenPart_pt"].to_pylist() == [[7.0, 14.0], [], [21.0]]
    assert table["GenPart_statusFlags"].to_pylist() == JAGGED
    assert table["Muon_jetIdx"].to_pylist() == [[-1, 0], [], [1]]
    assert source.schema["Muon.jetIdx"].type == "int32"
    assert table["nGenPart"].to_pylist() == [2, 0, 1]
    assert table["mystery"].to_pylist() == [0.0, 1.0, 2.0]


def test_fault_51_slim_and_standard_name_what_they_leave(tmp_path: Path) -> None:
    path = nano_file(tmp_path / "a.root", "v9")
    standard = open_source(path)
    assert set(left_out(standard)) == {"nGenPart", "GenPart_pt", "GenPart_statusFlags", "Muon_jetIdx", "mystery"}
    slim = open_source(path, profile="slim")
    assert {"Muon.pt", "Muon.charge", "MET_pt", "nMuon"} <= {a.name for a in slim.schema}
    assert {a.name for a in slim.schema} <= {a.name for a in standard.schema}


@pytest.mark.parametrize("profile", ["slim", "standard"])
def test_values_are_the_same_in_every_profile(tmp_path: Path, profile: str) -> None:
    path = nano_file(tmp_path / "a.root", "v15")
    some, full = rows(open_source(path, profile=profile)), rows(open_source(path, profile="full"))
    assert len(some.column_names) > 8
    for name in some.column_names:
        assert some[name].equals(full[name]), name


def test_versions_of_nanoaod_make_one_dataset_with_evolve(tmp_path: Path) -> None:
    """MET_pt is missing in v15, PuppiMET_pt in v9: of three events each, values 0, 1, 2."""
    home = Workspace.init(tmp_path / "W")
    files = [nano_file(tmp_path / "v9.root", "v9"), nano_file(tmp_path / "v15.root", "v15", first=4)]
    done = home.ingest(*files, dataset="mc.X.TAG", profile="full", evolve=True)
    assert (done.events, done.failed) == (6, ())
    expected = {"Muon.pt[0] > 5": 4, "MET_pt >= 1": 2, "PuppiMET_pt >= 0": 3, "GenPart.pt[0] == 21": 2, "HLT_a": 4}
    for cut, accepted in expected.items():
        assert home["mc.X.TAG"].count(cut).accepted == accepted, cut


def test_fault_51_a_dataset_remembers_its_profile(tmp_path: Path) -> None:
    """GenPart is taken by the profile full alone: its first pt is 7, none and 21 in each file."""
    home = Workspace.init(tmp_path / "W")
    first, second, third = (nano_file(tmp_path / f"{n}.root", "v9", first=n) for n in (1, 4, 7))
    home.ingest(first, dataset="mc.X.TAG", profile="full")
    done = home.ingest(second, dataset="mc.X.TAG")
    assert (done.events, done.report.profile, done.failed) == (6, "full", ())
    assert home["mc.X.TAG"].count("GenPart.pt[0] == 21").accepted == 2
    with pytest.raises(IngestError, match="ingested with the profile full, and slim is asked for") as caught:
        home.ingest(third, dataset="mc.X.TAG", profile="slim")
    assert "--evolve" in str(caught.value.hint)
    assert home.ingest(third, dataset="mc.X.TAG", profile="slim", evolve=True).events == 9
    assert home["mc.X.TAG"].count("GenPart.pt[0] == 21").accepted == 2, "missing in the third file"


def test_fault_51_a_dataset_without_a_profile_is_standard(tmp_path: Path) -> None:
    home = Workspace.init(tmp_path / "W")
    first, second = (nano_file(tmp_path / f"{n}.root", "v9", first=n) for n in (1, 4))
    home.ingest(first, dataset="mc.X.TAG")
    with pytest.raises(IngestError, match="with the profile standard, and full is asked for"):
        home.ingest(second, dataset="mc.X.TAG", profile="full")
    assert home.ingest(second, dataset="mc.X.TAG", profile="standard").events == 6


def test_a_profile_that_does_not_exist_is_refused_with_the_ones_that_do(tmp_path: Path) -> None:
    path = nano_file(tmp_path / "a.root", "v9")
    with pytest.raises(IngestError, match="unknown profile 'fat'") as caught:
        open_source(path, profile="fat")
    assert "slim" in str(caught.value.hint)


LEFT_OUT = {
    "Muon.pt[Muon.jetIdx[0]] > 30": "Muon_jetIdx",
    "Muon[0].jetIdx > 1": "Muon_jetIdx",
    "any(Muon.jetIdx > 1)": "Muon_jetIdx",
    "any(m in Muon: m.jetIdx > 1)": "Muon_jetIdx",
    "Muon_jetIdx[0] > 1": "Muon_jetIdx",
    "mystery > 0": "mystery",
}
"""Cuts on columns of the file that the profile standard leaves, each with the column."""

UNKNOWN = ("met_pt > 50", "HLT_IsoMu24_v3", "Muon.qualty[0] > 1", "any(Muon.jetIdxx > 1)", "GeV > 3")
"""Cuts on names that no file has."""


def test_a_name_that_the_ingest_left_out_says_which_profile_keeps_it(tmp_path: Path) -> None:
    """The file has Muon_jetIdx and mystery, and standard leaves them; nothing is said of a name that no file has."""
    path = nano_file(tmp_path / "a.root", "v9")
    home = Workspace.init(tmp_path / "W")
    report = home.ingest(path, dataset="some.TAG").report
    left_out = {line.name for line in report.left_out()}
    home.ingest(path, dataset="all.TAG", profile="full")
    for cut, column in LEFT_OUT.items():
        assert column in left_out
        with pytest.raises(CutError) as error:
            home["some.TAG"].count(cut)
        assert error.value.hint == (
            f"the ingest left out, as the profile standard leaves them: {column}; "
            "--profile full, into a new dataset, takes them"
        ), cut
    assert home["all.TAG"].count("any(Muon.jetIdx == 0)").accepted == 1  # -1 and 0; none; 1
    for dataset, cut in ((dataset, cut) for dataset in ("some.TAG", "all.TAG") for cut in UNKNOWN):
        with pytest.raises(CutError) as error:
            home[dataset].count(cut)
        assert "ingest" not in str(error.value.hint) and "profile" not in str(error.value.hint), cut
    catalog = home.catalog.bookkeeping("some.TAG")
    assert not any("left_out" in record for record in catalog.values()), "the dataset keeps it, not the catalog"


def test_names_left_out_of_a_parquet_file_are_known_whatever_else_they_mean(tmp_path: Path) -> None:
    """`s` is a unit, too; `when` has a type that no attribute holds; both files of the dataset say the same once."""
    ids = {"run": np.full(4, 7, np.uint32), "luminosityBlock": np.ones(4, np.uint32)}
    home = Workspace.init(tmp_path / "W")
    for number in range(2):
        columns = {**ids, "event": (np.arange(4) + 4 * number).astype(np.uint64), "MET_pt": np.ones(4, np.float32)}
        table = pa.table({**columns, "s": list("abab"), "when": pa.array([1, 2, 3, 4], pa.timestamp("ms"))})
        pq.write_table(table, tmp_path / f"{number}.parquet")
        report = home.ingest(tmp_path / f"{number}.parquet", dataset="d.TAG").report
    reasons = {line.name: line.reason for line in report.left_out()}
    assert set(reasons) == {"s", "when"}
    for name, cut in (("s", 's == "a"'), ("when", "when > 3")):
        with pytest.raises(CutError) as error:
            home["d.TAG"].count(cut)
        assert error.value.hint.startswith(f"the ingest left out, as {reasons[name]}: {name}")
    omissions = home.home.table("d.TAG").snapshot().omissions
    assert {(one.name, one.reason) for one in omissions} == set(reasons.items()) and len(omissions) == 2
    folder = home.folder / "data" / "d.TAG" / "_tagsel" / "commits"
    before = sorted(folder.iterdir())
    home.datasets.gc("d.TAG", grace=0)
    assert sorted(folder.iterdir()) == before, "clean-up keeps the document"


def test_a_damaged_list_of_what_was_left_out_hides_no_error_of_a_cut(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The cut is refused, without the hint that the list would give; a cut that is right is answered."""
    home = Workspace.init(tmp_path / "W")
    home.ingest(nano_file(tmp_path / "a.root", "v9"), dataset="some.TAG")
    documents = {source.bookkeeping["left_out"] for source in home.home.table("some.TAG").snapshot().sources}
    (path,) = [home.folder / "data" / "some.TAG" / "_tagsel" / "commits" / f"{name}.json" for name in documents]
    path.write_bytes(path.read_bytes()[:-2])
    for cut in LEFT_OUT:
        with pytest.raises(CutError) as error:
            home["some.TAG"].count(cut)
        assert "ingest" not in str(error.value.hint)
    assert "is damaged" in caplog.text and str(path) in caplog.text
    assert home["some.TAG"].count("true").accepted == 3
