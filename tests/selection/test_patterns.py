"""Events by the pattern of cuts that they pass: every sum of a cutflow, exactly, for few, many and very many cuts."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tagsel.kernels import exact
from tagsel.selection.patterns import by_pattern, ways_of

ODD = [0.1, -0.1, 1e300, -1e300, 5e-324, 2.0**-1022, 3.5, -0.0, 1e16, 1.0]


@pytest.mark.parametrize("cuts", [1, 3, 8, 9, 12, 13, 70])
@pytest.mark.parametrize("weighted", [False, True])
def test_every_way_is_a_loop_over_events(cuts: int, weighted: bool) -> None:
    random = np.random.default_rng(cuts)
    blocks, found = [], []
    for rows in (200, 0, 77):
        masks = [random.random(rows) < 0.7 for _ in range(cuts)]
        counted = random.random(rows) < 0.9
        weights = random.choice(ODD[:2] + ODD[4:], rows) if weighted else np.ones(rows)
        blocks.append((masks, counted, weights))
        found.append(by_pattern(masks, counted, weights if weighted else None))
    every = range(cuts)
    wanted: list[list[int]] = [[], *([k] for k in every), *([i for i in every if i != k] for k in every)]
    wanted += [list(range(k + 1)) for k in every]
    for asked, got in zip(wanted, ways_of(found, cuts), strict=True):
        passing = [
            w
            for masks, counted, weights in blocks
            for row, w in enumerate(weights.tolist())
            if counted[row] and all(masks[k][row] for k in asked)
        ]
        assert got.n == len(passing)
        assert got.sumw == float(sum(map(Fraction, passing)))
        assert got.sumw2 == float(sum(Fraction(w * w) for w in passing))


def test_sums_by_group_are_exact_whatever_the_size() -> None:
    random = np.random.default_rng(1)
    numbers, groups = random.choice(ODD, 50_000), random.integers(0, 5, 50_000)
    for k, total in enumerate(exact.sums(numbers, groups.astype(np.uint8), 5)):
        assert total.value == float(sum(map(Fraction, numbers[groups == k].tolist())))
    endless = exact.sums(np.array([np.inf, 1.0, 2.0]), np.array([0, 1, 1]), 2)
    assert [s.value for s in endless] == [np.inf, 3.0]
