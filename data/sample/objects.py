"""Seeded, NanoAOD-like events with lists of jets, muons and electrons, for cuts on objects and their combinations.

Plain NumPy and Arrow, independent of tagsel. Two uses: `generate.py` makes a small file of the sample; benchmarks
take any number of events from `object_batches`. There are pairs of leptons from Z bosons, jets of top quarks
(three of about 172.5 GeV together), electrons that are seen as jets too, and events of three leptons and more.

Invariant: the seed decides everything, as in `generator.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
from generator import BLOCK, Columns, Z, coarse, counts, decays, falling, grid, guid_of

EVENTS_OF_RUN, EVENTS_OF_LUMI, EVENTS_OF_FILE = 500_000, 2_000, 50_000
BITS, STEP = 8, 2.0**-6  # of momenta and angles: coarse, so that a sample is small and ties occur
TOP, W = (172.5, 8.0), (80.4, 5.0)  # GeV: mass, and width as a detector sees it
MASSES = {"Muon": 0.1056583755, "Electron": 0.00051099895}  # GeV, PDG

SLOTS = {"Jet": 9, "Muon": 4, "Electron": 4}
TAILS = {  # probability of more than k objects that come from no resonance
    "Jet": (0.9, 0.72, 0.5, 0.33, 0.2, 0.12, 0.06, 0.03),
    "Muon": (0.35, 0.06, 0.008),
    "Electron": (0.2, 0.04, 0.005),
}
SPECTRA = {"Jet": (15.0, 1.6), "Muon": (3.0, 1.4), "Electron": (5.0, 1.5)}  # lowest pt in GeV, power
Z_TO_MUONS, Z_TO_ELECTRONS, TOPS = 0.12, 0.1, 0.12  # fractions of all events; tops are found in any


def smeared(rng: np.random.Generator, size: int, resonance: tuple[float, float]) -> np.ndarray:
    """(size,) masses in GeV about a resonance, within three times its width."""
    mass, width = resonance
    return mass + width / 2 * np.tan(np.arctan(6.0) * (2.0 * rng.random(size) - 1.0))


def direction(rng: np.random.Generator, size: int) -> np.ndarray:
    """(3, size) unit vectors, isotropic."""
    cos, phi = 2.0 * rng.random(size) - 1.0, 2.0 * np.pi * rng.random(size)
    sin = np.sqrt(1.0 - cos**2)
    return np.stack([sin * np.cos(phi), sin * np.sin(phi), cos])


def two_body(rng: np.random.Generator, parent: np.ndarray, heavy: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Four-momenta (4, n: x, y, z, E in GeV) of a daughter of mass `heavy` and a massless one."""
    mass = np.sqrt(parent[3] ** 2 - (parent[:3] ** 2).sum(axis=0))
    momentum = (mass**2 - heavy**2) / (2.0 * mass) * direction(rng, mass.size)
    found = []
    for sign, own in ((1.0, heavy), (-1.0, 0.0)):
        vector = sign * momentum
        energy = np.sqrt((vector**2).sum(axis=0) + own**2)
        along = ((vector * parent[:3]).sum(axis=0) / (parent[3] + mass) + energy) / mass
        moved = vector + along * parent[:3]
        found.append(np.concatenate([moved, np.sqrt((moved**2).sum(axis=0) + own**2)[None]]))
    return found[0], found[1]


def top_jets(rng: np.random.Generator, size: int) -> Columns:
    """The jets of a top quark, (size, 3): of the b, and of the two quarks of the W."""
    mass, w = smeared(rng, size, TOP), smeared(rng, size, W)
    pt, phi, rapidity = -60.0 * np.log1p(-rng.random(size)), 2 * np.pi * rng.random(size), 3.0 * rng.random(size) - 1.5
    mt = np.sqrt(mass**2 + pt**2)
    top = np.stack([pt * np.cos(phi), pt * np.sin(phi), mt * np.sinh(rapidity), mt * np.cosh(rapidity)])
    boson, b = two_body(rng, top, w)
    jets = np.stack([b, *two_body(rng, boson, 0.0)], axis=2)
    pt = np.hypot(jets[0], jets[1])
    return {
        "pt": coarse(np.maximum(pt, 1.0), BITS),
        "eta": grid(np.clip(np.arcsinh(jets[2] / np.maximum(pt, 1.0)), -4.7, 4.7), STEP),
        "phi": grid(np.arctan2(jets[1], jets[0]), STEP),
    }


