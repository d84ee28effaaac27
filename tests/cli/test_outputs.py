"""What a user asks for with `-o FILE` never destroys another file: every verb, every kind of file that may be there."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from builders import GUIDS, build, rows
from nanofile import nano

import tagsel
from tagsel.api import Workspace
from tagsel.catalog import Catalog, FileRecord, PutDataset, PutFiles, PutReplicas, PutSite
from tagsel.cli.main import cli, run
from tagsel.cli.outputs import OutputOption
from tagsel.errors import AccessError
from tagsel.events import EventList, write_events
from tagsel.quality import parse_lumi, write_lumi

MINE = b"mine, and not tagsel's\n"

ARGUMENTS = {
    ("select", "out"): ["data18.A.TAG", "event > 0"],
    ("pick", "out"): ["data18.A.TAG", "-f", "b.events"],
    ("regions", "out"): ["data18.A.TAG", "SR: event > 0"],
    ("hist", "out"): ["data18.A.TAG", "MET_pt: 5, 0, 50"],
    ("hist", "plot"): ["data18.A.TAG", "MET_pt: 5, 0, 50"],
    ("lists", "union", "out"): ["a.events", "b.events"],
    ("lists", "intersect", "out"): ["a.events", "b.events"],
    ("lists", "minus", "out"): ["a.events", "b.events"],
    ("lists", "xor", "out"): ["a.events", "b.events"],
    ("lists", "rebase", "out"): ["a.events", "--onto", "data18.A.TAG"],
    ("lists", "export", "out"): ["a.events"],
    ("lists", "import", "out"): ["a.txt"],
    ("lumi", "show", "out"): ["good.json"],
    ("lumi", "union", "out"): ["good.json", "more.json"],
    ("lumi", "intersect", "out"): ["good.json", "more.json"],
    ("lumi", "minus", "out"): ["good.json", "more.json"],
    ("lumi", "xor", "out"): ["good.json", "more.json"],
    ("schema", "derive", "out"): ["nano.root"],
    ("skim", "out"): ["nano.events"],
    ("export", "out"): ["nano.events", "--for", "pool"],
}
"""What each verb with an output needs beside it: (verb, parameter) → arguments."""

SUFFIX = {"plot": ".png", "skim": ".root", "hist": ".root", "select": ".events", "schema": ".toml"}


def outputs(command: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """(verb…, parameter) of every option of every command that names a file to write."""
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from outputs(inner, (*path, name))
        return
    for parameter in command.params:
        if isinstance(parameter, OutputOption):
            yield (*path, str(parameter.name))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a workspace W and inputs of every verb beside it."""
    folder = tmp_path_factory.mktemp("outputs")
    ws = Workspace.init(folder / "W")
    build(ws, "data18.A.TAG", rows(100, 1), type="TAG", year=2018)
    events = ws["data18.A.TAG"].select("event > 0")
    events.save(folder / "a.events")
    events[:10].save(folder / "b.events")
    write_events(events, folder / "a.txt", "run event")
    (folder / "good.json").write_text('{"1": [[1, 5]]}')
    (folder / "more.json").write_text('{"1": [[3, 9]]}')
    nano(folder / "nano.root", 1, 20)
    ws.ingest(folder / "nano.root", dataset="nano.TAG")
    ws["nano.TAG"].select("true").save(folder / "nano.events")
    return folder


