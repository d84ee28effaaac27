"""The interpreter on blocks written out by hand: each answer is worked out beside it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from strategies import MENUS, SCHEMA, lumi

from tagsel.engine.interpreter import interpret, interpret_value
from tagsel.errors import CutError
from tagsel.language import Block, Scope, bind, bind_value

SCOPE = Scope(SCHEMA, MENUS, lumi)
F32, I32 = np.float32, np.int32

MUONS = Block(
    4,
    {
        "nMuon": np.array([2, 0, 1, 3], I32),
        "Muon_pt": np.array([30, 20, 10, 5, np.nan, 7], F32),
        "Muon_eta": np.array([0.5, -0.5, 1.0, 2.0, 0.0, 3.0], F32),
        "Muon_charge": np.array([1, -1, 1, 1, 1, -1], I32),
        "x": np.array([1.0, np.nan, -0.0, np.inf], F32),
        "j": np.array([2**53 + 1, 2**53, -1, 2**62], np.int64),
        "i": np.array([7, -7, 0, 3], I32),
    },
)


def passed(cut: str, block: Block = MUONS) -> list[bool]:
    return interpret(bind(cut, SCOPE).node, block).tolist()


def value(expression: str, block: Block = MUONS) -> tuple[list[Any], list[bool]]:
    values, missing = interpret_value(bind_value(expression, SCOPE).node, block)
    return values.tolist(), missing.tolist()


def test_feature_04_objects_of_an_event() -> None:
    """Row 4: any, all, count, sum, min, max over lists of 2, 0, 1, 3 muons."""
    assert passed("count(Muon.pt > 8 GeV) == 2") == [True, False, False, False]  # 30, 20 | | 10 | 5, NaN, 7
    assert passed("any(Muon.pt > 8 GeV)") == [True, False, True, False]
    assert passed("all(Muon.pt > 8 GeV)") == [True, True, True, False]  # of nothing: true; NaN > 8: false
    assert value("sum(Muon.charge)") == ([0, 0, 1, 1], [False] * 4)
    assert value("max(Muon.pt)")[0][0] == 30.0 and value("max(Muon.pt)")[1] == [False, True, False, False]
    assert value("min(Muon.pt)")[0][3] == 5.0  # NaN is skipped
    assert np.isnan(value("sum(Muon.pt)")[0][3])  # but not by a sum


def test_missing_is_not_nan() -> None:
    """An atom with a missing value is false, != included; not over it is true."""
    assert passed("Muon.charge[0] != Muon.charge[1]") == [True, False, False, False]  # 1,-1 | - | 1 | 1,1
    assert passed("!(Muon.charge[0] == Muon.charge[1])") == [True, True, True, False]
    assert passed("present(Muon.pt[1])") == [True, False, False, True]
    assert passed("isnan(Muon.pt[1])") == [False, False, False, True]
    assert passed("Muon.pt[1] != Muon.pt[1]") == [False, False, False, True]  # a stored NaN: IEEE
    assert passed("MET_pt != 0") == [False] * 4  # the block lacks the column
    assert passed("!(MET_pt > 0)") == [True] * 4
    assert passed("MET_pt > 0 || i == 0") == [False, False, True, False]
    assert passed("count(Jet.pt > 0) >= 0") == [False] * 4  # no counter: missing, not 0


def test_fault_06_nan_and_infinities_are_ieee() -> None:
    assert passed("x > 0") == [True, False, False, True]
    assert passed("x != 1") == [False, True, True, True]
    assert passed("x == 0") == [False, False, True, False]  # -0.0 equals 0
    assert passed("isinf(x)") == [False, False, False, True]
    assert passed("isfinite(1 / x)") == [True, False, False, True]  # 1, NaN, -inf, 0
    assert value("min2(x, 5.0)")[0] == [1.0, 5.0, -0.0, 5.0]  # NaN loses


def test_fault_07_integers_are_exact_above_2_to_53() -> None:
    assert passed("j == 9007199254740993") == [True, False, False, False]
    assert passed("j > 9007199254740992") == [True, False, False, True]
    assert passed("j in (9007199254740993, -1)") == [True, False, True, False]
    assert passed("j % 2 == 1") == [True, False, True, False]  # -1 % 2 is 1, as in Python


def test_modulo_has_pythons_sign() -> None:
    assert value("i % 3")[0] == [7 % 3, -7 % 3, 0, 0] == [1, 2, 0, 0]
    assert value("i % -3")[0] == [7 % -3, -7 % -3, 0, 0] == [-2, -1, 0, 0]


def test_overflow_names_the_first_row_that_is_reached() -> None:
    """j * 2 does not fit for 2^62 (row 3); j * 2000 neither for 2^53 (rows 0 and 1)."""
    with pytest.raises(CutError, match="overflows") as caught:
        passed("j * 2 > 0")
    assert caught.value.fields["row"] == 3
    assert passed("j < 100 && j * 2000 > 0") == [False] * 4  # rows 0, 1, 3 are not reached; -2000 > 0 is false
    with pytest.raises(CutError) as caught:
        passed("j * 2 > 0 || j * 2000 > 0")  # row 0 passes by its first term; 1 as well; 2 is -2000; 3 fails first
    assert caught.value.fields["row"] == 3
    with pytest.raises(CutError) as caught:
        passed("j * 2 < 0 || j * 2000 > 0")  # row 0 is reached by the second term: the lowest row is named
    assert caught.value.fields["row"] == 0
    assert caught.value.position == len("j * 2 < 0 || ")


def test_remainder_of_nothing_names_the_row() -> None:
    with pytest.raises(CutError, match="% 0") as caught:
        passed("event % i == 1", Block(3, {"event": np.array([1, 2, 3]), "i": np.array([2, 1, 0], I32)}))
    assert caught.value.fields["row"] == 2
    block = Block(3, {"event": np.array([1, 2, 3]), "i": np.array([2, 1, 0], I32)})
    assert passed("i != 0 && event % i == 1", block) == [True, False, False]
    assert passed("Muon.charge[0] % i == 1", block) == [False] * 3  # missing operands have no remainder


def test_errors_inside_an_aggregate_name_the_event() -> None:
    block = Block(3, {"nMuon": np.array([0, 2, 1], I32), "Muon_big": np.array([1, 2**62, 5])})
    with pytest.raises(CutError) as caught:
        passed("any(Muon.big * 2 > 4)", block)
    assert caught.value.fields["row"] == 1
    assert passed("nMuon == 1 && any(Muon.big * 2 > 4)", block) == [False, False, True]
    with pytest.raises(CutError) as caught:
        passed("sum(Muon.big) > 0", Block(1, {"nMuon": np.array([2], I32), "Muon_big": np.array([2**63 - 1, 1])}))
    assert caught.value.fields["row"] == 0


def test_rows_outside_alive_are_not_asked_for() -> None:
    node = bind("j * 2 > 0", SCOPE).node
    alive = np.array([True, False, True, False])
    assert interpret(node, MUONS, alive).tolist() == [True, False, False, False]


def test_slots_are_missing_past_the_counter() -> None:
    """Whatever is stored there; objects are min(max(counter, 0), 3)."""
    block = Block(
        4,
        {
            "NTau": np.array([0, 1, 5, -1], I32),
            "TauPt1": np.array([9, 30, 30, 9], F32),
            "TauPt2": np.array([9, 99, 20, 9], F32),
            "TauPt3": np.array([9, 99, 10, 9], F32),
        },
    )
    assert passed("Tau.pt[1] > 0", block) == [False, False, True, False]
    assert passed("TauPt1 > 0", block) == [False, True, True, False]
    assert value("count(Tau.pt > 15 GeV)", block)[0] == [0, 1, 2, 0]
    assert value("sum(Tau.pt)", block)[0] == [0.0, 30.0, 60.0, 0.0]
    part = Block(4, {n: a for n, a in block.columns.items() if n != "TauPt2"})
    assert value("sum(Tau.pt)", part)[0] == [0.0, 30.0, 40.0, 0.0]  # a slot that the part lacks is skipped


def test_feature_10_triggers_by_menu() -> None:
    """Row 10: HLT_a is bit 0 of trigger_0 in one menu, bit 5 of trigger_1 in another, missing in the third."""
    first, second, third = MENUS
    block = Block(
        4,
        {
            "menu": np.array([first, second, third, 0]),
            "trigger_0": np.array([1, 1, 1, 1], np.uint32),
            "trigger_1": np.array([0, 32, 32, 32], np.uint64),
        },
    )
    assert passed("HLT_a", block) == [True, True, False, False]
    assert passed("present(HLT_a)", block) == [True, True, False, False]
    assert passed("!HLT_a", block) == [False, False, True, True]
    top = Block(1, {"menu": np.array([first]), "trigger_1": np.array([2**63], np.uint64)})
    assert passed("L1_c", top) == [True]  # bit 63
    assert passed("HLT_b", top) == [False]  # the part lacks trigger_0


def test_words_are_zero_extended() -> None:
    block = Block(2, {"bits": np.array([2**32 - 1, 1], np.uint32), "word": np.array([2**64 - 1, 1], np.uint64)})
    assert passed("bits > 0", block) == [True, True]
    assert passed("bits == 4294967295", block) == [True, False]
    assert passed("word == 0xFFFFFFFFFFFFFFFF", block) == [True, False]
    assert passed("(word >> 63) == 1", block) == [True, False]  # shr of a word brings in zeros
    assert passed("bit(word, 63)", block) == [True, False]


def test_good_runs() -> None:
    """run 1: 1 to 5, and 10; run 3: 2 to 9; run 7: 1 to the end (tests/tag_schema.py)."""
    pairs = [(1, 1), (1, 5), (1, 6), (1, 10), (2, 3), (3, 1), (3, 2), (3, 9), (7, 2**31 - 1), (8, 1), (0, 1)]
    run, lumis = (np.array(part, I32) for part in zip(*pairs, strict=True))
    wanted = [True, True, False, True, False, False, True, True, True, False, False]
    assert passed('in_lumi("good")', Block(len(pairs), {"run": run, "lumi": lumis})) == wanted


def test_float32_stays_float32() -> None:
    """0.1 rounded to float32 is what is stored, so it is equal; in float64 it is not."""
    block = Block(1, {"x": np.array([0.1], F32)})
    assert passed("x == 0.1", block) == [True]
    assert passed("-x == -0.1 && abs(x) <= 0.1", block) == [True]
    assert passed("x + 0 == 0.1", block) == [False]  # arithmetic is float64: 0.100000001… against 0.1


def test_sums_run_in_list_order() -> None:
    """1e16 + 1 + 1 - 1e16 from left to right is 0 in float64 (1e16 + 1 rounds to 1e16); in pairs it would be 2."""
    block = Block(1, {"nMuon": np.array([4], I32), "Muon_d": np.array([1e16, 1.0, 1.0, -1e16])})
    assert value("sum(Muon.d)", block)[0] == [0.0]


def test_an_aggregate_inside_a_body_is_the_events() -> None:
    assert value("count(Muon.pt > 2 * min(Muon.pt))")[0] == [0, 0, 0, 0]  # 30, 20 against 40; 10; 5, NaN, 7 against 10
    assert value("count(Muon.pt >= max(Muon.pt))")[0] == [1, 0, 1, 1]


def test_true_passes_everything_and_constants_fold() -> None:
    assert passed("true") == [True] * 4
    assert passed("1 < 2 && !(false)") == [True] * 4
    assert passed("true", Block(0, {})) == []


def test_fault_21_ten_thousand_terms() -> None:
    """All of i != 100 … i != 10099 hold for 7, -7, 0, 3; one more, i != 3, does not for the last."""
    cut = " && ".join(f"i != {k}" for k in range(100, 10_100))
    assert passed(cut) == [True] * 4
    assert passed(cut + " && i != 3") == [True, True, True, False]


def test_unaligned_columns() -> None:
    """Columns mapped from a part need not be aligned."""
    raw = b"\0" + np.array([1.0, 5.0], F32).tobytes() + np.array([1, 2], np.int64).tobytes()
    x, j = np.frombuffer(raw, F32, 2, 1), np.frombuffer(raw, np.int64, 2, 9)
    assert not x.flags.aligned and not j.flags.aligned
    assert passed("x > 2 && j * 2 == 4", Block(2, {"x": x, "j": j})) == [False, True]
