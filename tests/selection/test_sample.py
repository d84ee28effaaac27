"""Estimates: their intervals cover the truth, in clustered data too; the rows looked at are those of a selection."""

from __future__ import annotations

import json
from fractions import Fraction
from math import comb, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import build, rows, workspace

from tagsel.api import Workspace
from tagsel.cli.main import run
from tagsel.errors import CutError
from tagsel.selection.interval import beta_integral, beta_quantile, interval, student
from tagsel.selection.sample import _drawn, _extrapolated

# -- the numbers behind


@pytest.mark.parametrize(("k", "n", "x"), [(1, 1, "1/3"), (3, 10, "1/4"), (7, 7, "9/10"), (20, 400, "1/25")])
def test_the_beta_integral_is_a_binomial_tail(k: int, n: int, x: str) -> None:
    """I_x(k, n - k + 1) is the chance of k or more successes of n: summed exactly, in fractions."""
    p = Fraction(x)
    tail = sum(comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(k, n + 1))
    assert beta_integral(k, n - k + 1, float(p)) == pytest.approx(float(tail), rel=1e-11)


@pytest.mark.parametrize(("freedom", "expected"), [(1, 12.7062), (2, 4.30265), (10, 2.22814), (120, 1.97993)])
def test_quantiles_of_student_are_those_of_tables(freedom: int, expected: float) -> None:
    assert student(0.975, freedom) == pytest.approx(expected, abs=6e-5)


def test_intervals_where_nothing_or_everything_passed() -> None:
    """Of n alike: (1 - x)^n = 0.025 at the upper limit of none; a block is one observation."""
    low, high = interval(0.0, 0.0, 10_000, 100, 50)
    assert low == 0 and (1 - high) ** 100 == pytest.approx(0.025, rel=1e-9)
    low, high = interval(1.0, 0.0, 10_000, 100, 50)
    assert high == 1 and low**100 == pytest.approx(0.025, rel=1e-9)
    assert beta_quantile(0.5, 1, 1) == pytest.approx(0.5, rel=1e-12)


# -- coverage

ROWS, SIZE = 40_000, 80
PASSES = 500  # blocks of SIZE rows


