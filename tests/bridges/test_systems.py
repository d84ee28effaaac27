"""What is written for other systems, against the events and files of the list; the real systems: test_real_systems."""

from __future__ import annotations

import itertools
import json
import os
import re
import runpy
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import GUIDS, build, rows
from hypothesis import given
from hypothesis import strategies as st

import tagsel
from tagsel.api import Workspace
from tagsel.api.event_lists import Events
from tagsel.bridges import SYSTEMS
from tagsel.bridges.order import shell_script
from tagsel.catalog import FileRecord, PutFiles
from tagsel.cli.main import run
from tagsel.errors import AccessError, CatalogError, EventListError, JobError
from tagsel.events import EventList, Reference, read_events
from tagsel.quality import read_lumi
from tagsel.rootio import PoolFile, read_pool_file_catalog

EOS = "root://eos.example.org//eos/atlas"
NASTY = "a b'c\"d $(touch hacked) `touch hacked`; touch hacked & %IN #\\"
ENOUGH: dict[str, dict[str, Any]] = {
    "panda": {},
    "ganga": {"run": "program.py"},
    "crab": {"settings": {"storageSite": "T2_CH_CERN", "inputDataset": "/A/B/C"}},
    "edmpick": {"settings": {"inputDataset": "/A/B/C"}},
    "pool": {},
}
"""The least that each system must be told."""