@pytest.fixture
def here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, to work in, with W as the workspace."""
    folder = tmp_path / "here"
    shutil.copytree(home, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TAGSEL_WORKSPACE", "W")
    return folder


def command_of(which: tuple[str, ...], target: str) -> list[str]:
    *verb, parameter = which
    option = "--plot" if parameter == "plot" else "-o"
    return [*verb, *ARGUMENTS[which], option, target]


def name_of(which: tuple[str, ...]) -> str:
    suffix = SUFFIX.get(which[-1]) or SUFFIX.get(which[0], ".out")
    return f"target{suffix}"


def test_fault_37_every_option_that_names_an_output_is_checked() -> None:
    """Each -o, --out and --plot of the command tree is an OutputOption, its command has --force, and it is tested."""
    named: list[tuple[str, ...]] = []

    def walk(command: click.Command, path: tuple[str, ...]) -> None:
        if isinstance(command, click.Group):
            for name, inner in command.commands.items():
                walk(inner, (*path, name))
            return
        parameters = {str(p.name): p for p in command.params}
        for name, parameter in parameters.items():
            if {"-o", "--out", "--plot"} & set(parameter.opts):
                assert isinstance(parameter, OutputOption), (path, name)
                assert "force" in parameters, path
                named.append((*path, name))

    walk(cli, ())
    assert sorted(named) == sorted(outputs()) == sorted(ARGUMENTS)


@pytest.mark.parametrize("which", list(outputs()), ids=" ".join)
def test_fault_37_an_existing_file_survives_every_verb(
    which: tuple[str, ...], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither without nor with --force; the folder then holds what it held. The same command with a new name works."""
    target = here / name_of(which)
    in_folder = which == ("regions", "out")
    victim = target / "SR.events" if in_folder else target
    victim.parent.mkdir(exist_ok=True)
    victim.write_bytes(MINE)
    victim.chmod(0o640)
    before = sorted(here.iterdir())
    for flags in ([], ["--force"]):
        assert run([*command_of(which, target.name), *flags]) == 2, flags
        said = capsys.readouterr().err
        assert victim.name in said
        assert "try: " in said
    assert victim.read_bytes() == MINE
    assert stat.S_IMODE(victim.stat().st_mode) == 0o640
    assert sorted(here.iterdir()) == before
    assert run(command_of(which, f"new-{target.name}")) == 0, capsys.readouterr().err


