"""Combinations of objects, by hand: what is chosen, what is missing, what is told, and that work stays bounded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from strategies import MENUS, SCHEMA, lumi, make_table

from tagsel.engine import momenta, space
from tagsel.engine.codegen import emit
from tagsel.engine.compiler import compile_cut, fits
from tagsel.engine.explain import explain_row
from tagsel.engine.interpreter import interpret, interpret_objects, interpret_value
from tagsel.engine.sql import to_sql
from tagsel.errors import CutError
from tagsel.language import Block, Scope, bind, bind_value, canonical, parse

SCOPE = Scope(SCHEMA, MENUS, lumi)
NAN = float("nan")

PT = [[40, 30, 30, 10], [20], [], [50, NAN], [NAN]]
CHARGE = [[1, -1, 1, -1], [1], [], [1, 1], [-1]]
JET_PT = [[35000.0, 15000.0], [], [60000.0], [5000.0, 4000.0], []]  # MeV


def flat(lists: list[list[float]], kind: type) -> np.ndarray:
    return np.array([x for values in lists for x in values], kind)


BLOCK = Block(
    5,
    {
        "nMuon": np.array([len(x) for x in PT], np.int32),
        "Muon_pt": flat(PT, np.float32),
        "Muon_charge": flat(CHARGE, np.int32),
        "Muon_big": np.array([2**62, 2**62, 1, 1, 1, 1, 1, 1], np.int64),
        "nJet": np.array([len(x) for x in JET_PT], np.int32),
        "Jet_pt": flat(JET_PT, np.float32),
        "MET_pt": np.array([1, 2, 3, 4, 5], np.float32),
        "NTau": np.array([3, 2, 1, 0, -1], np.int32),
        **{f"TauN{k}": np.array([k, 5, k, 5, 5], np.int32) for k in (1, 2, 3)},
    },
)


def passed(cut: str, block: Block = BLOCK) -> list[bool]:
    """The interpreter's verdicts, which the kernel shares."""
    node = bind(cut, SCOPE).node
    found: list[bool] = interpret(node, block).tolist()
    assert compile_cut(node)(block, None).tolist() == found
    return found


def values(expression: str) -> list[float | None]:
    data, missing = interpret_value(bind_value(expression, SCOPE).node, BLOCK)
    return [None if gone else x for x, gone in zip(data.tolist(), missing.tolist(), strict=True)]


# -- what there is


def test_pairs_triples_and_products_are_counted() -> None:
    """n (n - 1) / 2 pairs of 4, 1, 0, 2, 1 muons; n (n - 1) (n - 2) / 6 triples; products with 2, 0, 1, 2, 0 jets."""
    assert values("count(a, b in Muon: a.charge != 7 && b.charge != 7)") == [6, 0, 0, 1, 0]
    assert values("count(a, b, c in Muon: a.charge + b.charge != c.charge + 7)") == [4, 0, 0, 0, 0]
    assert values("count(a in Muon, j in Jet: a.charge != 7 && j.pt > 0)") == [8, 0, 0, 4, 0]
    assert values("count(a in Muon, b in Muon: a.charge + b.charge != 7)") == [16, 1, 0, 4, 1]
    assert values("count(a, b in Tau: a.n <= b.n)") == [3, 1, 0, 0, 0]


def test_a_comes_before_b() -> None:
    assert passed("any(a, b in Muon: a.pt < b.pt)") == [False] * 5  # leading first, and NaN compares with nothing
    assert values("count(a, b in Muon: a.pt > b.pt)") == [5, 0, 0, 0, 0]  # 30 and 30 are equal
    assert passed("any(a, b in Muon: a == b)") == [False] * 5
    assert values("count(a in Muon, b in Muon: a != b && a.charge == b.charge)") == [4, 0, 0, 2, 0]


