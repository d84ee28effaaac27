"""Seeded, 2009-like collision events: what happened, which triggers fired, and TAG records of it.

Plain NumPy and Arrow, independent of tagsel. Two uses: `generate.py` makes the small sample from
`collisions` and `tag_columns`; benchmarks and the demo take any number of 1 kB events from `batches`,
fast.

Invariant: the seed decides everything. All physics is computed in float64 and rounded to a coarse grid before
anything is decided by it, so that the last bit of a machine's `log` or `cos` changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

Columns = dict[str, np.ndarray]

BLOCK = 1 << 17
"""Events of one Arrow batch; each has a seed of its own."""

MEV = 1000.0
MUON_MASS = 0.1056583755  # GeV, PDG
JPSI, Z = (3.0969, 0.045), (91.1876, 2.6)  # GeV: mass, and width as a detector sees it

MENUS: Mapping[str, Mapping[str, tuple[str, int]]] = {
    "300": {
        "EF_mbMbts_2": ("EFPassedTrigMask0", 0),
        "EF_mbMbts_1": ("EFPassedTrigMask0", 1),
        "EF_mu4": ("EFPassedTrigMask0", 5),
        "EF_e5": ("EFPassedTrigMask0", 9),
        "EF_g10": ("EFPassedTrigMask0", 33),
        "EF_j20": ("EFPassedTrigMask1", 2),
        "EF_xe20": ("EFPassedTrigMask1", 63),
        "L1_MBTS_1": ("L1PassedTrigMaskTAP0", 0),
        "L1_MU4": ("L1PassedTrigMaskTAP0", 31),
    },
    "301": {  # the bits moved, EF_mbMbts_1 went, EF_mu10 and EF_2mu4 came
        "EF_mbMbts_2": ("EFPassedTrigMask0", 3),
        "EF_mu4": ("EFPassedTrigMask0", 63),
        "EF_mu10": ("EFPassedTrigMask0", 6),
        "EF_2mu4": ("EFPassedTrigMask0", 7),
        "EF_e5": ("EFPassedTrigMask1", 0),
        "EF_g10": ("EFPassedTrigMask1", 1),
        "EF_j20": ("EFPassedTrigMask1", 40),
        "EF_xe20": ("EFPassedTrigMask0", 32),
        "L1_MBTS_1": ("L1PassedTrigMaskTAP0", 1),
        "L1_MU4": ("L1PassedTrigMaskTAP0", 2),
    },
}
"""Trigger menus by key (SMK): chain → word and bit."""


def menu_id(bits: Mapping[str, tuple[str, int]]) -> int:
    """Id of a menu: the first 8 bytes of SHA-256 over its sorted content as JSON, little-endian, sign bit
    cleared.
    """
    content = json.dumps(sorted((n, c, b) for n, (c, b) in bits.items()), separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(content.encode()).digest()[:8], "little") & (2**63 - 1) or 1


def menus_json() -> str:
    """The menus as stored beside the TAGs: by id, each with its key and its bits."""
    found = {
        str(menu_id(bits)): {"key": key, "bits": {n: list(place) for n, place in bits.items()}}
        for key, bits in MENUS.items()
    }
    return json.dumps(found, indent=1)


def guid_of(name: str) -> str:
    """A GUID that belongs to a name: upper-case, 8-4-4-4-12."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"tagsel-sample:{name}")).upper()


# -- what happened


def coarse(values: np.ndarray, bits: int = 9) -> np.ndarray:
    """Rounded to `bits` bits of mantissa, as experiments store kinematics: exact in float32, and
    compressible.
    """
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.rint(mantissa * 2.0**bits), exponent - bits)


def grid(values: np.ndarray, step: float) -> np.ndarray:
    """Rounded to multiples of `step`, a power of two."""
    return np.rint(values / step) * step


def falling(rng: np.random.Generator, shape: tuple[int, ...], low: float, power: float) -> np.ndarray:
    """Momenta in GeV from `low` up, falling as pt^-(power + 1), below 450 GeV (half of 900)."""
    return np.minimum(low * (1.0 - rng.random(shape)) ** (-1.0 / power), 450.0)


