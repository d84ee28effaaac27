"""The ADL benchmark's queries in `queries/adl.toml`: each gives what plain Python gives on the sample.

The oracle loops over events and objects read with pyarrow; it knows nothing of tagsel but the file of queries.
"""

from __future__ import annotations

import functools
import math
import tomllib
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tagsel.api import Workspace
from tagsel.engine.compiler import compile_cut
from tagsel.engine.interpreter import interpret, interpret_objects
from tagsel.language import Block, Scope, bind, bind_value

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "data" / "sample" / "files" / "data18_13TeV.Objects.NANOAOD._0001.parquet"
QUERIES: dict[str, dict[str, Any]] = tomllib.loads((ROOT / "queries" / "adl.toml").read_text())

Event = SimpleNamespace


@functools.cache
def events() -> list[Event]:
    """Each event: met, met_phi, and lists of jets, muons, electrons as records."""
    rows = pq.read_table(FILE).to_pylist()
    return [
        SimpleNamespace(
            met=r["MET_pt"],
            met_phi=r["MET_phi"],
            **{kind.lower(): objects(r, kind) for kind in ("Jet", "Muon", "Electron")},
        )
        for r in rows
    ]


def objects(row: dict[str, Any], kind: str) -> list[Event]:
    members = {name.removeprefix(f"{kind}_"): values for name, values in row.items() if name.startswith(f"{kind}_")}
    made = [dict(zip(members, values, strict=True)) for values in zip(*members.values(), strict=True)]
    return [SimpleNamespace(kind=kind, **values) for values in made]


def momentum(*found: Event) -> tuple[float, float, float, float]:
    x = sum(o.pt * math.cos(o.phi) for o in found)
    y = sum(o.pt * math.sin(o.phi) for o in found)
    z = sum(o.pt * math.sinh(o.eta) for o in found)
    return sum(math.sqrt((o.pt * math.cosh(o.eta)) ** 2 + o.mass**2) for o in found), x, y, z


def mass(*found: Event) -> float:
    e, x, y, z = momentum(*found)
    return math.sqrt(max(e * e - x * x - y * y - z * z, 0.0))


def distance(a: Event, b: Event) -> float:
    return math.hypot(a.eta - b.eta, (a.phi - b.phi + math.pi) % (2 * math.pi) - math.pi)


def trijet(event: Event) -> tuple[Event, ...]:
    return min(combinations(event.jet, 3), key=lambda three: abs(mass(*three) - 172.5))


def opposite(event: Event) -> list[tuple[Event, Event]]:
    pairs = [*combinations(event.muon, 2), *combinations(event.electron, 2)]
    return [(a, b) for a, b in pairs if a.charge != b.charge]


def clean_sum(event: Event) -> float:
    leptons = [o for o in (*event.muon, *event.electron) if o.pt > 10]
    return sum((j.pt for j in event.jet if j.pt > 30 and all(distance(j, o) >= 0.4 for o in leptons)), 0.0)


def transverse(event: Event, kind: str) -> list[float]:
    """Transverse mass with the leading lepton outside the best pair, where it is of a kind."""
    best = min(opposite(event), key=lambda pair: abs(mass(*pair) - 91.2))
    other = max((o for o in (*event.muon, *event.electron) if o not in best), key=lambda o: o.pt)
    if other.kind != kind:
        return []
    return [math.sqrt(2 * event.met * other.pt * (1 - math.cos(event.met_phi - other.phi)))]


CUTS: dict[str, Callable[[Event], bool]] = {
    "adl_4": lambda e: sum(j.pt > 40 for j in e.jet) >= 2,
    "adl_5": lambda e: any(a.charge != b.charge and 60 < mass(a, b) < 120 for a, b in combinations(e.muon, 2)),
    "adl_6": lambda e: len(e.jet) >= 3,
    "adl_6_btag": lambda e: len(e.jet) >= 3,
    **dict.fromkeys(
        ("adl_8", "adl_8_muon", "adl_8_electron"),
        lambda e: len(e.muon) + len(e.electron) >= 3 and bool(opposite(e)),
    ),
}
FILLS: dict[str, Callable[[Event], list[float]]] = {
    "adl_1": lambda e: [e.met],
    "adl_2": lambda e: [j.pt for j in e.jet],
    "adl_3": lambda e: [j.pt for j in e.jet if abs(j.eta) < 1],
    "adl_4": lambda e: [e.met],
    "adl_5": lambda e: [e.met],
    "adl_6": lambda e: [math.hypot(*momentum(*trijet(e))[1:3])],
    "adl_6_btag": lambda e: [max(j.btagDeepFlavB for j in trijet(e))],
    "adl_7": lambda e: [clean_sum(e)],
    "adl_8_muon": lambda e: transverse(e, "Muon"),
    "adl_8_electron": lambda e: transverse(e, "Electron"),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with the sample's events with lists of objects."""
    made = Workspace.init(tmp_path_factory.mktemp("adl") / "W")
    made.ingest(FILE, dataset="data18_13TeV.Objects.TAG", processes=1)
    return made


@pytest.fixture(scope="module")
def scope(home: Workspace) -> Scope:
    return Scope(home["data18_13TeV.Objects.TAG"].inputs[0].snapshot.schema, named=lambda name: QUERIES[name]["cut"])


@functools.cache
def block() -> Block:
    """The file as one block: lists lie flat."""
    table = pq.read_table(FILE)
    columns = {}
    for name in table.column_names:
        column = table[name].combine_chunks()
        columns[name] = np.asarray(column.flatten() if pa.types.is_list(column.type) else column)
    return Block(table.num_rows, columns)


def accepted(name: str) -> Iterator[tuple[int, Event]]:
    passes = CUTS.get(name, lambda event: True)
    return ((row, event) for row, event in enumerate(events()) if passes(event))


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_accepts_what_it_states(name: str, home: Workspace, scope: Scope) -> None:
    rows = [row for row, _ in accepted(name)]
    assert len(rows) == QUERIES[name]["expected"], "counted apart"
    assert home[QUERIES[name]["dataset"]].count(f"@{name}").accepted == len(rows)
    node = bind(f"@{name}", scope).node
    assert np.flatnonzero(interpret(node, block())).tolist() == rows
    assert np.flatnonzero(compile_cut(node)(block(), None)).tolist() == rows


@pytest.mark.parametrize("name", [name for name, query in QUERIES.items() if "fill" in query])
def test_a_query_fills_what_it_states(name: str, scope: Scope) -> None:
    expected = [(row, value) for row, event in accepted(name) for value in FILLS[name](event)]
    alive = np.zeros(block().rows, bool)
    alive[[row for row, _ in accepted(name)]] = True
    bound = bind_value(QUERIES[name]["fill"], scope, lists=True)
    values, missing, rows = interpret_objects(bound.node, block(), alive)
    assert len(expected) == QUERIES[name]["filled"], "counted apart"
    assert rows[~missing].tolist() == [row for row, _ in expected]
    np.testing.assert_allclose(values[~missing], [value for _, value in expected], rtol=1e-5, atol=1e-4)


def test_the_halves_of_query_8_are_its_events() -> None:
    muon, electron, both = (QUERIES[f"adl_8{part}"] for part in ("_muon", "_electron", ""))
    assert muon["filled"] + electron["filled"] == both["expected"]
    assert min(muon["filled"], electron["filled"]) > 0
