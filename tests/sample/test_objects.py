"""Events with lists of objects: what docs/start/sample.md says of the file, and what the generator promises."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tagsel.ingest import open_source

SAMPLE = Path(__file__).parents[2] / "data" / "sample"
FILE = SAMPLE / "files" / "data18_13TeV.Objects.NANOAOD._0001.parquet"
KINDS = ("Jet", "Muon", "Electron")


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The generator as scripts beside it load it."""
    monkeypatch.syspath_prepend(SAMPLE)
    for name in ("objects", "generator"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("objects")


def vectors(found: ak.Array) -> np.ndarray:
    """(4, n) x, y, z, E of flat objects."""
    pt, eta, phi, mass = (ak.to_numpy(found[n]).astype(float) for n in ("pt", "eta", "phi", "mass"))
    x, y, z = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    return np.stack([x, y, z, np.sqrt(x**2 + y**2 + z**2 + mass**2)])


def mass(*found: ak.Array) -> np.ndarray:
    x, y, z, energy = sum(vectors(f) for f in found)
    return np.sqrt(np.maximum(energy**2 - x**2 - y**2 - z**2, 0))


def records(events: ak.Array, kind: str) -> ak.Array:
    names = [f for f in events.fields if f.startswith(f"{kind}_")]
    return ak.zip({n.removeprefix(f"{kind}_"): events[n] for n in names})


def test_the_file_is_nanoaod_with_counted_and_ordered_lists() -> None:
    source = open_source(FILE)
    assert (source.entries, source.is_simulation) == (1_375, False)
    assert (source.schema["Jet.pt"].unit, source.schema["luminosityBlock"].name) == ("GeV", "lumi")
    table = pq.read_table(FILE)
    assert np.unique(table["event"].to_numpy()).size == 1_375
    events = ak.from_arrow(table)
    for kind in KINDS:
        pt = events[f"{kind}_pt"]
        assert ak.all(ak.num(pt) == events[f"n{kind}"])
        assert ak.all(pt[:, :-1] >= pt[:, 1:])
        assert {len(r) for r in pt.tolist()} >= {0, 1, 2, 3}
    assert ak.sum(events.nMuon + events.nElectron >= 3) > 100


def test_resonances_stand_out(objects: ModuleType) -> None:
    """Pairs of opposite charge peak at the Z, and trijets, with a b-jet and a W, at the top quark."""
    (batch,) = objects.object_batches(20_000)
    events = ak.from_arrow(pa.Table.from_batches([batch]))
    for kind in ("Muon", "Electron"):
        one, two = ak.unzip(ak.combinations(records(events, kind), 2))
        pairs = mass(ak.flatten(one), ak.flatten(two))[ak.to_numpy(ak.flatten(one.charge != two.charge))]
        at_z, beside = (((pairs > low) & (pairs < low + 10)).sum() for low in (86.2, 60.0))
        assert at_z > 5 * beside > 0
        assert at_z > 0.05 * 20_000
    jets = records(events, "Jet")
    b, pair = ak.unzip(ak.cartesian([jets[jets.btagDeepFlavB > 0.8], ak.combinations(jets, 2)]))
    b, one, two = (ak.flatten(j) for j in (b, *ak.unzip(pair)))
    of_w = abs(mass(one, two) - 80.4) < 8
    trijets = mass(b[of_w], one[of_w], two[of_w])
    at_top, below, above = (((trijets > low) & (trijets < low + 20)).sum() for low in (162.5, 122.5, 202.5))
    assert at_top > 1.5 * max(below, above)


def test_some_jets_are_electrons(objects: ModuleType) -> None:
    (batch,) = objects.object_batches(5_000)
    events = ak.from_arrow(pa.Table.from_batches([batch]))
    jet, electron = ak.unzip(ak.cartesian([records(events, "Jet"), records(events, "Electron")]))
    near = (jet.eta - electron.eta) ** 2 + (jet.phi - electron.phi) ** 2 < 0.01
    assert 0.05 * 5_000 < ak.sum(near) < 0.5 * 5_000


def test_events_depend_on_seed_and_number_alone(objects: ModuleType) -> None:
    (few,), (more,), (other,) = (list(objects.object_batches(n, s)) for n, s in ((100, 7), (300, 7), (100, 8)))
    assert few.equals(more.slice(0, 100))
    assert not few.equals(other)
    assert list(objects.object_batches(0)) == []
    first, second = objects.object_batches(objects.BLOCK + 500)
    assert (first.num_rows, second.num_rows) == (objects.BLOCK, 500)
    run, event = (np.concatenate([b[c].to_numpy() for b in (first, second)]) for c in ("run", "event"))
    assert np.unique(run.astype(np.int64) << 32 | event.astype(np.int64)).size == objects.BLOCK + 500