def drawn(rng: np.random.Generator, kind: str, size: int) -> Columns:
    """Objects of one kind that come from no resonance: "n", and (size, slots) pt, eta, phi; pt 0 = no object."""
    shape = (size, SLOTS[kind])
    number = counts(rng, size, TAILS[kind])
    width = 4.5 if kind == "Jet" else 2.4
    pt = np.where(np.arange(shape[1]) < number[:, None], coarse(falling(rng, shape, *SPECTRA[kind]), BITS), 0.0)
    eta = grid((rng.random(shape) + rng.random(shape) - 1.0) * width, STEP)
    return {"pt": pt, "eta": eta, "phi": grid((2.0 * rng.random(shape) - 1.0) * np.pi, STEP)}


def leptons(rng: np.random.Generator, kind: str, size: int, from_z: np.ndarray) -> Columns:
    """Leptons of one kind; in the events `from_z` (size,) bool, two of the slots hold a Z boson's pair."""
    found = drawn(rng, kind, size)
    found["charge"] = np.where(rng.random(found["pt"].shape) < 0.5, -1, 1)
    rows = np.flatnonzero(from_z)
    pair = decays(rng, smeared(rng, rows.size, Z), np.full(rows.size, 20.0))
    for name, values in pair.items():
        found[name][rows, -2:] = coarse(values, BITS) if name == "pt" else grid(values, STEP)
    found["charge"][rows, -1] = -found["charge"][rows, -2]
    found["mass"] = np.full(found["pt"].shape, MASSES[kind])
    isolation = 0.04 * -np.log1p(-rng.random(found["pt"].shape))
    found["isolation"] = grid(np.where(rng.random(found["pt"].shape) < 0.2, 8.0, 1.0) * isolation, 2.0**-6)
    found["quality"] = np.minimum((rng.random(found["pt"].shape) * 6.0).astype(int), 4)
    return found


def jets(rng: np.random.Generator, size: int, electrons: Columns) -> Columns:
    """Jets: falling spectra, some of top quarks, and in some events one that is an electron of it."""
    found = drawn(rng, "Jet", size)
    shape = found["pt"].shape
    tagged = np.zeros(shape, bool)
    rows = np.flatnonzero(rng.random(size) < TOPS)
    for name, values in top_jets(rng, rows.size).items():
        found[name][rows, 3:6] = values
    tagged[rows, 3] = True
    seen = (electrons["pt"][:, -1] > 10.0) & (rng.random(size) < 0.8)
    for name in ("pt", "eta", "phi"):
        found[name][:, 0] = np.where(seen, electrons[name][:, -1], found[name][:, 0])
    chance = rng.random(shape)
    found["mass"] = coarse(found["pt"] * (0.05 + 0.15 * rng.random(shape)), 6)
    found["btag"] = np.where(tagged | (rng.random(shape) < 0.06), 1.0 - chance**3, chance**4)
    found["btag"] = grid(found["btag"], 2.0**-6)
    found["quality"] = np.where(rng.random(shape) < 0.97, 6, 2)
    return found


def ordered(found: Columns) -> Columns:
    """The same objects, leading first."""
    order = np.argsort(-found["pt"], axis=1, kind="stable")
    return {name: np.take_along_axis(values, order, axis=1) for name, values in found.items()}


