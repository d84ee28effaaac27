"""Cuts as arguments of the command line: names that begin with a digit, and texts that begin with a minus."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from builders import build, rows, workspace

from tagsel.cli.main import run

MET = np.array([10, 20, 30, 40, 50, 60], np.float32)
MUONS = [0, 1, 2, 2, 3, 3]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = workspace(tmp_path_factory.mktemp("arguments"))
    pts = [np.arange(n, 0, -1, dtype=np.float32) * 10 for n in MUONS]
    build(made, "a.TAG", rows(6, MET_pt=MET, nMuon=np.array(MUONS, np.int32), Muon_pt=pts))
    return str(made.folder)


def lines(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """What a command prints; it must end well."""
    assert run(arguments) == 0, capsys.readouterr().err
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("verb", ["count", "cutflow", "regions"])
def test_a_name_may_begin_with_a_digit(home: str, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    """Two events have two muons."""
    shown = lines(capsys, verb, "-w", home, "a.TAG", "2mu: nMuon == 2")
    assert shown[-1].split("\t")[:2] == (["2"] if verb == "count" else ["2mu", "2"])


def test_a_region_is_saved_under_a_name_that_begins_with_a_digit(
    home: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines(capsys, "regions", "-w", home, "a.TAG", "2mu: nMuon == 2", "SR-1: nMuon == 3", "-o", str(tmp_path / "R"))
    assert sorted(p.name for p in (tmp_path / "R").iterdir()) == ["2mu.events", "SR-1.events"]


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        ("-MET_pt < -30", 3),
        ("-(MET_pt) < -30 && nMuon > 2", 2),
        ("-MET_pt<-30", 3),
        ("-30 > -MET_pt", 3),
    ],
)
def test_a_cut_may_begin_with_a_minus(home: str, capsys: pytest.CaptureFixture[str], cut: str, expected: int) -> None:
    """MET is 10 … 60: three are above 30, two of these have three muons."""
    assert lines(capsys, "count", "-w", home, "a.TAG", cut)[0] == str(expected)
    assert json.loads("".join(lines(capsys, "count", "a.TAG", cut, "--json", "-w", home)))["accepted"] == expected
    assert lines(capsys, "regions", "a.TAG", cut, "-w", home)[0].split("\t")[1] == str(expected)


def test_values_of_a_sweep_and_histograms_may_begin_with_a_minus(home: str, capsys: pytest.CaptureFixture[str]) -> None:
    swept = lines(capsys, "sweep", "-w", home, "a.TAG", "-MET_pt > {x}", "-45", "-30:-20:10")
    assert [line.split("\t")[:2] for line in swept] == [["-45", "4"], ["-30", "2"], ["-20", "1"]]
    shown = json.loads("".join(lines(capsys, "hist", "-w", home, "a.TAG", "-MET_pt: 2, -60, 0", "--json")))
    assert shown["read"] == 6


@pytest.mark.parametrize("wrong", ["-q", "--nonsense"])
def test_an_option_that_there_is_not_stays_an_error(home: str, capsys: pytest.CaptureFixture[str], wrong: str) -> None:
    assert run(["count", "-w", home, "a.TAG", "true", wrong]) == 2
    assert f"No such option '{wrong}'" in capsys.readouterr().err


LOCALES = {
    "UTF-8": ({"LC_ALL": "C.UTF-8"}, "Ü"),
    "C": ({"LC_ALL": "C"}, "Ü"),
    "ASCII": ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "?"),
}


@pytest.mark.parametrize(("environment", "shown"), LOCALES.values(), ids=LOCALES)
@pytest.mark.parametrize("verb", ["count", "cutflow"])
def test_a_caret_stands_below_its_character_in_any_locale(
    home: str, environment: dict[str, str], shown: str, verb: str
) -> None:
    """The bytes of Ü, as a terminal sends them; a byte that is no UTF-8 is one replacement character."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("LC_") and k not in ("LANG", "PYTHONUTF8")}
    for typed, column in (("x: MET_pt > 3 && Ünfug > 1".encode(), 14), (b"MET_pt > 3 && \xc3 > 1", 14)):
        command = [sys.executable, "-m", "tagsel", verb, "-w", home, "a.TAG", typed]
        done = subprocess.run(command, capture_output=True, env={**kept, **environment})
        assert done.returncode == 2
        message, line, caret = done.stderr.decode().splitlines()[:3]
        character = shown if b"nfug" in typed else {"Ü": "\ufffd"}.get(shown, shown)
        assert message == f"tagsel: {character!r} is not part of the cut language"
        assert line == f"  MET_pt > 3 && {character}{'nfug' if b'nfug' in typed else ''} > 1"
        assert caret == " " * (2 + column) + "^"


@pytest.mark.parametrize("verb", ["count", "select", "cutflow", "regions"])
def test_two_cuts_of_one_name_are_refused(home: str, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    for named in (("2mu: nMuon == 2", "2mu: nMuon == 3"), ("2mu: nMuon == 2", "2mu: nMuon == 2")):
        assert run([verb, "-w", home, "a.TAG", *named]) == 2
        assert "have the name 2mu" in capsys.readouterr().err
    assert run(["count", "-w", home, "a.TAG", "nMuon == 2", "nMuon == 2"]) == 0, "without names there is no doubt"
