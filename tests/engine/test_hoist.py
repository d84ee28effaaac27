"""Momenta laid out before loops: the same bits as the interpreter's, whatever the number of objects and of lists."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import MENUS, lumi
from strategies import SCHEMA as PLAIN
from tag_schema import _slots

from tagsel.engine.codegen_number import emit_value
from tagsel.engine.interpreter import interpret_value
from tagsel.engine.measure import Measure
from tagsel.kernels.blocks import PARTS, ROOM, ROOMS
from tagsel.language import Block, Scope, bind_value
from tagsel.language.tree import columns_of
from tagsel.schema import Attribute, Schema

SCHEMA = Schema(
    (
        *PLAIN,
        Attribute("NLep", "int32", role="counter"),
        *_slots("Lep", "NLep", "pt", "float32", "GeV"),
        *_slots("Lep", "NLep", "eta", "float32"),
        *_slots("Lep", "NLep", "phi", "float32", "rad"),
        *_slots("Lep", "NLep", "mass", "float32", "GeV"),
    )
)
"""With objects in slots that have momenta, too."""

SCOPE = Scope(SCHEMA, MENUS, lumi)
BEST = "let (a, b, c) = {}(a, b, c in Jet: {}); pt(a, b, c)"
NUMBERS = [
    BEST.format("argmin", "abs(mass(a, b, c) - 172.5 GeV)"),
    BEST.format("argmax", "eta(a, b, c)"),
    BEST.format("argmax", "pt(a, c) + pt(b, c)"),
    BEST.format("argmin", "rapidity(b, a, c)"),
    BEST.format("argmax", "mass(a, b) if mass(a, c) > mass(b, c)"),
    "max(a, b, c in Jet: mass(a, b, c))",
    "count(a, b, c in Jet: any(m in Muon: mass(a, b, m) > mass(a, b, c)))",
    "sum(a, b, c in Jet, m in Muon: mass(a, m) if pt(a, b, c) > 30 GeV)",
    "sum(a, b, c in Lep: mass(a, b, c))",
]


def objects(sizes: dict[str, list[int]], seed: int, lacks: frozenset[str] = frozenset()) -> Block:
    """A block of events with so many objects; the same for slots as there are."""
    random = np.random.default_rng(seed)
    rows = len(next(iter(sizes.values())))
    columns: dict[str, np.ndarray] = {}
    for a in SCHEMA:
        if a.column in lacks or a.type == "string":
            continue
        size = sum(sizes[a.counter]) if a.is_list else rows
        values = random.normal(1.0, 2.0, size) if a.type.startswith("float") else random.integers(0, 4, size)
        columns[a.column] = values.astype({"bits32": "uint32", "bits64": "uint64"}.get(a.type, a.type))
    columns |= {counter: np.array(n, columns[counter].dtype) for counter, n in sizes.items()}
    return Block(rows, columns)


def agree(text: str, block: Block) -> None:
    node = bind_value(text, SCOPE).node
    values, missing = interpret_value(node, block)
    measure = Measure.of(node)
    assert measure is not None
    bits = np.full(1, (1 << block.rows) - 1, np.uint64)
    found = measure(block, bits, lambda *_: True)
    assert found is not None
    there = np.unpackbits(found.there.view(np.uint8), count=block.rows, bitorder="little").view(np.bool_)
    assert there.tolist() == (~missing).tolist()
    assert np.array_equal(values[there].astype(np.float64).view(np.int64), found.values[there].view(np.int64)) or (
        np.array_equal(values[there].astype(np.float64), found.values[there], equal_nan=True)
    )


@pytest.mark.parametrize("text", NUMBERS)
@pytest.mark.parametrize("jets", [[0, 1, 2, 3, 4, 7], [ROOM - 1, ROOM, 3], [ROOM + 1, 3, ROOM]])
def test_numbers_are_the_interpreters(text: str, jets: list[int]) -> None:
    """Also of events with more objects than there is room for."""
    muons = [2, 1, 0, 3, 1, 2][: len(jets)]
    agree(text, objects({"nJet": jets, "nMuon": muons, "NLep": [3, 2, 3, 0, 1, 4][: len(jets)]}, 7))


@pytest.mark.parametrize("lacks", ["Jet_pt", "Jet_mass", "Muon_eta", "LepPt2", "nMuon"])
@pytest.mark.parametrize("text", NUMBERS)
def test_a_list_that_lacks_a_column_is_not_laid_out(text: str, lacks: str) -> None:
    sizes = {"nJet": [4, 3, 0], "nMuon": [1, 2, 3], "NLep": [3, 3, 3]}
    block = objects(sizes, 3)
    agree(text, Block(block.rows, {n: c for n, c in block.columns.items() if n != lacks}))


def types(text: str) -> dict[str, str]:
    block = objects({"nJet": [3], "nMuon": [1], "NLep": [3]}, 1)
    wanted = columns_of(bind_value(text, SCOPE).node)
    return {name: column.dtype.str[1:] for name, column in block.columns.items() if name in wanted}


def test_each_momentum_is_worked_out_once_before_the_loops() -> None:
    """Work: one loop over the jets lays out four numbers; in the innermost loop a mass is made of their sums."""
    text = NUMBERS[0]
    lines = emit_value(bind_value(text, SCOPE).node, types(text)).text.splitlines()
    stores = [at for at, line in enumerate(lines) if "store_f8(room" in line]
    loads = [at for at, line in enumerate(lines) if "load_f8(room" in line]
    assert len(stores) == PARTS and max(stores) < min(loads)
    assert sum(line.count("load_f8(room") for line in lines) == 3 * PARTS


def test_one_list_is_laid_out_once_for_all_that_sum_over_it() -> None:
    text = "max(a, b, c in Jet: mass(a, b, c)) + min(a, b, c in Jet: eta(a, b, c) * mass(b, c))"
    assert emit_value(bind_value(text, SCOPE).node, types(text)).text.count("store_f8(room") == PARTS


def test_pairs_are_left_as_they_are() -> None:
    text = "max(a, b in Jet: mass(a, b))"
    assert "room" not in emit_value(bind_value(text, SCOPE).node, types(text)).text


def test_more_lists_than_there_is_room_for_are_computed_in_place() -> None:
    text = " + ".join(f"max(a, b, c in {of}: {f}(a, b, c))" for of in ("Jet", "Muon", "Lep") for f in ("mass", "pt"))
    source = emit_value(bind_value(text, SCOPE).node, types(text)).text
    assert ROOMS == 4 and source.count("store_f8(room") == 2 * (4 + 2)  # of jets and muons: four numbers, and two
    agree(text, objects({"nJet": [5, 3, 2], "nMuon": [1, 2, 3], "NLep": [3, 3, 3]}, 3))
