"""The ingest report: every column of an input is in it once, taken or with the reason why not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import uproot
from click.testing import CliRunner

from tagsel.api.workspace import Workspace
from tagsel.cli.main import cli
from tagsel.errors import IngestError
from tagsel.ingest import IngestReport, open_source


def event_file(path: Path, **columns: np.ndarray) -> Path:
    """A NanoAOD-like file of four events with these columns beside the ids."""
    ids = {
        "run": np.full(4, 1, np.uint32),
        "luminosityBlock": np.full(4, 1, np.uint32),
        "event": np.arange(4, dtype=np.uint64),
    }
    with uproot.recreate(path) as file:
        arrays = {**ids, **columns}
        types = {name: (a.dtype, a.shape[1:]) if a.ndim > 1 else a.dtype for name, a in arrays.items()}
        file.mktree("Events", types)
        file["Events"].extend(arrays)
    return path


def report_of(path: Path) -> IngestReport:
    report = IngestReport()
    report.add(open_source(path).lines)
    return report


def test_fault_51_every_column_is_in_the_report_once(tmp_path: Path) -> None:
    path = event_file(
        tmp_path / "a.root",
        MET_pt=np.arange(4.0),
        HLT_a=np.ones(4, bool),
        Flag_b=np.ones(4, bool),
        mine=np.arange(4.0),
        cov=np.zeros((4, 2, 2)),
    )
    report = report_of(path)
    assert {line.name: line.attribute for line in report.taken()} == {
        "run": "run",
        "luminosityBlock": "lumi",
        "event": "event",
        "MET_pt": "MET_pt",
        "HLT_a": "trigger_0",
        "Flag_b": "flag_0",
    }
    assert [(line.name, line.type) for line in report.left_out()] == [("mine", "float64"), ("cov", "double[2][2]")]
    assert str(report).splitlines()[0] == "6 of 8 columns taken; trigger chains: 1, flags: 1"


def test_fault_51_ingest_and_schema_show_print_the_report(tmp_path: Path) -> None:
    files = [event_file(tmp_path / f"{n}.root", MET_pt=np.arange(4.0), mine=np.full(4, n)) for n in (1.0, 2.0)]
    Workspace.init(tmp_path / "W")
    command = ["ingest", *map(str, files), "--dataset", "data.X.TAG", "--json", "-w", str(tmp_path / "W")]
    done = CliRunner().invoke(cli, command)
    report = json.loads(done.stdout)["report"]
    assert [(row["name"], row["files"]) for row in report["left_out"]] == [("mine", 2)]
    assert {"name": "MET_pt", "kind": "column", "type": "float64", "attribute": "MET_pt", "files": 2} in report["taken"]
    shown = CliRunner().invoke(cli, ["schema", "show", str(files[0])])
    assert "mine (float64)" in shown.stderr
    assert "MET_pt" in shown.stdout


INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def test_fault_51_flags_of_any_integer_type_are_flags_by_name(tmp_path: Path) -> None:
    """The bits of flags stored as integers are those of the same flags stored as bool: events 1 and 3 of 0 to 3."""
    bits = np.array([0, 1, 0, 1])
    integers = {f"Flag_{kind}": bits.astype(kind) for kind in INTEGERS}
    triggers = {"HLT_a": bits.astype(np.uint8), "L1_b": 1 - bits, "HLT_a_prescale": np.array([7, 7, 1, 0], np.int32)}
    source = open_source(event_file(tmp_path / "a.root", Flag_bool=bits == 1, **integers, **triggers))
    (menu,) = source.menus.values()
    rows = pa.Table.from_batches(list(source.batches()))
    for name in ("HLT_a", "Flag_bool", *integers):
        word, bit = menu.bits[name]
        assert [value >> bit & 1 for value in rows[word].to_pylist()] == [0, 1, 0, 1], name
    word, bit = menu.bits["L1_b"]
    assert [value >> bit & 1 for value in rows[word].to_pylist()] == [1, 0, 1, 0]
    assert rows["HLT_a_prescale"].to_pylist() == [7, 7, 1, 0]
    assert "HLT_a_prescale" not in menu.bits


@pytest.mark.parametrize("value", [2, -1, 127])
def test_fault_51_a_flag_that_is_neither_0_nor_1_refuses_the_file(tmp_path: Path, value: int) -> None:
    source = open_source(event_file(tmp_path / "a.root", Flag_x=np.array([0, 1, value, 0], np.int8)))
    with pytest.raises(IngestError, match=f"a.root: Flag_x, row 2: {value} is neither 0 nor 1"):
        list(source.batches())


def test_fault_51_a_flag_that_is_a_float_or_a_list_is_left_out_by_name(tmp_path: Path) -> None:
    path = event_file(tmp_path / "a.root", Flag_x=np.zeros(4), HLT_y=np.zeros((4, 3), np.uint8))
    assert {line.name for line in report_of(path).left_out()} == {"Flag_x", "HLT_y"}
