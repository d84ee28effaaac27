"""Drafted schemas: of any file, however odd, the draft parses, and ingests the file once its ids are filled in."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
from builders import workspace
from hypothesis import given, settings
from odd_files import (
    ARROW_COLUMNS,
    LENGTHS,
    ROOT_COLUMNS,
    ROWS,
    Writer,
    as_arrow,
    as_parquet,
    as_rntuple,
    as_tree,
    numbers,
)

from tagsel.ingest import TagSource, derive_source_schema, open_source
from tagsel.schema import parse_source_schema


def with_ids(text: str) -> str:
    """A draft whose ids are filled in: run and lumi that it did not find are fixed to 1, event is the entry."""
    text = re.sub(r'^# (run|lumi) = ".*$', r"\1 = 1", text, flags=re.MULTILINE)
    return re.sub(r'^# event = ".*$', 'event = "entry"', text, flags=re.MULTILINE)


def drafted(path: Path) -> tuple[str, TagSource, pa.Table]:
    """The draft of a file, the file opened by it, and its rows."""
    text = with_ids(derive_source_schema(path))
    source = open_source(path, parse_source_schema(text, "draft"))
    return text, source, pa.Table.from_batches(list(source.batches()))


def check(write: Writer, columns: dict[str, Any]) -> None:
    """A draft of these columns ingests all rows, and every column that it does not leave out is an attribute."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "odd\nfile"
        write(path, columns)
        text, source, rows = drafted(path)
        assert rows.num_rows == ROWS, text
        used = {column for maker in source.plan.makers for column in maker.columns}
        left_out = [line.name for line in source.lines if line.reason and line.name in source.columns.types]
        for name in left_out:
            assert name not in used
            assert "# Left out: " in text or "menu" in name or name in ("aod_guid", "aod_entry", "raw_guid")


@settings(max_examples=40)
@given(ARROW_COLUMNS)
def test_a_draft_of_any_parquet_file_ingests_it(columns: dict[str, Any]) -> None:
    check(as_parquet, columns)


@settings(max_examples=8)
@given(ARROW_COLUMNS)
def test_a_draft_of_any_arrow_file_ingests_it(columns: dict[str, Any]) -> None:
    check(as_arrow, columns)


@settings(max_examples=20)
@given(ROOT_COLUMNS)
def test_a_draft_of_any_tree_ingests_it(columns: dict[str, Any]) -> None:
    check(as_tree, columns)


@settings(max_examples=12)
@given(ROOT_COLUMNS)
def test_a_draft_of_any_rntuple_ingests_it(columns: dict[str, Any]) -> None:
    check(as_rntuple, columns)


IDS = {"run": np.ones(ROWS, np.int32), "lumi": np.ones(ROWS, np.int32), "event": np.arange(ROWS)}


def test_lists_of_one_prefix_that_differ_in_length_are_collections_of_their_own(tmp_path: Path) -> None:
    """Two lists `a`, one list `b`: jet has the two; the third stands alone. All keep their values."""
    path = tmp_path / "a.parquet"
    lists = {"jet_pt": numbers("int32", 1, "a"), "jet_m": numbers("int32", 2, "a"), "jet_w": numbers("int32", 4, "b")}
    as_parquet(path, {**IDS, **lists})
    _, source, rows = drafted(path)
    assert {a.name for a in source.schema if a.is_list} == {"jet.pt", "jet.m", "jet_w.value"}
    assert rows["njet"].to_pylist() == LENGTHS["a"].tolist()
    assert rows["njet_w"].to_pylist() == LENGTHS["b"].tolist()
    assert rows["jet_w_value"].to_pylist() == lists["jet_w"].to_list()