def counts(rng: np.random.Generator, size: int, tail: tuple[float, ...]) -> np.ndarray:
    """Numbers of objects: `tail[k]` is the probability of more than k."""
    return (rng.random(size)[:, None] < np.array(tail)).sum(axis=1)


def objects(rng: np.random.Generator, number: np.ndarray, slots: int, low: float, power: float) -> Columns:
    """Objects of one kind, leading first: (n, slots) pt, eta, phi in GeV and rad, 0 past each event's
    `number`.
    """
    shape = (number.size, slots)
    pt = np.where(np.arange(slots) < number[:, None], falling(rng, shape, low, power), 0.0)
    pt = -np.sort(-coarse(pt), axis=1)
    there = pt > 0
    eta = np.where(there, grid(rng.random(shape) * 5.0 - 2.5, 2.0**-8), 0.0)
    phi = np.where(there, grid((rng.random(shape) * 2.0 - 1.0) * np.pi, 2.0**-8), 0.0)
    return {"n": number.astype(np.uint32), "pt": pt, "eta": eta, "phi": phi}


def decays(rng: np.random.Generator, mass: np.ndarray, scale: np.ndarray) -> Columns:
    """Two muons from a resonance of the given masses, isotropic in its rest frame; parents' mean pt is
    `scale`.
    """
    n = mass.size
    parent_pt, rapidity = -scale * np.log1p(-rng.random(n)), 4.0 * rng.random(n) - 2.0
    parent_phi, phi = (2.0 * np.pi * rng.random(n) for _ in range(2))
    cos = 2.0 * rng.random(n) - 1.0
    momentum = np.sqrt(np.maximum(mass**2 / 4 - MUON_MASS**2, 0.0))
    transverse = momentum * np.sqrt(1.0 - cos**2)
    mt = np.sqrt(mass**2 + parent_pt**2)
    bx, by = parent_pt * np.cos(parent_phi), parent_pt * np.sin(parent_phi)
    bz, be = mt * np.sinh(rapidity), mt * np.cosh(rapidity)
    muons: dict[str, list[np.ndarray]] = {"pt": [], "eta": [], "phi": []}
    for sign in (1.0, -1.0):  # Lorentz boost of (E*, ±p*) by the parent's four-momentum
        px, py, pz = (sign * transverse * np.cos(phi), sign * transverse * np.sin(phi), sign * momentum * cos)
        along = (px * bx + py * by + pz * bz) / (mass * (be + mass)) + 0.5  # E*/m of either muon
        px, py, pz = px + along * bx, py + along * by, pz + along * bz
        pt = np.hypot(px, py)
        muons["pt"].append(coarse(pt))
        muons["eta"].append(grid(np.arcsinh(pz / np.maximum(pt, 1e-9)), 2.0**-8))
        muons["phi"].append(grid(np.arctan2(py, px), 2.0**-8))
    return {name: np.stack(pair, axis=1) for name, pair in muons.items()}


def muons_of(rng: np.random.Generator, size: int, enriched: bool) -> Columns:
    """Muons, leading first, up to 6: soft ones, and pairs from J/ψ and Z; `enriched` as a muon trigger sees
    them.
    """
    tail = (0.9, 0.12, 0.03, 0.008, 0.003, 0.001) if enriched else (0.06, 0.012, 0.004, 0.002, 0.001, 0.0005)
    found = objects(rng, counts(rng, size, tail), 6, 2.5, 2.2)
    charge = np.where(rng.random((size, 6)) < 0.5, -1.0, 1.0)
    jpsi, z = (0.16, 0.04) if enriched else (0.01, 0.001)
    kind = rng.random(size)
    for (mass, width), scale, low, high in ((JPSI, 4.0, 0.0, jpsi), (Z, 9.0, jpsi, jpsi + z)):
        rows = np.flatnonzero((kind >= low) & (kind < high))
        angle = np.pi * 0.45 * (2.0 * rng.random(rows.size) - 1.0)
        smeared = mass + width / 2 * np.tan(angle)  # Breit-Wigner
        pair = decays(rng, np.maximum(smeared, 1.0), np.full(rows.size, scale))
        for name, values in pair.items():
            found[name][rows, :2] = values
        found["n"][rows] = np.maximum(found["n"][rows], 2)
        charge[rows, 1] = -charge[rows, 0]
    order = np.argsort(-found["pt"], axis=1, kind="stable")
    for name in ("pt", "eta", "phi"):
        found[name] = np.take_along_axis(found[name], order, axis=1)
    found["charge"] = np.where(found["pt"] > 0, np.take_along_axis(charge, order, axis=1), 0.0)
    return found


