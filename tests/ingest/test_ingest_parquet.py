"""Parquet, any tree by a schema, recognition by content, and drafted schemas."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from tagsel.errors import IngestError, SchemaError
from tagsel.ingest import TagSource, derive_source_schema, open_source
from tagsel.schema import Menu, parse_source_schema

GUID = "81FB839F-06FD-F947-8A9F-9E9F5B0E0F9C"


def ids(rows: int = 3) -> dict[str, object]:
    return {
        "run": pa.array([5] * rows, pa.int32()),
        "lumi": pa.array(range(rows), pa.int32()),
        "event": pa.array(range(100, 100 + rows), pa.int64()),
    }


def written(path: Path, columns: dict[str, object], metadata: dict[str, str] | None = None) -> Path:
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata(metadata) if metadata else table, path)
    return path


def table(source: TagSource) -> pa.Table:
    return pa.Table.from_batches(list(source.batches()))


def test_feature_11_any_parquet_with_id_columns_is_taken(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.parquet",
        {**ids(), "Muon_pt": [[1.5, 0.5], [], [2.5]], "met": pa.array([1, 2, 3], pa.uint8()), "name": ["a", "b", "a"]},
    )
    source = open_source(path)
    rows = table(source)
    assert (source.format, source.entries) == ("parquet", 3)
    assert rows["event"].to_pylist() == [100, 101, 102]
    assert rows["nMuon"].to_pylist() == [2, 0, 1]
    assert rows["Muon_pt"].to_pylist() == [[1.5, 0.5], [], [2.5]]
    assert (source.schema["met"].type, source.schema["Muon.pt"].type) == ("int32", "float64")
    assert rows["name"].to_pylist() == ["a", "b", "a"]
    # nothing says where the events lie
    assert rows["aod_guid"].to_pylist() == [""] * 3
    assert rows["aod_entry"].to_pylist() == [-1] * 3
    assert source.aod == ()


def test_references_and_dictionaries_are_kept_and_guids_made_upper_case(tmp_path: Path) -> None:
    guids = pa.array([GUID.lower(), GUID, GUID]).dictionary_encode()
    columns = {**ids(), "aod_guid": guids, "aod_entry": [7, 8, 9], "raw_guid": [GUID] * 3, "raw_entry": [1, 2, 3]}
    source = open_source(written(tmp_path / "a.parquet", columns))
    rows = table(source)
    assert set(rows["aod_guid"].to_pylist()) == {GUID}
    assert rows["aod_entry"].to_pylist() == [7, 8, 9]
    assert rows["raw_entry"].to_pylist() == [1, 2, 3]
    assert [a.guid for a in source.aod] == [GUID]


def test_feature_02_references_to_every_stage_come_from_tokens(tmp_path: Path) -> None:
    tokens = {
        s: [f"[DB={GUID[:-1]}{n}][OID=0-{i:X}]" for i in range(3)]
        for n, s in enumerate(("StreamAOD_ref", "StreamESD_ref", "StreamRAW_ref"))
    }
    columns = {
        "RunNumber": pa.array([1] * 3, pa.uint32()),
        "LumiBlockN": pa.array([1] * 3, pa.uint32()),
        "EventNumber": pa.array([1, 2, 3], pa.uint32()),
        "NLooseMuon": pa.array([0, 1, 2], pa.uint32()),
        "LooseMuonPt1": pa.array([0, -5, 7], pa.float32()),
        **tokens,
    }
    source = open_source(written(tmp_path / "a.parquet", columns))
    rows = table(source)
    for n, stage in enumerate(("aod", "esd", "raw")):
        assert set(rows[f"{stage}_guid"].to_pylist()) == {f"{GUID[:-1]}{n}"}
        assert rows[f"{stage}_entry"].to_pylist() == [0, 1, 2]
    slot = source.schema["LooseMuonPt1"]
    assert (slot.slot, slot.counter, slot.collection, slot.unit) == (1, "NLooseMuon", "LooseMuon", "MeV")
    assert "sign is the charge" in slot.description


def test_slots_without_their_counter_are_plain_scalars(tmp_path: Path) -> None:
    columns = {"RunNumber": [1], "LumiBlockN": [1], "EventNumber": [1], "LooseMuonPt1": pa.array([1.0], pa.float32())}
    source = open_source(written(tmp_path / "a.parquet", columns))
    assert source.schema["LooseMuonPt1"].slot == 0


def test_menus_and_processed_blocks_come_from_the_metadata(tmp_path: Path) -> None:
    menu = Menu({"HLT_a": ("trigger_0", 0)}, key="300")
    metadata = {"tagsel.menus": json.dumps({menu.id: menu.to_json()}), "tagsel.processed": "[[5, 2], [5, 1], [5, 2]]"}
    columns = {**ids(), "menu": [menu.id, 0, menu.id], "trigger_0": pa.array([1, 0, 0], pa.int32())}
    source = open_source(written(tmp_path / "a.parquet", columns, metadata))
    assert source.menus == {menu.id: menu}
    assert source.menus[menu.id].key == "300"
    assert table(source)["menu"].to_pylist() == [menu.id, 0, menu.id]
    assert source.bookkeeping["processed"] == [[5, 1], [5, 2]]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("tagsel.menus", "{"),
        ("tagsel.menus", '{"7": {"bits": {"HLT_a": ["trigger_0", 0]}}}'),
        ("tagsel.processed", "[1]"),
    ],
)
def test_metadata_that_is_wrong_is_refused(tmp_path: Path, key: str, text: str) -> None:
    with pytest.raises(IngestError, match=rf"a\.parquet.*{key}"):
        open_source(written(tmp_path / "a.parquet", ids(), {key: text}))


def test_a_missing_value_is_refused_by_column_and_row(tmp_path: Path) -> None:
    for column in ([1.0, None, 2.0], [[1.0], None, [2.0]]):
        path = written(tmp_path / "a.parquet", {**ids(), "x": column})
        with pytest.raises(IngestError, match=r"a\.parquet: x has no value in row 1"):
            list(open_source(path).batches())


def test_a_missing_item_of_a_list_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", {**ids(), "x": [[1.0], [2.0, None], []]})
    with pytest.raises(IngestError, match=r"a\.parquet: x has no value in row 1"):
        list(open_source(path).batches())


def test_fault_04_empty_file_is_refused_and_zero_rows_are_fine(tmp_path: Path) -> None:
    empty = tmp_path / "empty.parquet"
    empty.write_bytes(b"")
    with pytest.raises(IngestError, match=r"empty\.parquet: is empty"):
        open_source(empty)
    source = open_source(written(tmp_path / "none.parquet", ids(0)))
    assert (source.entries, list(source.batches())) == (0, [])


def test_fault_01_truncated_parquet_is_refused(tmp_path: Path) -> None:
    data = written(tmp_path / "whole.parquet", ids()).read_bytes()
    for size in range(4, len(data), 61):
        path = tmp_path / f"cut{size}.parquet"
        path.write_bytes(data[:size])
        with pytest.raises(IngestError, match=f"cut{size}.parquet"):
            open_source(path)


def test_fault_02_a_flipped_bit_in_a_page_with_a_checksum_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(ids(1000)), path, write_page_checksum=True, compression="none", use_dictionary=False)
    place = pq.ParquetFile(path).metadata.row_group(0).column(2).data_page_offset
    data = bytearray(path.read_bytes())
    data[place + 1000] ^= 4
    path.write_bytes(data)
    with pytest.raises(IngestError, match=r"a\.parquet: cannot be read as Parquet: .*CRC"):
        list(open_source(path).batches())


def test_fault_26_a_damaged_basket_is_named_by_file_and_column(tmp_path: Path) -> None:
    path = tmp_path / "a.root"
    columns = {n: np.arange(1000, dtype=np.int64) for n in ("run", "luminosityBlock", "event")}
    with uproot.recreate(path) as file:
        file.mktree("Events", {n: v.dtype for n, v in columns.items()}).extend(columns)
    with uproot.open(path) as file:
        branch = file["Events"]["event"]
        seek, size = int(branch.member("fBasketSeek")[0]), int(branch.basket_compressed_bytes(0))
    data = bytearray(path.read_bytes())
    data[seek : seek + size] = b"\xff" * size
    path.write_bytes(data)
    with pytest.raises(IngestError, match=r"a\.root: cannot read column event of tree Events"):
        list(open_source(path).batches())


def test_fault_08_through_a_file(tmp_path: Path) -> None:
    for values, says in (([1, 2**63], "2\\^63 - 1"), ([1, -1], "negative")):
        kind = pa.uint64() if values[1] > 0 else pa.int64()
        path = written(tmp_path / "a.parquet", {**ids(2), "event": pa.array(values, kind)})
        with pytest.raises(IngestError, match=rf"a\.parquet: event, row 1: .*{says}"):
            list(open_source(path).batches())


def test_no_ids_says_which_and_what_to_do(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", {"x": [1.0]})
    with pytest.raises((IngestError, SchemaError), match="run, lumi, event missing"):
        open_source(path)


def test_identity_of_a_parquet_is_its_content(tmp_path: Path) -> None:
    one, same, other = (written(tmp_path / f"{n}.parquet", ids(r)) for n, r in (("a", 3), ("b", 3), ("c", 4)))
    guids = [open_source(p).guid for p in (one, same, other)]
    assert guids[0] == guids[1] != guids[2]


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    path = written(tmp_path / "a.root", ids())
    assert open_source(path).format == "parquet"
    with pytest.raises(IngestError, match="not nanoaod"):
        open_source(path, format="nanoaod")


def test_what_is_neither_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(IngestError, match=r"notes\.txt: is not a ROOT file"):
        open_source(path)
    with pytest.raises(IngestError, match=r"nowhere\.root: cannot be opened"):
        open_source(tmp_path / "nowhere.root")
    with pytest.raises(IngestError, match="did you mean nanoaod"):
        open_source(path, format="nanoad")


MINE = """
name = "mine"
tree = "dir/ntuple"
attributes = [
    { name = "met", branch = ["etmiss", "met_et"], unit = "MeV" },
    { name = "status", type = "bits32", role = "flag" },
]
[ids]
run = "RUN"
lumi = 0
event = "EVT"
[units]
"*.pt" = "GeV"
[[bits]]
match = "pass_*"
words = "trigger"
role = "trigger"
[[collections]]
name = "Muon"
counter = "nMuon"
prefix = "mu_"
take = "*"
exclude = "*_raw"
[collections.members]
pt = { branch = ["p_t", "pT"], type = "float32" }
mass = { branch = "m", constant = 0.1056583755, unit = "GeV" }
"""


@pytest.mark.parametrize("kind", ["TTree", "RNTuple"])
def test_feature_11_any_tree_with_any_id_names_by_a_schema(tmp_path: Path, kind: str) -> None:
    columns = {
        "RUN": np.array([7, 7], dtype=np.uint32),
        "EVT": np.array([1, 2], dtype=np.int64),
        "met_et": np.array([10.0, 20.0]),
        "status": np.array([2**31, 1], dtype=np.uint32),
        "pass_x": np.array([True, False]),
        "mu_pT": ak.Array([[1.0, 2.0], []]),
        "mu_eta": ak.Array([[0.1, 0.2], []]),
        "mu_e_raw": ak.Array([[1.0, 2.0], []]),
    }
    path = tmp_path / "mine.root"
    with uproot.recreate(path) as file:
        if kind == "TTree":
            file.mktree(
                "dir/ntuple", {n: v.type if isinstance(v, ak.Array) else v.dtype for n, v in columns.items()}
            ).extend(columns)
        else:
            file.mkrntuple("ntuple", columns)
    schema = parse_source_schema(MINE if kind == "TTree" else MINE.replace("dir/", ""), "mine.toml")
    source = open_source(path, schema)
    rows = table(source).to_pydict()
    assert (rows["run"], rows["lumi"], rows["event"]) == ([7, 7], [0, 0], [1, 2])
    assert rows["met"] == [10.0, 20.0]
    assert rows["status"] == [-(2**31), 1]  # the signed pattern of bit 31
    assert rows["trigger_0"] == [1, 0]
    assert rows["Muon_pt"] == [[1.0, 2.0], []]
    assert rows["Muon_eta"] == [[0.1, 0.2], []]
    assert "Muon_e_raw" not in rows
    assert rows["Muon_mass"] == [[np.float32(0.1056583755)] * 2, []]
    assert rows["aod_entry"] == [0, 1]
    assert [(a.guid, a.entries) for a in source.aod] == [(source.guid, 2)]
    assert (source.schema["Muon.pt"].unit, source.schema["Muon.pt"].type) == ("GeV", "float32")


def test_text_where_numbers_are_wanted_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", {**ids(), "x": ["a", "b", "c"]})
    text = 'attributes = [{ name = "x", type = "int32" }]\n[ids]\nrun = "run"\nlumi = "lumi"\nevent = "event"\n'
    with pytest.raises(IngestError, match="x holds string, and the schema makes x of it as int32"):
        open_source(path, parse_source_schema(text, "x.toml"))


def test_a_drafted_schema_ingests_the_file_it_came_from(tmp_path: Path) -> None:
    columns = {
        **ids(),
        "Muon_pt": [[1.5], [], [2.5]],
        "Muon_eta": [[1.5], [], [2.5]],
        "scores": [[1], [2, 3], []],
        "odd.name": [1, 2, 3],
        "HLT_x": [True, False, True],
    }
    path = written(tmp_path / 'a "quoted".parquet', columns)
    text = derive_source_schema(path)
    source = open_source(path, parse_source_schema(text, "draft"))
    assert {a.name for a in source.schema} >= {
        "Muon.pt",
        "Muon.eta",
        "nMuon",
        "scores.value",
        "nscores",
        "odd_name",
        "trigger_0",
    }
    assert table(source)["trigger_0"].to_pylist() == [1, 0, 1]
    assert table(source)["scores_value"].to_pylist() == [[1], [2, 3], []]


def test_a_draft_without_ids_says_so_where_they_belong(tmp_path: Path) -> None:
    text = derive_source_schema(written(tmp_path / "a.parquet", {"x": [1.0]}))
    assert '# run = "…"' in text
    with pytest.raises(SchemaError, match="run, lumi, event missing"):
        parse_source_schema(text, "draft")


@pytest.mark.real
@pytest.mark.parametrize("name", ["nano_dimuon_rntuple.root", "uproot-issue-798.root"])
def test_real_drafts_read_back_and_ingest(real: Callable[[str], Path], name: str) -> None:
    source = open_source(real(name), parse_source_schema(derive_source_schema(real(name)), name))
    assert source.entries == 40
    assert {a.name for a in source.schema} >= {"run", "lumi", "event"}


@pytest.mark.parametrize("how", ["replaced", "appended to", "removed"])
def test_a_file_that_changes_while_it_is_ingested_is_refused(tmp_path: Path, how: str) -> None:
    """Its identity is that of the bytes it had when it was opened."""
    path, other = tmp_path / "a.parquet", tmp_path / "b.parquet"
    table = pa.table({"run": [1, 1], "lumi": [1, 2], "event": pa.array([1, 2], pa.int64()), "met": [1.0, 2.0]})
    pq.write_table(table, path)
    pq.write_table(table.set_column(3, "met", pa.array([3.0, 4.0])), other)
    source = open_source(path)
    batches = source.batches(rows=1)
    next(batches)
    if how == "replaced":
        other.rename(path)
    elif how == "appended to":
        with path.open("ab") as file:
            file.write(b"more")
    else:
        path.unlink()
    with pytest.raises(IngestError, match=r"a\.parquet: changed while it was being ingested"):
        list(batches)
