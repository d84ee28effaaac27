"""Regions and sweeps against one selection a cut: counts, ledgers, lists, errors; and what is read but once."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import SCHEMA, build, rows, workspace
from hypothesis import given
from hypothesis import strategies as st

from tagsel.api import Workspace
from tagsel.cli.main import run
from tagsel.errors import CutError, StoreError
from tagsel.language import Scope, bind, conjuncts
from tagsel.language.tree import walk
from tagsel.selection import count
from tagsel.selection.query import Query
from tagsel.selection.regions import regions
from tagsel.store import Part

ATOMS = (
    "MET_pt > 30",
    "MET_pt > 60 GeV",
    "MET_pt < 10",
    "nMuon >= 2",
    "nMuon == 0",
    "count(Muon.pt > 15 GeV) >= 1",
    "HLT_mu20",
    "Muon.pt[0] > 20",
    "lumi in (1, 2)",
    "(10 % nMuon == 0)",
    "weight > 1",
    "(run == 8 || MET_pt > 90)",
    "true",
    "MET_pt < 0",
    "!(Muon.pt[1] > 10)",
    "MET_pt > 1e6",
    "run >= 7",
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Data with duplicates, in one dataset and across two, and a row group that zones decide; and simulation."""
    made = workspace(tmp_path_factory.mktemp("regions"))
    low = rows(100, 4, MET_pt=np.full(100, 5, np.float32))
    again = {name: column[:60] for name, column in rows(300, 1).items()}
    build(made, "a.TAG", rows(300, 1), low, again)
    build(made, "b.TAG", rows(200, 2), {name: column[20:] for name, column in again.items()})
    build(made, "mc.TAG", rows(150, 5), rows(150, 5), simulation=True, sample="s")
    (made.folder / "good.json").write_text('{"7": [[1, 3]], "8": [[1, 5]], "9": [[2, 2]]}')
    return made


def cut_of(random: np.random.Generator) -> str:
    return " && ".join(random.choice(ATOMS, random.integers(1, 5)))


def answer(ask: Any) -> Any:
    """What is said, an error as its message."""
    try:
        return ask()
    except CutError as error:
        return error.message


@given(seed=st.integers(0, 2**32 - 1))
def test_feature_28_regions_are_selections_of_their_own(home: Workspace, seed: int) -> None:
    """Generated cuts with conjuncts in common; in one of some, `%` by 0 is an error, as it is alone."""
    random = np.random.default_rng(seed)
    cuts = {f"r{k}": cut_of(random) for k in range(random.integers(1, 6))}
    common = [cut_of(random)] if random.random() < 0.5 else []
    options: dict[str, Any] = {"lumi": home.folder / "good.json"} if random.random() < 0.5 else {}
    options |= {"weight": "weight"} if random.random() < 0.5 else {}
    data = str(random.choice(["a.TAG", "a.TAG,b.TAG", "mc.TAG"]))
    alone = [answer(lambda cut=cut: home[data].count(*common, cut, **options)) for cut in cuts.values()]
    found = answer(lambda: home[data].regions(cuts, *common, **options))
    if any(isinstance(a, str) for a in alone):
        assert isinstance(found, str) and "% 0" in found
        return
    for one, together in zip(alone, found.values(), strict=True):
        assert together.ledger == one.ledger
        assert together.weighted == one.weighted
        assert together.warnings == one.warnings
    if not common:  # one cut, so the same question
        assert [c.selection for c in found.values()] == [a.selection for a in alone]


def test_regions_give_lists_and_overlaps(home: Workspace) -> None:
    cuts = {"A": "MET_pt > 30 && nMuon >= 1", "B": "nMuon >= 1 && HLT_mu20", "none": "MET_pt < 0"}
    found = home["a.TAG,b.TAG"].regions(cuts, "run >= 8", overlap=True, lists=True)
    alone = {name: home["a.TAG,b.TAG"].select(f"(run >= 8) && ({cut})") for name, cut in cuts.items()}
    assert {n: e.digest for n, e in found.lists.items()} == {n: e.digest for n, e in alone.items()}
    assert [tuple(e) for e in found.lists["A"]] == [tuple(e) for e in alone["A"]]
    assert found.lists["A"].provenance["selection"] == alone["A"].provenance["selection"]
    sizes = [[len(alone[a] & alone[b]) for b in cuts] for a in cuts]
    assert found.overlap is not None and found.overlap.tolist() == sizes
    assert sizes[0][1] > 0 and sizes[2] == [0, 0, 0]
    assert found.overlaps().to_json()[0] == {"region": "A", "A": sizes[0][0], "B": sizes[0][1], "none": 0}
    with pytest.raises(CutError, match="no region 'C'"):
        found["C"]
    with pytest.raises(CutError, match="were not asked for"):
        home["a.TAG"].regions(cuts).overlaps()
    with pytest.raises(CutError, match="no region is asked for"):
        home["a.TAG"].regions({})


class Noted(Part):
    """A part that notes what is read of it."""

    def read(self, group: int, columns: Iterable[str]) -> Any:
        """As a part, noted in `seen`."""
        asked = list(columns)
        seen.update((self.name, group, c) for c in asked)
        return super().read(group, asked)