@pytest.mark.parametrize("which", list(outputs()), ids=" ".join)
def test_fault_37_force_replaces_what_tagsel_wrote_until_somebody_changes_it(
    which: tuple[str, ...], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The mode is kept; one byte more, and the file is the user's."""
    target = here / name_of(which)
    assert run(command_of(which, target.name)) == 0, capsys.readouterr().err
    victim = target / "SR.events" if which == ("regions", "out") else target
    victim.chmod(0o640)
    inode = victim.stat().st_ino
    assert run(command_of(which, target.name)) == 2
    assert victim.stat().st_ino == inode
    assert run([*command_of(which, target.name), "--force"]) == 0, capsys.readouterr().err
    assert victim.stat().st_ino != inode
    assert stat.S_IMODE(victim.stat().st_mode) == 0o640
    changed = victim.read_bytes() + b"\n"
    victim.write_bytes(changed)
    assert run([*command_of(which, target.name), "--force"]) == 2
    assert victim.read_bytes() == changed


def test_an_output_is_not_replaced_by_nothing_found(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No event that was asked for is there, or its part is damaged: exit code 3, and what --force named stays.

    An answer of 0 events without a loss is written, and so are events that were found beside a loss.
    """
    (here / "none.txt").write_text("999 1\n999 2\n")
    assert run(["lists", "import", "none.txt", "-o", "none.events"]) == 0
    home = tagsel.open(here / "W")
    build(home, "data18.D.TAG", rows(12, 5))
    _damage_first_part(home, "data18.D.TAG")
    damaged = ["data18.D.TAG", "--allow-losses"]
    lossy = {
        ("pick", "data18.A.TAG", "999:1", "999:2"): "old.events",
        ("lists", "rebase", "none.events", "--onto", "data18.A.TAG"): "old.events",
        ("select", *damaged, "event > 0"): "old.events",
        ("hist", *damaged, "MET_pt: 5, 0, 50"): "old.root",
        ("regions", *damaged, "old: event > 0"): ".",
    }
    for arguments, out in lossy.items():
        file = here / ("old.events" if out == "." else out)
        seed = ["hist", "data18.A.TAG", "MET_pt: 5, 0, 50"]
        if file.suffix == ".events":
            seed = ["select", "data18.A.TAG", "event > 0"]
        assert run([*seed, "-o", str(file), *(["--force"] if file.exists() else [])]) == 0
        before = file.read_bytes()
        for name, said in ((out, "stays as it is"), ("new" + Path(out).suffix, "is not written")):
            capsys.readouterr()
            assert run([*arguments, "-o", name, "--force"]) == 3, arguments
            assert said in capsys.readouterr().err
            assert file.read_bytes() == before
            assert name == out or not (here / name).exists()
        printed = _json(capsys, [*arguments, "-o", f"new{Path(out).suffix}"], code=3)
        assert json.loads(printed).get("out") is None
    assert run(["select", "data18.A.TAG", "event < 0", "-o", "old.events", "--force"]) == 0
    assert len(tagsel.read_events(here / "old.events")) == 0, "0 events is an answer"
    found = next(iter(tagsel.open(here / "W")["data18.A.TAG"].select("event > 0")))
    asked = ["pick", "data18.A.TAG", f"{found.run}:{found.event}", "999:1", "-o", "old.events", "--force"]
    assert run(asked) == 3
    assert len(tagsel.read_events(here / "old.events")) == 1


def test_a_list_on_standard_output_is_a_list_though_nothing_was_found(
    here: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Rows that are damaged, ids and events that are nowhere: exit code 3, and a list of 0 events for the pipe."""
    (here / "none.txt").write_text("999 1\n")
    assert run(["lists", "import", "none.txt", "-o", "none.events"]) == 0
    home = tagsel.open(here / "W")
    build(home, "data18.D.TAG", rows(12, 5))
    _damage_first_part(home, "data18.D.TAG")
    for arguments in (
        ["select", "data18.D.TAG", "event > 0", "--allow-losses"],
        ["pick", "data18.A.TAG", "999:1"],
        ["lists", "rebase", "none.events", "--onto", "data18.A.TAG"],
    ):
        capsysbinary.readouterr()
        assert run([*arguments, "-o", "-"]) == 3, arguments
        printed = capsysbinary.readouterr().out
        assert b"events," not in printed, "sentences are for standard error"
        (here / "printed.events").write_bytes(printed)
        assert len(tagsel.read_events(here / "printed.events")) == 0


def test_an_answer_of_0_events_beside_damage_is_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of two parts with 12 rows each one is damaged: the other's are all rejected, and --force replaces all outputs.

    Else a folder of regions would hold lists of new cuts beside lists of old ones.
    """
    home = tagsel.open(here / "W")
    build(home, "data18.D.TAG", rows(12, 5), rows(12, 6))
    cuts = {"first": "event > 0", "second": "event > 0"}
    select = ["select", "data18.D.TAG", "event > 0", "-o", "d.events"]
    assert run(["regions", "data18.D.TAG", *(f"{name}: {cut}" for name, cut in cuts.items()), "-o", "R"]) == 0
    assert run(select) == 0
    assert run(["hist", "data18.D.TAG", "MET_pt: 5, 0, 50", "-o", "d.root"]) == 0
    histogram = (here / "d.root").read_bytes()
    _damage_first_part(home, "data18.D.TAG")
    cuts["second"] = "MET_pt > 30 && MET_pt < 30.0001"
    lossy = ["data18.D.TAG", "--allow-losses", "--force"]
    capsys.readouterr()
    assert run(["regions", *lossy, *(f"{name}: {cut}" for name, cut in cuts.items()), "-o", "R"]) == 3
    assert run(["select", *lossy, "MET_pt > 30 && MET_pt < 30.0001", "-o", "d.events"]) == 3
    assert run(["hist", *lossy, "MET_pt: 5, 0, 50", "--cut", "MET_pt > 30 && MET_pt < 30.0001", "-o", "d.root"]) == 3
    assert "stays as it is" not in capsys.readouterr().err
    sizes = {name: len(tagsel.read_events(here / name)) for name in ("R/first.events", "R/second.events", "d.events")}
    assert sizes == {"R/first.events": 12, "R/second.events": 0, "d.events": 0}
    assert (here / "d.root").read_bytes() != histogram


def _damage_first_part(home: Workspace, dataset: str) -> None:
    """Cut the file of a dataset's first part short."""
    part = home.home.table(dataset).snapshot().parts[0]
    part.path.write_bytes(part.path.read_bytes()[:700])


def _json(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int) -> str:
    """What a command prints with --json."""
    capsys.readouterr()
    assert run([*arguments, "--json"]) == code
    return capsys.readouterr().out


def test_fault_37_an_input_of_the_command_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also under another spelling, a hard link, and with --force, though tagsel wrote it."""
    before = (here / "a.events").read_bytes()
    os.link("a.events", "same.events")
    for target in ("a.events", "./W/../a.events", str(here / "a.events"), "same.events"):
        assert run(["lists", "union", "a.events", "b.events", "-o", target, "--force"]) == 2
        assert "is an input of this command" in capsys.readouterr().err
    assert run(["select", "data18.A.TAG", "true", "--lumi", "good.json", "-o", "good.json", "--force"]) == 2
    assert run(["select", "nano.root", "true", "-o", "nano.root", "--force"]) == 2
    assert (here / "a.events").read_bytes() == before


def test_fault_37_a_registered_file_is_refused_always(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A skim that tagsel wrote may be replaced until it is ingested; then it is a TAG source. So is a replica of it."""
    assert run(["skim", "nano.events", "-o", "skim.root"]) == 0
    assert run(["skim", "nano.events", "-o", "skim.root", "--force"]) == 0
    assert run(["ingest", "skim.root", "--dataset", "skim.TAG"]) == 0
    before = (here / "skim.root").read_bytes()
    capsys.readouterr()
    assert run(["skim", "nano.events", "-o", "skim.root", "--force"]) == 2
    assert "registered" in capsys.readouterr().err
    with pytest.raises(AccessError, match="registered"):
        Workspace(here / "W").lists["nano.events"].skim("skim.root", force=True)
    home = Workspace(here / "W")
    with pytest.raises(AccessError, match="registered"):  # a list knows no workspace, but one is open in this process
        tagsel.read_events("a.events").save("skim.root", force=True)
    assert home["skim.TAG"].name
    assert (here / "skim.root").read_bytes() == before


def test_fault_37_a_file_that_a_closed_workspace_registered_is_refused(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A list that tagsel wrote is replaced by force until another workspace, opened once before, has it registered.

    Once by its path, once by a link that leads to it, once by its logical name below a site's prefix; a file of the
    same name elsewhere may be replaced.
    """
    Workspace.init(here / "V")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (here / "store").mkdir()
    for name in ("u.events", "v.events", "store/w.events", str(elsewhere / "u.events")):
        assert run(["lists", "union", "a.events", "b.events", "-o", name]) == 0
        assert run(["lists", "union", "a.events", "b.events", "-o", name, "--force"]) == 0
    (here / "linked").symlink_to(here)
    files = [(here / "u.events", GUIDS[0]), (here / "linked" / "v.events", GUIDS[1])]
    records = [FileRecord(guid, path.name, str(path)) for path, guid in files]
    records.append(FileRecord(GUIDS[2], "w.events"))
    site = (PutSite("S", str(here / "store")), PutReplicas("S", [(GUIDS[2], "")]))
    Catalog(here / "V").record(PutDataset("lists.TAG"), PutFiles("lists.TAG", records), *site)
    for name in ("u.events", "v.events", "store/w.events"):
        before = (here / name).read_bytes()
        capsys.readouterr()
        assert run(["lists", "union", "a.events", "b.events", "-o", name, "--force"]) == 2
        assert "registered in the workspace" in capsys.readouterr().err
        assert (here / name).read_bytes() == before
    assert run(["lists", "union", "a.events", "b.events", "-o", str(elsewhere / "u.events"), "--force"]) == 0


def test_fault_37_what_tagsel_made_in_a_workspace_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Existing files and new names; a file of the user's own in the workspace's folder is fine."""
    for place in (
        "W/tagsel.toml",
        "W/catalog.journal",
        "W/catalog.new",
        "W/data/x.events",
        "W/jobs/x.events",
        "W/data/data18.A.TAG/x.events",
        "W/trash",
        "W/outputs",
        "W/../W/data/x.events",
    ):
        for flags in ([], ["--force"]):
            assert run(["select", "data18.A.TAG", "true", "-o", place, *flags]) == 2, place
            assert place in capsys.readouterr().err
    assert run(["regions", "data18.A.TAG", "SR: true", "-o", "W/data/new/folder"]) == 2
    assert not (here / "W" / "data" / "new").exists()
    assert run(["select", "data18.A.TAG", "true", "-o", "W/mine.events"]) == 0


@pytest.mark.parametrize("link", [os.symlink, "dangling", "folder"])
def test_fault_37_a_link_is_never_written_through(
    link: Callable[[str, str], None] | str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A symbolic link is refused whatever it leads to, with the name of its target; a linked folder above is fine."""
    target = {"dangling": "nowhere.events", "folder": "W"}.get(str(link), "b.events")
    Path("link.events").symlink_to(target)
    before = (here / "b.events").read_bytes()
    for flags in ([], ["--force"]):
        assert run(["select", "data18.A.TAG", "true", "-o", "link.events", *flags]) == 2
        said = capsys.readouterr().err
        assert "symbolic link" in said
        assert target in said
    assert (here / "b.events").read_bytes() == before
    assert not (here / "nowhere.events").exists()
    (here / "real").mkdir()
    Path("shortcut").symlink_to("real")
    assert run(["select", "data18.A.TAG", "true", "-o", "shortcut/x.events"]) == 0
    assert (here / "real" / "x.events").is_file()


def test_fault_37_devices_pipes_and_descriptors_are_written_as_they_are(here: Path) -> None:
    """/dev/null stays a device; /dev/stdout appended to a file keeps what the file had; a named pipe gets the list."""
    assert run(["lumi", "union", "good.json", "more.json", "-o", "/dev/null"]) == 0
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    program = f"{sys.executable} -m tagsel lumi union good.json more.json --format json"
    subprocess.run(["bash", "-c", f"echo before > log; {program} -o /dev/stdout >> log"], check=True)
    first, document, *rest = (here / "log").read_text().splitlines()
    assert first == "before"
    assert json.loads(document) == {"1": [[1, 9]]}  # 1-5 and 3-9
    assert rest == ["9 luminosity blocks in 1 runs"]
    os.mkfifo("pipe")
    got = subprocess.run(
        ["bash", "-c", f"{program} -o pipe > /dev/null & cat pipe; wait"], capture_output=True, check=True, timeout=60
    )
    assert json.loads(got.stdout) == {"1": [[1, 9]]}
    assert stat.S_ISFIFO((here / "pipe").stat().st_mode)


@pytest.mark.parametrize("which", [which for which in outputs() if which[0] != "regions"], ids=" ".join)
def test_fault_37_a_device_that_is_full_stays_a_device(
    which: tuple[str, ...], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of the kind of /dev/full: pyarrow removes the file that it could not write to the end, devices, too.

    `regions` writes into a folder.
    """
    name = name_of(which)
    try:
        os.mknod(name, stat.S_IFCHR | 0o666, os.makedev(1, 7))
    except PermissionError:
        pytest.skip("only root may make a device, and not in every container")
    assert run(command_of(which, name)) == 2
    said = capsys.readouterr().err
    assert f"cannot write {name}: " in said and os.strerror(errno.ENOSPC) in said
    assert stat.S_ISCHR(os.lstat(name).st_mode)


def test_fault_37_force_is_never_taken_from_the_environment(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAGSEL_FORCE", "1")
    assert run(["select", "data18.A.TAG", "event < 3", "-o", "b.events"]) == 2


def test_fault_37_in_python(here: Path) -> None:
    """`save`, `plot`, `skim`, `export`, `write_lumi`, `write_events`: the same rule, and `force=True`."""
    ws = Workspace(here / "W")
    events = ws["data18.A.TAG"].select("true")
    histogram = ws["data18.A.TAG"].hist(["MET_pt: 5, 0, 50"])
    lumi = parse_lumi(b'{"1": [[1, 5]]}')
    nano = ws.lists["nano.events"]
    writers: dict[str, Callable[..., object]] = {
        "x.events": lambda path, **k: EventList.save(events, path, **k),
        "y.events": events.save,
        "x.json": lambda path, **k: write_events(events, path, "json", **k),
        "x.txt": lambda path, **k: write_events(events, path, "run event", **k),
        "x.xml": lambda path, **k: write_lumi(lumi, path, **k),
        "h.root": histogram.save,
        "h.json": histogram.save,
        "h.svg": histogram.plot,
        "s.root": nano.skim,
        "s.parquet": nano.skim,
        "pool.xml": lambda path, **k: nano.export("pool", path, **k),
    }
    for name, write in writers.items():
        path = here / name
        path.write_bytes(MINE)
        for options in ({}, {"force": True}):
            with pytest.raises(AccessError, match=name) as refused:
                write(path, **options)
            assert refused.value.hint
            assert path.read_bytes() == MINE
        path.unlink()
        write(path)
        with pytest.raises(AccessError, match="exists"):
            write(path)
        write(path, force=True)
    assert not list(here.glob(".tmp-*"))
