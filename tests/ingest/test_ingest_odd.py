"""Odd and damaged inputs: what cannot be kept is named, what contradicts itself or is damaged is refused by name."""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
from hypothesis import example, given
from hypothesis import strategies as st

from tagsel.errors import CutError, IngestError
from tagsel.ingest import IngestReport, TagSource, derive_source_schema, open_source
from tagsel.ingest.remarks import writable
from tagsel.language import parse
from tagsel.schema import parse_source_schema

GUID = "81FB839F-06FD-F947-8A9F-9E9F5B0E0F9C"
HOMELESS = "rows name no AOD"


def parquet(path: Path, **columns: Any) -> Path:
    ids = {"run": pa.array([5, 5, 5], pa.int32()), "lumi": pa.array([1, 2, 3], pa.int32()), "event": [7, 8, 9]}
    pq.write_table(pa.table({**ids, **columns}), path)
    return path


def tree(path: Path, **columns: Any) -> Path:
    ids = {"run": np.full(3, 5), "lumi": np.arange(1, 4), "event": np.arange(7, 10)}
    with uproot.recreate(path) as file:
        data = {**ids, **columns}
        types = {n: getattr(v, "type", None) or np.dtype((v.dtype, v.shape[1:])) for n, v in data.items()}
        file.mktree("Events", types).extend(data)
    return path


def table(source: TagSource) -> pa.Table:
    return pa.Table.from_batches(list(source.batches()))


def said(source: TagSource, about: str) -> str:
    """The one warning, or line of the report, that begins with these words; "" where there is none."""
    report = IngestReport()
    report.add(source.lines)
    return next((w for w in (*source.warnings, *report.summary()) if w.startswith(about)), "")


def test_half_precision_and_lists_of_fixed_size_are_kept_exactly(tmp_path: Path) -> None:
    half = pa.array(np.array([1.5, np.inf, -65504.0], np.float16))
    path = parquet(
        tmp_path / "a.parquet",
        x=half,
        Jet_pt=pa.array([[1, 2], [4, 5], [3, 9]], pa.list_(pa.float32(), 2)),
        Muon_pt=pa.ListArray.from_arrays(pa.array([0, 2, 2, 3], pa.int32()), half),
    )
    source = open_source(path)
    rows = table(source)
    assert [source.schema[n].type for n in ("x", "Jet.pt", "Muon.pt")] == ["float32"] * 3
    assert rows["x"].to_pylist() == [1.5, float("inf"), -65504.0]
    assert rows["Jet_pt"].to_pylist() == [[1, 2], [4, 5], [3, 9]]
    assert rows["Muon_pt"].to_pylist() == [[1.5, float("inf")], [], [-65504.0]]
    assert rows["nJet"].to_pylist() == [2, 2, 2]
    assert said(source, "left out") == ""