def test_nesting_sees_the_objects_around() -> None:
    assert values("count(m in Muon: all(n in Muon: n == m || n.pt < m.pt))") == [1, 1, 0, 0, 1]  # 50 < NaN is false
    assert values("count(m in Muon: count(Jet.pt < m.pt) >= 1)") == [3, 0, 0, 1, 0]  # jets of 35, 15; 60; 5, 4 GeV
    # row 0: 40 is above both jets of 35 and 15, either 30 above one, 10 above none; row 3: 50 above both
    assert values("sum(m in Muon: sum(j in Jet: m.charge if j.pt < m.pt))") == [2 - 1 + 1, 0, 0, 2, 0]
    assert passed("any(m in Muon: max(Muon.pt) == m.pt)") == [True, True, False, True, False]


def test_conditional_values_are_left_out() -> None:
    assert values("sum(m in Muon: m.pt if m.charge > 0)") == [70, 20, 0, pytest.approx(NAN, nan_ok=True), 0]
    assert values("max(Muon.pt if Muon.charge < 0)") == [30, None, None, None, None]
    assert values("MET_pt if nMuon > 1") == [1, None, None, 4, None]
    assert passed("(MET_pt if nMuon > 1) != 0") == [True, False, False, True, False]


def test_the_first_of_equals_is_chosen_and_nan_passed_over() -> None:
    assert values("let m = argmin(m in Muon: m.pt); m.pt") == [10, 20, None, 50, None]
    assert values("let m = argmax(m in Muon: m.pt if m.pt < 35); m.charge") == [-1, 1, None, None, None]  # the first 30
    assert values("let (a, b) = argmin(a, b in Muon: abs(a.pt - b.pt)); a.charge - b.charge") == [-2, *[None] * 4]
    assert values("let (m, j) = argmax(m in Muon, j in Jet: m.pt * j.pt); j.pt") == [35000, None, None, 5000, None]


def test_what_is_not_found_is_missing() -> None:
    assert passed("let m = argmin(m in Muon: m.pt); present(m)") == [True, True, False, True, False]
    assert passed("let m = argmin(m in Muon: m.pt); m.pt != 0") == [True, True, False, True, False]
    assert passed("let m = argmin(m in Muon: m.pt); all(n in Muon: n == m)") == [False, True, True, False, False]
    lacking = Block(5, {name: column for name, column in BLOCK.columns.items() if name != "nMuon"})
    for cut in ("count(a, b in Muon: a.pt > b.pt) >= 0", "any(j in Jet, m in Muon: j.pt != m.pt)"):
        assert passed(cut, lacking) == [False] * 5
    assert passed("let m = argmin(m in Muon: m.charge); present(m)", lacking) == [False] * 5


def test_lets_follow_each_other_and_stand_in_bodies() -> None:
    two = "let m = argmax(m in Muon: m.pt); let n = argmax(n in Muon: n.pt if n != m); n.pt"
    assert values(two) == [30, None, None, None, None]
    inside = "count(j in Jet: let m = argmin(m in Muon: abs(m.pt - j.pt)); m.pt > j.pt)"
    assert values(inside) == [1, 0, 0, 2, 0]  # 35: of 40 and 30 as near, the first, 40; 15: 10; 5 and 4: 50


# -- errors


def test_only_reached_combinations_raise() -> None:
    """2^62 + 2^62 overflows; 0 is the row."""
    with pytest.raises(CutError, match="overflows") as caught:
        interpret(bind("any(a, b in Muon: a.big + b.big > 0)", SCOPE).node, BLOCK)
    assert caught.value.fields["row"] == 0
    with pytest.raises(CutError, match="overflows"):
        compile_cut(bind("any(a, b in Muon: a.big + b.big > 0)", SCOPE).node)(BLOCK, None)
    assert passed("any(a, b in Muon: a.pt < 35 && a.big + b.big > 0)") == [True, False, False, False, False]
    assert passed("min(a, b in Muon: a.big + b.big if a.pt < 35) == 2") == [True, False, False, False, False]


