"""The rules of the command line, a test each: help, pipes, JSON, exit codes, names that nearly exist, Ctrl-C."""

from __future__ import annotations

import json
import os
import pty
import select as poll
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import console
import pytest
from builders import build, rows

from tagsel.api import Workspace
from tagsel.cli.main import cli, run

TAGSEL = [sys.executable, "-m", "tagsel"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two datasets of 100 events each."""
    ws = Workspace.init(tmp_path_factory.mktemp("cli") / "W")
    build(ws, "data18.A.TAG", rows(100, 1), type="TAG", year=2018)
    build(ws, "data18.B.TAG", rows(100, 2), type="TAG", year=2018)
    return ws.folder


def tagsel(*arguments: str, home: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, both streams captured."""
    if home is not None:
        environment["TAGSEL_WORKSPACE"] = str(home)
    return console.in_this_process(arguments, **environment)


def program(*arguments: str, home: Path | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the program as a user would, both streams captured."""
    environment = {**os.environ, **options.pop("environment", {})}
    if home is not None:
        environment["TAGSEL_WORKSPACE"] = str(home)
    return subprocess.run([*TAGSEL, *arguments], capture_output=True, text=True, env=environment, **options)


def verbs(command: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every verb that can be typed, groups too."""
    yield path
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from verbs(inner, (*path, name))


@pytest.mark.parametrize(
    ("verb", "commands"),
    [("gc", "tagsel datasets gc"), ("resubmit", "tagsel jobs resubmit"), ("cuont", "did you mean count?")],
)
def test_an_unknown_verb_names_the_groups_that_have_it_or_the_nearest(
    verb: str, commands: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([verb]) == 2
    assert commands in capsys.readouterr().err


@pytest.mark.parametrize("group", ["", "workspace", "lumi", "lists"])
def test_a_group_without_a_verb_shows_its_help(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = group.split()
    assert run(path) == 0
    bare = capsys.readouterr()
    assert run([*path, "--help"]) == 0
    assert (bare.out, bare.err) == (capsys.readouterr().out, "")


@pytest.mark.parametrize("path", list(verbs()), ids=" ".join)
def test_help_of_every_verb_begins_with_an_example(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--help", "-h"):
        assert run([*path, flag]) == 0
        text = capsys.readouterr().out
        assert text.index("Example:") < text.index("Options:")
        assert "\x1b" not in text


def test_rule_3_help_works_with_an_unreadable_home(tmp_path: Path) -> None:
    done = program("count", "--help", environment={"HOME": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent"}, cwd="/")
    assert done.returncode == 0 and "Example:" in done.stdout and not done.stderr


COMMANDS = [
    ("count", "data18.A.TAG", "nMuon >= 2"),
    ("cutflow", "data18.A.TAG", "nMuon >= 2", "MET_pt > 30"),
    ("select", "data18.A.TAG", "nMuon >= 2"),
    ("select", "data18.A.TAG", "nMuon >= 2", "--explain"),
    ("why", "data18.A.TAG", "7:1000", "nMuon >= 2"),
    ("pick", "data18.A.TAG", "7:1000"),
    ("datasets",),
    ("datasets", "type = 'TAG' and year = 2018"),
    ("datasets", "--sql", "select name, events from datasets order by name"),
    ("datasets", "show", "data18.A.TAG"),
    ("schema", "show", "data18.A.TAG"),
    ("queries",),
    ("workspace", "config"),
    ("jobs", "list"),
    ("datasets", "compact", "data18.A.TAG", "--dry-run"),
    ("datasets", "gc", "data18.A.TAG", "--dry-run"),
    ("workspace", "rebuild"),
    ("workspace", "recover", "--dry-run"),
    ("completion", "bash"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: " ".join(c)[:40])
def test_rule_1_no_escape_byte_in_a_pipe(home: Path, command: tuple[str, ...]) -> None:
    plain(tagsel(*command, home=home, FORCE_COLOR="1"))


def test_rule_1_the_program_writes_no_escape_byte_into_a_pipe(home: Path) -> None:
    done = program("datasets", "show", "data18.A.TAG", home=home, environment={"FORCE_COLOR": "1"})
    plain(done)
    assert "data18.A.TAG" in done.stdout


def plain(done: subprocess.CompletedProcess[str]) -> None:
    """A command went well, and neither colours its output nor draws lines in it."""
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert not set("│┃━─").intersection(done.stdout)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: " ".join(c)[:40])
def test_rule_2_json_is_one_document_and_nothing_else(
    home: Path, command: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGSEL_WORKSPACE", str(home))
    assert run([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert isinstance(document, dict) and document and "error" not in document


def test_rule_2_the_contract_of_count_select_and_cutflow(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGSEL_WORKSPACE", str(home))
    run(["select", "data18.A.TAG", "nMuon >= 2", "-o", str(tmp_path / "a.events"), "--json"])
    document = json.loads(capsys.readouterr().out)
    assert {"accepted", "read", "ledger", "digest", "selection"} <= set(document)
    assert set(document["ledger"]) == {"accepted", "rejected", "masked", "duplicate", "unreadable"}
    assert len(document["digest"]) == len(document["selection"]) == 64
    run(["cutflow", "data18.A.TAG", "nMuon >= 2", "--json"])
    (cut,) = json.loads(capsys.readouterr().out)["cuts"]
    assert {"cut", "alone", "sequential", "all_but"} <= set(cut)
    assert set(cut["alone"]) == {"n", "sumw", "sumw2"}
    run(["map", str(tmp_path / "a.events"), "--json"])
    files = json.loads(capsys.readouterr().out)["files"]
    assert {"guid", "lfn", "entries", "sites"} <= set(files[0])


def test_names_are_one_a_line(home: Path) -> None:
    assert program("datasets", home=home).stdout == "data18.A.TAG\ndata18.B.TAG\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("cuont", "data18.A.TAG"), "did you mean count"),
        (("lists", "shwo", "x"), "did you mean show"),
        (("count", "data18.A.TGA", "true"), "did you mean data18.A.TAG"),
        (("count", "data18.A.TAG", "nMoun >= 2"), "did you mean nMuon"),
        (("count", "data18.A.TAG", "HLT_mu11"), "HLT_mu10"),
        (("count", "data18.A.TAG", "true", "--lumy", "x"), "--lumi"),
        (("count", "data18.A.TAG", "@nothing"), "no named cut @nothing"),
        (("count", "data18.A.TAG@7", "true"), "no snapshot 7"),
        (("schema", "show", "data18.A.TAG", "MET_px*"), "did you mean MET_pt"),
        (("map", "missing.events"), "missing.events"),
        (("jobs", "show", "12"), "no job"),
    ],
    ids=lambda v: " ".join(v)[:40] if isinstance(v, tuple) else "",
)
def test_rule_4_names_that_nearly_exist_and_exit_code_2(home: Path, command: tuple[str, ...], said: str) -> None:
    done = tagsel(*command, home=home)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout
    as_json = tagsel(*command, "--json", home=home)
    assert as_json.returncode == 2
    assert said in json.loads(as_json.stdout)["error"]["message"]


def test_a_cut_error_has_the_cut_and_a_caret(home: Path) -> None:
    done = tagsel("count", "data18.A.TAG", "nMuon >= 2 && MET_pt > 10 mm", home=home)
    lines = done.stderr.splitlines()
    cut = next(k for k, line in enumerate(lines) if "MET_pt > 10 mm" in line)
    assert "^" in lines[cut + 1]
    assert done.returncode == 2


def test_rule_5_our_own_fault_is_exit_code_1_without_a_traceback(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise AssertionError("broken on purpose")

    monkeypatch.setattr("tagsel.selection.count", broken)
    monkeypatch.setenv("TAGSEL_WORKSPACE", str(home))
    assert run(["count", "data18.A.TAG", "true"]) == 1
    assert "Traceback" not in capsys.readouterr().err
    with pytest.raises(AssertionError):
        run(["count", "data18.A.TAG", "true", "--debug"])


def test_rule_5_sigpipe_is_quiet(home: Path) -> None:
    environment = {**os.environ, "TAGSEL_WORKSPACE": str(home)}
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"{sys.executable} -m tagsel schema show data18.A.TAG --csv 2>/dev/null | head -1; echo ${{PIPESTATUS[0]}}",
        ],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.stdout.startswith("name,type")
    assert done.stdout.endswith("0\n")
    assert not done.stderr


def test_rule_6_flag_over_environment_over_file_over_default(home: Path, tmp_path: Path) -> None:
    ws = Workspace.init(tmp_path / "W").folder

    def origin(*flags: str, **environment: str) -> tuple[str, str]:
        done = tagsel("workspace", "config", "--json", *flags, home=ws, **environment)
        found = {s["name"]: s for s in json.loads(done.stdout)["settings"]}
        return found["threads"]["value"], found["threads"]["origin"]

    assert origin() == (0, "default")
    (ws / "tagsel.toml").write_text("format = 1\n[settings]\nthreads = 3\n", encoding="utf-8")
    assert origin()[0] == 3 and "tagsel.toml" in origin()[1]
    assert origin(TAGSEL_THREADS="5") == (5, "environment (TAGSEL_THREADS)")
    assert tagsel("workspace", "config", home=ws, TAGSEL_THREADS="many").returncode == 2
    (ws / "tagsel.toml").write_text("format = 1\n[settings]\nthread = 3\n", encoding="utf-8")
    assert "did you mean threads" in tagsel("workspace", "config", home=ws).stderr


def test_rule_7_destructive_verbs_need_yes_where_nobody_can_answer(tmp_path: Path) -> None:
    ws = Workspace.init(tmp_path / "W")
    build(ws, "a.TAG", rows(5, 1))
    orphan = ws.folder / "data" / "a.TAG" / ".tmp-left-behind.parquet"
    orphan.write_bytes(b"half")
    refused = program("datasets", "gc", "a.TAG", "--grace", "0", home=ws.folder, stdin=subprocess.DEVNULL)
    assert refused.returncode == 2 and "--yes" in refused.stderr
    assert orphan.exists() and str(orphan) in refused.stdout
    assert tagsel("datasets", "gc", "a.TAG", "--grace", "0", "--dry-run", home=ws.folder).returncode == 0
    assert orphan.exists()
    assert tagsel("datasets", "gc", "a.TAG", "--grace", "0", "--yes", home=ws.folder).returncode == 0
    assert not orphan.exists()
    assert tagsel("count", "a.TAG", "true", home=ws.folder).stdout == "5\n"


def test_rule_8_9_a_terminal_gets_a_table_and_no_color_is_honoured(home: Path) -> None:
    master, slave = pty.openpty()
    environment = {**os.environ, "TAGSEL_WORKSPACE": str(home), "NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen([*TAGSEL, "datasets"], stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    seen = b""
    while poll.select([master], [], [], 30)[0]:
        try:
            block = os.read(master, 4096)
        except OSError:
            break
        if not block:
            break
        seen += block
    assert process.wait() == 0
    os.close(master)
    assert b"events" in seen and b"data18.A.TAG" in seen
    assert b"\x1b[3" not in seen  # no colour


def test_rule_10_completion_names_datasets_and_attributes_without_reading_data(home: Path, tmp_path: Path) -> None:
    blind = tmp_path / "W"
    shutil.copytree(home, blind)
    for part in blind.glob("data/*/*.parquet"):
        part.unlink()  # whoever reads data now fails

    def complete(words: str, position: int) -> list[str]:
        done = program(
            home=blind,
            environment={"_TAGSEL_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(position)},
        )
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert complete("tagsel cou", 1) == ["count"]
    assert complete("tagsel count data18", 2) == ["data18.A.TAG", "data18.B.TAG"]
    assert complete("tagsel count data18.A.TAG MET", 3) == ["MET_pt"]
    assert "--lumi" in complete("tagsel count data18.A.TAG true --", 4)
    assert tagsel("completion", "zsh").stdout.startswith("#compdef tagsel")


def test_ctrl_c_leaves_nothing_and_exits_130(home: Path, tmp_path: Path) -> None:
    """The program stops itself in the middle of writing the list, as Ctrl-C there would."""
    code = (
        "import os, signal, sys\n"
        "import tagsel.events.eventlist as eventlist\n"
        "real = eventlist.output_file\n"
        "from contextlib import contextmanager\n"
        "@contextmanager\n"
        "def output_file(path, **options):\n"
        "    with real(path, **options) as temporary:\n"
        "        temporary.write_bytes(b'half')\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        yield temporary\n"
        "eventlist.output_file = output_file\n"
        "from tagsel.cli.main import run\n"
        f"sys.exit(run(['select', 'data18.A.TAG', 'true', '-o', {str(tmp_path / 'a.events')!r}]))\n"
    )
    environment = {**os.environ, "TAGSEL_WORKSPACE": str(home)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 130, done.stderr
    assert "interrupted" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_init_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", str(tmp_path / "new" / "W")]) == 0
    assert "is a workspace now" in capsys.readouterr().out
    assert run(["init", str(tmp_path / "new" / "W")]) == 0
    assert "already" in capsys.readouterr().out
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    assert run(["init", str(tmp_path / "other")]) == 2
    assert "not empty" in capsys.readouterr().err
    assert run(["count", "x", "true", "-w", str(tmp_path / "other")]) == 2
    assert "is no workspace" in capsys.readouterr().err


def test_events_forms_and_algebra_round_trip(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGSEL_WORKSPACE", str(home))
    a, b = str(tmp_path / "a.events"), str(tmp_path / "b.events")
    run(["select", "data18.A.TAG", "nMuon >= 2", "-o", a])
    run(["select", "data18.A.TAG", "MET_pt > 30", "-o", b])
    capsys.readouterr()
    digest = Workspace(home).lists[a].digest
    for form in ("run:lumi:event", "run:event", "run lumi event", "run event", "run event guid", "json", "parquet"):
        out, back = tmp_path / f"list {form}", tmp_path / f"back {form}"
        assert run(["lists", "export", a, "--format", form, "-o", str(out)]) == 0
        assert run(["lists", "import", str(out), "-o", str(back)]) == 0
        assert Workspace(home).lists[back].digest == digest, form
    capsys.readouterr()
    sizes = {}
    for verb in ("union", "intersect", "minus", "xor"):
        assert run(["lists", verb, a, b, "--json"]) == 0
        sizes[verb] = json.loads(capsys.readouterr().out)["events"]
    ws = Workspace(home)
    left = {(e.run, e.event) for e in ws.lists[a]}
    right = {(e.run, e.event) for e in ws.lists[b]}
    assert sizes == {
        "union": len(left | right),
        "intersect": len(left & right),
        "minus": len(left - right),
        "xor": len(left ^ right),
    }


def test_fault_59_misses_of_pick_are_exit_code_3_and_the_sum_closes(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven ids: two events that are there, one of them thrice in two spellings, and two misses, one of them twice.

    7 asked = 2 found + 2 missed + 3 named twice.
    """
    monkeypatch.setenv("TAGSEL_WORKSPACE", str(home))
    first, second = Workspace(home)["data18.A.TAG"].select("true")[:2]
    there = [f"{first.run}:{first.event}", f"{first.run}:{first.lumi}:{first.event}", f"{second.run}:{second.event}"]
    ids = [*there, there[0], "7:99", "7:5:98", "7:99"]
    lumis = [line for line in ids if line.count(":") == 2]
    assert len(lumis) == 2
    assert run(["pick", "data18.A.TAG", *ids]) == 3
    said = capsys.readouterr()
    assert "not found: 7:99\n" in said.err
    assert "not found: 7:5:98\n" in said.err
    assert "2 found + 2 missing + 3 named twice = 7 asked" in said.err
    assert len(said.out.splitlines()) == 2
    assert run(["pick", "data18.A.TAG", *ids, "--json"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert (document["asked"], document["found"], document["missed"], document["named_twice"]) == (7, 2, 2, 3)
    assert [(m["run"], m["lumi"], m["event"]) for m in document["misses"]] == [(7, None, 99), (7, 5, 98)]
    text = tmp_path / "ids.txt"
    text.write_text("\n".join(i for i in ids if i not in lumis) + "\n")
    assert run(["pick", "data18.A.TAG", "-f", str(text)]) == 3
    assert "2 found + 1 missing + 2 named twice = 5 asked" in capsys.readouterr().err
    assert run(["pick", "data18.A.TAG", there[0]]) == 0
    assert "1 found + 0 missing = 1 asked" in capsys.readouterr().err


@pytest.mark.parametrize("system", ["crab", "edmpick"])
def test_the_list_that_export_writes_comes_back(
    system: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGSEL_WORKSPACE", str(home))
    events = Workspace(home)["data18.A.TAG"].select("nMuon >= 2")
    events.save(tmp_path / "a.events")
    settings = ["--set", "inputDataset=/A/B/AOD"]
    if system == "crab":
        settings += ["--set", "storageSite=T2_XX"]
    out = tmp_path / system
    assert run(["export", str(tmp_path / "a.events"), "--for", system, "-o", str(out), *settings]) == 0
    back = tmp_path / f"{system}.events"
    assert run(["pick", "data18.A.TAG", "-f", str(out / "events.txt"), "-o", str(back)]) == 0
    assert Workspace(home).lists[back].digest == events.digest


def test_fault_24_a_bad_line_is_an_error_with_its_number(home: Path, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("7:1:1000\n# fine\n\n7:1:oops\n")
    done = tagsel("pick", "data18.A.TAG", "-f", str(tmp_path / "ids.txt"), home=home)
    assert done.returncode == 2 and "line 4" in done.stderr


@pytest.mark.parametrize("name", ["a;touch x", "$(touch x)", "../up", "a b", "`id`", "-rf", "a\nb"])
def test_fault_29_shell_metacharacters_in_names_are_refused_or_inert(
    home: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = tagsel("count", "--", name, "true", home=home)
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_rule_2_a_dash_is_standard_input_or_output(home: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "TAGSEL_WORKSPACE": str(home)}

    def pipe(*command: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*TAGSEL, *command], input=given, capture_output=True, env=environment, cwd=tmp_path)

    written = pipe("select", "data18.A.TAG", "nMuon >= 2", "-o", "-")
    assert written.returncode == 0 and written.stdout.startswith(b"PAR1")
    digest = Workspace(home)["data18.A.TAG"].select("nMuon >= 2").digest
    assert digest in pipe("lists", "show", "-", given=written.stdout).stderr.decode()
    text = pipe("lists", "export", "-", given=written.stdout).stdout
    picked = pipe("pick", "data18.A.TAG", "-f", "-", "--json", given=text)
    assert json.loads(picked.stdout)["digest"] == digest
    assert json.loads(pipe("map", "-", "--json", given=written.stdout).stdout)["events"] == len(text.splitlines())
    assert pipe("select", "data18.A.TAG", "true", "-o", "-", "--json").returncode == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["datasets", "list"], "tagsel datasets find"),
        (["datasets", "delete", "data18.A.TAG"], "tagsel datasets drop NAME"),
    ],
)
def test_another_word_for_a_verb_names_the_command(
    words: list[str], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    assert command in capsys.readouterr().err
    parts = command.split()
    assert run([*parts[1:3], "--help"]) == 0, "the command that is named exists"
    assert all(part in capsys.readouterr().out for part in parts if part.startswith("--"))
