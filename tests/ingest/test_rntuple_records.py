"""RNTuples whose lists are of records, as a std::vector of a struct is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest
import uproot

from tagsel.api import Workspace
from tagsel.ingest import open_source
from tagsel.rootio.trees import TreeOfClusters


def test_lists_of_records_in_an_rntuple_are_collections(tmp_path: Path) -> None:
    """A std::vector of a struct: each member is a list; what is nested deeper is named, and costs nothing else."""
    muons = ak.Array([[{"pt": 1.5, "q": 1}, {"pt": 2.5, "q": -1}], [], [{"pt": 3.5, "q": 1}]])
    deep = ak.Array([[{"p4": {"pt": 1.0}, "hits": [1, 2]}]] * 3)
    ids = {"run": np.ones(3, np.int32), "luminosityBlock": np.ones(3, np.int32), "event": np.arange(1, 4)}
    with uproot.recreate(tmp_path / "records.root") as file:
        file.mkrntuple("Events", {**ids, "Muon": muons, "Foo": muons, "Deep": deep})
    home = Workspace.init(tmp_path / "W")
    done = home.ingest(tmp_path / "records.root", dataset="a.TAG", profile="full")
    assert home["a.TAG"].select("Muon.pt[0] > 2").event.tolist() == [3]
    assert home["a.TAG"].select("any(Foo.pt > 2 && Foo.q == -1)").event.tolist() == [1]
    assert home["a.TAG"].count("Deep_p4.pt[0] == 1").accepted == 3
    assert "left out, as no attribute can hold their type: Deep.hits" in str(done.report)
    home.lists[home["a.TAG"].select("nMuon > 0")].skim(tmp_path / "out.parquet", branches=["Muon*"])
    assert pq.read_table(tmp_path / "out.parquet")["Muon.pt"].to_pylist() == [[1.5, 2.5], [3.5]]


def test_a_large_cluster_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """300,000 rows in one cluster, in chunks of 65,536: uproot decodes a whole cluster for each read.

    Windows are multiples of the chunk: 4 x 65,536 rows and the rest, so two reads a column where there were five.
    """
    rows = 300_000
    columns = {"run": np.ones(rows, np.int32), "luminosityBlock": np.ones(rows, np.int32), "event": np.arange(rows)}
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mkrntuple("Events", columns)
    source = open_source(tmp_path / "a.root")
    reads: list[tuple[str, int, int]] = []
    read = TreeOfClusters._read

    def counted(tree: TreeOfClusters, column: str, start: int, stop: int) -> Any:
        reads.append((column, start, stop))
        return read(tree, column, start, stop)

    monkeypatch.setattr(TreeOfClusters, "_read", counted)
    batches = list(source.batches(65_536))
    assert [batch.num_rows for batch in batches] == [65_536] * 4 + [37_856]
    assert np.array_equal(np.concatenate([batch["event"].to_numpy() for batch in batches]), np.arange(rows))
    assert sorted(part for name, *part in reads if name == "event") == [[0, 262_144], [262_144, 300_000]]