@pytest.fixture
def options(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """The least that a system must be told, its program there."""
    (tmp_path / "program.py").write_text("import sys\nprint(sys.argv[1])\n")

    def of(system: str) -> dict[str, Any]:
        told = ENOUGH[system]
        return {**told, "run": tmp_path / told["run"]} if "run" in told else dict(told)

    return of


@pytest.fixture
def events(home: Workspace) -> Events:
    """Some events of the dataset: those with MET above 20."""
    return home["a.TAG"].select("MET_pt > 20")


def truth(events: EventList, *fields: str) -> list[tuple[Any, ...]]:
    return [tuple(getattr(e, f) for f in fields) for e in events]


def calls(folder: Path, script: Path, *arguments: str, cwd: Path | None = None) -> list[list[str]]:
    """Run a shell script with programs in PATH that note what they are called with: every call, in order."""
    told = folder / "told"
    told.unlink(missing_ok=True)
    for name in ("prun", "edmPickEvents.py"):
        program = folder / name
        program.write_text(
            f"#!{sys.executable}\nimport json, os, sys\n"
            f"open({str(told)!r}, 'a').write(json.dumps([os.path.basename(sys.argv[0]), *sys.argv[1:]]) + '\\n')\n"
        )
        program.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    command = ["sh", str(script), *arguments]
    subprocess.run(command, env={**os.environ, "PATH": path}, cwd=cwd, check=True, capture_output=True)
    return [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []


# -- PanDA


def test_feature_46_for_panda_lists_with_and_without_guids_and_the_files(
    home: Workspace, events: Events, tmp_path: Path
) -> None:
    done = home.lists[events].export("panda", tmp_path / "o", settings={"outDS": "user.me.pick", "exec": NASTY})
    assert (done.events, done.lost, done.notes) == (len(events), 0, ())
    text = (tmp_path / "o/events.txt").read_text()
    assert text == "".join(f"{r} {e}\n" for r, e in truth(events, "run", "event"))
    text = (tmp_path / "o/events.guid.txt").read_text()
    assert text == "".join(f"{r} {e} {g}\n" for r, e, g in truth(events, "run", "event", "guid"))
    assert (tmp_path / "o/files.txt").read_text() == "d/f0.root\nd/f1.root\nd/f2.root\n"
    assert calls(tmp_path, tmp_path / "o/prun.sh", "--nGBPerJob", "1 0") == [
        [
            "prun",
            "--eventPickEvtList",
            f"{tmp_path}/o/events.guid.txt",
            "--eventPickWithGUID",
            "--eventPickDataType",
            "AOD",
            "--outDS",
            "user.me.pick",
            "--exec",
            NASTY,
            "--nGBPerJob",
            "1 0",
        ]
    ]
    assert not list(tmp_path.rglob("hacked"))


def test_for_panda_the_files_of_a_dataset(home: Workspace, events: Events, tmp_path: Path) -> None:
    told = {"inDS": "data18:a.AOD", "noBuild": ""}
    home.lists[events].export("panda", tmp_path / "o", settings=told)
    (call,) = calls(tmp_path, tmp_path / "o/prun.sh")
    assert call == ["prun", "--inputFileList", f"{tmp_path}/o/files.txt", "--inDS", "data18:a.AOD", "--noBuild"]


def test_for_panda_a_list_that_knows_less(home: Workspace, events: Events, tmp_path: Path) -> None:
    """A file that would lack events, or files, is not written, and that is said."""
    (tmp_path / "x.txt").write_text("7:1:20\n7:1:10\n")
    done = home.lists[tmp_path / "x.txt"].export("panda", tmp_path / "o")
    assert sorted(p.name for p in (tmp_path / "o").iterdir()) == ["events.txt", "prun.sh"]
    assert ["events.guid.txt" in n or "files.txt" in n for n in done.notes] == [True, True]
    (call,) = calls(tmp_path, tmp_path / "o/prun.sh")
    assert call[1:4] == ["--eventPickEvtList", f"{tmp_path}/o/events.txt", "--eventPickDataType"]
    with pytest.raises(JobError, match="not all have a logical name"):
        home.lists[tmp_path / "x.txt"].export("panda", tmp_path / "p", settings={"inDS": "x"})
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("lfn", ["a\nb.root", "a,b.root", " a.root"])
def test_fault_29_names_that_would_be_two_are_refused(own: Workspace, tmp_path: Path, lfn: str) -> None:
    own.catalog.record(PutFiles("a.TAG", [FileRecord(GUIDS[0], lfn, "/x/a.root", "AOD", 20, 1000)]))
    with pytest.raises(AccessError, match=r"file name .* (is refused|becomes|cannot stand)"):
        own.lists[own["a.TAG"].select("true")].export("panda", tmp_path / "o")
    assert not list(tmp_path.glob("*o*"))


WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)


@given(st.lists(WORDS, max_size=4))
def test_fault_29_every_word_of_a_script_is_one_argument(
    tmp_path_factory: pytest.TempPathFactory, words: list[str]
) -> None:
    script = tmp_path_factory.getbasetemp() / "words.sh"
    code = "import json, sys; print(json.dumps(sys.argv[1:]))"
    script.write_text(shell_script("a list", [sys.executable, "-c", code, *words]), "utf-8")
    done = subprocess.run(["sh", str(script), "more"], capture_output=True, check=True)
    assert json.loads(done.stdout) == [*words, "more"]


# -- CMS


def picker(text: str) -> list[tuple[int, int, int]]:
    """What edmPickEvents.py reads: comments off, fields parted by blanks, colons or commas (its own expressions)."""
    lines = (re.sub(r"#.+$", "", line).strip() for line in text.splitlines())
    found = [re.split(r"[\s:,]+", line)[:3] for line in lines]
    return [(int(run), int(lumi), int(event)) for run, lumi, event in found]


def test_feature_46_for_edm_pick_events(home: Workspace, events: Events, tmp_path: Path) -> None:
    out = tmp_path / "o:1"  # a path with a colon would be read as an event
    home.lists[events].export("edmpick", out, settings={"inputDataset": NASTY})
    assert picker((out / "events.txt").read_text()) == truth(events, "run", "lumi", "event")
    (call,) = calls(tmp_path, out / "edmPickEvents.sh", "--crab", cwd=Path("/"))
    assert call == ["edmPickEvents.py", "--output=pickevents", NASTY, "events.txt", "--crab"]
    assert not list(tmp_path.rglob("hacked"))
    with pytest.raises(JobError, match="taken for an option"):
        home.lists[events].export("edmpick", tmp_path / "p", settings={"inputDataset": "--crab"})


class Section:
    """A section of a configuration, as of the library that CRAB reads it with: it takes any attribute."""


def configuration(path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """The sections of a CRAB configuration, run as CRAB's client runs it."""

    class Configuration:
        def section_(self, name: str) -> None:
            setattr(self, name, Section())

    core, module = types.ModuleType("WMCore"), types.ModuleType("WMCore.Configuration")
    module.Configuration = Configuration  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "WMCore", core)
    monkeypatch.setitem(sys.modules, "WMCore.Configuration", module)
    monkeypatch.setenv("CMSSW_RELEASE_BASE", "/cms")
    made = runpy.run_path(str(path))["config"]
    return {name: dict(vars(section)) for name, section in vars(made).items()}


def test_feature_46_for_crab_a_mask_and_a_configuration(
    home: Workspace, events: Events, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"storageSite": "T2_CH_CERN", "inputDataset": NASTY, "unitsPerJob": "7"}
    home.lists[events].export("crab", tmp_path / "o", settings=told)
    blocks = {
        (r, lb) for r, first, last in read_lumi(tmp_path / "o/lumiMask.json").ranges for lb in range(first, last + 1)
    }
    assert blocks == set(truth(events, "run", "lumi"))
    text = (tmp_path / "o/events.txt").read_text()
    assert text == "".join(f"{r}:{e}\n" for r, e in truth(events, "run", "event"))
    config = configuration(tmp_path / "o/crab_config.py", monkeypatch)
    assert config["Data"] == {
        "inputDataset": NASTY,
        "inputDBS": "global",
        "lumiMask": f"{tmp_path}/o/lumiMask.json",
        "splitting": "LumiBased",
        "unitsPerJob": 7,
    }
    assert config["Site"] == {"storageSite": "T2_CH_CERN"}
    assert config["General"] == {"requestName": f"tagsel_{events.digest[:16]}"}
    assert config["JobType"] == {
        "pluginName": "Analysis",
        "psetName": "/cms/src/PhysicsTools/Utilities/configuration/copyPickMerge_cfg.py",
        "pyCfgParams": [f"eventsToProcess_load={tmp_path}/o/events.txt", "outputFile=pickevents.root"],
    }


def test_for_crab_the_files_of_the_list_and_a_job_of_ones_own(
    own: Workspace, events: Events, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name below /store goes before a URL; luminosity blocks of files are not known to CRAB."""
    own.catalog.record(PutFiles("a.TAG", [FileRecord(GUIDS[1], "/store/data/f1.root", "", "AOD", 20, 1000)]))
    (tmp_path / "mine.py").write_text("# a job\n")
    told = {"storageSite": "T2_CH_CERN", "outLFNDirBase": "/store/user/me", "requestName": "r"}
    own.lists[events].export("crab", tmp_path / "o", run=tmp_path / "mine.py", settings=told)
    config = configuration(tmp_path / "o/crab_config.py", monkeypatch)
    assert config["Data"] == {
        "userInputFiles": [f"{EOS}/d/f0.root", "/store/data/f1.root", f"{EOS}/d/f2.root"],
        "splitting": "FileBased",
        "outputPrimaryDataset": "r",
        "unitsPerJob": 1,
        "outLFNDirBase": "/store/user/me",
    }
    assert config["JobType"]["psetName"] == f"{tmp_path}/o/pset.py"
    assert (tmp_path / "o/pset.py").read_text() == "# a job\n"
    with pytest.raises(JobError, match="neither a name below /store nor a URL"):
        own.lists[events].export("crab", tmp_path / "p", site="TAPE", settings={"storageSite": "x"})


@pytest.mark.parametrize("system", ["crab", "edmpick"])
def test_for_cms_luminosity_blocks_are_needed(
    home: Workspace, tmp_path: Path, options: Callable[[str], dict[str, Any]], system: str
) -> None:
    (tmp_path / "x.txt").write_text("7 20\n")
    with pytest.raises(JobError, match="1 of 1 events do not know their lumi"):
        home.lists[tmp_path / "x.txt"].export(system, tmp_path / "o", **options(system))


# -- POOL


def test_feature_60_for_pool_all_names_or_those_of_a_site(home: Workspace, events: Events, tmp_path: Path) -> None:
    home.lists[events].export("pool", tmp_path / "p.xml")
    assert read_pool_file_catalog(tmp_path / "p.xml") == [
        PoolFile(GUIDS[0], (f"{EOS}/d/f0.root", "srm://tape.example.org/f0.root"), "d/f0.root"),
        PoolFile(GUIDS[1], (f"{EOS}/d/f1.root", "srm://tape.example.org/f1.root"), "d/f1.root"),
        PoolFile(GUIDS[2], (f"{EOS}/d/f2.root",), "d/f2.root"),
    ]
    done = home.lists[events].export("pool", tmp_path / "q.xml", site="TAPE")
    assert [f.pfns for f in read_pool_file_catalog(tmp_path / "q.xml")] == [
        ("srm://tape.example.org/f0.root",),
        ("srm://tape.example.org/f1.root",),
    ]
    assert done.nameless == (GUIDS[2],)
    assert done.lost == sum(e.guid == GUIDS[2] for e in events) > 0
    only_there = events[np.array([e.guid == GUIDS[2] for e in events])]  # f2.root, which TAPE lacks
    with pytest.raises(JobError, match=f"none of the {len(only_there)} events has a file whose place is known"):
        home.lists[only_there].export("pool", tmp_path / "q.xml", site="TAPE", force=True)
    assert len(read_pool_file_catalog(tmp_path / "q.xml")) == 2, "the file stays as it was"
    with pytest.raises(CatalogError, match="no site 'TAPF'") as caught:
        home.lists[events].export("pool", tmp_path / "r.xml", site="TAPF")
    assert "TAPE" in str(caught.value.hint)


# -- Ganga


def test_feature_58_for_ganga_every_event_is_in_one_piece(
    home: Workspace, events: Events, tmp_path: Path, options: Callable[[str], dict[str, Any]]
) -> None:
    for bound in (None, 1, 7):
        out = tmp_path / f"o{bound}"
        home.lists[events].export("ganga", out, events_per_job=bound, **options("ganga"))
        pieces = [json.loads(line) for line in (out / "pieces.jsonl").read_text().splitlines()]
        assert [p["piece"] for p in pieces] == list(range(3 if bound is None else -(-len(events) // bound)))
        found = [
            event
            for p in pieces
            for f in p["files"]
            for event in zip(f["run"], f["lumi"], f["event"], itertools.repeat(f["guid"]), f["entries"], strict=False)
        ]
        assert sorted(found) == sorted(truth(events, "run", "lumi", "event", "guid", "entry"))
        assert all(p["events"] == sum(len(f["entries"]) for f in p["files"]) <= (bound or 60) for p in pieces)
    assert pieces[0]["files"][0]["pfns"] == [f"{EOS}/d/f0.root", "srm://tape.example.org/f0.root"]


def test_for_ganga_programs_that_do_nothing_are_refused(home: Workspace, events: Events, tmp_path: Path) -> None:
    program = tmp_path / "p.py"
    for text, said in (("def process(events):\n    return {}\n", "process"), ("def (", "does not compile")):
        program.write_text(text)
        with pytest.raises(JobError, match=said):
            home.lists[events].export("ganga", tmp_path / "o", run=program)
    with pytest.raises(AccessError, match="there is no file"):
        home.lists[events].export("ganga", tmp_path / "o", run=tmp_path / "nowhere.py")
    with pytest.raises(JobError, match=r"\.py or \.sh"):
        home.lists[events].export("ganga", tmp_path / "o", run=Path(sys.executable))
    program.write_text("print()")
    for backend in ("Local(); x", "", "é", "a.b"):
        with pytest.raises(JobError, match="backend"):
            home.lists[events].export("ganga", tmp_path / "o", run=program, settings={"backend": backend})
    assert not (tmp_path / "o").exists()


# -- all of them


@pytest.mark.parametrize("system", SYSTEMS)
def test_fault_25_lists_without_events_are_normal(
    home: Workspace, tmp_path: Path, options: Callable[[str], dict[str, Any]], system: str
) -> None:
    done = home.lists[home["a.TAG"].select("MET_pt < 0")].export(system, tmp_path / "o", **options(system))
    assert (done.events, done.lost, done.nameless) == (0, 0, ())
    for script in tmp_path.glob("o/*.sh"):
        if script.name != "run.sh":
            assert calls(tmp_path, script) == []
    if system == "crab":
        assert (tmp_path / "o/lumiMask.json").read_text() == "{}\n"
        with pytest.raises(SystemExit, match="no events"):
            runpy.run_path(str(tmp_path / "o/crab_config.py"))
    if system == "pool":
        assert read_pool_file_catalog(tmp_path / "o") == []


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_same_list_gives_the_same_bytes(
    home: Workspace, events: Events, tmp_path: Path, options: Callable[[str], dict[str, Any]], system: str
) -> None:
    row = SYSTEMS[system]
    for out in ("o", "p"):
        home.lists[events].export(system, tmp_path / out, **options(system))
    again = Workspace(home.folder).lists[events].export(system, tmp_path / "q", **options(system))
    if row.single:
        assert len({(tmp_path / out).read_bytes() for out in "opq"}) == 1
        return
    assert set(row.files) == set(again.files) == {p.name for p in (tmp_path / "o").iterdir()}
    for name in row.files:
        assert len({(tmp_path / out / name).read_bytes() for out in "opq"}) == 1
        assert str(tmp_path) not in (tmp_path / "o" / name).read_text()


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_is_there_is_left_alone(
    home: Workspace, events: Events, tmp_path: Path, options: Callable[[str], dict[str, Any]], system: str
) -> None:
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "mine").touch()
    for out in (tmp_path / "o", tmp_path / "nowhere" / "o"):
        with pytest.raises(AccessError):
            home.lists[events].export(system, out, **options(system))
    assert [p.name for p in (tmp_path / "o").iterdir()] == ["mine"]
    assert not list(tmp_path.glob(".tmp-*"))
    (tmp_path / "empty").mkdir()
    if not SYSTEMS[system].single:
        home.lists[events].export(system, tmp_path / "empty", **options(system))


@pytest.mark.parametrize(
    ("system", "options", "said", "hint"),
    [
        ("panta", {}, "no system 'panta'", "panda"),
        ("panda", {"settings": {"outDs": "x"}}, "no setting 'outDs'", "outDS"),
        ("panda", {"settings": {"outDS": "x\ny"}}, "control characters", ""),
        ("panda", {"run": "x.py"}, "takes no program", "exec"),
        ("panda", {"events_per_job": 3}, "splits by itself", ""),
        ("pool", {"settings": {"a": "b"}}, "no setting 'a'", "takes none"),
        ("pool", {"run": "x.py"}, "takes no program", "leave"),
        ("crab", {}, "crab needs storageSite", "--set"),
        ("crab", {"settings": {"storageSite": "T", "unitsPerJob": "many", "inputDataset": "/A"}}, "a whole number", ""),
        ("edmpick", {"settings": {"inputDataset": ""}}, "edmpick needs inputDataset", "--set"),
        ("ganga", {}, "ganga needs a program", "--run"),
        ("panda", {"stage": "adc"}, "adc", ""),
    ],
)
def test_mistakes_are_named_before_anything_is_written(
    home: Workspace, events: Events, tmp_path: Path, system: str, options: dict[str, Any], said: str, hint: str
) -> None:
    with pytest.raises((JobError, EventListError), match=said) as caught:
        home.lists[events].export(system, tmp_path / "o", **options)
    assert hint in str(caught.value.hint)
    assert not (tmp_path / "o").exists()


def test_other_stages_have_their_own_files(home: Workspace, events: Events, tmp_path: Path) -> None:
    """The AOD address of an event is none in RAW: PanDA looks that up, unless the list knows it."""
    done = home.lists[events].export("panda", tmp_path / "o", settings={"eventPickDataType": "RAW"})
    assert "events.guid.txt" not in done.files and "RAW" in done.notes[0]
    (call,) = calls(tmp_path, tmp_path / "o/prun.sh")
    assert call[1:] == ["--eventPickEvtList", f"{tmp_path}/o/events.txt", "--eventPickDataType", "RAW"]
    raw = {"raw": Reference.of([0, 0], [GUIDS[9]], [4, 2])}
    known = EventList.from_arrays([7, 7], [1, 1], [20, 10], references=raw)
    home.lists[known].export("panda", tmp_path / "p", stage="raw")
    assert sorted((tmp_path / "p/events.guid.txt").read_text().splitlines()) == [f"7 10 {GUIDS[9]}", f"7 20 {GUIDS[9]}"]
    (call,) = calls(tmp_path, tmp_path / "p/prun.sh")
    assert call[2:] == [f"{tmp_path}/p/events.guid.txt", "--eventPickWithGUID", "--eventPickDataType", "RAW"]


# -- the command line


def test_the_verb_says_what_was_written_and_what_was_lost(
    home: Workspace, events: Events, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events.save(tmp_path / "e.events")
    base = ["export", str(tmp_path / "e.events"), "-w", str(home.folder)]
    assert run([*base, "--for", "panda", "-o", str(tmp_path / "o"), "--set", "outDS=user.me.x", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["events"], told["lost"], told["files"]) == (
        len(events),
        0,
        ["events.txt", "events.guid.txt", "files.txt", "prun.sh"],
    )
    assert told["command"] == f"sh {tmp_path}/o/prun.sh --exec COMMAND"
    assert run([*base, "--for", "pool", "-o", str(tmp_path / "p.xml"), "--site", "TAPE"]) == 3
    said = capsys.readouterr()
    assert said.out == f"{len(events)} events for pool in {tmp_path}/p.xml\n"
    assert f"no place is known of file {GUIDS[2]}" in said.err
    assert run([*base, "--for", "pnda", "-o", str(tmp_path / "x")]) == 2
    assert "did you mean panda?" in capsys.readouterr().err
    assert run([*base, "--for", "panda", "-o", str(tmp_path / "x"), "--set", "outDS"]) == 2
    assert "KEY=VALUE" in capsys.readouterr().err
    assert run(["export", str(tmp_path / "none"), "--for", "panda", "-o", "x", "-w", str(home.folder)]) == 2


def test_a_list_exports_itself_and_comes_back(home: Workspace, events: Events, tmp_path: Path) -> None:
    events.export("edmpick", tmp_path / "o", settings={"inputDataset": "/A/B/C"})
    again = read_events(tmp_path / "o/events.txt")
    assert again.digest == events.digest
    events.export("panda", tmp_path / "p")
    back = tagsel.read_events(tmp_path / "p/events.guid.txt")
    assert back.digest == events.digest and [e.guid for e in back] == [e.guid for e in events]


def test_unmapped_events_are_counted_as_lost(own: Workspace, tmp_path: Path) -> None:
    build(own, "b.TAG", {**rows(10, 5), "aod_guid": [GUIDS[0]] * 5 + [""] * 5})
    done = own.lists[own["b.TAG"].select("true")].export("pool", tmp_path / "p.xml")
    assert (done.events, done.lost, done.nameless) == (10, 5, ())
