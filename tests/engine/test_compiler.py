"""Kernels give the oracle's verdicts and errors: every op, columns that are absent, unaligned, read-only, threads."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import oracle
import pytest
from strategies import MENUS, SCHEMA, Table, lumi, make_table

from tagsel.engine import codegen as emitting
from tagsel.engine.chain import Chain, Units
from tagsel.engine.compiler import MOST_ATOMS, Kernel, compile, compile_cut, fits, steps_of  # noqa: A004
from tagsel.engine.interpreter import interpret
from tagsel.errors import CutError, StoreError
from tagsel.kernels import kernel_cache
from tagsel.kernels.blocks import BLOCK
from tagsel.kernels.memory import address_of
from tagsel.language import Block, Node, Scope, bind
from tagsel.language.functions import FUNCTIONS
from tagsel.language.tree import walk

SCOPE = Scope(SCHEMA, MENUS, lumi)
MANY = ", ".join(str(n) for n in (25, -7, 2**53 + 1, -(2**63), 2**63 - 1, 4, 6, 8, 10, 12))

CUTS = [
    "i > 2 || j != 9007199254740993 && !(x <= 0.1) || y >= 25 || x == y",
    "nMuon >= 2 && Muon.charge[0] != Muon.charge[1] && Muon.pt[1] < 25 GeV || Muon.good[2] || Muon.id[0] > 2147483647",
    "j + i > 3 || j - i * 2 < 0 || -j == 7 || abs(j) > 10 || j % i == 1",
    "present(Muon.pt[3]) || !present(TauN2) || flag && !(Tau.pt[1] > 2) || TauEta3 == TauEta1",
    "(bits & 5) == 1 || (bits | 8) == 9 || (bits ^ i) < 0 || ~bits == -6 || (bits << 2) == 20 || (i >> 1) == -4",
    "word == 0x8000000000000000 || (word >> 60) == 15 || (word << 3) == 40 || (word & 0xFFFFFFFF00000000) == 0"
    " || bit(word, 63)",
    'HLT_a || HLT_b && L1_c || !trigger("L1_c") && present(HLT_b)',
    'in_lumi("good") || run in (3, 7, 1000000)',
    f"j in ({MANY}) || i in (25, 3) || x in (0.1, 25) || y in (0.1, 1, 2, 3, 4, 5, 6, 7, 8, 25, 1e300)"
    " || word in (5, 32)",
    "isnan(x) || isinf(y) && !isfinite(Muon.d[0]) || isnan(x / y) || x / 0 > 1",
    "min2(x, MET_pt / 1 GeV) < 1 || max2(i, j) > 3 || min2(y, x) == y || max2(x, 2) == 2",
    "count(Muon) > 1 || count(Muon.pt > 20 GeV && abs(Muon.eta) < 2.4) >= 2 || all(Muon.good)",
    "any(Muon.pt > MET_pt && Muon.charge == i) || all(Muon.eta < Muon.d || Muon.charge > 0)",
    "sum(Muon.pt) > 50 GeV || sum(Muon.charge) == 0 || min(Muon.eta) < -1 || max(Muon.d) >= 25"
    " || max(Muon.charge) == 25",
    "sum(Muon.big) == 3 || min(Muon.big) == 9007199254740993",
    "any(Muon.big * 2 > 7) || all(Muon.big % Muon.charge == 0)",
    "sum(Tau.pt) > 5 || count(Tau) == 3 || max(Tau.eta) < 2 && any(Tau.n == 1 && Tau.pt > TauPt1)",
    "any(o in Muon: o.pt > 1 && o.eta < max(Muon.eta)) || count(o in Jet: o.pt > sum(Muon.pt)) == 1",
    "mass(Muon[0], Muon[1]) > 60 GeV || deltaR(Muon[0], Jet[0]) < 3 || mt(Muon[0], MET) > 2"
    " || pt(Muon[0], Muon[1]) > 9",
    "eta(Muon[0], Muon[1]) > 0 || rapidity(Muon[0]) < 1 || energy(Muon[0]) > 5"
    " || px(Muon[0]) + py(Muon[0]) > pz(Muon[0])",
    "cos(x) > 0.5 || sin(x) > 0.9 || tan(y) < 0.1 && atan2(x, y) > 1 || hypot(x, y) < 2 || pow(x, i) > 30",
    "exp(x) > 2 || log(y) > 1 || log10(y) < -1 || expm1(x) < 0 && log1p(x) > 0.5 || sqrt(y) == 5"
    " || asinh(x) < acosh(y)",
    "sinh(x) > 2 && cosh(x) < 8 || tanh(x) == 1 || atanh(x) > 0.1 || asin(x) > acos(x) || atan(y) < 0",
    "deltaPhi(Muon[0], MET) > 0 || deltaEta(Muon[0], Jet[0]) > 1",
    "any(a, b in Muon: a.charge != b.charge && mass(a, b) > 60 GeV) || count(a, b, c in Tau: a.n + b.n < c.n) > 0",
    "any(a in Muon, b in Muon: a != b && a.eta == b.eta)",
    "sum(m in Muon: m.pt if all(j in Jet: deltaR(m, j) > 0.4)) > 20 || any(m in Muon, t in Tau: m.big * t.n > 3)",
    "Jet.pt[i] > 2 GeV || Muon.charge[Muon.id[0]] == 1 || any(m in Muon: Jet.eta[m.charge] > m.eta)",
    "floor(x) == 2 || ceil(y) < 1 || round(x) == rint(y) || log2(y) > 4.5",
    "(flag ? MET_pt : Muon.pt[1]) > 2 GeV && (i > 2 ? j : i) != 3 || (nMuon > 1 ? x : y / x) < 1",
    "(let (a, b) = argmin(a, b in Muon: abs(mass(a, b) - 91.2 GeV)); a.pt > b.pt && !(b.good))"
    " || (let t = argmax(t in Tau: t.eta); t.pt) > 2 || (let m = argmax(m in Muon: m.id); 2 * m.big) == 2",
    "true && !(flag == true) || false",
    "flag ? x > 1 : y > 2",
    "(nMuon > 1 ? Muon.pt[1] > 2 : i % j == 1) || any(m in Muon: m.good ? m.pt > 2 : m.eta > 1)",
]

Meaning = Callable[[Block], Any]


def table(rows: int, seed: int, absent: frozenset[str] = frozenset()) -> Table:
    return replace(make_table(rows, seed), absent=absent)


def truth(node: Node, on: Table) -> list[bool] | int:
    """The oracle's verdicts, or the first row that has none."""
    verdicts = []
    for at in range(on.rows):
        try:
            verdicts.append(oracle.oracle(node, on.row(at)))
        except oracle.Unanswerable:
            return at
    return verdicts


