"""Micro-benchmarks of kernels: `pytest bench`. A row group of 131,072 events on one thread; NumPy's time stands beside.

Not part of the tests: no time decides anything. (Answers are looked at all the same.)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tagsel.engine.compiler import compile_cut
from tagsel.engine.interpreter import interpret
from tagsel.kernels import elementary, segments
from tagsel.kernels.exact import ExactSum
from tagsel.kernels.physics import FUNCTIONS as PHYSICS
from tagsel.language import Block, Scope, bind
from tagsel.schema import Attribute, Schema

ROWS = 131_072
RANDOM = np.random.default_rng(11)
X = RANDOM.uniform(0.01, 20.0, ROWS)
NUMBER = RANDOM.poisson(2.0, ROWS).astype(np.int32)
PT = RANDOM.exponential(20.0, int(NUMBER.sum())).astype(np.float32)
ETA = RANDOM.uniform(-2.5, 2.5, len(PT)).astype(np.float32)

SCHEMA = Schema(
    (
        *(Attribute(name, kind) for name, kind in {"run": "int32", "lumi": "int32", "event": "int64"}.items()),
        Attribute("nMuon", "int32"),
        Attribute("met", "float32", unit="GeV"),
        Attribute("x", "float64"),
        Attribute("Muon.pt", "float32", unit="GeV", collection="Muon", member="pt", counter="nMuon", is_list=True),
        Attribute("Muon.eta", "float32", collection="Muon", member="eta", counter="nMuon", is_list=True),
    )
)
BLOCK = Block(
    ROWS,
    {
        "nMuon": NUMBER,
        "met": RANDOM.exponential(20.0, ROWS).astype(np.float32),
        "x": X,
        "Muon_pt": PT,
        "Muon_eta": ETA,
    },
)
CUTS = {
    "comparison": "met > 46 GeV",
    "two": "nMuon >= 2 && met > 20 GeV",
    "or": "nMuon >= 4 || met > 60 GeV || x < 0.5",
    "cosh": "cosh(x) - cos(x) > 100",
    "objects": "count(Muon.pt > 20 GeV && abs(Muon.eta) < 2.4) >= 2",
    "index": "nMuon >= 2 && Muon.pt[1] > 10 GeV",
}


@pytest.mark.parametrize("name", ["sin", "cos", "exp", "log", "sinh", "cosh", "tanh", "sqrt"])
@pytest.mark.parametrize("who", ["tagsel", "NumPy"])
def test_elementary(benchmark: Any, name: str, who: str) -> None:
    function = getattr(np, name) if who == "NumPy" else elementary.FUNCTIONS[name]
    benchmark.group = name
    found = benchmark(function, X)
    assert np.allclose(found, getattr(np, name)(X), rtol=1e-12)


@pytest.mark.parametrize("name", ["total", "element"])
def test_segments(benchmark: Any, name: str) -> None:
    benchmark.group = "segments"
    calls = {
        "total": lambda: segments.total(PT.astype(np.float64), NUMBER),
        "element": lambda: segments.element(PT, NUMBER, 1),
    }
    found = benchmark(calls[name])
    assert len(found if name == "total" else found[0]) == ROWS


def test_mass_of_a_pair(benchmark: Any) -> None:
    benchmark.group = "physics"
    angle, zero = X - 10.0, np.zeros(ROWS)
    found = benchmark(PHYSICS["mass"], X, angle / 4, angle / 4, zero, X, -angle / 4, -angle / 4, zero)
    # massless: m² = 2 pt² (cosh Δη − cos Δφ), where both differences are angle / 2
    assert np.allclose(found, X * np.sqrt(2 * (np.cosh(angle / 2) - np.cos(angle / 2))), atol=1e-4)


@pytest.mark.parametrize("who", ["tagsel", "math.fsum"])
def test_exact_sum(benchmark: Any, who: str) -> None:
    benchmark.group = "exact sum"
    found = benchmark((lambda x: ExactSum.of(x).value) if who == "tagsel" else math.fsum, X)
    assert found == math.fsum(X)


@pytest.mark.parametrize("name", CUTS)
@pytest.mark.parametrize("tier", ["interpreter", "kernel"])
def test_cut(benchmark: Any, name: str, tier: str) -> None:
    benchmark.group = f"cut: {CUTS[name]}"
    node = bind(CUTS[name], Scope(SCHEMA)).node
    kernel = compile_cut(node)
    expected = kernel(BLOCK, None)  # compiled here, off the clock
    found = benchmark(kernel, BLOCK, None) if tier == "kernel" else benchmark(interpret, node, BLOCK)
    assert np.array_equal(found, expected) and 0 < expected.sum() < ROWS
