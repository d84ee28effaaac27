"""What awkward calls for the ADL benchmark's queries: combinations in float64, the same formulas as physics.h."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np


def p4(pt: Any, eta: Any, phi: Any, mass: Any, **more: Any) -> Any:
    """Objects with their four-momenta in float64, and more."""
    pt, eta, phi, mass = (ak.values_astype(x, np.float64) for x in (pt, eta, phi, mass))
    x, y, z = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    energy = np.sqrt(x**2 + y**2 + z**2 + mass**2)
    return ak.zip({"x": x, "y": y, "z": z, "e": energy, "pt": pt, "phi": phi, **more})


def together(*objects: Any) -> tuple[Any, ...]:
    """x, y, z, e of a sum."""
    return tuple(sum(o[c] for o in objects) for c in "xyze")


def mass(*objects: Any) -> Any:
    """Invariant mass of a sum."""
    x, y, z, e = together(*objects)
    return np.sqrt(np.maximum(e**2 - x**2 - y**2 - z**2, 0.0))


def adl5(pt: Any, eta: Any, phi: Any, m: Any, charge: Any) -> Any:
    """Whether a pair of opposite charge has a mass of 60 to 120 GeV."""
    a, b = ak.unzip(ak.combinations(p4(pt, eta, phi, m, q=charge), 2))
    found = mass(a, b)
    return ak.any((a.q != b.q) & (found > 60) & (found < 120), axis=1)


def adl6(pt: Any, eta: Any, phi: Any, m: Any) -> Any:
    """pt of the three jets with the mass nearest to 172.5 GeV; 0 where there are not three."""
    jets = ak.unzip(ak.combinations(p4(pt, eta, phi, m), 3))
    best = ak.argmin(abs(mass(*jets) - 172.5), axis=1, keepdims=True)
    x, y, _, _ = together(*jets)
    return ak.fill_none(ak.firsts(np.hypot(x, y)[best]), 0.0)


def near(eta: Any, phi: Any, pts: Any, etas: Any, phis: Any) -> Any:
    """For each jet, whether an object above 10 GeV is nearer than 0.4."""
    jets = ak.zip({"eta": ak.values_astype(eta, np.float64), "phi": ak.values_astype(phi, np.float64)})
    others = ak.zip({"pt": pts, "eta": ak.values_astype(etas, np.float64), "phi": ak.values_astype(phis, np.float64)})
    a, b = ak.unzip(ak.cartesian([jets, others], nested=True))
    turn = a.phi - b.phi
    turn = turn - 2 * np.pi * np.round(turn / (2 * np.pi))
    return ak.any((b.pt > 10) & (np.sqrt((a.eta - b.eta) ** 2 + turn**2) < 0.4), axis=2)


def adl7(pt: Any, eta: Any, phi: Any, *leptons: Any) -> Any:
    """Sum of pt of the jets above 30 GeV that no muon and no electron is near."""
    good = (pt > 30) & ~near(eta, phi, *leptons[:3]) & ~near(eta, phi, *leptons[3:])
    return ak.sum(ak.values_astype(pt, np.float64)[good], axis=1)


def adl8_pair(muon_charge: Any, electron_charge: Any) -> Any:
    """Whether there are two muons, or two electrons, of opposite charge."""
    return sum(ak.any(q > 0, axis=1) & ak.any(q < 0, axis=1) for q in (muon_charge, electron_charge)) > 0


def adl8(*columns: Any) -> Any:
    """Transverse mass of missing energy and the leading lepton beside the pair nearest to 91.2 GeV."""
    *both, met, metphi = columns
    kinds = [p4(*kind[:4], q=kind[4], f=ak.ones_like(kind[4]) * f) for f, kind in enumerate((both[:5], both[5:]))]
    leptons = ak.concatenate(kinds, axis=1)
    leptons = ak.with_field(leptons, ak.local_index(leptons.q), "i")
    a, b = ak.unzip(ak.combinations(leptons, 2))
    paired = (a.f == b.f) & (a.q != b.q)
    best = ak.argmin(ak.where(paired, abs(mass(a, b) - 91.2), np.inf), axis=1, keepdims=True)
    first, second = (ak.fill_none(ak.firsts(x.i[best]), -1) for x in (a, b))
    others = leptons[(leptons.i != first) & (leptons.i != second)]
    one = ak.firsts(others[ak.argmax(others.pt, axis=1, keepdims=True)])
    pt, phi = (ak.fill_none(ak.values_astype(x, np.float64), 0.0) for x in (one.pt, one.phi))
    return np.sqrt(2 * pt * met.to_numpy().astype(np.float64) * (1 - np.cos(phi - metphi)))
