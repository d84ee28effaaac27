"""Kinematics of objects given by (pt, η, φ, mass): angles between them, four-momenta, masses.

    >>> from tagsel.kernels import physics
    >>> float(physics.FUNCTIONS["mass"](3.0, 0.0, 0.0, 4.0, 3.0, 0.0, 0.0, 4.0))  # E = 5 + 5, p = 3 + 3
    8.0

Everything is float64, of (n_events,) shape under NumPy and one number under numba, written from the functions
of `doubled` and `elementary` alone, and so gives the same bits on every machine. pt, mass and momenta carry
one common unit, which is the result's; angles are in radians; a NaN argument gives NaN.

Source of the formulas: Particle Data Group, Review of Particle Physics, "Kinematics", sections "Lorentz
transformations" and "Inclusive reactions": E² = p² + m², p_z = p_T sinh η = m_T sinh y, E = m_T cosh y, m_T²
= m² + p_T², m² of several particles = (ΣE)² − |Σp|². Invariant: sums run over the objects in the order given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from tagsel.kernels.doubled import Floats, select
from tagsel.kernels.elementary import Elementary, vectorised
from tagsel.kernels.exponential import asinh, sinh
from tagsel.kernels.trigonometric import cos, sin

Momentum: TypeAlias = tuple[Floats, Floats, Floats, Floats]
"""(energy, px, py, pz)."""

_PI = 3.141592653589793
_TWO_PI = 6.283185307179586


def delta_phi(phi1: Floats, phi2: Floats) -> Floats:
    """φ1 − φ2 brought into [-π, π)."""
    d = phi1 - phi2
    d = d - _TWO_PI * np.floor(d / _TWO_PI + 0.5)
    d = select(d < -_PI, d + _TWO_PI, d)
    return select(d >= _PI, d - _TWO_PI, d)


def delta_r(eta1: Floats, phi1: Floats, eta2: Floats, phi2: Floats) -> Floats:
    """Distance √(Δη² + Δφ²)."""
    eta, phi = eta1 - eta2, delta_phi(phi1, phi2)
    return np.sqrt(eta * eta + phi * phi)


def px(pt: Floats, phi: Floats) -> Floats:
    """pt cos φ."""
    return pt * cos(phi)


def py(pt: Floats, phi: Floats) -> Floats:
    """pt sin φ."""
    return pt * sin(phi)


def pz(pt: Floats, eta: Floats) -> Floats:
    """pt sinh η."""
    return pt * sinh(eta)


def energy(pt: Floats, eta: Floats, mass: Floats) -> Floats:
    """√(pt² + pz² + mass²)."""
    z = pz(pt, eta)
    return np.sqrt((pt * pt + z * z) + mass * mass)


def momentum(pt: Floats, eta: Floats, phi: Floats, mass: Floats) -> Momentum:
    """The four-momentum (energy, px, py, pz) of one object."""
    z = pz(pt, eta)
    return np.sqrt((pt * pt + z * z) + mass * mass), px(pt, phi), py(pt, phi), z


def total(*components: Floats) -> Momentum:
    """The four-momentum of objects given as pt1, eta1, phi1, mass1, pt2, …, summed from left to right."""
    e, x, y, z = momentum(components[0], components[1], components[2], components[3])
    for i in range(4, len(components), 4):
        more = momentum(components[i], components[i + 1], components[i + 2], components[i + 3])
        e, x, y, z = e + more[0], x + more[1], y + more[2], z + more[3]
    return e, x, y, z


def mass(*components: Floats) -> Floats:
    """Invariant mass of objects given as pt1, eta1, phi1, mass1, pt2, …; 0 where rounding makes m² < 0."""
    e, x, y, z = total(*components)
    return mass_of(e, x, y, z)


def mass_of(e: Floats, x: Floats, y: Floats, z: Floats) -> Floats:
    """Invariant mass of a four-momentum; 0 where rounding makes m² < 0."""
    m2 = e * e - ((x * x + y * y) + z * z)
    return np.sqrt(select(m2 < 0.0, 0.0, m2))


def mt(pt1: Floats, phi1: Floats, pt2: Floats, phi2: Floats) -> Floats:
    """Transverse mass √(2 pt1 pt2 (1 − cos Δφ)) of two massless objects (lepton and missing pt)."""
    return np.sqrt(2.0 * pt1 * pt2 * (1.0 - cos(delta_phi(phi1, phi2))))


def sum_pt(*components: Floats) -> Floats:
    """Transverse momentum of the sum of objects given as pt1, phi1, pt2, phi2, …"""
    x, y = px(components[0], components[1]), py(components[0], components[1])
    for i in range(2, len(components), 2):
        x, y = x + px(components[i], components[i + 1]), y + py(components[i], components[i + 1])
    return pt_of(x, y)


def pt_of(x: Floats, y: Floats) -> Floats:
    """Length √(x² + y²) of a transverse momentum."""
    return np.sqrt(x * x + y * y)


def transverse(pt: Floats, phi: Floats) -> tuple[Floats, Floats]:
    """The transverse momentum (px, py) of one object."""
    return px(pt, phi), py(pt, phi)


def sum_eta(*components: Floats) -> Floats:
    """Pseudorapidity asinh(pz/pt) of the sum of objects given as pt1, eta1, phi1, mass1, pt2, …"""
    e, x, y, z = total(*components)
    return eta_of(e, x, y, z)


def eta_of(e: Floats, x: Floats, y: Floats, z: Floats) -> Floats:
    """Pseudorapidity of a four-momentum."""
    return asinh(z / np.sqrt(x * x + y * y))


def rapidity(*components: Floats) -> Floats:
    """Rapidity asinh(pz/mT), mT² = (E − pz)(E + pz), of the sum of objects as in `mass`."""
    e, x, y, z = total(*components)
    return rapidity_of(e, x, y, z)


def rapidity_of(e: Floats, x: Floats, y: Floats, z: Floats) -> Floats:
    """Rapidity of a four-momentum."""
    return asinh(z / np.sqrt((e - z) * (e + z)))


_WRITTEN = (
    delta_phi,
    delta_r,
    px,
    py,
    pz,
    energy,
    mass,
    mt,
    sum_pt,
    sum_eta,
    rapidity,
    mass_of,
    pt_of,
    eta_of,
    rapidity_of,
)
SOURCES: dict[str, Callable[..., Any]] = {f.__name__: f for f in _WRITTEN}
"""The functions as written, by name; `jit` compiles these."""

FUNCTIONS: dict[str, Elementary] = {name: vectorised(f) for name, f in SOURCES.items()}
"""The functions on arrays that broadcast, by name."""

SUMS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "mass": (momentum, mass_of),
    "sum_eta": (momentum, eta_of),
    "rapidity": (momentum, rapidity_of),
    "sum_pt": (transverse, pt_of),
}
"""Functions of a sum over objects: what is summed, of one object, and what is made of the sum."""
