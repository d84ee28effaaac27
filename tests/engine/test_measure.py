"""Numbers of events by machine code are the oracle's, bit by bit, missing where it has none."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import MENUS, SCHEMA, lumi, make_table, write_cut

from tagsel.engine.compiler import fits_one
from tagsel.engine.interpreter import interpret_objects
from tagsel.engine.measure import Measure, Measured
from tagsel.errors import CutError
from tagsel.kernels import kernel_cache
from tagsel.language import Node, Scope, bind, bind_value
from tagsel.language.tree import JOINING_OPS

SCOPE = Scope(SCHEMA, MENUS, lumi)

NUMBERS = [
    "i",
    "j * 2",
    "x / y",
    "MET_pt",
    "flag",
    "Muon.pt[1]",
    "nMuon",
    "TauN2",
    "i % j",
    "abs(j)",
    "2",
    "sum(Muon.pt)",
    "max(Muon.eta)",
    "min(Muon.big)",
    "count(Muon.pt > 20 GeV)",
    "sum(Muon.big)",
    "max(Muon.charge)",
    "mass(Muon[0], Muon[1])",
    "let (a, b) = argmin(a, b in Muon: abs(mass(a, b) - 91.2 GeV)); pt(a, b)",
    "let t = argmax(t in Tau: t.eta); 2 * t.n",
    "Muon.eta[0] if x > 0",
    "(i if flag) + 1",
    "let (a, b, c) = argmax(a, b, c in Jet: mass(a, b, c)); max2(a.eta, max2(b.eta, c.eta)) if nMuon > 0",
]


def parts_of(node: Node) -> list[Node]:
    """The numbers of the event that a cut compares."""
    if node.op in JOINING_OPS:
        return [part for arg in node.args for part in parts_of(arg)]
    compared = node.args if node.op in ("cmp", "in", "truth", "test", "present") else ()
    return [arg for arg in compared if arg.kind in ("int", "f32", "f64", "bool")]


def agree(node: Node, seed: int, rows: int = 40) -> None:
    table = make_table(rows, seed)
    asked = np.random.default_rng(seed).random(rows) < 0.7
    bits = np.zeros(-(-rows // 64), np.uint64)
    bits.view(np.uint8)[: -(-rows // 8)] = np.packbits(asked, bitorder="little")
    measure = Measure.of(node)
    assert measure is not None
    found = measure(table.block(), bits, lambda *_: True)
    try:
        expected = {at: oracle.evaluate(node, table.row(at), ()) for at in np.flatnonzero(asked).tolist()}
    except oracle.Unanswerable:
        assert found is None
        return
    assert isinstance(found, Measured)
    there = np.unpackbits(found.there.view(np.uint8), count=rows, bitorder="little")
    for at in range(rows):
        value = expected.get(at, oracle.MISSING)
        assert bool(there[at]) == (value is not oracle.MISSING), at
        if value is not oracle.MISSING:
            assert np.float64(value).tobytes() == found.values[at].tobytes() or value != value, at


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_are_those_of_the_oracle(text: str) -> None:
    for seed in range(40):
        agree(bind_value(text, SCOPE).node, seed)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**63), table=st.integers(0, 2**32 - 1))
def test_numbers_of_any_cut_are_those_of_the_oracle(seed: int, table: int) -> None:
    for node in filter(fits_one, parts_of(bind(write_cut(seed, 1), SCOPE).node)):
        agree(node, table)


def test_what_is_not_at_hand_is_not_measured() -> None:
    """Work: it is asked for the kernel, the functions that it calls, and the loop; nothing is compiled."""
    asked: list[str] = []
    measure = Measure.of(bind_value("mass(Muon[0], Muon[1]) * 1.0625", SCOPE).node)
    assert measure is not None
    table = make_table(10, 1)

    def never(*sources: str) -> bool:
        asked.extend(sources)
        return False

    assert measure(table.block(), np.full(1, 2**10 - 1, np.uint64), never) is None
    assert len(asked) == 3 and not kernel_cache.ready(asked[0])


def test_a_number_that_fits_no_kernel_is_left_to_the_interpreter() -> None:
    assert Measure.of(bind_value(" + ".join(["x"] * 100), SCOPE).node) is None


OBJECTS = [
    "Muon.pt",
    "Muon.pt if abs(Muon.eta) < 2.4",
    "Muon.eta * x",
    "Muon.big * 2",
    "Muon.charge % i",
    "Muon.id + nMuon",
    "Muon.pt if any(j in Jet: j.eta > Muon.eta[0])",
    "Muon.eta - max(Muon.eta)",
    "Jet.pt if Muon.good[0]",
    "Tau.pt",
]


@pytest.mark.parametrize("text", OBJECTS)
def test_numbers_of_objects_are_those_of_the_interpreter(text: str) -> None:
    """In list order, of the rows asked for; objects in slots, and rows without an answer, are left to it."""
    node = bind_value(text, SCOPE, lists=True).node
    seen = 0
    for seed in range(40):
        table = make_table(30, seed)
        block, asked = table.block(), np.random.default_rng(seed).random(30) < 0.7
        measure = Measure.of(node)
        assert measure is not None
        found = measure(block, np.packbits(asked, bitorder="little").view(np.uint32).astype(np.uint64), lambda *_: True)
        try:
            values, missing, rows = interpret_objects(node, block, asked)
        except CutError:
            assert found is None
            continue
        counter = block.columns.get(node.value.counter)
        if found is None:
            assert node.value.slots or counter is None or missing.all()
            continue
        assert counter is not None and found.gone is not None
        mine = np.repeat(asked, np.maximum(counter, 0))
        assert np.flatnonzero(asked).repeat(np.maximum(counter, 0)[asked]).tolist() == rows.tolist()
        assert (found.gone[mine] == 1).tolist() == missing.tolist()
        expected, got = values[~missing].astype(np.float64), found.values[mine][~missing]
        assert np.array_equal(expected, got, equal_nan=True)
        assert (np.signbit(expected) == np.signbit(got))[got == 0].all()
        seen += len(got)
    assert node.value.slots or seen > 100
