"""Kinematics: against mpmath and textbook identities, the same bits from NumPy and numba."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagsel.kernels.physics import FUNCTIONS, SOURCES

PI = math.pi
mass, delta_phi, rapidity = FUNCTIONS["mass"], FUNCTIONS["delta_phi"], FUNCTIONS["rapidity"]

pts = st.floats(0.0, 1e4)
etas = st.floats(-5.0, 5.0)
angles = st.floats(-PI, PI)
masses = st.floats(0.0, 200.0)
objects = st.tuples(pts, etas, angles, masses)


def vector(pt: float, eta: float, phi: float, m: float) -> tuple[mpmath.mpf, ...]:
    """(E, px, py, pz) as in the PDG review, in 60 digits."""
    pt, eta, phi, m = map(mpmath.mpf, (pt, eta, phi, m))
    z = pt * mpmath.sinh(eta)
    return mpmath.sqrt(pt**2 + z**2 + m**2), pt * mpmath.cos(phi), pt * mpmath.sin(phi), z


def summed(particles: list[tuple[float, ...]]) -> tuple[mpmath.mpf, ...]:
    return tuple(mpmath.fsum(column) for column in zip(*(vector(*p) for p in particles), strict=True))


@given(st.lists(objects, min_size=1, max_size=5))
def test_mass_and_sums_of_n_objects(particles: list[tuple[float, ...]]) -> None:
    """m² comes from E² − p²: its error is a few times 2^-53 E²."""
    flat = [x for p in particles for x in p]
    with mpmath.workdps(60):
        e, x, y, z = summed(particles)
        size = float(e * e)
        assert abs(float(mass(*flat)) ** 2 - float(e * e - x * x - y * y - z * z)) <= 64 * 2.0**-53 * size
        transverse = [x for p in particles for x in (p[0], p[2])]
        assert abs(float(FUNCTIONS["sum_pt"](*transverse)) ** 2 - float(x * x + y * y)) <= 64 * 2.0**-53 * size


@given(
    st.lists(
        st.tuples(st.floats(1.0, 1e3), etas, st.floats(-0.5, 0.5), st.floats(0.1, 10.0)),
        min_size=1,
        max_size=4,
    )
)
def test_directions_of_the_sum(particles: list[tuple[float, ...]]) -> None:
    flat = [x for p in particles for x in p]
    with mpmath.workdps(60):
        e, x, y, z = summed(particles)
        eta = float(mpmath.asinh(z / mpmath.hypot(x, y)))
        assert float(FUNCTIONS["sum_eta"](*flat)) == pytest.approx(eta, rel=1e-12, abs=1e-12)
        # y = ½ ln((E + pz)/(E − pz)) in the PDG review; in ours E − pz loses digits as e^2y
        truth = float(mpmath.log((e + z) / (e - z)) / 2)
        assert float(rapidity(*flat)) == pytest.approx(truth, rel=1e-9, abs=1e-9)


def test_masses_known_by_arithmetic() -> None:
    assert mass(3.0, 0.0, 0.7, 4.0) == pytest.approx(4.0, rel=1e-15)  # E = 5
    assert mass(45.0, 0.0, 0.0, 0.0, 45.0, 0.0, PI, 0.0) == 90.0  # back to back
    # massless pair: m² = 2 pt1 pt2 (cosh Δη − cos Δφ), PDG review of kinematics
    expected = math.sqrt(2 * 30.0 * 50.0 * (math.cosh(1.5) - math.cos(2.0)))
    assert mass(30.0, 0.5, 0.0, 0.0, 50.0, -1.0, 2.0, 0.0) == pytest.approx(expected, rel=1e-14)
    assert mass(10.0, 1.0, 1.0, 0.0, 20.0, 1.0, 1.0, 0.0) == pytest.approx(0.0, abs=1e-5)  # collinear: 0, not NaN
    assert math.isnan(mass(10.0, 1.0, math.nan, 0.0, 20.0, 1.0, 1.0, 0.0))


def test_components_known_by_arithmetic() -> None:
    assert FUNCTIONS["px"](2.0, 0.0) == 2.0 and FUNCTIONS["py"](2.0, 0.0) == 0.0 and FUNCTIONS["pz"](2.0, 0.0) == 0.0
    assert FUNCTIONS["pz"](2.0, math.asinh(1.5)) == pytest.approx(3.0, rel=1e-15)
    assert FUNCTIONS["energy"](3.0, 0.0, 4.0) == 5.0
    assert FUNCTIONS["sum_pt"](3.0, 0.0, 4.0, PI / 2) == pytest.approx(5.0, rel=1e-15)
    assert FUNCTIONS["mt"](40.0, 0.0, 40.0, PI) == 80.0  # √(2 · 40 · 40 · 2)
    assert FUNCTIONS["mt"](40.0, 1.0, 40.0, 1.0) == 0.0
    assert FUNCTIONS["delta_r"](1.0, 3.0, -2.0, -1.0) == pytest.approx(math.hypot(3.0, 2 * PI - 4.0), rel=1e-15)
    assert rapidity(3.0, 0.0, 1.0, 4.0) == 0.0
    assert rapidity(5.0, 1.25, 1.0, 0.0) == pytest.approx(1.25, rel=1e-14)  # massless: rapidity is pseudorapidity
    assert FUNCTIONS["sum_eta"](0.0, 0.0, 0.0, 1.0) != FUNCTIONS["sum_eta"](0.0, 0.0, 0.0, 1.0)  # 0/0: no direction


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_delta_phi_is_the_difference_in_range(a: float, b: float) -> None:
    d = float(delta_phi(a, b))
    assert -PI <= d < PI
    turns = ((a - b) - d) / (2 * PI)
    assert abs(turns - round(turns)) < 1e-9


def test_delta_phi_at_its_edges() -> None:
    below = np.nextafter(PI, 0.0)
    assert delta_phi([PI, -PI, below, -below, 0.0, 2 * PI], 0.0).tolist() == [
        -PI,
        -PI,
        below,
        -below,
        0.0,
        0.0,
    ]
    assert delta_phi(3.0, -3.0) == 6.0 - 2 * PI
    assert np.isnan(delta_phi([math.inf, math.nan], 0.0)).all()


@given(st.floats(-100.0, 100.0), st.floats(-100.0, 100.0))
def test_delta_phi_of_angles_in_range_subtracts_once(a: float, b: float) -> None:
    if abs(a - b) < PI:
        assert delta_phi(a, b) == a - b


ARITY = {"mass": (4, 8, 12), "sum_pt": (2, 4, 6), "sum_eta": (8, 12), "rapidity": (4, 8)}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SOURCES))
def test_numba_gives_the_same_bits(name: str) -> None:
    from tagsel.kernels.jit import numba_functions

    function = numba_functions()[name]
    rng = np.random.default_rng(11)
    for n in ARITY.get(name, (SOURCES[name].__code__.co_argcount,)):
        values = rng.normal(size=(n, 400)) * rng.choice([1e-3, 1.0, 30.0], (n, 400))
        values[rng.random(values.shape) < 0.02] = math.nan
        values[rng.random(values.shape) < 0.02] = math.inf
        values[rng.random(values.shape) < 0.05] = 0.0
        theirs = np.array([function(*row) for row in values.T.tolist()])
        ours = FUNCTIONS[name](*values)
        assert ((ours.view(np.int64) == theirs.view(np.int64)) | (np.isnan(ours) & np.isnan(theirs))).all()


@pytest.mark.real
def test_dimuon_masses_of_real_collisions(real: Callable[[str], Path]) -> None:
    """Of 40 events 22 have a leading pair of opposite charge, and 6 of these lie between 60 and 120 GeV."""
    import uproot

    with uproot.open(real("nano_dimuon.root")) as file:
        branches = ["Muon_pt", "Muon_eta", "Muon_phi", "Muon_mass", "Muon_charge"]
        arrays = file["Events"].arrays(branches, library="np")
    pair = np.array([len(charge) > 1 and charge[0] != charge[1] for charge in arrays["Muon_charge"]])
    assert pair.sum() == 22
    flat = [np.array([v[k] for v in arrays[b][pair]]) for k in (0, 1) for b in branches[:4]]
    m = mass(*flat)
    assert ((m > 60) & (m < 120)).sum() == 6
