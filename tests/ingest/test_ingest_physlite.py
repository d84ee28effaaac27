"""PHYSLITE and POOL collections: the join by Token, unsplit files, menus, and what must be refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pytest

from tagsel.errors import IngestError
from tagsel.ingest import TagSource, open_source
from tagsel.schema import NO_MENU

GUID = "81FB839F-06FD-F947-8A9F-9E9F5B0E0F9C"
OTHER = "00000000-0000-0000-0000-00000000000A"


def table(source: TagSource) -> pa.Table:
    return pa.Table.from_batches(list(source.batches()))


@pytest.mark.parametrize("kind", ["TTree", "RNTuple"])
@pytest.mark.parametrize("entries", [(0, 1, 2), (2, 0, 1)])
def test_one_row_per_event_carries_events_and_tag(
    physlite: Callable[..., Path], kind: str, entries: tuple[int, ...]
) -> None:
    source = open_source(physlite(kind, entries))
    rows = table(source)
    assert (source.format, source.entries, source.guid) == ("physlite", 3, GUID)
    assert rows["event"].to_pylist() == [11, 12, 13]
    assert rows["EventWeight"].to_pylist() == [1.0, 2.0, 3.0]  # the weight of TAG row r is that of entry r + 1
    assert rows["aod_guid"].to_pylist() == [GUID] * 3
    assert rows["aod_entry"].to_pylist() == [0, 1, 2]
    assert rows["nMuon"].to_pylist() == [2, 0, 1]
    assert rows["Muon_charge"].to_pylist() == [[1, -1], [], [1]]
    assert "index_ref" not in rows.column_names
    assert source.is_simulation
    assert source.aod[0].entries == 3


def test_unstored_muon_mass_is_the_pdgs(physlite: Callable[..., Path]) -> None:
    source = open_source(physlite())
    mass = np.float32(105.6583755).item()  # MeV, Particle Data Group
    assert table(source)["Muon_mass"].to_pylist() == [[mass, mass], [], [mass]]
    assert source.schema["Muon.mass"].unit == "MeV"


def test_unknown_bunch_crossing_is_minus_one(physlite: Callable[..., Path]) -> None:
    assert table(open_source(physlite()))["BunchId"].to_pylist() == [5, -1, 7]


def test_ids_keep_the_names_of_the_formats(physlite: Callable[..., Path]) -> None:
    schema = open_source(physlite()).schema
    for name in ("run", "RunNumber", "EventInfoAuxDyn.runNumber"):
        assert schema[name].name == "run"
    assert schema["LumiBlockN"].name == "lumi"
    assert schema["AnalysisMuonsAuxDyn.pt"].name == "Muon.pt"


def test_feature_39_rntuple_menu_gives_chains_by_name(physlite: Callable[..., Path]) -> None:
    source = open_source(physlite("RNTuple"))
    ((number, menu),) = source.menus.items()
    # counters 0, 1 and 33: bit 33 is bit 1 of word 1
    assert dict(menu.bits) == {"HLT_a": ("trigger_0", 0), "HLT_b": ("trigger_0", 1), "HLT_c": ("trigger_1", 1)}
    assert menu.key == "7"
    rows = table(source)
    assert rows["menu"].to_pylist() == [number] * 3
    assert rows["trigger_0"].to_pylist() == [1, 0, 3]
    assert rows["trigger_1"].to_pylist() == [2, 0, 1]


def test_without_a_menu_triggers_are_missing_not_an_error(physlite: Callable[..., Path]) -> None:
    source = open_source(physlite())
    assert source.menus == {}
    assert table(source)["menu"].to_pylist() == [NO_MENU] * 3
    assert not [a for a in source.schema if a.role == "trigger"]


def test_tag_alone_where_ids_of_events_cannot_be_read(physlite: Callable[..., Path]) -> None:
    source = open_source(physlite(drop="eventNumber", entries=(2, 0, 1)))
    assert source.format == "pool"
    assert "the TAG alone is ingested" in source.warnings[0]
    rows = table(source)
    assert rows["event"].to_pylist() == [13, 11, 12]
    assert rows["aod_entry"].to_pylist() == [2, 0, 1]
    assert "Muon_pt" not in rows.column_names


def test_no_ids_and_no_tag_is_a_clear_error(physlite: Callable[..., Path]) -> None:
    with pytest.raises(
        IngestError, match=r"physlite_TTree\.root: no event number: looked for EventInfoAuxDyn.eventNumber"
    ):
        open_source(physlite(drop="eventNumber", entries=None))


def test_events_without_tag_are_taken_alone(physlite: Callable[..., Path]) -> None:
    rows = table(open_source(physlite(entries=None)))
    assert rows["event"].to_pylist() == [11, 12, 13]
    assert "EventWeight" not in rows.column_names


def test_tag_with_other_ids_is_refused(physlite: Callable[..., Path]) -> None:
    wrong = {"EventNumber": np.array([11, 12, 99], dtype=np.uint64)}
    with pytest.raises(IngestError, match="entry 2: event is 13 in CollectionTree and 99 in POOLCollectionTree"):
        open_source(physlite(tag=wrong))


@pytest.mark.parametrize("entries", [(0, 1), (0, 1, 1), (0, 1, 2, 3)])
def test_tag_that_does_not_match_the_events_is_refused(physlite: Callable[..., Path], entries: tuple[int, ...]) -> None:
    with pytest.raises(IngestError, match=f"POOLCollectionTree has {len(entries)} rows for the 3 events") as caught:
        open_source(physlite(entries=entries))
    assert 'format "pool"' in caught.value.hint


def test_tag_that_points_elsewhere_is_refused_together_and_taken_alone(physlite: Callable[..., Path]) -> None:
    path = physlite(guid=OTHER)
    with pytest.raises(IngestError, match=f"points to file {OTHER}"):
        open_source(path)
    source = open_source(path, format="pool")
    assert [a.guid for a in source.aod] == [OTHER]
    assert table(source)["aod_guid"].to_pylist() == [OTHER] * 3


def test_malformed_token_is_named_by_row(physlite: Callable[..., Path]) -> None:
    texts = [f"[DB={GUID}][OID=0-0]", "nonsense", ""]
    with pytest.raises(IngestError, match="Token, row 1: 'nonsense' is no POOL Token"):
        open_source(physlite(tag={"Token": texts}), format="pool")


def test_empty_token_points_nowhere(physlite: Callable[..., Path]) -> None:
    texts = [f"[DB={GUID}][OID=0-0]", "", f"[DB={GUID.lower()}][OID=0-1]"]
    rows = table(open_source(physlite(tag={"Token": texts}), format="pool"))
    assert rows["aod_guid"].to_pylist() == [GUID, "", GUID]
    assert rows["aod_entry"].to_pylist() == [0, -1, 1]


def at_least(rows: pa.Table, column: str, threshold: float, count: int) -> int:
    return int(ak.sum(ak.sum(ak.from_arrow(rows[column]) > threshold, axis=1) >= count))


def passed(source: TagSource, rows: pa.Table, chain: str) -> int:
    (menu,) = source.menus.values()
    column, bit = menu.bits[chain]
    return int(((rows[column].to_numpy().view(np.uint32) >> np.uint32(bit)) & 1).sum())


@pytest.mark.real
def test_real_answer_6_physlite_with_its_tag(real: Callable[[str], Path]) -> None:
    source = open_source(real("uproot-issue-951.root"))
    rows = table(source)
    assert (source.entries, source.guid) == (50, GUID)
    assert sum(rows["event"].to_pylist()) == 192480297
    assert rows["lumi"].to_pylist().count(8) == 10
    assert int((rows["BunchId"].to_numpy() < 1000).sum()) == 17
    assert int((rows["EventWeight"].to_numpy() < 0).sum()) == 1
    assert at_least(rows, "Electron_pt", 20000, 1) == 18
    assert at_least(rows, "Jet_pt", 25000, 4) == 41
    assert passed(source, rows, "HLT_mu26_ivarmedium_L1MU14FCH") == 9
    assert passed(source, rows, "HLT_e26_lhtight_ivarloose_L1EM22VHI") == 13
    assert source.is_simulation
    assert set(rows["aod_guid"].to_pylist()) == {GUID}
    assert rows["aod_entry"].to_pylist() == list(range(50))
    # CutBookkeepers of its MetaData, read apart with uproot
    assert (source.bookkeeping["genEventCount"], source.bookkeeping["sumw"]) == (50, 39095.759765625)
    assert source.bookkeeping["processed"] is None
    assert source.bookkeeping["processed_reason"]


@pytest.mark.real
def test_real_tag_alone_as_a_pool_collection(real: Callable[[str], Path]) -> None:
    source = open_source(real("uproot-issue-951.root"), format="pool")
    rows = table(source)
    assert sum(rows["event"].to_pylist()) == 192480297
    assert [(a.guid, a.entries) for a in source.aod] == [(GUID, 50)]
    # 13 fields: Token gives guid and entry, three are ids, nine are attributes; and menu
    assert len(source.schema) == 3 + 2 + 1 + 9


@pytest.mark.real
def test_real_older_physlite_layout(real: Callable[[str], Path]) -> None:
    source = open_source(real("uproot-issue-798.root"))
    rows = table(source)
    assert source.entries == 40
    assert set(rows["run"].to_pylist()) == {310000}
    assert rows["event"].to_pylist()[:2] == [186045229, 186044674]
    (menu,) = source.menus.values()
    assert menu.key == "2216"
    assert "HLT_e26_lhtight_idperf" in menu.bits
    # of the AllExecutedEvents the last cycle counts this file's 40 events, not the 10,000 of cycle 4
    assert source.bookkeeping["genEventCount"] == 40


@pytest.mark.real
def test_real_answer_7_physlite_without_its_pool_metadata(real: Callable[[str], Path]) -> None:
    source = open_source(real("PHYSLITE_example.root"))
    rows = table(source)
    assert source.entries == 100
    assert set(rows["run"].to_pylist()) == {300000}
    assert at_least(rows, "Electron_pt", 20000, 1) == 77
    assert at_least(rows, "Jet_pt", 50000, 2) == 69
    assert sum(50 <= lumi <= 60 for lumi in rows["lumi"].to_pylist()) == 15
    assert source.menus == {}  # no MetaData: its triggers are missing
    assert source.bookkeeping["processed_reason"] == "the file has no tree MetaData"
    assert set(rows["nMET"].to_pylist()) == {2}  # two terms and no final value
