"""One rule for types of several files: no value changes, at ingest, in skims and in merged results."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from tagsel.api import Workspace
from tagsel.errors import JobError, SchemaError, TagselError
from tagsel.jobs.events import join_events, write_events
from tagsel.schema.type_union import concatenate, leaf_type, union_type

INTEGERS = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
FLOATS = ("float32", "float64")
WORD = (1 << 62) | 1  # 4611686018427387905, which float64 rounds to …904


def limits(kind: str) -> tuple[int, int]:
    return (0, 1) if kind == "bool" else (int(np.iinfo(kind).min), int(np.iinfo(kind).max))


@pytest.mark.parametrize(("one", "other"), list(product(INTEGERS + FLOATS, repeat=2)))
def test_fault_50_a_union_holds_both_types(one: str, other: str) -> None:
    union = union_type(one, other)
    assert union == union_type(other, one)
    if (one in FLOATS) != (other in FLOATS):
        assert union is None
    elif one in FLOATS:
        assert union == ("float64" if "float64" in (one, other) else "float32")
        assert union_type(one, other, widen_floats=False) == (one if one == other else None)
    else:
        low = min(limits(one)[0], limits(other)[0])
        high = max(limits(one)[1], limits(other)[1])
        beyond = low < 0 and high > 2**63 - 1  # uint64 beside signed integers: values are checked
        assert limits(str(union))[0] <= low
        assert limits(str(union))[1] == 2**63 - 1 if beyond else limits(str(union))[1] >= high


def test_fault_50_values_are_joined_exactly_or_refused() -> None:
    narrow = ak.zip({"word": np.array([3, -3], np.int32)}, depth_limit=1)
    wide = ak.zip({"word": np.array([WORD], np.uint64)}, depth_limit=1)
    joined = concatenate([narrow, wide, wide[:0]])
    assert (leaf_type(joined["word"]), joined["word"].to_list()) == ("int64", [3, -3, WORD])
    with pytest.raises(SchemaError, match=r"word: 9223372036854775808 is above 2\^63 - 1"):
        concatenate([narrow, ak.zip({"word": np.array([2**63], np.uint64)}, depth_limit=1)])
    with pytest.raises(SchemaError, match="word is int32 in one place and float32 in another"):
        concatenate([narrow, ak.zip({"word": np.array([1], np.float32)}, depth_limit=1)])
    empty = ak.zip({"word": np.empty(0, np.float32)}, depth_limit=1)
    assert leaf_type(concatenate([empty, narrow])["word"]) == "int32"  # what is empty has no say


def nano(path: Path, first: int, kind: type, word: int, rho: type = np.float32, flag: type = np.bool_) -> Path:
    columns = {
        "run": np.full(5, 5, np.uint32),
        "luminosityBlock": np.ones(5, np.uint32),
        "event": np.arange(first, first + 5, dtype=np.uint64),
        "fixedGridRhoFastjetAll": np.linspace(1, 9, 5).astype(rho),
        "PV_npvs": np.arange(5).astype(np.uint8 if kind is np.uint64 else np.int32),
        "word": np.full(5, word, kind),
        "Muon": ak.zip({"pt": np.full((5, 2), 9, np.float32), "isPFcand": np.tile([1, 0], (5, 1)).astype(flag)}),
    }
    columns["Muon"] = ak.from_regular(columns["Muon"], axis=1)
    with uproot.recreate(path) as file:
        file.mktree(
            "Events", {k: v.dtype if isinstance(v, np.ndarray) else ak.type(v).content for k, v in columns.items()}
        )
        file["Events"].extend(columns)
    return path


def test_fault_50_a_skim_of_two_types_keeps_every_bit(tmp_path: Path) -> None:
    """Five events with 3 as an int32, five with bits 62 and 0 as a uint64: both come out, whichever file is first."""
    home = Workspace.init(tmp_path / "W")
    old = nano(tmp_path / "old.root", 1, np.int32, 3)
    home.ingest(old, nano(tmp_path / "new.root", 101, np.uint64, WORD), dataset="a.TAG")
    events = home["a.TAG"].select("true")
    home.lists[events].skim(tmp_path / "s.root", branches="word")
    words = uproot.open(tmp_path / "s.root")["Events"]["word"].array()
    assert sorted(words.to_list()) == [3] * 5 + [WORD] * 5
    home.lists[events].skim(tmp_path / "s.parquet", branches="word")
    assert sorted(pq.read_table(tmp_path / "s.parquet")["word"].to_pylist()) == [3] * 5 + [WORD] * 5


def test_fault_50_a_skim_of_types_that_no_type_holds_is_refused(tmp_path: Path) -> None:
    home = Workspace.init(tmp_path / "W")
    home.ingest(nano(tmp_path / "a.root", 1, np.int32, 3), nano(tmp_path / "b.root", 9, np.float32, 3), dataset="a.TAG")
    with pytest.raises(
        TagselError, match=r"branch word is (int32|float32) in .*\.root and (int32|float32) in .*\.root"
    ):
        home.lists[home["a.TAG"].select("true")].skim(tmp_path / "s.root", branches="word")
    assert not (tmp_path / "s.root").exists()


def test_fault_50_types_of_files_widen_at_ingest(tmp_path: Path) -> None:
    """PV_npvs 0 … 4 of int32 and uint8, a flag of bool and uint8, a float32 and a float64: 10 events, 2 × 1 above 3."""
    home = Workspace.init(tmp_path / "W")
    old = nano(tmp_path / "v9.root", 1, np.int32, 3)
    new = nano(tmp_path / "v15.root", 101, np.uint64, 3, np.float64, np.uint8)
    done = home.ingest(old, new, dataset="a.TAG")
    (failure,) = done.failed
    assert "is float32 in" in failure.reason and "v9.root" in failure.reason and "float64 in" in failure.reason
    assert home.ingest(old, new, dataset="b.TAG", evolve=True).events == 10
    for cut, right in (("PV_npvs > 3", 2), ("any(Muon.isPFcand == 1)", 10), ("fixedGridRhoFastjetAll == 9", 2)):
        assert home["b.TAG"].count(cut).accepted == right, cut
    with pytest.raises(TagselError, match="a dataset that exists keeps its types"):
        home.ingest(new, dataset="a.TAG", evolve=True)  # float64 does not fit the dataset's float32


def test_fault_50_results_of_pieces_merge_exactly(tmp_path: Path) -> None:
    """int64 of one piece and uint64 of another: exact, or refused; a piece of no events has no say."""
    pieces = []
    for number, values in enumerate([np.empty(0), np.array([3], np.int32), np.array([WORD], np.uint64)]):
        pieces.append(tmp_path / f"{number}.parquet")
        write_events(pieces[-1], [ak.zip({"word": values}, depth_limit=1)], {})
    assert join_events(tmp_path / "all.parquet", pieces, {}) == 2
    table = pq.read_table(tmp_path / "all.parquet")
    assert (table.schema.field("word").type, table["word"].to_pylist()) == (pa.int64(), [3, WORD])
    write_events(pieces[0], [ak.zip({"word": np.array([0.5])}, depth_limit=1)], {})
    with pytest.raises(JobError, match="word is double in one place and int32 in another"):
        join_events(tmp_path / "all.parquet", pieces, {})