def answer(meaning: Meaning, block: Block) -> list[bool] | int:
    try:
        verdicts: list[bool] = meaning(block).tolist()
    except CutError as error:
        row = error.fields["row"]
        assert isinstance(row, int)
        return row
    return verdicts


def kernel_of(text: str) -> Kernel:
    kernel = compile(bind(text, SCOPE).node)
    assert kernel is not None
    return kernel


@pytest.mark.parametrize("text", CUTS)
def test_kernel_and_oracle_agree(text: str) -> None:
    node = bind(text, SCOPE).node
    kernel = kernel_of(text)
    for seed in range(30):
        on = table(12, seed)
        assert answer(kernel, on.block()) == truth(node, on), seed
    assert len(kernel._made) == 1  # one kernel for columns of the same types


def test_the_cuts_here_use_every_op_and_function() -> None:
    nodes = [n for text in CUTS for n in walk(bind(text, SCOPE).node)]
    assert {n.op for n in nodes} == {*emitting.OPS, "and", "or", *emitting.LOOPS}
    assert {n.value.function for n in nodes if n.op == "aggregate"} == set(emitting.REDUCE)
    assert {n.value for n in nodes if n.op == "test"} == set(emitting.TESTS)
    assert {n.value for n in nodes if n.op == "call"} == {name for name, row in FUNCTIONS.items() if row.kernel}