def test_a_hole_in_a_list_of_fixed_size_is_named(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", x=pa.array([[1, 2], [3, None], [4, 5]], pa.list_(pa.float32(), 2)))
    with pytest.raises(IngestError, match="x has no value in row 1"):
        list(open_source(path).batches())


def test_columns_of_types_that_no_attribute_has_are_named(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "a.parquet",
        t=pa.array([1, 2, 3], pa.timestamp("ns")),
        d=pa.array([1, 2, 3]).cast(pa.decimal128(20)),
        s=[{"t": b"x"}] * 3,
        l=[[[1]], [], [[2]]],
        kept=[1, 2, 3],
    )
    source = open_source(path)
    warning = said(source, "left out, as no attribute can hold their type: ")
    for name in ("t (timestamp[ns])", "d (decimal128(20, 0))", "s.t (binary)", "l (list<"):
        assert name in warning
    assert "kept" in source.schema
    assert "kept" not in warning
    assert "# No attribute can hold these: t (timestamp[ns])" in derive_source_schema(path)


def test_of_many_columns_left_out_ten_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    odd = {f"t{i:02}": pa.array([1, 2, 3], pa.timestamp("ms")) for i in range(13)}
    warning = said(open_source(parquet(tmp_path / "a.parquet", **odd)), "left out")
    assert "t09 (timestamp[ms]) and 3 more" in warning
    assert "t10" not in warning


def test_a_schema_that_was_given_is_told_of_what_it_asks_for_only(tmp_path: Path) -> None:
    odd = {n: pa.array([1, 2, 3], pa.timestamp("ms")) for n in ("asked", "other")}
    path = parquet(tmp_path / "a.parquet", **odd, plain=[1, 2, 3])
    text = """
        name = "mine"
        format = "parquet"
        attributes = [{ name = "asked" }]
        [ids]
        run = "run"
        lumi = "lumi"
        event = "event"
    """
    source = open_source(path, parse_source_schema(text, "mine"))
    assert source.warnings[0] == "left out, as no attribute can hold their type: asked (timestamp[ms])"


def test_columns_that_a_standard_schema_leaves_are_named(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", luminosityBlock=[1, 2, 3], dimuon_mass=[90.0, 91.0, 92.0])
    assert "as the profile standard leaves them: " in said(open_source(path), "left out")
    assert "dimuon_mass (float64)" in said(open_source(path), "left out")


def test_branches_of_a_tree_that_no_attribute_can_hold_are_named(tmp_path: Path) -> None:
    path = tree(tmp_path / "a.root", cov=np.zeros((3, 2, 2)), x=np.arange(3.0))
    source = open_source(path, format="tree")
    assert "cov (double[2][2])" in said(source, "left out, as no attribute can hold their type")
    assert "x" in source.schema
    assert said(source, HOMELESS) == ""  # a tree's file is its own AOD


def test_a_counter_that_contradicts_its_list_is_refused(tmp_path: Path) -> None:
    lists = [[1.0, 2.0], [], [3.0]]
    right = parquet(tmp_path / "right.parquet", nMuon=pa.array([2, 0, 1], pa.uint8()), Muon_pt=lists)
    assert table(open_source(right))["nMuon"].to_pylist() == [2, 0, 1]
    wrong = parquet(tmp_path / "wrong.parquet", nMuon=[2, 0, 2], Muon_pt=lists)
    with pytest.raises(IngestError, match=r"wrong\.parquet: nMuon, row 2: 2, where Muon_pt has 1 values") as caught:
        list(open_source(wrong).batches())
    assert caught.value.fields["row"] == 2
    # ROOT files are held to the same
    of_root = tree(tmp_path / "wrong.root", nMuon=np.array([2, 1, 1]), Muon_pt=ak.Array(lists))
    with pytest.raises(IngestError, match=r"wrong\.root: nMuon, row 1: 1, where Muon_pt has 0 values"):
        list(open_source(of_root, format="tree").batches())


def test_columns_that_differ_in_letter_case_only_are_stored_apart(tmp_path: Path) -> None:
    source = open_source(parquet(tmp_path / "a.parquet", x=[1, 2, 3], X=[4, 5, 6]))
    assert (source.schema["x"].column, source.schema["X"].column) == ("x", "X__2")
    rows = table(source)
    assert (rows["x"].to_pylist(), rows["X__2"].to_pylist()) == ([1, 2, 3], [4, 5, 6])


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    names = ["run", "lumi", "event", "x", "x"]
    pq.write_table(pa.Table.from_arrays([pa.array([1])] * 5, names=names), tmp_path / "a.parquet")
    for opening in (open_source, derive_source_schema):
        with pytest.raises(IngestError, match=r"a\.parquet: two columns are called 'x'"):
            opening(tmp_path / "a.parquet")


def test_names_that_no_cut_can_write_are_named(tmp_path: Path) -> None:
    values = [1, 2, 3]
    source = open_source(parquet(tmp_path / "a.parquet", **dict.fromkeys(("é", "my col", "not", "", "fine"), values)))
    assert said(source, "no cut can use").startswith("no cut can use 'é', 'my col', 'not', '': ")


@given(st.from_regex(r"[A-Za-z0-9_. é\-]{0,8}", fullmatch=True) | st.sampled_from(["and", "or", "not", "in", "true"]))
@example("a.__b")
@example("Muon.pt")
@example("false")
@example("nothing")
def test_writable_names_are_those_that_the_language_reads(name: str) -> None:
    try:
        node = parse(name)
        reads = node.op == "name" and node.value == name
    except CutError:
        reads = False
    assert writable(name) == reads


def test_rows_without_any_aod_are_said_and_rows_with_one_are_not(tmp_path: Path) -> None:
    guids, entries = ["", GUID, ""], [4, 5, -1]
    cases = {
        "none": {},
        "entries unknown": {"aod_guid": [GUID] * 3, "aod_entry": [-1] * 3},
        "files unknown": {"aod_guid": [""] * 3, "aod_entry": entries},
        "apart": {"aod_guid": guids, "aod_entry": [4, -1, 5]},
    }
    for columns in cases.values():
        assert "map, skim and submit" in said(open_source(parquet(tmp_path / "a.parquet", **columns)), HOMELESS)
    one = parquet(tmp_path / "a.parquet", aod_guid=guids, aod_entry=entries)
    assert said(open_source(one), HOMELESS) == ""


def test_no_rows_miss_no_aod(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet")
    pq.write_table(pq.read_table(tmp_path / "a.parquet").slice(0, 0), tmp_path / "b.parquet")
    assert open_source(tmp_path / "b.parquet").warnings == ()


def damaged(good: bytes, seed: int) -> bytes:
    """A copy cut short (every fourth) or with up to 20 bits flipped."""
    chance, copy = random.Random(seed), bytearray(good)
    if seed % 4 == 0:
        return bytes(copy[: chance.randrange(len(copy))])
    for _ in range(chance.choice([1, 3, 20])):
        copy[chance.randrange(len(copy))] ^= 1 << chance.randrange(8)
    return bytes(copy)


ARROW_WRITERS: dict[str, Any] = {"a.arrow": pa.ipc.new_file, "a.arrows": pa.ipc.new_stream}


@pytest.mark.parametrize("name", ["a.parquet", "a.root", "a.arrow", "a.arrows"])
def test_fault_damaged_bytes_give_an_ingest_error_or_an_answer(tmp_path: Path, name: str) -> None:
    whole = tmp_path / name
    if name == "a.root":
        lists = ak.values_astype(ak.Array([[1.0, 2.0], [], [3.0]]), np.float32)
        tree(whole, luminosityBlock=np.arange(3), HLT_a=np.ones(3, bool), Muon_pt=lists)
    else:
        parquet(whole, Muon_pt=[[1.0, 2.0], [], [3.0]], name=["a", "b", "a"])
    if name in ARROW_WRITERS:
        rows = pq.read_table(whole)
        with ARROW_WRITERS[name](whole, rows.schema) as writer:
            writer.write_table(rows)
    good, path, refused = whole.read_bytes(), tmp_path / f"bad_{name}", 0
    for seed in range(200):
        path.write_bytes(damaged(good, seed))
        try:
            list(open_source(path).batches())
        except IngestError as error:
            assert str(path) in error.message
            refused += 1
    assert refused >= 50  # the 50 that are cut short, at the least


def test_what_a_library_trips_over_keeps_its_cause(tmp_path: Path) -> None:
    whole = parquet(tmp_path / "a.parquet")
    # a name in the footer that is no UTF-8
    path = tmp_path / "b.parquet"
    path.write_bytes(whole.read_bytes().replace(b"lumi", b"lu\xffi"))
    with pytest.raises(IngestError, match=r"b\.parquet") as caught:
        open_source(path)
    assert caught.value.__cause__ is not None


def test_an_opened_file_travels_to_another_process(tmp_path: Path) -> None:
    source = open_source(parquet(tmp_path / "a.parquet", x=[1, 2, 3]))
    assert table(pickle.loads(pickle.dumps(source))).equals(table(source))
