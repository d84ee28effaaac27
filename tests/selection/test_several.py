"""Several cuts in one pass of compiled steps: cutflows and regions as the interpreter has them, cut by cut."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import GUIDS, MENU, OTHER_MENU, SCHEMA, build, rows, workspace
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tagsel.api import Workspace
from tagsel.engine import many_cuts
from tagsel.engine.many_cuts import Cuts
from tagsel.errors import CutError
from tagsel.quality import LumiSet
from tagsel.schema import Schema
from tagsel.selection import cutflow
from tagsel.selection.regions import regions
from tagsel.store import layout

CUTFLOW = importlib.import_module("tagsel.selection.cutflow")  # the package has a function of this name

TERMS = (
    "MET_pt > 20",
    "MET_pt < 45.5",
    "nMuon >= 1",
    "nMuon >= 2",
    "HLT_mu10",
    "!HLT_mu20",
    "count(Muon.pt > 10) >= 1",
    "Muon.pt[0] > 15",
    "run == 8",
    "lumi > 2",
    "MET_pt / Muon.pt[0] > 1",
    "MET_pt > 1e9",
    "MET_pt >= 0",
    "true",
    "any(Muon.pt > MET_pt)",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two datasets that share events; parts of several menus, one without MET_pt; row groups that end within words."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "ROW_GROUP", 4099)
        made = workspace(tmp_path_factory.mktemp("several"))
        menus = np.repeat([MENU.id, OTHER_MENU.id, 0], [5000, 3000, 1001])
        first = rows(9001, 1, menu=menus)
        build(made, "a.TAG", first, rows(70, 2))
        less = Schema(tuple(a for a in SCHEMA if a.name != "MET_pt"), "test")
        fewer = {k: v for k, v in rows(300, 3).items() if k != "MET_pt"}
        build(made, "a.TAG", fewer, schema=less)
        again = {k: v[:500] for k, v in first.items()}
        build(made, "b.TAG", {**again, "aod_guid": np.array([GUIDS[40]] * 500, object)}, rows(200, 20))
        return made


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cuts=st.lists(st.lists(st.sampled_from(TERMS), min_size=1, max_size=3).map(" && ".join), min_size=1, max_size=9),
    weight=st.sampled_from(["", "weight", "weight * nMuon"]),
    datasets=st.sampled_from(["a.TAG", "*.TAG"]),
    good=st.booleans(),
    threads=st.integers(1, 3),
)
def test_a_cutflow_is_that_of_the_interpreter(
    home: Workspace, cuts: list[str], weight: str, datasets: str, good: bool, threads: int
) -> None:
    lumi = (LumiSet.from_ranges([(7, 1, 3), (9, 2, 5)]),) if good else ()
    query = home[datasets].query(cuts, lumi=lumi, weight=weight, threads=threads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CUTFLOW, "LITTLE", 0)
        patch.setattr(many_cuts, "LITTLE", 0)
        fast = cutflow(replace(query, tier="kernel"))
    slow = cutflow(replace(query, tier="interpreter"))
    assert fast.to_json() == slow.to_json()
    assert [s.alone for s in fast.steps] == [s.alone for s in slow.steps]  # sums are equal before they are rounded


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.lists(st.sampled_from(TERMS), min_size=1, max_size=4).map(" && ".join), min_size=1, max_size=9))
def test_regions_are_those_of_the_interpreter(home: Workspace, cuts: list[str]) -> None:
    named = {f"R{k}": cut for k, cut in enumerate(cuts)}
    query = home["*.TAG"].query(["nMuon >= 0"])
    fast, slow = (regions(replace(query, tier=tier), named) for tier in ("kernel", "interpreter"))
    assert list(fast) == list(slow) == list(named)
    assert [(c.ledger, c.selection) for c in fast.values()] == [(c.ledger, c.selection) for c in slow.values()]


WEIGHTS = {
    "huge and tiny": [1e300, 1e-300, 1.0],
    "squares that overflow": [1e200, 1.0],
    "squares that vanish": [1e-170, 1e-160, 3e-162],
    "subnormal": [5e-324, 1.0],
    "zeros alone": [0.0, -0.0],
    "zeros and signs": [0.0, -0.0, -1.5, 2.0**-20, 3.25],
    "infinite": [np.inf, 1.0],
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_of_any_size_sum_exactly(tmp_path: Path, kind: str) -> None:
    home = workspace(tmp_path)
    build(home, "a.TAG", *(rows(500, k, weight=np.resize(WEIGHTS[kind], 500)) for k in (1, 2)))
    query = home["a.TAG"].query(["nMuon >= 1", "MET_pt > 20"], weight="weight")
    fast, slow = (cutflow(replace(query, tier=tier)) for tier in ("kernel", "interpreter"))
    for a, b in zip(fast.steps, slow.steps, strict=True):
        assert (a.alone, a.sequential, a.all_but) == (b.alone, b.sequential, b.all_but)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("MET_pt", r"weight MET_pt is missing for \d+ events"),
        ("event % nMuon", r"takes % 0 at event \d+:\d+"),
    ],
)
def test_a_weight_that_an_event_lacks_is_the_same_error(home: Workspace, weight: str, message: str) -> None:
    query = home["a.TAG"].query(["nMuon >= 0 && HLT_mu10"], weight=weight)
    said = []
    for tier in ("kernel", "interpreter"):
        with pytest.raises(CutError, match=message) as error:
            cutflow(replace(query, tier=tier))
        said.append(error.value.message)
    assert said[0] == said[1]


def test_each_step_is_run_once_for_all_cuts(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work: of 30 regions of three distinct steps, three are run, in one pass; and nothing is judged one by one."""
    seen: list[tuple[int, int]] = []
    batches = Cuts.batches
    monkeypatch.setattr(Cuts, "batches", lambda s, *a: (seen.append((len(s.steps), len(s.own))), batches(s, *a))[1])
    three = ("MET_pt > 20", "nMuon >= 1", "MET_pt < 45.5")
    named = {f"R{k}": " && ".join(three[: 1 + k % 3]) for k in range(30)}
    found = regions(replace(home["b.TAG"].query([]), tier="kernel"), named)
    assert seen == [(3, 30)] and len({c.accepted for c in found.values()}) == 3


def test_a_cutflow_of_many_cuts_or_odd_weights_is_told_by_the_scan(home: Workspace) -> None:
    from tagsel.selection.run import prepare

    many = home["b.TAG"].query(["nMuon >= 1"] * 13)
    assert CUTFLOW.flowing_by_steps(prepare(replace(many, tier="kernel"), zones=False)) is None
    few = home["b.TAG"].query(["nMuon >= 1"] * 12)
    assert CUTFLOW.flowing_by_steps(prepare(replace(few, tier="kernel"), zones=False)) is not None
    dividing = home["b.TAG"].query(["nMuon % nMuon == 0"])
    assert CUTFLOW.flowing_by_steps(prepare(replace(dividing, tier="kernel"), zones=False)) is None
