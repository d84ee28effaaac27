"""Make a fixture: a small workspace as the tagsel of today writes it, packed, for the tests of every later one.

    python tests/formats/make.py tests/formats/format-1

Two files come out: `workspace.tar.xz`, and `answers.json`, which is arithmetic on the events below and nothing that
tagsel said. A fixture that was committed is never made again: a new format gets a
folder of its own beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import awkward as ak
import numpy as np
import uproot

RUN = 315267
FILES = ((0, 40), (100, 30))
"""First event and number of events of each file; MET_pt of event e is e / 2, and it has e % 4 muons of e GeV each."""

SCRIPTS = {
    "sum": """
import numpy as np

branches = ["MET_pt"]


def process(events):
    return {"n": len(events), "met": float(np.sum(events["MET_pt"]))}
""",
    "double": """
branches = ["MET_pt"]


def process(events):
    events["twice"] = 2 * events["MET_pt"]
    return events[["run", "lumi", "event", "twice"]]
""",
}


def nanoaod(path: Path, first: int, count: int) -> Path:
    """A NanoAOD-like file."""
    event = np.arange(first, first + count)
    muons = ak.unflatten(np.repeat(event, event % 4).astype(np.float32), event % 4)
    with uproot.recreate(path) as file:
        tree = file.mktree(
            "Events",
            {
                "run": "uint32",
                "luminosityBlock": "uint32",
                "event": "uint64",
                "MET_pt": "float32",
                "HLT_IsoMu24": "bool",
                "Muon": "var * {pt: float32}",
            },
        )
        tree.extend(
            {
                "run": np.full(count, RUN, np.uint32),
                "luminosityBlock": (1 + event // 20).astype(np.uint32),
                "event": event.astype(np.uint64),
                "MET_pt": (event / 2).astype(np.float32),
                "HLT_IsoMu24": event % 5 == 0,
                "Muon": ak.zip({"pt": muons}),
            }
        )
    return path


def tagsel(home: Path, *arguments: str | Path) -> str:
    """The output of a command; CalledProcessError where it fails."""
    command = [sys.executable, "-m", "tagsel", *map(str, arguments)]
    environment = {**os.environ, "TAGSEL_WORKSPACE": str(home)}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


def workspace(top: Path) -> None:
    """Everything that a workspace can hold, each once."""
    home, name = top / "W", "data18_13TeV.DoubleMuon.TAG"
    files = [nanoaod(top / f"nano-{first}.root", first, count) for first, count in FILES]
    tagsel(home, "init", home)
    for file in files:
        tagsel(home, "ingest", file, "--dataset", name, "--site", "HOME", "--version", "1.0.0", "--meta", "trigger=2")
    tagsel(home, "datasets", "pin", f"{name}@1", "--reason", "the first file alone")
    tagsel(home, "select", name, "MET_pt > 10 && nMuon >= 2", "-o", top / "dimuon.events")
    tagsel(home, "select", f"{name}@1", "HLT_IsoMu24", "-o", top / "trigger.json")
    for script, text in SCRIPTS.items():
        (top / f"{script}.py").write_text(text)
        how = ("--run", top / f"{script}.py", "--events-per-job", "10", "--output", f"user.{script}")
        tagsel(home, "submit", top / "dimuon.events", *how)
    tagsel(home, "export", top / "dimuon.events", "--for", "pool", "-o", top / "PoolFileCatalog.xml")


def digest(event: np.ndarray) -> str:
    """The digest of a list of events of the run, by the formula of docs/reference/event-lists.md."""
    rows = np.zeros(len(event), np.dtype([("run", "<i4"), ("event", "<i8")]))
    rows["run"], rows["event"] = RUN, event
    return hashlib.sha256(b"tagsel.events.1 data\n" + rows.tobytes()).hexdigest()


def answers() -> dict[str, object]:
    """What a tagsel must say of it."""
    event = np.concatenate([np.arange(first, first + count) for first, count in FILES])
    chosen = event[(event / 2 > 10) & (event % 4 >= 2)]
    return {
        "dataset": "data18_13TeV.DoubleMuon.TAG",
        "events": {"1": FILES[0][1], "2": len(event)},
        "counts": {
            "MET_pt > 10 && nMuon >= 2": len(chosen),
            "any(m in Muon: m.pt > 30 GeV)": int(((event > 30) & (event % 4 > 0)).sum()),
            "HLT_IsoMu24": int((event % 5 == 0).sum()),
            "sum(Muon.pt) > 100": int((event * (event % 4) > 100).sum()),
        },
        "list": {
            "events": len(chosen),
            "ids": [f"{RUN}:{e}" for e in chosen.tolist()],
            "digest": digest(chosen),
        },
        "first file by trigger": int((np.arange(FILES[0][1]) % 5 == 0).sum()),
        "job": {"n": len(chosen), "met": float((chosen / 2).sum())},
        "output": {"twice > 50": int((chosen > 50).sum())},
    }


def main(out: Path) -> None:
    """Make the fixture in a folder."""
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="tagsel-format-") as name:
        top = Path(name)
        workspace(top)
        (out / "answers.json").write_text(json.dumps(answers(), indent=1) + "\n")
        with tarfile.open(out / "workspace.tar.xz", "w:xz", preset=9) as archive:
            archive.add(top, arcname=".", filter=plain)


def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member without the name of who made it."""
    member.uid = member.gid = 0
    member.uname = member.gname = "tagsel"
    return member


if __name__ == "__main__":
    main(Path(sys.argv[1]))