def collisions(rng: np.random.Generator, size: int, enriched: bool = False) -> dict[str, Columns]:
    """`size` collisions: "muon", "electron", "photon", "jet" as `objects` gives them, and "event"
    quantities.
    """
    muon = muons_of(rng, size, enriched)
    electron = objects(rng, counts(rng, size, (0.03, 0.004, 0.001, 0.0004, 0.0001)), 5, 3.0, 2.0)
    electron["charge"] = np.where(electron["pt"] > 0, np.where(rng.random((size, 5)) < 0.5, -1.0, 1.0), 0.0)
    photon = objects(rng, counts(rng, size, (0.03, 0.002, 0.0002)), 3, 5.0, 2.0)
    jet = objects(rng, counts(rng, size, (0.3, 0.14, 0.05, 0.02, 0.008, 0.003, 0.001, 0.0004)), 8, 7.0, 2.6)
    met = 4.0 * np.sqrt(-np.log1p(-rng.random(size))) * np.where(rng.random(size) < 0.02, 6.0, 1.0)
    vertices = counts(rng, size, (0.99, 0.03, 0.002)).astype(np.uint32)
    tracks = np.floor(-14.0 * np.log1p(-rng.random(size))).astype(np.uint32) + 2 * vertices
    normal = np.sqrt(-2.0 * np.log1p(-rng.random((3, size)))) * np.cos(2.0 * np.pi * rng.random((3, size)))
    vertex = np.where(vertices > 0, grid(normal * [[0.2], [0.2], [40.0]], 2.0**-8), np.nan)
    event = {
        "met": coarse(met),
        "met_phi": grid((rng.random(size) * 2.0 - 1.0) * np.pi, 2.0**-8),
        "vertices": vertices,
        "tracks": tracks,
        "vertex": vertex,
        "sum_et": coarse(jet["pt"].sum(axis=1), 12),
        "chance": rng.random(size),
    }
    return {"muon": muon, "electron": electron, "photon": photon, "jet": jet, "event": event}


def decisions(found: Mapping[str, Columns], minimum_bias: np.ndarray) -> dict[str, np.ndarray]:
    """Every chain's decision, (n,) bool, from what happened; `minimum_bias` is the scintillators'
    (prescaled).
    """
    muon, event = found["muon"], found["event"]
    passing = (muon["pt"] > 4.0) & (np.abs(muon["eta"]) < 2.5)
    mu4 = passing[:, 0] & (event["chance"] < 0.95)
    return {
        "EF_mbMbts_2": minimum_bias,
        "EF_mbMbts_1": minimum_bias & (event["tracks"] > 4),
        "EF_mu4": mu4,
        "EF_mu10": mu4 & (muon["pt"][:, 0] > 10.0),
        "EF_2mu4": mu4 & passing[:, 1],
        "EF_e5": found["electron"]["pt"][:, 0] > 5.0,
        "EF_g10": found["photon"]["pt"][:, 0] > 10.0,
        "EF_j20": found["jet"]["pt"][:, 0] > 20.0,
        "EF_xe20": event["met"] > 20.0,
        "L1_MBTS_1": minimum_bias | (event["tracks"] > 2),
        "L1_MU4": muon["pt"][:, 0] > 3.5,
    }


# -- TAG records


