"""`submit --dry-run` refuses what `submit` refuses; and `map`, `skim` and `submit` say one verdict of a list."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tagsel.api import Workspace
from tagsel.api.event_lists import Events
from tagsel.catalog import DropReplicas, PutFiles
from tagsel.cli.main import run
from tagsel.jobs import plan_job
from tagsel.jobs.plan import write_folder

MUON = "data09_900GeV.physics_Muon.TAG"
SCRIPT = "branches = ['MET_*']\ndef process(events):\n    return {'n': len(events)}\n"


@pytest.fixture
def home(sample_copy: Path) -> Workspace:
    """The sample's workspace, which the environment names, in the current folder; scripts that can and cannot run."""
    Path("job.py").write_text(SCRIPT)
    Path("broken.py").write_text("def process(events:\n")
    Path("idle.py").write_text("branches = ['MET_*']\n")
    Path("branch.py").write_text(SCRIPT.replace("MET_*", "Nothing_*"))
    Path("damaged.events").write_bytes(b"PAR1 and no more")
    return Workspace(sample_copy)


@pytest.fixture
def events(home: Workspace) -> Events:
    """The dimuon events of the Muon stream, also saved as `z.events`; `none.events` has none."""
    home[MUON].select("false").save("none.events")
    chosen = home[MUON].select("NLooseMuon >= 2")
    chosen.save("z.events")
    return chosen


def _sites_down(home: Workspace, events: Events) -> None:
    home.sites.down("HOME", reason="power")


def _frozen(home: Workspace, events: Events) -> None:
    home.datasets.freeze(MUON)


def _promised(home: Workspace, events: Events) -> None:
    (home.folder / "jobs").mkdir(exist_ok=True)
    write_folder(home.folder / "jobs", plan_job(events, home.lists[events].map(), "job.py"), events, "user.Mine.NUM")


def _pins_damaged(home: Workspace, events: Events) -> None:
    (pins,) = home.folder.glob(f"data/{MUON}/_tagsel/pins.json")
    pins.write_bytes(pins.read_bytes().replace(b"event list", b"event lisp"))


def _jobs_is_a_file(home: Workspace, events: Events) -> None:
    shutil.rmtree(home.folder / "jobs", ignore_errors=True)
    (home.folder / "jobs").touch()


Prepare = Callable[[Workspace, Events], None]

REFUSED: list[tuple[str, Prepare | None, list[str]]] = [
    ("no copy can be used", _sites_down, ["z.events", "--run", "job.py"]),
    ("the pins are damaged", _pins_damaged, ["z.events", "--run", "job.py"]),
    ("no folder of jobs", _jobs_is_a_file, ["z.events", "--run", "job.py"]),
    ("a dataset has the name", None, ["z.events", "--run", "job.py", "--output", MUON]),
    ("a frozen dataset has the name", _frozen, ["z.events", "--run", "job.py", "--output", MUON]),
    ("a job makes the name", _promised, ["z.events", "--run", "job.py", "--output", "user.Mine.NUM"]),
    ("no name of a dataset", None, ["z.events", "--run", "job.py", "--output", "a/b"]),
    ("no list", None, ["gone.events", "--run", "job.py"]),
    ("a damaged list", None, ["damaged.events", "--run", "job.py"]),
    ("no script", None, ["z.events", "--run", "gone.py"]),
    ("a script that does not compile", None, ["z.events", "--run", "broken.py"]),
    ("a script without process", None, ["z.events", "--run", "idle.py"]),
    ("a branch that is not there", None, ["z.events", "--run", "branch.py"]),
    ("a minimum above the most", None, ["z.events", "--run", "job.py", "--events-per-job", "5", "--min-events", "9"]),
    ("bytes for another split", None, ["z.events", "--run", "job.py", "--bytes-per-job", "1GB"]),
    ("no such engine", None, ["z.events", "--run", "job.py", "--on", "condo"]),
    ("no such option of local processes", None, ["z.events", "--run", "job.py", "--set", "queue=long"]),
    ("too little memory", None, ["z.events", "--run", "job.py", "--memory", "150MB"]),
    ("bytes of memory, where GB were meant", None, ["z.events", "--run", "job.py", "--set", "memory=2"]),
    ("nobody waits for local processes", None, ["z.events", "--run", "job.py", "--no-wait"]),
    ("Slurm is not here", None, ["z.events", "--run", "job.py", "--on", "slurm"]),
    ("no address of Dask", None, ["z.events", "--run", "job.py", "--on", "dask"]),
]


