"""Python functions of arrays as cuts: the same answers as the language's own cuts, through every verb."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import build, rows, workspace

import tagsel
from tagsel.api import Workspace
from tagsel.errors import CutError
from tagsel.language.python_function import digest_of

LIMIT = 30.0


def hard(MET_pt, nMuon):
    return (MET_pt > LIMIT) & (nMuon >= 2)


def looped(MET_pt, nMuon):
    """A loop, that only a compiler makes fast."""
    passed = np.zeros(len(MET_pt), np.bool_)
    for i in range(len(MET_pt)):
        passed[i] = MET_pt[i] > 30 and nMuon[i] >= 2
    return passed


TEXT = "MET_pt > 30 && nMuon >= 2"


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    made = workspace(tmp_path)
    build(made, "a.TAG", rows(200, 1), rows(100, 2))
    return made


@pytest.mark.parametrize("function", [hard, looped], ids=lambda f: f.__name__)
@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "NumPy"])
def test_feature_22_a_function_selects_what_the_text_selects(
    home: Workspace, function: Callable[..., Any], compiled: bool
) -> None:
    cut = tagsel.cut(function, compiled=compiled)
    expected = home["a.TAG"].select(TEXT)
    assert 0 < len(expected) < 300
    assert home["a.TAG"].select(cut).digest == expected.digest
    assert home["a.TAG"].count(function if compiled else cut).accepted == len(expected)
    lazy = home["a.TAG"].where(cut & tagsel.cut("lumi > 2") | ~tagsel.cut("run == 8"))
    assert lazy.count().accepted == home["a.TAG"].count(f"({TEXT}) && lumi > 2 || run != 8").accepted
    assert home["a.TAG"].where(~cut).count().accepted == 300 - len(expected)


def test_every_verb_takes_it(home: Workspace) -> None:
    flow = home["a.TAG"].where(hard).where(early="lumi <= 2").cutflow()
    by_text = home["a.TAG"].where(hard=TEXT).where(early="lumi <= 2").cutflow()
    for name in ("hard", "early"):
        assert flow[name].alone.n == by_text[name].alone.n
        assert flow[name].all_but.n == by_text[name].all_but.n
    accepted = next(iter(home["a.TAG"].select(TEXT)))
    assert home["a.TAG"].where(hard).why(accepted.run, accepted.event).verdict == "accepted"
    other = next(iter(home["a.TAG"].select(f"!({TEXT})")))
    assert home["a.TAG"].where(hard).why(other.run, other.event).verdict == "rejected"
    assert home["a.TAG"].where(hard).explain().tier == "interpreter"


def test_an_event_without_a_value_does_not_pass(home: Workspace) -> None:
    """user.lead is missing in events without a muon, whatever is stored there."""
    home.datasets.extend("a.TAG", "lead = Muon.pt[0]")
    soft = tagsel.cut(lambda user_lead: user_lead < 15)
    assert home["a.TAG"].count(soft).accepted == home["a.TAG"].count("Muon.pt[0] < 15").accepted
    assert home["a.TAG"].count(~soft).accepted == home["a.TAG"].count("!(Muon.pt[0] < 15)").accepted


def above(limit: Any) -> Callable[..., Any]:
    return lambda MET_pt: MET_pt > limit


def test_the_selection_hash_covers_code_closures_defaults_and_globals(
    home: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of(function: Callable[..., Any]) -> str:
        return home["a.TAG"].count(tagsel.cut(function, compiled=False)).selection

    assert of(above(10)) == of(above(10)) != of(above(11))
    assert of(lambda MET_pt: MET_pt > 10) != of(lambda MET_pt: MET_pt >= 10)
    assert of(lambda MET_pt, at=1: MET_pt > at) != of(lambda MET_pt, at=2: MET_pt > at)
    before = digest_of(hard, False)
    cut = tagsel.cut(hard, compiled=False)
    monkeypatch.setitem(globals(), "LIMIT", 31.0)
    assert digest_of(hard, False) != before
    with pytest.raises(CutError, match="hard .* has changed since"):
        home["a.TAG"].count(cut)


def fails(MET_pt):
    return MET_pt[10**6] > 1


def uses_a_file(MET_pt):
    return MET_pt > float(Path("x").name)


WRONG = [
    (fails, "fails .*failed on part .*row group 0: IndexError"),
    (lambda MET_pt: MET_pt, "gave float32 of shape .*bools was expected"),
    (lambda MET_pt: True, "gave bool for 200 events"),
    (lambda MET_pt: MET_pt[1:] > 1, r"gave bool of shape \(199,\)"),
]


@pytest.mark.parametrize(("function", "said"), WRONG, ids=["raises", "no bools", "one bool", "too short"])
def test_what_a_function_gives_is_checked(home: Workspace, function: Callable[..., Any], said: str) -> None:
    with pytest.raises(CutError, match=said):
        home["a.TAG"].count(tagsel.cut(function, compiled=False))


def test_what_numba_cannot_compile_is_said_at_once(home: Workspace) -> None:
    with pytest.raises(CutError, match=r"numba cannot compile uses_a_file \(test_python_cuts.py:\d+\)") as caught:
        home["a.TAG"].where(uses_a_file)
    assert "compiled=False" in caught.value.hint
    assert len(caught.value.message.splitlines()) == 1


def test_what_a_function_may_not_take_or_use(home: Workspace) -> None:
    with pytest.raises(CutError, match="takes Muon_pt, which is a list"):
        home["a.TAG"].where(lambda Muon_pt: Muon_pt > 1)
    with pytest.raises(CutError, match="nowhere"):
        home["a.TAG"].where(lambda nowhere: nowhere > 1)
    with pytest.raises(CutError, match="takes no attribute"):
        tagsel.cut(lambda: True)
    with pytest.raises(CutError, match="takes args"):
        tagsel.cut(lambda *args: True)
    with pytest.raises(CutError, match="is no Python function"):
        tagsel.cut(np.isnan)
    with pytest.raises(CutError, match="cannot use .*Workspace"):
        tagsel.cut(lambda MET_pt: MET_pt > len(str(home)))
    with pytest.raises(CutError, match="no Python function 'other_1' is known"):
        home["a.TAG"].count('python("other_1")')


CUTOFF = 20.0


def nested(MET_pt):
    above = lambda x: x > CUTOFF  # noqa: E731 - that it is nested is what is tested
    return above(MET_pt)


def test_what_a_nested_function_uses_is_part_of_the_hash(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    met = np.concatenate([rows(200, 1)["MET_pt"], rows(100, 2)["MET_pt"]])
    before = home["a.TAG"].count(tagsel.cut(nested, compiled=False))
    monkeypatch.setitem(nested.__globals__, "CUTOFF", 40.0)
    after = home["a.TAG"].count(tagsel.cut(nested, compiled=False))
    assert (before.accepted, after.accepted) == (int((met > 20).sum()), int((met > 40).sum()))
    assert before.selection != after.selection


def test_a_cut_whose_function_changed_is_refused_though_it_was_asked_before(
    home: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = home["a.TAG"].where(tagsel.cut(nested, compiled=False)).where("nMuon >= 1")
    events = chosen.events()
    monkeypatch.setitem(nested.__globals__, "CUTOFF", 50.0)
    with pytest.raises(CutError, match="has changed since it was made a cut"):
        chosen.count()
    assert events.provenance["cutflow"] is None and "has changed" in str(events.provenance["cutflow_missing"])


def test_a_parameter_with_a_default_is_not_filled(home: Workspace) -> None:
    def limited(MET_pt, limit=20.0):
        return MET_pt > limit

    expected = home["a.TAG"].count("MET_pt > 20").accepted
    assert home["a.TAG"].count(limited).accepted == home["a.TAG"].count(tagsel.cut(limited, compiled=False)).accepted
    assert home["a.TAG"].count(limited).accepted == expected > 0


def test_a_global_that_has_the_name_of_an_attribute_of_another_thing_does_not_count(
    home: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def above_mean(MET_pt):
        return MET_pt - MET_pt.mean() > 0

    monkeypatch.setitem(above_mean.__globals__, "mean", object())
    assert home["a.TAG"].count(above_mean).accepted > 0