def shapes() -> dict[str, np.ndarray]:
    """Which rows pass, in data that lie in different ways."""
    random = np.random.default_rng(7)
    bursts = np.zeros(ROWS, bool)
    for start in random.integers(0, ROWS - 300, 30):
        bursts[start : start + 300] = True
    by_block = np.repeat(random.beta(0.3, 3, ROWS // 200), 200)
    one_burst = np.zeros(ROWS, bool)
    one_burst[12_345 : 12_345 + 200] = True
    return {
        "independent": random.random(ROWS) < 0.3,
        "rare": random.random(ROWS) < 0.002,
        "sorted": np.arange(ROWS) < 0.17 * ROWS,
        "bursts": bursts,
        "luminosity blocks that differ": random.random(ROWS) < by_block,
        "one burst": one_burst,
        "a trend": random.random(ROWS) < np.linspace(0, 0.5, ROWS),
        "nothing": np.zeros(ROWS, bool),
        "nearly all": random.random(ROWS) < 0.999,
    }


def sampled(passes: np.ndarray, seed: int) -> tuple[float, int, int]:
    """Estimate and limits from a tenth of the blocks, by their numbers of rows that pass."""
    strata = _drawn(PASSES, 0.1, seed)
    sizes = [len(piece) for piece in np.array_split(np.arange(PASSES), len(strata))]
    return _extrapolated([(int(passes[k]), SIZE) for k in np.concatenate(strata)], strata, sizes, ROWS)


@pytest.mark.parametrize("shape", shapes())
def test_feature_31_the_interval_covers_the_truth(shape: str) -> None:
    """Of 200 seeds, 95 % = 190 ± sqrt(200 · 0.95 · 0.05) = 3.1 cover it; fewer than 190 - 3 · 3.1 would be a fault."""
    passes = shapes()[shape].reshape(PASSES, SIZE).sum(axis=1)
    found = [sampled(passes, seed) for seed in range(200)]
    covered = sum(low <= passes.sum() <= high for _, low, high in found)
    assert covered >= 200 * 0.95 - 3 * sqrt(200 * 0.95 * 0.05)
    values = [value for value, _, _ in found]
    assert abs(np.mean(values) - passes.sum()) <= 4 * np.std(values) / sqrt(200) + 1e-9  # no bias


def test_intervals_that_take_rows_of_a_burst_for_independent_do_not_cover() -> None:
    """What the test above would find, were blocks not compared: of 200 intervals, 95 % of 200 - 3 · 3.1 = 181 fail."""
    passes = shapes()["bursts"].reshape(PASSES, SIZE).sum(axis=1)
    covered = 0
    for seed in range(200):
        fraction = sampled(passes, seed)[0] / ROWS
        low, high = interval(fraction, 0.0, 100 * SIZE // 2, 50, 1e9)
        covered += low * ROWS <= passes.sum() <= high * ROWS
    assert covered < 181


def test_intervals_of_independent_rows_are_not_wide_for_nothing() -> None:
    """At 30 % of 4,000 rows looked at, sqrt(0.3 · 0.7 / 4000) · 40,000 = 290 events is one standard deviation."""
    passes = shapes()["independent"].reshape(PASSES, SIZE).sum(axis=1)
    _, low, high = sampled(passes, 3)
    assert 2 * 1.5 * 290 < high - low < 2 * 2.6 * 290


# -- on datasets


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = workspace(tmp_path_factory.mktemp("sample"))
    first = rows(6000, 1)
    low = rows(500, 4, MET_pt=np.full(500, 5, np.float32))
    build(made, "a.TAG", first, low, rows(3000, 2), {name: column[:500] for name, column in first.items()})
    (made.folder / "good.json").write_text('{"7": [[1, 3]], "8": [[1, 5]]}')
    return made


@pytest.mark.parametrize("cut", ["MET_pt > 30", "count(Muon.pt > 15 GeV) >= 2", "HLT_mu20 && lumi in (1, 2)"])
def test_an_estimate_of_everything_is_the_count(home: Workspace, cut: str) -> None:
    """All rows as blocks, or as many blocks of the data: lists, duplicates and masks are sliced right."""
    options: dict[str, Any] = {"lumi": home.folder / "good.json"}
    counted = home["a.TAG"].count(cut, **options)
    whole = home["a.TAG"].estimate(cut, sample=1, **options)
    assert whole.exact and whole.low == whole.high == whole.estimate == counted.accepted
    assert whole.ledger == counted.ledger


def test_an_estimate_looks_at_some_rows_and_says_which(home: Workspace) -> None:
    counted = home["a.TAG"].count("MET_pt > 30 && nMuon >= 1")
    covered = 0
    for seed in range(20):
        found = home["a.TAG"].estimate("MET_pt > 30 && nMuon >= 1", sample=0.1, seed=seed)
        covered += found.low <= counted.accepted <= found.high
        assert not found.exact and found.read == 10_000
        # 20 blocks of about 64 rows, and the 500 rows with MET 5, which zones decide
        assert found.blocks == 20 and found.ledger.read == pytest.approx(20 * 64 + 500, abs=40)
        assert found.ledger.accepted < counted.accepted
    assert covered >= 20 - 5  # fewer than one time in 10,000, were each 95 %
    again = [home["a.TAG"].estimate("MET_pt > 30", sample=0.1, seed=3).to_json()["interval"] for _ in range(2)]
    assert again[0] == again[1]
    assert "an estimate, from" in repr(found)


def test_zones_alone_may_decide(home: Workspace) -> None:
    found = home["a.TAG"].estimate("run > 0", sample=0.01)
    assert found.exact and found.low == home["a.TAG"].count("run > 0").accepted and found.blocks == 0


def test_samples_that_make_no_sense_are_refused(home: Workspace) -> None:
    for sample in (0, -1, 1.5):
        with pytest.raises(CutError, match="a sample of"):
            home["a.TAG"].estimate("true", sample=sample)
    with pytest.raises(CutError, match="not of weights"):
        home["a.TAG"].estimate("true", weight="weight")


def test_the_verb_says_that_it_is_an_estimate(home: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["estimate", "a.TAG", "MET_pt > 30", "-w", str(home.folder)]
    found = home["a.TAG"].estimate("MET_pt > 30", sample=0.1)
    assert run([*asked, "--sample", "10%"]) == 0
    said = capsys.readouterr()
    assert said.out == f"{found.estimate:.0f}\t{found.low}\t{found.high}\n"
    assert "an estimate, from" in said.err and "of the sample:" in said.err
    assert run([*asked, "--sample", "0.1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["interval"] == [found.low, found.high] and document["confidence"] == 0.95
    assert document["ledger_of_sample"] == found.ledger.to_json()
    assert run([*asked, "--sample", "much"]) == 2


def test_a_head_stops_at_the_row_group_that_fills_it(tmp_path: Path) -> None:
    home = workspace(tmp_path)
    table = build(home, "a.TAG", rows(100, 1), rows(100, 2))
    path = table.snapshot().parts[1].path
    path.chmod(0o644)
    path.write_bytes(b"broken")  # whoever reads it fails
    assert len(home["a.TAG"].where("MET_pt >= 0 || true").head(5)) == 5