def words_of(fired: Mapping[str, np.ndarray], key: np.ndarray) -> Columns:
    """Trigger words, and the menu's id, of events whose menu's key is `key` (n,) text."""
    size = key.size
    words = {f"EFPassedTrigMask{n}": np.zeros(size, np.uint64) for n in (0, 1)}
    words["L1PassedTrigMaskTAP0"] = np.zeros(size, np.uint32)
    menu = np.zeros(size, np.int64)
    for name, bits in MENUS.items():
        rows = key == name
        menu[rows] = menu_id(bits)
        for chain, (column, bit) in bits.items():
            kind = words[column].dtype.type
            words[column] |= np.where(rows & fired[chain], kind(1) << kind(bit), kind(0))
    return {**words, "menu": menu}


def slots(name: str, found: Columns, number: int, flags: np.ndarray) -> Columns:
    """The first `number` objects of each event as fixed slots, pt in MeV with the charge as its sign."""
    signed = found["pt"] * MEV * found.get("charge", 1.0)
    columns = {}
    for slot in range(number):
        columns[f"{name}Eta{slot + 1}"] = found["eta"][:, slot].astype(np.float32)
        columns[f"{name}Phi{slot + 1}"] = found["phi"][:, slot].astype(np.float32)
        columns[f"{name}Pt{slot + 1}"] = signed[:, slot].astype(np.float32)
        if flags.size:
            tight = np.where(found["pt"][:, slot] > 0, flags >> np.uint32(slot) & 7, np.uint32(0))
            columns[f"{name}Tightness{slot + 1}"] = tight
    return columns


def tag_columns(found: Mapping[str, Columns], fired: Mapping[str, np.ndarray], key: np.ndarray) -> Columns:
    """The columns of a TAG that say what happened, named and typed as in the ATLAS TAG of 2011."""
    event = found["event"]
    flags = (event["chance"] * 2**16).astype(np.uint32)
    vertex = event["vertex"].astype(np.float32)
    return {
        "IsSimulation": np.zeros(key.size, np.int8),
        "NTrk": event["tracks"],
        "NVtx": event["vertices"],
        "VtxX": vertex[0],
        "VtxY": vertex[1],
        "VtxZ": vertex[2],
        "NLooseElectron": found["electron"]["n"],
        **slots("LooseElectron", found["electron"], 4, flags),
        "NLoosePhoton": found["photon"]["n"],
        **slots("LoosePhoton", found["photon"], 2, flags),
        "NLooseMuon": found["muon"]["n"],
        **slots("LooseMuon", found["muon"], 4, flags),
        "NJet": found["jet"]["n"],
        **slots("Jet", found["jet"], 6, np.empty(0)),
        "JetSumET": (event["sum_et"] * MEV).astype(np.float32),
        "CellMissingET": (event["met"] * MEV).astype(np.float32),
        "CellMissingETPhi": event["met_phi"].astype(np.float32),
        **words_of(fired, key),
    }


# -- any number of events for benchmarks: 1 kB each


