"""The committed sample: what docs/start/sample.md says of it, counted from the raw files with pyarrow and uproot."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from tagsel.quality import read_lumi
from tagsel.rootio import RootFile
from tagsel.rootio.poolcatalog import read_pool_file_catalog
from tagsel.schema import Menu
from tagsel.schema.source import standard_schema

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
FILES = SAMPLE / "files"
STREAMS = ("physics_MinBias", "physics_Muon")
TOKEN = re.compile(r"\[DB=([-0-9A-F]{36})\]\[CNT=.*\]\[OID=[0-9A-F]{8}-([0-9A-F]{8})\]")


@functools.cache
def tags(stream: str, folder: Path = FILES) -> pa.Table:
    paths = sorted(folder.glob(f"*.{stream}.TAG.*.parquet"))
    return pa.concat_tables([pq.read_table(path).replace_schema_metadata(None) for path in paths])


def identities(table: pa.Table) -> list[tuple[int, int]]:
    return list(zip(table["RunNumber"].to_pylist(), table["EventNumber"].to_pylist(), strict=True))


def column(table: pa.Table, name: str) -> np.ndarray:
    return table[name].to_numpy()


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    """The generator as scripts load it."""
    spec = importlib.util.spec_from_file_location("sample_generator", SAMPLE / "generator.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- the committed files


def test_checksums_and_size() -> None:
    listed = dict(reversed(line.split("  ")) for line in (FILES / "SHA256SUMS").read_text().splitlines())
    assert set(listed) | {"SHA256SUMS"} == {p.name for p in FILES.iterdir()}
    for name, digest in listed.items():
        assert hashlib.sha256((FILES / name).read_bytes()).hexdigest() == digest, name
    committed = [p for p in SAMPLE.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    assert sum(p.stat().st_size for p in committed) <= 2_000_000


def test_two_streams_that_share_events() -> None:
    minbias, muon = (identities(tags(stream)) for stream in STREAMS)
    assert (len(minbias), len(muon)) == (18_006, 4_517)
    assert (len(set(minbias)), len(set(muon))) == (18_000, 4_514), "6 and 3 rows are there twice"
    shared = set(minbias) & set(muon)
    assert len(shared) == 514
    assert len(set(minbias) | set(muon)) == 22_000
    assert len(shared) >= 0.01 * 22_000
    assert max(Counter(minbias).values()) == max(Counter(muon).values()) == 2


def test_six_runs_and_two_menus() -> None:
    both = pa.concat_tables([tags(stream) for stream in STREAMS])
    runs = {140541, 141749, 141811, 142154, 142165, 142193}
    assert set(both["RunNumber"].to_pylist()) == runs
    menus = {int(i): Menu.from_json(m) for i, m in json.loads((FILES / "menus.json").read_text()).items()}
    assert {menu.id for menu in menus.values()} == set(menus), "ids are those that tagsel derives from the content"
    keys = {r: menus[m].key for r, m in zip(both["RunNumber"].to_pylist(), both["menu"].to_pylist(), strict=True)}
    assert keys == {r: "300" if r < 142000 else "301" for r in runs}
    first, second = sorted(menus.values(), key=lambda menu: menu.key)
    assert set(first.bits) - set(second.bits) == {"EF_mbMbts_1"}
    assert set(second.bits) - set(first.bits) == {"EF_mu10", "EF_2mu4"}
    assert first.bits["EF_mu4"] != second.bits["EF_mu4"]
    for path in FILES.glob("*.TAG.*.parquet"):
        kept = json.loads(pq.read_metadata(path).metadata[b"tagsel.menus"])
        assert {int(i) for i in kept} == set(pq.read_table(path)["menu"].to_pylist())
        assert all(Menu.from_json(m) == menus[int(i)] for i, m in kept.items())


def test_every_row_points_to_an_aod_entry_that_exists() -> None:
    """GUID, entry, run, block and event agree, and so do momenta (MeV and charge-signed there, GeV here)."""
    aods = {}
    for path in FILES.glob("*.AOD.*.root"):
        with uproot.open(path) as file:
            aods[str(file.file.uuid).upper()] = file["Events"].arrays()
    assert len(aods) == 6
    seen = Counter()
    for stream in STREAMS:
        table = tags(stream)
        tokens = [TOKEN.fullmatch(text) for text in table["StreamAOD_ref"].to_pylist()]
        guid = np.array([t[1] for t in tokens if t])
        entry = np.array([int(t[2], 16) for t in tokens if t])
        assert guid.size == table.num_rows
        for name in sorted(set(guid)):
            rows, events = np.flatnonzero(guid == name), aods[name]
            assert sorted(entry[rows]) == list(range(len(events))), "each entry has one row"
            events = events[entry[rows]]
            seen[name] += len(rows)
            for theirs, ours in (("RunNumber", "run"), ("LumiBlockN", "luminosityBlock"), ("EventNumber", "event")):
                assert (column(table, theirs)[rows] == events[ours].to_numpy()).all()
            assert (column(table, "NLooseMuon")[rows] == ak.num(events["Muon_pt"]).to_numpy()).all()
            lead = ak.firsts(events["Muon_pt"] * events["Muon_charge"])
            some = ~ak.is_none(lead).to_numpy()
            mev = column(table, "LooseMuonPt1")[rows]
            assert (mev[some] == (lead[some] * 1000).to_numpy().astype(np.float32)).all()
            assert (mev[~some] == 0).all()
    assert set(seen) == set(aods)


def test_trigger_words_decode_by_the_row_s_menu() -> None:
    """EF_mu4 of the TAG is HLT_mu4 of the AOD, though its bit moved (to the sign bit in the second menu)."""
    menus = json.loads((FILES / "menus.json").read_text())
    for stream in STREAMS:
        table = tags(stream)
        fired = np.zeros(table.num_rows, bool)
        for menu, content in menus.items():
            word, bit = content["bits"]["EF_mu4"]
            chosen = column(table, "menu") == int(menu)
            fired |= chosen & (column(table, word) >> np.uint64(bit) & np.uint64(1)).astype(bool)
        expected = []
        for path in sorted(FILES.glob(f"*.{stream}.AOD.*.root")):
            with uproot.open(path) as file:
                expected.append(file["Events"]["HLT_mu4"].array(library="np"))
        assert (fired == np.concatenate(expected)).all()
        if stream == "physics_Muon":
            assert fired.all()


def test_esd_and_raw_are_named_but_not_here() -> None:
    root = ElementTree.parse(FILES / "PoolFileCatalog.xml").getroot()
    names = {f.get("ID"): (f.find("logical/lfn").get("name"), f.find("physical/pfn")) for f in root}  # type: ignore[union-attr]
    for stage, count in (("ESD", 12), ("RAW", 12), ("AOD", 6)):
        found = set()
        for stream in STREAMS:
            tokens = [TOKEN.fullmatch(text) for text in tags(stream)[f"Stream{stage}_ref"].to_pylist()]
            places = [(t[1], int(t[2], 16)) for t in tokens if t]
            assert len(places) == tags(stream).num_rows == len(set(places)), "no two rows share a place"
            found |= {guid for guid, _ in places}
        assert len(found) == count
        for guid in found:
            lfn, pfn = names[guid]
            assert f".{stage}." in lfn
            assert (pfn is not None) == (stage == "AOD")
            assert (FILES / lfn).exists() == (stage == "AOD")


def test_tagsel_reads_guids_and_the_catalog() -> None:
    catalog = {file.guid: file for file in read_pool_file_catalog(FILES / "PoolFileCatalog.xml")}
    assert len(catalog) == 30
    for path in FILES.glob("*.AOD.*.root"):
        with RootFile(path) as file:
            assert list(catalog[file.guid].pfns) == [path.name]
            assert file.events().name == "Events"


def test_good_run_list_by_hand() -> None:
    """Blocks of the runs 24 + 40 + 64 + 48 + 16 + 56; the run of 16 and 5 + 2 + 12 noisy blocks are out."""
    good = read_lumi(FILES / "good_runs.xml")
    assert len(good) == 24 + 40 + 64 + 48 + 56 - (5 + 2 + 12)
    assert 142165 not in good.runs.tolist()
    for stream in STREAMS:
        table = tags(stream)
        passed = good.contains(column(table, "RunNumber"), column(table, "LumiBlockN"))
        assert 0.8 < passed.mean() < 0.9


def test_processed_blocks_hold_every_row() -> None:
    for path in FILES.glob("*.parquet"):
        table = pq.read_table(path)
        processed = {tuple(pair) for pair in json.loads(table.schema.metadata[b"tagsel.processed"])}
        run, lumi = ("RunNumber", "LumiBlockN") if ".TAG." in path.name else ("run", "luminosityBlock")
        rows = set(zip(table[run].to_pylist(), table[lumi].to_pylist(), strict=True))
        assert rows <= processed


def test_traps_are_in_it() -> None:
    """NaN, values past a counter, unknown crossings, event numbers past 2^31, sign bits, unordered events."""
    table = tags("physics_MinBias")
    assert np.isnan(column(table, "CellMissingET")).sum() == 16
    assert (np.isnan(column(table, "VtxZ")) == (column(table, "NVtx") == 0)).all()
    assert np.isnan(column(table, "VtxZ")).sum() == 182
    stale = column(table, "LooseMuonPt2") == 77_777
    assert (stale.sum(), set(column(table, "NLooseMuon")[stale])) == (80, {1})
    assert (column(table, "BunchId") == 2**32 - 1).sum() == 24
    assert column(table, "EventNumber").max() > 2**31
    assert (column(table, "EFPassedTrigMask0") >> np.uint64(63)).any()
    assert (column(table, "LArFlags") >> np.uint32(31)).any()
    assert (np.diff(column(table, "EventNumber").astype(np.int64)) < 0).any()
    assert column(table, "NJet").max() > 6, "more objects than slots"


def test_muon_pairs_show_their_resonances() -> None:
    table = tags("physics_Muon")
    pt, eta, phi = (
        [column(table, f"LooseMuon{what}{k}").astype(float) for k in (1, 2)] for what in ("Pt", "Eta", "Phi")
    )
    pairs = (column(table, "NLooseMuon") >= 2) & (pt[0] * pt[1] < 0)
    mass = np.sqrt(2 * np.abs(pt[0] * pt[1]) * (np.cosh(eta[0] - eta[1]) - np.cos(phi[0] - phi[1])))[pairs] / 1000
    near_jpsi, beside_jpsi = (((mass > low) & (mass < low + 0.4)).sum() for low in (2.9, 3.5))
    near_z, beside_z = (((mass > low) & (mass < low + 10)).sum() for low in (86.2, 60.0))
    assert near_jpsi > 20 * beside_jpsi
    assert near_z > 20 * beside_z > 0 or near_z > 100


# -- the generator


def test_a_regenerated_sample_has_the_same_content(tmp_path: Path) -> None:
    subprocess.run([sys.executable, SAMPLE / "generate.py", tmp_path / "made"], check=True)
    names = {p.name for p in FILES.iterdir()}
    assert {p.name for p in (tmp_path / "made").iterdir()} == names
    for name in names - {"SHA256SUMS"}:
        ours, made = FILES / name, tmp_path / "made" / name
        if name.endswith(".root"):
            with uproot.open(ours) as a, uproot.open(made) as b:
                assert str(a.file.uuid) == str(b.file.uuid)
                one, other = a["Events"].arrays(), b["Events"].arrays()
                assert one.fields == other.fields
                for field in one.fields:
                    assert ak.array_equal(one[field], other[field], equal_nan=True), (name, field)
        elif name.endswith(".parquet"):
            one, other = pq.read_table(ours), pq.read_table(made)
            assert one.schema.equals(other.schema, check_metadata=True)
            for field in one.column_names:
                ours, made = ak.from_arrow(one[field]), ak.from_arrow(other[field])
                assert ak.array_equal(ours, made, equal_nan=True), (name, field)
        else:
            assert ours.read_bytes() == made.read_bytes()


def test_seed_and_size_are_obeyed(tmp_path: Path) -> None:
    for name, seed in (("a", "1"), ("b", "2")):
        command = [sys.executable, SAMPLE / "generate.py", tmp_path / name, "--seed", seed, "--events", "660"]
        subprocess.run(command, check=True)
    a, b = (tags("physics_MinBias", tmp_path / name) for name in "ab")
    assert a.num_rows == 660 * 9 // 11 + 6
    assert not a.select(["EventNumber"]).equals(b.select(["EventNumber"]))


def test_fault_25_a_sample_of_no_events(tmp_path: Path) -> None:
    subprocess.run([sys.executable, SAMPLE / "generate.py", tmp_path / "none", "--events", "0"], check=True)
    assert tags("physics_Muon", tmp_path / "none").num_rows == 0
    for path in (tmp_path / "none").glob("*.root"):
        with uproot.open(path) as file:
            assert file["Events"].num_entries == 0


def test_bulk_events_are_wide_typed_and_unique(generator: ModuleType) -> None:
    size = generator.BLOCK + 5_000
    first, second = generator.batches(size)
    assert (first.num_rows, second.num_rows) == (generator.BLOCK, 5_000)
    widths = [4 if pa.types.is_dictionary(f.type) else f.type.bit_width // 8 for f in first.schema]
    assert (len(widths), sum(widths)) == (251, 999)
    schema = standard_schema("atlas_tag_2011")
    assert [f.name for f in first.schema if f.name not in schema] == []
    run, event = (np.concatenate([b[c].to_numpy() for b in (first, second)]) for c in ("RunNumber", "EventNumber"))
    assert np.unique(run.astype(np.int64) << 32 | event).size == size
    place = set(zip(second["aod_guid"].to_pylist(), second["aod_entry"].to_pylist(), strict=True))
    assert len(place) == 5_000


def test_bulk_events_depend_on_seed_and_number_alone(generator: ModuleType) -> None:
    (few,), (more,), (other,) = (list(generator.batches(n, s)) for n, s in ((100, 7), (300, 7), (100, 8)))
    for name in few.schema.names:
        one, same = (b.column(name).to_numpy(zero_copy_only=False) for b in (few, more.slice(0, 100)))
        np.testing.assert_array_equal(one, same, err_msg=name)
    assert not few.equals(other)
    assert list(generator.batches(0)) == []