@pytest.mark.processes
def test_a_dry_run_refuses_what_submit_refuses(
    home: Workspace, events: Events, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the same words, with the same exit code, and nothing is left behind by either."""
    monkeypatch.setenv("PATH", "/nowhere")
    whole = home.folder.with_name("whole")
    shutil.copytree(home.folder, whole)
    for what, prepare, arguments in REFUSED:
        if prepare is not None:
            prepare(home, events)
        before = sorted(home.folder.rglob("jobs/*"))
        capsys.readouterr()
        dry = run(["submit", *arguments, "--dry-run"]), capsys.readouterr()
        wet = run(["submit", *arguments]), capsys.readouterr()
        assert (wet[0], wet[1].out) == (2, ""), what
        assert wet[1].err.startswith("tagsel: "), what
        assert dry == wet, what
        assert sorted(home.folder.rglob("jobs/*")) == before, what
        if prepare is not None:
            shutil.rmtree(home.folder)
            shutil.copytree(whole, home.folder)


def test_a_dry_run_ends_as_submit_does_of_no_events_and_of_files_that_are_gone(
    home: Workspace, events: Events, capsys: pytest.CaptureFixture[str]
) -> None:
    """No events are a job like others; events of a file that is gone are losses, exit code 3."""
    nothing = ["submit", "none.events", "--run", "job.py"]
    assert [run([*nothing, "--dry-run"]), run(nothing)] == [0, 0]
    file = home.lists[events].map().files[0]
    for record in [f for f in home.catalog.files() if f.guid == file.guid]:
        home.catalog.record(PutFiles(record.dataset, [replace(record, pfn="/nowhere/a.root")]))
    for copy in home.catalog.replicas([file.guid])[file.guid]:
        home.catalog.record(DropReplicas(copy.site, [(file.guid, copy.pfn)]))
    capsys.readouterr()
    some = ["submit", "z.events", "--run", "job.py"]
    assert run([*some, "--dry-run"]) == 3
    assert f" {len(file.entries):,} unreadable" in capsys.readouterr().err
    assert run(some) == 3


def test_map_skim_and_submit_say_one_verdict(
    home: Workspace, events: Events, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever branches they read. The two files of the stream are two of six: their bytes of all bytes, by hand."""
    mapped = home.lists[events].map()
    touched = sum(Path(f.pfn).stat().st_size for f in mapped.files)
    known = {f.guid: f.bytes for f in home.catalog.files(MUON, kind="AOD")}
    share = touched / sum(known.values())
    said = {}
    for verb in (
        ["map"],
        ["skim", "-o", "o.root", "--branches", "MET_*"],
        ["skim", "-o", "p.root", "--dry-run"],
        ["submit", "--run", "job.py", "--dry-run"],
        ["submit", "--run", "job.py"],
    ):
        capsys.readouterr()
        assert run([verb[0], "z.events", *verb[1:]]) == 0
        lines = capsys.readouterr().err.splitlines()
        said[" ".join(verb)] = [line for line in lines if "full scan" in line and not line.startswith("forecast")]
    assert set(map(tuple, said.values())) == {(mapped.verdict,)}, said
    assert f"({share:.0%})" in mapped.verdict
    assert run(["submit", "z.events", "--run", "job.py", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["forecast"]["verdict"] == mapped.verdict