@pytest.mark.parametrize("text", [CUTS[n] for n in (1, 3, 6, 8, 13, 16, 18)])
def test_absent_columns_are_missing(text: str) -> None:
    node = bind(text, SCOPE).node
    used = sorted(bind(text, SCOPE).columns)
    lacks = [frozenset(used), *(frozenset([name]) for name in used[:: max(1, len(used) // 4)])]
    for seed, absent in enumerate(lacks):
        on = table(12, seed, absent)
        assert answer(kernel_of(text), on.block()) == truth(node, on), absent


def test_errors_are_those_of_the_interpreter() -> None:
    node = bind("i > 0 && j * j > 5 || 7 % i == 1", SCOPE).node
    block = Block(4, {"i": np.array([1, 1, 0, 1], np.int32), "j": np.array([2, 3, 4, 2**40])})
    with pytest.raises(CutError, match="takes % 0 at row 2") as mine:
        compile_cut(node)(block, None)
    with pytest.raises(CutError) as theirs:
        interpret(node, block)
    assert mine.value.fields == theirs.value.fields and mine.value.message == theirs.value.message
    alive = np.array([True, True, False, False])
    assert compile_cut(node)(block, alive).tolist() == [
        False,
        True,
        False,
        False,
    ]  # 4 and 7 % 1; 9; not asked; not asked


def unaligned(array: np.ndarray) -> np.ndarray:
    """The same values one byte off, read-only: as a mapped file may have them."""
    view = np.frombuffer(b"\0" + array.tobytes(), array.dtype, offset=1)
    assert array.size == 0 or array.itemsize == 1 or not view.flags.aligned
    return view


@pytest.mark.parametrize("text", [CUTS[0], CUTS[1], CUTS[13]])
def test_columns_are_read_where_they_lie(text: str) -> None:
    kernel, node = kernel_of(text), bind(text, SCOPE).node
    on = table(500, 3)
    columns = {name: a for name, a in on.columns.items() if a.dtype != object}
    expected = interpret(node, on.block())
    mapped = Block(on.rows, {name: unaligned(a) for name, a in columns.items()})
    swapped = Block(on.rows, {name: a.astype(a.dtype.newbyteorder()) for name, a in columns.items()})
    strided = Block(on.rows, {name: np.repeat(a, 3)[::3] for name, a in columns.items()})
    for block in (mapped, swapped, strided):
        assert (kernel(block) == expected).all()


@pytest.mark.parametrize("rows", [0, 1, 100])
def test_alive_rows_alone_are_asked_for(rows: int) -> None:
    text = "sum(Muon.pt) > 20 || j + 1 > 3"
    on = table(rows, 5)
    columns = {**on.columns, "j": np.where(np.arange(rows) % 3 == 0, 2**63 - 1, 3)}
    alive = np.arange(rows) % 3 != 0  # the others overflow
    expected = interpret(bind(text, SCOPE).node, Block(rows, columns), alive)
    assert kernel_of(text)(Block(rows, columns), alive).tolist() == expected.tolist()


def test_another_threshold_is_the_same_machine_code() -> None:
    block = table(50, 1).block()
    first, second = kernel_of("x > 0.1 && j < 5 && run in (1, 2)"), kernel_of("x > 2.5 && j < -7 && run in (3, 4)")
    assert first is not second
    first(block), second(block)
    (one,), (other,) = first._made.values(), second._made.values()
    assert one.kernels == other.kernels
    third, fourth = kernel_of("x > -1"), kernel_of("Muon.d[0] > 1 || x > 1")
    third(block), fourth(block)
    assert next(iter(third._made.values())).kernels == one.kernels[:1]
    assert next(iter(fourth._made.values())).kernels != one.kernels[:1]
    node = bind("x > 2.5 && j < -7 && run in (3, 4)", SCOPE).node
    assert (second(block) == interpret(node, block)).all()


def test_zeros_of_either_sign_are_different_constants() -> None:
    block = Block(1, {"y": np.array([1.0])})
    minus = Node(
        "cmp",
        (
            Node("div", (Node("column", value="y", kind="f64"), Node("const", value=-0.0, kind="f64")), kind="f64"),
            Node("const", value=0.0, kind="f64"),
        ),
        "<",
        "bool",
    )
    plus = replace(minus, args=(replace(minus.args[0], args=(minus.args[0].args[0], minus.args[1])), minus.args[1]))
    assert compile_cut(minus)(block, None).tolist() == [True]  # 1 / -0.0 = -inf
    assert compile_cut(plus)(block, None).tolist() == [False]


LONG = [
    "MET_pt > 20 && nMuon >= 1 && x < 5",  # dense, one after another
    "nMuon >= 4 && Muon.pt[1] > 20 GeV && sum(Muon.pt) > 10 GeV && TauPt1 > 1",  # few rows, then lists
    "sum(Muon.pt) > -1 || !(x > 1)",  # sparse from the start, all alive
    "MET_pt > 1e30 && Muon.pt[0] > 1",  # nothing is left
]


@pytest.mark.parametrize("text", LONG)
@pytest.mark.parametrize("rows", [BLOCK - 1, BLOCK, 3 * BLOCK + 5])
def test_blocks_join_without_a_seam(text: str, rows: int) -> None:
    """Lists go on over the blocks' ends, dense and sparse steps mix, the last block is short."""
    node, block = bind(text, SCOPE).node, table(rows, 11).block()
    for alive in (None, np.arange(rows) % 5 != 2, np.arange(rows) > rows - 3):
        assert kernel_of(text)(block, alive).tolist() == interpret(node, block, alive).tolist()


def test_bits_of_several_units_say_which_rows_are_accepted() -> None:
    """Two units of one chain: the bits of accepted rows, what each step saw, and a step that one unit does not need."""
    n = np.array([1, 2, 3, 4, 5, 6], np.int32)
    steps = steps_of(bind("i > 2 && i < 6", SCOPE).node)
    chain = Chain.of(steps, [emitting.emit(s, {"i": "i4"}) for s in steps], {"i": "i4"}, kernel_cache.function)
    at = np.array([address_of(n), address_of(n[3:])], np.uint64)
    three = np.array([3, 3])
    units = Units(three, np.zeros(2, np.uint64), {"i": at}, {"i": three}, [n])
    needed = np.array([[True, False], [True, True]])  # i > 2 is known to hold in the second unit
    bits, seen = np.zeros(2, np.uint8), np.zeros((2, 2), np.int64)
    job = chain.job(units, needed=needed, accepted=np.array([address_of(bits), address_of(bits[1:])], np.uint64))
    assert job.run(0, 2, seen) == 3  # 3 of the first; 4, 5 of the second
    assert bits.tolist() == [0b100, 0b011]
    assert job.accepted.tolist() == [1, 2]
    assert seen.tolist() == [[3, 1], [4, 3]]  # i > 2: 1, 2, 3; i < 6: 3 and 4, 5, 6


def test_a_list_shorter_than_its_counter_is_an_error_and_no_crash() -> None:
    kernel = kernel_of("sum(Muon.pt) > 1 || Muon.eta[0] > 0")
    columns = {"nMuon": np.array([1, 2], np.int32), "Muon_pt": np.zeros(3, np.float32)}
    with pytest.raises(StoreError, match="nMuon have fewer values"):
        kernel(Block(2, {**columns, "Muon_eta": np.zeros(2, np.float32)}))
    with pytest.raises(StoreError, match="x has 1 values for 2 rows"):
        kernel_of("x > 1")(Block(2, {"x": np.zeros(1, np.float32)}))


def test_fault_34_threads_share_kernels_and_compile_each_once() -> None:
    texts = ["MET_pt > 20 && nMuon > 1", "sum(Muon.pt) > 30"] * 8
    blocks = [table(2000, seed).block() for seed in range(len(texts))]
    nodes = {text: bind(text, SCOPE).node for text in texts}
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text, block: compile_cut(nodes[text])(block, None), texts, blocks))
    for text, block, mask in zip(texts, blocks, found, strict=True):
        assert (mask == interpret(nodes[text], block)).all()


def test_long_deep_or_textual_cuts_are_left_to_the_interpreter() -> None:
    assert fits(bind(" || ".join(["x > 1"] * MOST_ATOMS), SCOPE).node)
    long = bind(" || ".join(["x > 1"] * (MOST_ATOMS + 1)), SCOPE).node
    deep = Node("truth", (Node("const", value=True, kind="bool"),), kind="bool")
    for _ in range(200):
        deep = Node("not", (deep,), kind="bool")
    text = bind('name == "a"', SCOPE).node
    block = table(20, 2).block()
    for node in (long, deep, text):
        assert compile(node) is None
        assert (compile_cut(node)(block, None) == interpret(node, block)).all()


def test_deep_but_fitting_cuts_compile() -> None:
    text = "x > 1"
    for n in range(40):
        text = f"(({text}) {'||' if n % 2 else '&&'} y < {n})"
    node, block = bind(text, SCOPE).node, table(100, 4).block()
    assert fits(node)
    assert (compile_cut(node)(block, None) == interpret(node, block)).all()


def test_the_source_of_a_kernel_is_python_and_names_only_its_vocabulary() -> None:
    from tagsel.kernels.native import vocabulary

    types = {
        a.column: {"bool": "b1", "int32": "i4", "int64": "i8", "bits32": "u4", "bits64": "u8"}.get(
            a.type, {"float32": "f4", "float64": "f8"}.get(a.type, "O")
        )
        for a in SCHEMA
    }
    builtin = {"range", "abs", "min"}
    for text in CUTS:
        tree = ast.parse(emitting.emit(bind(text, SCOPE).node, types).text)
        called = {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
        assert called <= builtin | set(vocabulary())


def test_numba_is_not_imported_until_a_kernel_must_be_compiled() -> None:
    script = "import sys, tagsel.engine.compiler\nprint('numba' in sys.modules, 'llvmlite' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
