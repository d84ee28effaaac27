"""scripts/chain, the heart of scripts/demo, on the sample; and what it does when something does not hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tagsel
from tagsel.api import Workspace

ROOT = Path(__file__).resolve().parent.parent
CHAIN = ROOT / "scripts" / "chain"
SAMPLE = ROOT / "data" / "sample" / "files"


def environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the chain ran; what it said is in `said.txt`."""
    folder = tmp_path_factory.mktemp("demo") / "a folder"
    done = subprocess.run(
        [CHAIN, SAMPLE, folder], capture_output=True, text=True, env=environment(), cwd=folder.parent, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (folder / "said.txt").write_text(done.stdout + done.stderr)
    return folder


@pytest.mark.slow
def test_the_whole_chain_closes_on_the_sample(out: Path) -> None:
    said = (out / "said.txt").read_text()
    assert said.count("  ok     ") == 6
    assert "WRONG" not in said and "Traceback" not in said
    assert said.count("$ tagsel ") >= 15


@pytest.mark.slow
def test_feature_73_the_output_of_a_job_is_a_dataset_with_parents_and_cut(out: Path) -> None:
    home = tagsel.open(out / "W")
    assert isinstance(home, Workspace)
    events = home.lists[out / "z.events"]
    known = home.datasets.show("user.Zmumu.EVENTS")
    assert list(known["parents"]) == ["data09_900GeV.physics_MinBias.TAG@1", "data09_900GeV.physics_Muon.TAG@1"]
    assert known["cut"] == events.provenance["cut"]
    assert known["events"] == len(events)


@pytest.mark.slow
def test_a_closing_that_does_not_hold_fails(out: Path) -> None:
    """The list that stands in the place of the selected one is another one: its digest is not the selection's."""
    import shutil

    shutil.copy(out / "z.events", out / "kept.events")
    shutil.copy(out / "bad.events", out / "z.events")
    try:
        done = subprocess.run(
            [sys.executable, ROOT / "scripts" / "closing.py", "W"], capture_output=True, text=True, cwd=out, check=False
        )
    finally:
        shutil.move(out / "kept.events", out / "z.events")
    assert done.returncode == 1
    assert "WRONG  digest" in done.stdout