def filler_names() -> dict[str, np.dtype]:
    """The other attributes of the 2011 TAG that a benchmark record carries, with their types."""
    u32, f32, i32 = (np.dtype(kind) for kind in (np.uint32, np.float32, np.int32))
    detectors = ("Pixel", "SCT", "TRT", "LAr", "Tile", "Muon", "ForwardDet", "Core")
    words = ("MBTS", "BPhys", "CombinedMuon", "Egamma", "Exotic", "HeavyIon", "Higgs", "JetMissingET")
    words += ("JetTag", "SM", "SUSY", "TauId", "Top")
    sums = [f"CellEnergySum{part}" for part in ("", "EMB", "EMEC", "HEC", "FCAL", "Tile")]
    cluster = ("ClusterEnergySum", "TopoClusterEt1", "TopoClusterEta1", "TopoClusterPhi1")
    times = ("MBTSTimeDiff", "LArECTimeDiff", "TRTEventPhase")
    single = ("NBJet", "NConvertedLoosePhoton", "BunchGroup", "Level1TriggerType", "SFOStreams")
    hits = ("NMDTHits", "NRPCHits", "NTGCHits", "NCSCHits", "NBCMHits", "NSCTSPs", "NPixelSPs", "NTRTDCs")
    segments = ("NMooreSegs", "NMboySegs", "NInnerMboySegs", "NHitsInnerMboySegs", "NInnerMuSegs")
    segments += ("NHitsInnerMooreSegs", "NTRTHtDCs")
    muon = ("CSCHits", "MDTHits", "RPCHits", "TGCHits")
    tracks = ("NPixelTracks", "NSCTTracks", "NTRTTracks", "NVtxTight")
    leads = [f"TrackLead{k}{q}" for k in (1, 2) for q in ("D0", "Z0", "Phi0", "Theta", "QOverP")]
    flags = ("IsCalibration", "IsTestBeam", *(f"LooseElectronIsForward{k}" for k in range(1, 5)))
    return {
        **dict.fromkeys(flags, np.dtype(np.int8)),
        **dict.fromkeys(("EventTimeNanoSec", *single), u32),
        **{f"{d}Flags": u32 for d in detectors},
        **{f"{w}Word": u32 for w in words},
        "RandomNumber": f32,
        "VtxChiSq": f32,
        "VtxNDOF": u32,
        **dict.fromkeys((*tracks, *segments, *hits), i32),
        **dict.fromkeys((*sums, *cluster, *times, *leads), f32),
        **{f"LooseMuonIsolEt{k}": f32 for k in range(1, 5)},
        **{f"LooseMuonIsolN{k}": u32 for k in range(1, 5)},
        **{f"LooseMuon{what}{k}": i32 for what in muon for k in range(1, 5)},
        **{f"BJetLikelihood{k}": f32 for k in range(1, 7)},
        **{f"JetEmFrac{k}": f32 for k in range(1, 7)},
        **{f"L2PassedTrigMask{k}": u32 for k in range(32)},
        **{f"L1PassedTrigMaskTAP{k}": u32 for k in range(1, 8)},
        **{f"L1PassedTrigMask{t}{k}": u32 for t in ("TAV", "TBP") for k in range(8)},
    }


def block(number: int, size: int, seed: int) -> pa.RecordBatch:
    """The `number`-th batch of `BLOCK` events (the first `size` of it), 251 columns, 999 bytes an event."""
    rng = np.random.default_rng([seed, number])
    found = collisions(rng, BLOCK)
    row = np.arange(number * BLOCK, (number + 1) * BLOCK)
    key = np.where(row // 500_000 % 2 == 0, "300", "301")
    columns: Columns = {
        "RunNumber": (141_000 + row // 500_000).astype(np.uint32),
        "LumiBlockN": (1 + row % 500_000 // 2_000).astype(np.uint32),
        # Unique, and out of order within a luminosity block: 797 and 2,000 have no common factor.
        "EventNumber": (row // 2_000 * 2_000 + row * 797 % 2_000).astype(np.uint32),
        "EventTime": (1_259_000_000 + row // 100).astype(np.uint32),
        "BunchId": rng.integers(0, 3_564, BLOCK, np.uint32),
        **tag_columns(found, decisions(found, rng.random(BLOCK) < 0.8), key),
    }
    for name, kind in filler_names().items():
        if kind.kind == "f":
            columns[name] = rng.random(BLOCK, np.float32)
        elif kind.itemsize == 1:
            columns[name] = np.zeros(BLOCK, kind)
        else:
            columns[name] = np.frombuffer(rng.bytes(BLOCK), np.uint8).astype(kind)
    files = row // 50_000
    guids = pa.array([guid_of(f"bench.{seed}.{n}") for n in range(files[0], files[-1] + 1)])
    arrays = {name: pa.array(values[:size]) for name, values in columns.items()}
    codes = pa.array((files - files[0])[:size].astype(np.int32))
    arrays["aod_guid"] = pa.DictionaryArray.from_arrays(codes, guids)
    arrays["aod_entry"] = pa.array((row % 50_000)[:size])
    batch = pa.RecordBatch.from_arrays(list(arrays.values()), list(arrays))
    return batch.replace_schema_metadata({"tagsel.menus": menus_json()})


def batches(events: int, seed: int = 2009) -> Iterator[pa.RecordBatch]:
    """`events` TAG records of about 1 kB in batches of `BLOCK`; the first n are the same for any number of
    events.
    """
    for number in range(-(-events // BLOCK)):
        yield block(number, min(BLOCK, events - number * BLOCK), seed)