seen: Counter[tuple[str, int, str]] = Counter()


def noting(query: Query) -> Query:
    """The query over parts that note what is read."""
    for source in query.inputs:
        parts = tuple(Noted(**{f: getattr(p, f) for f in Part.__dataclass_fields__}) for p in source.snapshot.parts)
        source.snapshot.__dict__["parts"] = parts  # the cached property, and what was made of it
        for made in ("frame", "memo"):
            source.snapshot.__dict__.pop(made, None)
    seen.clear()
    return replace(query, tier="interpreter")  # compiled steps read memory, not parts


def test_fifty_regions_read_each_column_once_and_skip_what_no_region_needs(home: Workspace) -> None:
    cuts = {f"{m}-{n}": f"MET_pt > {10 + m} && nMuon >= {n}" for m, n in itertools.product(range(25), range(2))}
    found = regions(noting(home["a.TAG"].query(["weight > 0"])), cuts)
    assert len(found) == 50
    assert set(seen.values()) == {1}
    assert {c for _, _, c in seen} == {"MET_pt", "nMuon", "weight"}
    groups = {(part, group) for part, group, _ in seen}
    assert len(groups) == 1  # of three: in one MET is 5 everywhere, in one all rows are duplicates


def test_compiled_regions_count_the_same_and_keep_nothing(home: Workspace) -> None:
    cuts = {"a": "MET_pt > 20 && nMuon >= 1", "b": "weight > 0 && nMuon >= 1", "c": "MET_pt > 20 && weight > 0"}
    query = home["a.TAG"].query([], remember=False)
    compiled = regions(replace(query, tier="kernel"), cuts)
    plain = regions(replace(query, tier="interpreter"), cuts)
    assert [c.ledger for c in compiled.values()] == [c.ledger for c in plain.values()]
    assert count(replace(query, cuts=(("", "MET_pt > 20"),), tier="kernel")).work.remembered == 0  # nothing was kept


def test_feature_27_a_cutflow_reads_each_column_once(home: Workspace) -> None:
    from tagsel.selection import cutflow

    cuts = ["MET_pt > 30", "nMuon >= 1 && MET_pt < 90", "MET_pt != 50", "nMuon < 3"]
    flow = cutflow(noting(home["a.TAG"].query(cuts)))
    assert set(seen.values()) == {1} and {c for _, _, c in seen} == {"MET_pt", "nMuon"}
    assert len(flow) == 4


# -- sweeps

TEMPLATES = (
    "MET_pt > {x}",
    "MET_pt >= {x} GeV",
    "MET_pt < {x}",
    "{x} >= MET_pt",
    "nMuon > {x}",
    "nMuon <= {x}",
    "weight > {x}",
    "max(Muon.pt) > {x}",
    "nMuon >= 1 && Muon.pt[0] < {x}",
    "MET_pt > {x} && 10 % (nMuon + 1) == 0",
    "MET_pt == {x}",
    "MET_pt > {x} && weight < {x}",
    "count(Muon.pt > {x}) >= 1",
    "{x} < MET_pt < 50",
    "MET_pt > {x} || nMuon == 3",
)


@given(seed=st.integers(0, 2**32 - 1))
def test_a_sweep_is_a_count_for_each_value(home: Workspace, seed: int) -> None:
    random = np.random.default_rng(seed)
    template = str(random.choice(TEMPLATES))
    values = random.choice(["0", "1", "2", "3", "0.5", "1.5", "5", "5.0", "20", "30.25", "1e9"], random.integers(1, 8))
    values = values.tolist()
    options: dict[str, Any] = {"lumi": home.folder / "good.json"} if random.random() < 0.5 else {}
    options |= {"weight": "weight"} if random.random() < 0.5 else {}
    data = str(random.choice(["a.TAG", "a.TAG,b.TAG", "mc.TAG"]))
    found = home[data].sweep(template, values, "run >= 8", **options)
    assert [p.value for p in found.points] == values
    for point in found.points:
        alone = home[data].count("run >= 8", template.replace("{x}", point.value), **options)
        assert point.ledger == alone.ledger, (template, point)
        assert point.cut == alone.cut
        assert point.passing.n == alone.accepted
        if "weight" in options:
            assert point.passing == alone.weighted


def test_a_sweep_over_nan_and_missing(tmp_path: Path) -> None:
    home = workspace(tmp_path)
    met = np.array([np.nan, 5, 20, 20, -np.inf, np.inf], np.float32)
    counts = np.array([0, 1, 2, 0, 1, 1], np.int32)
    build(home, "a.TAG", rows(6, MET_pt=met, nMuon=counts, Muon_pt=[np.full(n, 9 + n, np.float32) for n in counts]))
    assert [p.passing.n for p in home["a.TAG"].sweep("MET_pt >= {x}", [20, 5, -1, 21]).points] == [3, 4, 4, 1]
    assert [p.passing.n for p in home["a.TAG"].sweep("MET_pt <= {x}", [20, 5, -1]).points] == [4, 2, 1]
    assert [p.passing.n for p in home["a.TAG"].sweep("Muon.pt[0] > {x}", [0, 10, 11]).points] == [4, 1, 0]


