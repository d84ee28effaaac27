"""NanoAOD: the answers of data/README.md at the level of batches, and the traps of real files."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pytest
import uproot

from tagsel.errors import IngestError
from tagsel.ingest import TagSource, open_source
from tagsel.schema import parse_source_schema

Real = Callable[[str], Path]


@lru_cache(maxsize=8)
def opened(path: Path) -> tuple[TagSource, pa.Table]:
    source = open_source(path)
    return source, pa.Table.from_batches(list(source.batches()))


def jagged(rows: pa.Table, column: str) -> ak.Array:
    return ak.from_arrow(rows[column])


def passed(source: TagSource, rows: pa.Table, chain: str) -> np.ndarray:
    (menu,) = source.menus.values()
    column, bit = menu.bits[chain]
    return (rows[column].to_numpy().view(np.uint32) >> np.uint32(bit)) & 1 == 1


def above(rows: pa.Table, column: str, threshold: float) -> int:
    return int((rows[column].to_numpy() > threshold).sum())


@pytest.mark.real
@pytest.mark.parametrize("name", ["nano_dimuon.root", "nano_dimuon_rntuple.root"])
def test_real_answers_1_and_2_dimuon_and_its_rntuple_twin(real: Real, name: str) -> None:
    source, rows = opened(real(name))
    assert (source.entries, source.is_simulation) == (40, False)
    two = ak.to_numpy(ak.sum(jagged(rows, "Muon_pt") > 10, axis=1) >= 2)
    events = rows["event"].to_numpy()[two]
    assert (len(events), int(events.sum()), events[:3].tolist()) == (17, 3364367842, [197818706, 197762836, 197870551])
    assert int((rows["nMuon"].to_numpy() >= 2).sum()) == 33
    assert int(passed(source, rows, "HLT_IsoMu24").sum()) == 4
    assert above(rows, "MET_pt", 50) == 13
    charge = jagged(rows, "Muon_charge")
    charge = charge[ak.num(charge) >= 2]
    assert int(ak.sum(charge[:, 0] != charge[:, 1])) == 22
    assert source.schema["Muon.pt"].unit == "GeV"
    assert source.schema["luminosityBlock"].name == "lumi"
    assert rows["aod_entry"].to_pylist() == list(range(40))


@pytest.mark.real
def test_real_twins_have_equal_records(real: Real) -> None:
    (tree, rows), (ntuple, twin) = opened(real("nano_dimuon.root")), opened(real("nano_dimuon_rntuple.root"))
    # the order of columns is each file's own
    assert {a.name: a for a in tree.schema} == {a.name: a for a in ntuple.schema}
    assert tree.menus == ntuple.menus
    for column in set(rows.column_names) - {"aod_guid"}:
        mine, other = rows[column].combine_chunks(), twin[column].combine_chunks()
        floats = pa.types.is_floating(mine.type) or (
            pa.types.is_list(mine.type) and pa.types.is_floating(mine.type.value_type)
        )
        if floats:
            flat = [np.asarray(c.flatten() if pa.types.is_list(c.type) else c) for c in (mine, other)]
            np.testing.assert_array_equal(*flat, err_msg=column)
        else:
            assert mine.equals(other), column


@pytest.mark.real
def test_real_answer_3_simulation(real: Real) -> None:
    source, rows = opened(real("nano_dy.root"))
    assert source.is_simulation
    assert int(ak.sum(ak.any(jagged(rows, "Electron_pt") > 20, axis=1))) == 12
    weight = rows["genWeight"].to_numpy()
    assert int((weight < 0).sum()) == 9
    assert float(weight.astype(np.float64).sum()) == 578762.435546875
    assert int(passed(source, rows, "HLT_IsoMu24").sum()) == 6
    assert source.schema["genWeight"].role == "weight"
    # the Runs tree: 40 rows of 850,098 generated
    assert source.bookkeeping["genEventCount"] == 850098
    assert source.bookkeeping["sumw"] == pytest.approx(1.5167e10, rel=1e-4)
    assert source.bookkeeping["processed"] is None


@pytest.mark.real
def test_real_runs_tree_lists_more_runs_than_the_rows(real: Real) -> None:
    source, rows = opened(real("nano_dimuon.root"))
    runs = source.bookkeeping["runs"]
    assert isinstance(runs, list)
    assert len(runs) == 56
    assert set(rows["run"].to_pylist()) == {315267}


@pytest.mark.real
def test_real_answer_4_nanoaod_v12_rewritten_with_counters_of_branches(real: Real) -> None:
    source, rows = opened(real("nano_tt_v12.root"))
    jets = (jagged(rows, "Jet_pt") > 30) & (abs(jagged(rows, "Jet_eta")) < 2.5)
    assert int(ak.sum(ak.sum(jets, axis=1) >= 4)) == 187
    assert above(rows, "MET_pt", 100) == 50
    muons = (jagged(rows, "Muon_pt") > 20) & (abs(jagged(rows, "Muon_eta")) < 2.4)
    assert int(ak.sum(ak.any(muons, axis=1))) == 76
    assert int(passed(source, rows, "HLT_PFHT1050").sum()) == 4
    assert not [c for c in rows.column_names if c.startswith(("nMuon_", "nJet_", "nElectron_"))]
    assert set(rows["bunchCrossing"].to_pylist()) == {-1}  # 4294967295 in the file: unknown


@pytest.mark.real
def test_real_answer_5_open_data(real: Real) -> None:
    source, rows = opened(real("nanoAOD_2015_CMS_Open_Data_ttbar.root"))
    assert above(rows, "MET_pt", 50) == 39
    assert int(passed(source, rows, "HLT_IsoMu20").sum()) == 33
    assert int(passed(source, rows, "HLT_IsoMu27").sum()) == 26
    (menu,) = source.menus.values()
    assert "HLT_IsoMu24" not in menu.bits  # not in this menu: absent, not false


@pytest.mark.real
def test_feature_39_two_samples_of_run_1_have_menus_of_their_own(real: Real) -> None:
    menus = [next(iter(open_source(real(n)).menus.values())) for n in ("nano_dy.root", "nano_tt_v12.root")]
    chains = [{c for c in m.bits if c.startswith("HLT_")} for m in menus]
    assert [len(c) for c in chains] == [651, 4]  # DESIGN.md: 651 and 4 chains
    assert menus[0].id != menus[1].id


@pytest.mark.real
def test_fault_25_no_events_in_the_input_is_normal(real: Real) -> None:
    source = open_source(real("nano_dy_empty.root"))
    assert source.entries == 0
    assert list(source.batches()) == []
    assert source.schema.names() == open_source(real("nano_dy.root")).schema.names()
    assert source.is_simulation


@pytest.mark.real
def test_real_file_without_luminosity_blocks_is_a_clear_error_or_explicit(real: Real) -> None:
    path = real("missing_luminosityBlock.root")
    with pytest.raises(
        IngestError, match=r"missing_luminosityBlock\.root: no lumi number: looked for luminosityBlock"
    ) as caught:
        open_source(path)
    assert "lumi = 1" in caught.value.hint
    schema = parse_source_schema('format = "tree"\n[ids]\nrun = "run"\nlumi = 0\nevent = "event"\n', "mine.toml")
    (batch,) = open_source(path, schema).batches()
    assert batch["lumi"].to_pylist() == [0, 0]


@pytest.mark.real
@pytest.mark.parametrize(
    "name", ["nano_dy.root", "cmsopendata2015_ttbar_19980_NANOAOD_RNTupleImporter_rntuple_v1-0-0-1.root"]
)
def test_real_every_bit_of_the_file_is_in_the_menu(real: Real, name: str) -> None:
    source, rows = opened(real(name))
    (menu,) = source.menus.values()
    with uproot.open(real(name)) as file:
        tree = file["Events"]
        wanted = ("HLT_", "L1_", "Flag_")
        names = [k for k in tree.keys(filter_name=["HLT_*", "L1_*", "Flag_*"]) if k.startswith(wanted)]
        assert set(menu.bits) == set(names)
        for chain in names[:: len(names) // 20]:
            assert passed(source, rows, chain).tolist() == tree[chain].array().to_list()


def write_nano(path: Path, **more: object) -> None:
    with uproot.recreate(path) as file:
        columns = {
            "run": np.array([1, 1, 1], dtype=np.uint32),
            "luminosityBlock": np.array([5, 5, 6], dtype=np.uint32),
            "event": np.array([9, 7, 9], dtype=np.uint64),
            "HLT_b": np.array([True, False, True]),
            "HLT_a": np.array([False, False, True]),
            "Flag_x": np.array([True, True, False]),
            **more,
        }
        file.mktree("Events", {n: v.type if isinstance(v, ak.Array) else v.dtype for n, v in columns.items()}).extend(
            columns
        )  # type: ignore[attr-defined]


def test_bits_are_packed_in_the_order_of_names(tmp_path: Path) -> None:
    write_nano(tmp_path / "n.root")
    source = open_source(tmp_path / "n.root")
    (batch,) = source.batches()
    (menu,) = source.menus.values()
    assert dict(menu.bits) == {"HLT_a": ("trigger_0", 0), "HLT_b": ("trigger_0", 1), "Flag_x": ("flag_0", 0)}
    assert batch["trigger_0"].to_pylist() == [2, 0, 3]  # b = 2, none, a + b = 3
    assert batch["flag_0"].to_pylist() == [1, 1, 0]
    assert batch["menu"].to_pylist() == [menu.id] * 3
    assert source.schema["trigger_0"].role == "trigger"
    assert source.schema["flag_0"].type == "bits32"


def test_duplicated_and_unordered_ids_are_kept_as_they_stand(tmp_path: Path) -> None:
    write_nano(tmp_path / "n.root")
    (batch,) = open_source(tmp_path / "n.root").batches()
    assert batch["event"].to_pylist() == [9, 7, 9]


def test_batches_are_bounded_and_add_up(tmp_path: Path) -> None:
    write_nano(tmp_path / "n.root", Muon_pt=ak.values_astype(ak.Array([[1.5], [], [2.5, 3.5]]), np.float32))
    source = open_source(tmp_path / "n.root")
    parts = list(source.batches(rows=2))
    assert [b.num_rows for b in parts] == [2, 1]
    whole = pa.Table.from_batches(list(source.batches()))
    assert pa.Table.from_batches(parts).combine_chunks().equals(whole.combine_chunks())
    assert whole["aod_entry"].to_pylist() == [0, 1, 2]
    assert whole["nMuon"].to_pylist() == [1, 0, 2]
    assert not whole.schema.field("Muon_pt").nullable


def test_source_travels_to_another_process(tmp_path: Path) -> None:
    write_nano(tmp_path / "n.root")
    source = open_source(tmp_path / "n.root")
    again = pickle.loads(pickle.dumps(source))
    assert [b.to_pydict() for b in again.batches()] == [b.to_pydict() for b in source.batches()]


def test_luminosity_blocks_and_sums_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "n.root"
    write_nano(path)
    with uproot.update(path) as file:
        blocks = {"run": np.array([2, 1, 1], dtype=np.uint32), "luminosityBlock": np.array([3, 6, 5], dtype=np.uint32)}
        file.mktree("LuminosityBlocks", {n: v.dtype for n, v in blocks.items()}).extend(blocks)
        runs = {
            "run": np.array([1, 2], dtype=np.uint32),
            "genEventCount": np.array([10, 20]),
            "genEventSumw": np.array([1.5, 2.0]),
        }
        file.mktree("Runs", {n: v.dtype for n, v in runs.items()}).extend(runs)
    record = open_source(path).bookkeeping
    assert record["processed"] == [[1, 5], [1, 6], [2, 3]]
    assert (record["genEventCount"], record["sumw"], record["sumw2"]) == (30, 3.5, None)


def test_lists_of_one_collection_with_two_lengths_are_refused(tmp_path: Path) -> None:
    one, two = ak.Array([[1.5], [], [2.5]]), ak.Array([[1.5], [], [2.5, 3.5]])
    write_nano(tmp_path / "n.root", Muon_pt=one, Muon_eta=two)
    with pytest.raises(IngestError, match=r"n\.root: row 2: Muon_eta has 2 values where Muon_pt has 1"):
        list(open_source(tmp_path / "n.root").batches())


def test_trees_of_cms_framework_files_do_not_make_it_physlite(tmp_path: Path) -> None:
    path = tmp_path / "n.root"
    write_nano(path)
    with uproot.update(path) as file:
        for name in ("MetaData", "ParameterSets"):
            file.mktree(name, {"x": "int32"}).extend({"x": np.array([1], dtype=np.int32)})
    assert open_source(path).format == "nanoaod"


def test_a_trigger_called_after_met_is_a_bit_not_a_met(tmp_path: Path) -> None:
    write_nano(tmp_path / "n.root", HLT_PFMET_120=np.array([True, False, True]))
    source = open_source(tmp_path / "n.root")
    assert "HLT_PFMET_120" in next(iter(source.menus.values())).bits
    assert "HLT_PFMET_120" not in source.schema


@pytest.mark.real
def test_real_feature_07_versions_agree_on_types_and_units(real: Real) -> None:
    names = ("nano_dimuon.root", "nano_dy.root", "nano_tt_v12.root", "nanoAOD_2015_CMS_Open_Data_ttbar.root")
    schemas = [open_source(real(n)).schema for n in names]
    union = schemas[0]
    for schema in schemas[1:]:
        union = union.union(schema)  # raises where one name has two types or units
    assert len(union) > max(len(s) for s in schemas)
    assert "PuppiMET_pt" in union
    assert "bunchCrossing" not in schemas[0]