# -- one tree for one meaning


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("any(a, b in Muon: a.pt > b.pt)", "any(x, y in Muon: x.pt > y.pt)"),
        ("any(m in Muon: any(Jet.pt > m.pt))", "any(a in Muon: any(b in Jet: b.pt > a.pt))"),
        ("let m = argmax(m in Muon: m.pt); m.eta > 1", "let best = argmax(o in Muon: o.pt); best.eta > 1"),
        ("count(m in Muon: m.pt > 20) > 1", "count(Muon.pt > 20) > 1"),
    ],
)
def test_names_of_objects_do_not_count(one: str, other: str) -> None:
    a, b = bind(one, SCOPE), bind(other, SCOPE)
    assert a.node == b.node
    assert a.fingerprint == b.fingerprint
    assert canonical(parse(a.text)) == a.text


def test_what_differs_has_another_fingerprint() -> None:
    cuts = (
        "any(a, b in Muon: a.pt > b.pt)",
        "any(a, b in Muon: b.pt > a.pt)",
        "any(a in Muon, b in Muon: a.pt > b.pt)",
        "any(a, b in Jet: a.pt > b.pt)",
        "any(a in Muon: any(b in Muon: a.pt > b.pt))",
        "let (a, b) = argmin(a, b in Muon: a.pt); a.pt > b.pt",
        "let (a, b) = argmax(a, b in Muon: a.pt); a.pt > b.pt",
    )
    bound = [bind(cut.replace("b in Muon: a.pt);", "b in Muon: a.pt + b.pt);"), SCOPE) for cut in cuts]
    assert len({b.fingerprint for b in bound}) == len(cuts)


# -- values of objects


def test_values_of_objects_come_with_their_rows() -> None:
    bound = bind_value("Jet.pt if Jet.pt > 10 GeV", SCOPE, lists=True)
    assert (bound.node.op, bound.unit, bound.columns) == ("objects", "MeV", {"Jet_pt", "nJet"})
    data, missing, rows = interpret_objects(bound.node, BLOCK, np.array([True, True, False, True, True]))
    assert rows.tolist() == [0, 0, 3, 3]
    assert missing.tolist() == [False, False, True, True]
    assert data[~missing].tolist() == [35000, 15000]


def test_values_of_events_are_one_a_row() -> None:
    bound = bind_value("MET_pt if nMuon > 1", SCOPE, lists=True)
    data, missing, rows = interpret_objects(bound.node, BLOCK)
    assert (data[~missing].tolist(), rows.tolist()) == ([1, 4], [0, 1, 2, 3, 4])
    with pytest.raises(CutError, match="this is a list"):
        bind_value("Jet.pt", SCOPE)


def test_objects_see_what_was_chosen_and_what_is_around() -> None:
    near = bind_value("let m = argmax(m in Muon: m.pt); Jet.pt - m.pt", SCOPE, lists=True)
    data, missing, _ = interpret_objects(near.node, BLOCK)
    assert data[~missing].tolist() == [35000 - 40000, 15000 - 40000, 5000 - 50000, 4000 - 50000]
    with pytest.raises(CutError, match="Jet is a list beside the object m"):
        bind_value("Jet.pt if any(m in Muon: m.pt > Jet.pt)", SCOPE, lists=True)


# -- why


def test_why_tells_what_was_chosen() -> None:
    bound = bind("let (a, b) = argmin(a, b in Muon: abs(a.pt - b.pt)); a.pt > 25 GeV && !(a.charge == b.charge)", SCOPE)
    first, second = explain_row(bound, BLOCK, 0)
    assert (first.text, first.verdict, first.values) == ("a.pt > 25 GeV", True, (("a.pt", 30.0),))
    assert second.values == (("a.charge", -1), ("b.charge", 1))
    assert [step.values[0] for step in explain_row(bound, BLOCK, 1)] == [("a.pt", "missing"), ("a.charge", "missing")]


def test_why_tells_nested_quantifiers_whole() -> None:
    (step,) = explain_row(bind("count(m in Muon: any(j in Jet: j.pt < m.pt)) >= 3", SCOPE), BLOCK, 0)
    assert step.values == (("count(m in Muon: any(j in Jet: j.pt < m.pt))", 3),)


# -- limits


def test_sql_says_that_it_cannot_choose() -> None:
    with pytest.raises(CutError, match="argmin is not supported in SQL"):
        to_sql(bind("let m = argmin(m in Muon: m.pt); m.pt > 1", SCOPE).node)