def test_a_sweep_reads_the_value_once(home: Workspace) -> None:
    from tagsel.selection.sweep import sweep

    found = sweep(noting(home["a.TAG"].query([])), "MET_pt > {x}", [str(x) for x in range(1, 300)])
    assert len(found) == 299 and set(seen.values()) == {1}


def test_sweeps_that_cannot_be_are_refused(home: Workspace) -> None:
    with pytest.raises(CutError, match="a place for the value"):
        home["a.TAG"].sweep("MET_pt > 3", [1])
    with pytest.raises(CutError, match="0 values"):
        home["a.TAG"].sweep("MET_pt > {x}", [])
    with pytest.raises(CutError):
        home["a.TAG"].sweep("MET_pt > {x}", ["a b"])


def test_a_damaged_part_is_an_error_or_unreadable_in_every_region(tmp_path: Path) -> None:
    home = workspace(tmp_path)
    table = build(home, "a.TAG", rows(100, 1), rows(100, 2))
    path = table.snapshot().parts[0].path
    path.chmod(0o644)
    path.write_bytes(b"broken")
    with pytest.raises(StoreError):
        home["a.TAG"].regions({"A": "MET_pt > 30", "B": "nMuon > 1"})
    found = home["a.TAG"].regions({"A": "MET_pt > 30", "B": "nMuon > 1"}, allow_losses=True)
    assert [c.ledger.unreadable for c in found.values()] == [100, 100]
    assert {c.read for c in found.values()} == {200}


# -- verbs


def test_the_verbs_say_the_same(home: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["-w", str(home.folder)]
    asked = ["regions", "a.TAG", "A: MET_pt > 30", "B: nMuon >= 2", "--cut", "run >= 8"]
    found = home["a.TAG"].regions({"A": "MET_pt > 30", "B": "nMuon >= 2"}, "run >= 8", overlap=True)
    assert run([*asked, "--csv", *where]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith(f"A,{found['A'].accepted},")
    assert run([*asked, "--overlap", "-o", str(tmp_path / "R"), "--json", *where]) == 0
    document = json.loads(capsys.readouterr().out)
    assert found.overlap is not None and document["overlap"] == found.overlap.tolist()
    assert document["regions"]["B"]["ledger"] == found["B"].ledger.to_json()
    assert sorted(p.name for p in (tmp_path / "R").iterdir()) == ["A.events", "B.events"]
    assert home.lists[tmp_path / "R" / "A.events"].digest == document["digests"]["A"]
    assert run(["regions", "a.TAG", "MET_pt > 30", "-o", str(tmp_path / "S"), *where]) == 2
    assert run(["sweep", "a.TAG", "MET_pt > {x}", "0:60:30", "7.5", "--csv", *where]) == 0
    counts = [home["a.TAG"].count(f"MET_pt > {x}").accepted for x in (0, 30, 60, 7.5)]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [
        [x, str(n)] for x, n in zip(("0", "30", "60", "7.5"), counts, strict=True)
    ]
    assert run(["sweep", "a.TAG", "MET_pt > {x}", "0:60", *where]) == 2


CHAINS = (
    "!(15 GeV < Muon.pt[0] < 40 GeV) && nMuon > 1",
    "(10 < MET_pt < 30 || 40 < MET_pt < 50) && nMuon >= 1",
    "nMuon > 0 && any(m in Muon: 5 < m.pt < 20)",
    "nMuon > 0 && (1 < MET_pt < 9 || !(2 <= nMuon < 3)) && MET_pt < 90",
    "not (10 < MET_pt < 30) and 1 <= nMuon <= 2",
)
"""Chains of comparisons where they are not conjuncts themselves."""


@pytest.mark.parametrize("cut", CHAINS)
def test_a_chain_inside_another_condition_is_a_region_and_can_be_swept(home: Workspace, cut: str) -> None:
    """Its conjuncts were looked for in the text as `a < x && x < b`, which stands nowhere in it: ValueError."""
    expected = home["a.TAG"].count(cut).accepted
    assert expected > 0
    found = home["a.TAG"].regions({"SR": cut, "CR": f"{cut} && MET_pt > {{x}}".replace("{x}", "20")}, overlap=True)
    assert found["SR"].accepted == expected
    assert found["CR"].accepted == home["a.TAG"].count(cut, "MET_pt > 20").accepted
    swept = home["a.TAG"].sweep(f"{cut} && MET_pt > {{x}}", ["-1", "20"])
    assert [point.passing.n for point in swept.points] == [expected, found["CR"].accepted]


@pytest.mark.parametrize("cut", CHAINS)
def test_conjuncts_are_pieces_of_the_text(cut: str) -> None:
    whole = bind(cut, Scope(SCHEMA))
    parts = conjuncts(whole)
    assert len(parts) >= 2
    for part in parts:
        assert part.text in whole.text
        for node in walk(part.node):
            assert 0 <= node.pos < node.pos + node.length <= len(part.text)