def events_of(rng: np.random.Generator, size: int) -> dict[str, Columns]:
    """`size` events: "Jet", "Muon", "Electron" as (size, slots) columns, leading first, and "event" quantities."""
    kind = rng.random(size)
    muons = leptons(rng, "Muon", size, kind < Z_TO_MUONS)
    electrons = leptons(rng, "Electron", size, (kind >= Z_TO_MUONS) & (kind < Z_TO_MUONS + Z_TO_ELECTRONS))
    met = np.where(rng.random(size) < 0.2, 35.0, 12.0) * np.sqrt(-np.log1p(-rng.random(size)))
    event = {
        "MET_pt": coarse(met, BITS),
        "MET_phi": grid((rng.random(size) * 2.0 - 1.0) * np.pi, STEP),
        "PV_npvs": 1 + counts(rng, size, tuple(0.95**k for k in range(1, 40))),
    }
    found = {"Jet": jets(rng, size, electrons), "Muon": muons, "Electron": electrons}
    return {"event": event, **{name: ordered(columns) for name, columns in found.items()}}


# -- as NanoAOD names and types them

F4, I4 = np.dtype(np.float32), np.dtype(np.int32)
KINEMATICS = {name: (name, F4) for name in ("pt", "eta", "phi", "mass")}
MEMBERS: Mapping[str, Mapping[str, tuple[str, np.dtype]]] = {  # branch → column above, type
    "Jet": {**KINEMATICS, "btagDeepFlavB": ("btag", F4), "jetId": ("quality", I4)},
    "Muon": {**KINEMATICS, "charge": ("charge", I4), "pfRelIso04_all": ("isolation", F4), "nStations": ("quality", I4)},
    "Electron": {
        **KINEMATICS,
        "charge": ("charge", I4),
        "pfRelIso03_all": ("isolation", F4),
        "cutBased": ("quality", I4),
    },
}


def object_columns(found: Mapping[str, Columns], size: int) -> dict[str, pa.Array]:
    """The first `size` events as NanoAOD's branches: counters, and lists without the empty slots."""
    event = {name: values[:size] for name, values in found["event"].items()}
    columns = {name: pa.array(values.astype(I4 if values.dtype.kind == "i" else F4)) for name, values in event.items()}
    for kind, members in MEMBERS.items():
        there = found[kind]["pt"][:size] > 0
        number = there.sum(axis=1)
        offsets = pa.array(np.concatenate([[0], np.cumsum(number)]).astype(np.int32))
        columns[f"n{kind}"] = pa.array(number.astype(np.uint32))
        for name, (source, dtype) in members.items():
            values = found[kind][source][:size][there].astype(dtype)
            columns[f"{kind}_{name}"] = pa.ListArray.from_arrays(offsets, pa.array(values))
    return columns


def object_block(number: int, size: int, seed: int) -> pa.RecordBatch:
    """The `number`-th batch of `BLOCK` events (the first `size` of it)."""
    found = events_of(np.random.default_rng([seed, number]), BLOCK)
    row = np.arange(number * BLOCK, number * BLOCK + size)
    files = row // EVENTS_OF_FILE
    first = int(number * BLOCK // EVENTS_OF_FILE)
    guids = pa.array([guid_of(f"objects.{seed}.{n}") for n in range(first, files.max(initial=first) + 1)])
    columns = {
        "run": pa.array((316_239 + row // EVENTS_OF_RUN).astype(np.uint32)),
        "luminosityBlock": pa.array((1 + row % EVENTS_OF_RUN // EVENTS_OF_LUMI).astype(np.uint32)),
        # Unique, and out of order within a luminosity block: 797 and 2,000 have no common factor.
        "event": pa.array((1 + row // EVENTS_OF_LUMI * EVENTS_OF_LUMI + row * 797 % EVENTS_OF_LUMI).astype(np.uint64)),
        **object_columns(found, size),
        "aod_guid": pa.DictionaryArray.from_arrays(pa.array((files - first).astype(np.int32)), guids),
        "aod_entry": pa.array(row % EVENTS_OF_FILE),
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def object_schema() -> pa.Schema:
    """The columns and types of every batch."""
    return object_block(0, 0, 0).schema


def object_batches(events: int, seed: int = 2018) -> Iterator[pa.RecordBatch]:
    """`events` events in batches of `BLOCK`; the first n are the same for any number of events."""
    for number in range(-(-events // BLOCK)):
        yield object_block(number, min(BLOCK, events - number * BLOCK), seed)