@pytest.mark.parametrize("most", [1, 3, 10, 10**9])
def test_chunks_of_any_size_give_the_same(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "MOST_COMBINATIONS", most)
    assert values("sum(a, b in Muon: a.charge * b.charge)") == [-2, 0, 0, 1, 0]
    assert values("let (a, b) = argmin(a, b in Muon: abs(a.pt - b.pt)); a.charge - b.charge") == [-2, *[None] * 4]
    assert values("count(j in Jet: any(m in Muon: m.pt > j.pt))") == [2, 0, 0, 2, 0]


@pytest.mark.slow
def test_fault_21_many_quantifiers_bind_and_names_are_limited() -> None:
    """5,000 quantifiers beside each other, and 8 in each other with a long body; more names are refused."""
    bind(" || ".join(["any(a, b in Muon: a.pt > b.pt)"] * 5000), SCOPE)
    body = " || ".join("abcdefgh"[i % 8] + ".pt > 1" for i in range(5000))
    text = "".join(f"any({v} in Muon: " for v in "abcdefgh") + body + ")" * 8
    assert not fits(bind(text, SCOPE).node)
    with pytest.raises(CutError, match="more than 8 names of objects"):
        bind("any(i in Muon: i.pt > 1 && " + text + ")", SCOPE)


def test_fault_21_lets_after_each_other() -> None:
    """Each is not the one before: the first, the second, the first again; of one muon the second is missing."""
    other = ["", *(f" if m{k} != m{k - 1}" for k in range(1, 12))]
    lets = [f"let m{k} = argmax(m{k} in Muon: m{k}.pt{other[k]}); " for k in range(12)]
    assert values("".join(lets[:3]) + "m2.pt") == [40, None, None, None, None]
    assert bind("".join(lets[:8]) + "m7.pt > 1", SCOPE).node.op == "let"
    with pytest.raises(CutError, match="more than 8 names"):
        bind("".join(lets) + "m11.pt > 1", SCOPE)


# -- work that is saved


HOISTED = (
    "sum(a, b in Muon: mass(a, b))",
    "max(a, b, c in Jet: pt(a, b, c))",
    "min(m in Muon, j in Jet: eta(m, j))",
    "sum(a, b in Jet: rapidity(a, b) if a.pt > b.pt)",
    "max(a, b in Tau: a.pt + b.pt)",
)


@pytest.mark.parametrize("expression", HOISTED)
def test_momenta_of_objects_once_are_the_same_bits(expression: str, monkeypatch: pytest.MonkeyPatch) -> None:
    node = bind_value(expression, SCOPE).node
    for seed in range(12):
        table = make_table(12, seed)
        found = []
        for worth in (True, False):
            monkeypatch.setattr(momenta, "worth", lambda *_, worth=worth: worth)
            data, missing = interpret_value(node, table.block())
            found.append((data.view(f"i{data.itemsize}")[~missing].tolist(), missing.tolist()))
        assert found[0] == found[1]


def test_momenta_are_worked_out_once_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 6 + 1 pairs of BLOCK have 14 muons, and the list has 8."""
    sizes: list[int] = []
    plain = momenta.of_list

    def counted(kernel: str, components: Any, size: int) -> Any:
        sizes.append(size)
        return plain(kernel, components, size)

    monkeypatch.setattr(momenta, "of_list", counted)
    columns = {f"Muon_{name}": np.ones(8, np.float32) for name in ("eta", "phi", "mass")}
    interpret(bind("any(a, b in Muon: mass(a, b) > 10 GeV)", SCOPE).node, Block(5, {**BLOCK.columns, **columns}))
    assert sizes == [8]


def test_a_mass_between_two_values_is_computed_once() -> None:
    node = bind("any(a, b in Muon: 60 GeV < mass(a, b) < 120 GeV)", SCOPE).node
    types = {name: "i4" if name == "nMuon" else "f4" for name in bind("mass(Muon[0], Muon[1]) > 1", SCOPE).columns}
    assert emit(node, types).text.count("invoke_8(") == 1  # eight components: two objects