def test_a_counter_that_lies_is_an_attribute_and_one_that_agrees_the_counter(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    lie = np.array([9, 9, 9, 9, 9, 9])
    lists = {"jet_pt": numbers("int32", 1, "a"), "el_pt": numbers("int32", 2, "b")}
    as_parquet(path, {**IDS, **lists, "njet": lie, "nel": LENGTHS["b"]})
    _, source, rows = drafted(path)
    assert rows["njet"].to_pylist() == lie.tolist()
    assert source.schema["jet.pt"].counter == "njet_listed"
    assert rows["njet_listed"].to_pylist() == LENGTHS["a"].tolist()
    assert (source.schema["el.pt"].counter, rows["nel"].to_pylist()) == ("nel", LENGTHS["b"].tolist())


def test_names_that_meet_on_disk_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = {"a.b": [1] * ROWS, "a_b": [2] * ROWS, "A_B": [3] * ROWS, "menu": [4.5] * ROWS, "_": [5] * ROWS}
    pq.write_table(pa.table({**IDS, **columns}), path)
    _, _, rows = drafted(path)
    assert [rows[name][0].as_py() for name in ("a_b", "a_b_2", "A_B_3", "menu_2", "x")] == [1, 2, 3, 4.5, 5]


def test_words_beyond_63_bits_are_words(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    words = np.array([2**64 - 1, 1, 2**63, 0, 5, 6], np.uint64)
    pq.write_table(pa.table({**IDS, "w": words, "n": np.arange(ROWS, dtype=np.uint64)}), path)
    home = workspace(tmp_path)
    schema = tmp_path / "draft.toml"
    schema.write_text(derive_source_schema(path))
    home.ingest(path, dataset="x.TAG", schema=str(schema))
    assert home["x.TAG"].count("bit(w, 63)").accepted == 2
    assert home["x.TAG"].count("n > 3").accepted == 2


@pytest.mark.parametrize(
    "names",
    [
        ("RunNum", "LumiBlockNum", "EvtNum"),
        ("runNum", "lumiSec", "evtNum"),
        ("runNumber", "lumiBlock", "eventNumber"),
        ("run", "luminosityBlock", "event"),
        ("RunNumber", "LumiBlockN", "EventNumber"),
        ("run_number", "lb", "event_id"),
        ("irun", "ls", "ievt"),
        ("EventInfoAuxDyn.runNumber", "EventInfoAuxDyn.lumiBlock", "EventInfoAuxDyn.eventNumber"),
        ("Run", "lumi", "Event.Number"),
        ("run", "lumi", "eventID"),
        ("fRunNumber.run", "lumi_section", "Evt"),
    ],
)
def test_ids_of_common_frameworks_are_found(tmp_path: Path, names: tuple[str, str, str]) -> None:
    path = tmp_path / "a.parquet"
    run, lumi, event = names
    columns = {
        run: [7] * ROWS,
        lumi: [3] * ROWS,
        event: np.arange(ROWS),
        "nEvents": [9.5] * ROWS,
        "eventWeight": [1.0] * ROWS,
    }
    pq.write_table(pa.table(columns), path)
    rows = pa.Table.from_batches(list(open_source(path).batches()))  # without a schema
    assert [rows[name].to_pylist() for name in ("run", "lumi", "event")] == [[7] * ROWS, [3] * ROWS, list(range(ROWS))]
    assert '= "…"' not in derive_source_schema(path)


def test_what_is_no_id_is_not_taken_for_one(tmp_path: Path) -> None:
    """`event` is a text here, `run` has a fraction: the draft names neither."""
    path = tmp_path / "a.parquet"
    columns = {"run": [1.5] * ROWS, "lumi": [1] * ROWS, "event": ["x"] * ROWS, "evt": np.arange(ROWS)}
    pq.write_table(pa.table(columns), path)
    text = derive_source_schema(path)
    assert '# run = "…"' in text and 'lumi = "lumi"' in text and 'event = "evt"' in text


def test_a_draft_says_why_a_branch_of_the_name_is_no_id(tmp_path: Path) -> None:
    """Runs are kept in 31 bits; the values stay at hand as an attribute."""
    table = pa.table({"run": [2**31 + 5], "lumi": [-1], "event": [1.5], "x": [1.0]})
    pq.write_table(table, tmp_path / "a.parquet")
    text = derive_source_schema(tmp_path / "a.parquet")
    reasons = (
        "run, row 0: 2147483653 is above 2^31 - 1, the largest run number: name a branch, or fix it for all rows",
        "lumi, row 0: -1 is negative, and is no lumi number: name a branch, or",
        "event, row 0: 1.5 is no whole number, and no event number: name a branch, or take the entry",
    )
    for reason in reasons:
        assert f"# {reason}" in text
    source = open_source(tmp_path / "a.parquet", parse_source_schema(with_ids(text), "draft"))
    rows = pa.Table.from_batches(list(source.batches()))
    assert rows["run_2"].to_pylist() == [2**31 + 5]


def test_a_branch_that_cannot_be_read_or_typed_is_named_and_blocks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `Particle.DeltaEta` of a Delphes file, whose type uproot cannot tell."""
    path = tmp_path / "a.root"
    as_tree(path, {**IDS, "Particle.DeltaEta": np.ones(ROWS), "unread": np.ones(ROWS), "x": np.arange(ROWS)})
    typename = uproot.TBranch.typename.fget
    array = uproot.TBranch.array

    def no_type(branch: Any) -> Any:
        if branch.name == "Particle.DeltaEta":
            raise ValueError("cannot be interpreted")
        return typename(branch)

    def no_values(branch: Any, *arguments: Any, **options: Any) -> Any:
        if branch.name == "unread":
            raise ValueError("no such basket")
        return array(branch, *arguments, **options)

    monkeypatch.setattr(uproot.TBranch, "typename", property(no_type))
    monkeypatch.setattr(uproot.TBranch, "array", no_values)
    text, _, rows = drafted(path)
    assert "# No attribute can hold these: Particle.DeltaEta (" in text
    assert "# Left out: unread: " in text
    assert rows["x"].to_pylist() == list(range(ROWS))
    plain = 'tree = "ntuple"\nattributes = [{ name = "x" }]\n[ids]\nrun = "run"\nlumi = "lumi"\nevent = "event"\n'
    assert "x" in open_source(path, parse_source_schema(plain, "mine")).schema


@pytest.mark.real
def test_real_odd_files_draft_and_ingest(real: Any) -> None:
    """Two events without a luminosity block; 40 events of an older PHYSLITE: what the README of the files says."""
    for name, rows in (("missing_luminosityBlock.root", 2), ("uproot-issue-798.root", 40)):
        assert drafted(real(name))[2].num_rows == rows
    assert '# lumi = "…"' in derive_source_schema(real("missing_luminosityBlock.root"))
