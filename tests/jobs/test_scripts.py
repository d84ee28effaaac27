"""Scripts and pieces: checked before anything is sent; a piece is self-contained and named by its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tagsel.aod import Layout, wanted_of
from tagsel.errors import AccessError, JobError
from tagsel.jobs import Piece, plan_job
from tagsel.jobs.piece import Recipe, read_piece, write_piece
from tagsel.jobs.script import check_script, load_process

GOOD = 'branches = ["Muon_*"]\nbatch = 500\n\ndef process(events):\n    return {"n": len(events)}\n'


def test_a_script_says_what_it_reads(script: Callable[..., Path]) -> None:
    assert check_script(script(GOOD)) == (GOOD, ("Muon_*",), 500, {})
    assert check_script(script("def process(events): ...\n"))[1:] == (("*",), 10_000, {})
    assert check_script(script('branches = "MET_pt"\nfrom mine import process\n')).branches == ("MET_pt",)
    assert check_script(script('units = {"met": "GeV"}\n' + GOOD)).units == {"met": "GeV"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def process(events)\n    pass\n", "line 1: "),
        ("x = 1\n", r"defines no process\(events\)"),
        ("def process():\n    pass\n", "line 1: process takes 0 arguments"),
        ("\ndef process(a, b):\n    pass\n", "line 2: process takes 2 arguments"),
        ("branches = []\ndef process(e): ...\n", "branches is to be a list of patterns"),
        ("branches = [3]\ndef process(e): ...\n", "branches is to be a list of patterns"),
        ("import os\nbranches = os.listdir()\ndef process(e): ...\n", "line 2: branches is to be written out"),
        ("units = ['GeV']\ndef process(e): ...\n", "names with their units were expected"),
        ("units = {'met': 'gev'}\ndef process(e): ...\n", "the unit of met is 'gev'"),
        ("batch = 0\ndef process(e): ...\n", "batch is 0"),
        ("x = '\0'\ndef process(e): ...\n", "null bytes"),
    ],
)
def test_feature_92_bad_scripts_are_named_before_dispatch(script: Callable[..., Path], text: str, message: str) -> None:
    with pytest.raises(JobError, match=message) as caught:
        check_script(script(text))
    assert "job.py" in caught.value.message


def test_a_missing_script_and_an_unknown_branch(sample: Any, tmp_path: Path, script: Callable[..., Path]) -> None:
    events = sample.events([1])
    with pytest.raises(JobError, match=r"script .*none\.py: No such file"):
        plan_job(events, sample.map(events), tmp_path / "none.py")
    with pytest.raises(AccessError, match="'Elektron_pt' matches no branch"):
        plan_job(events, sample.map(events), script('branches = ["Elektron_pt"]\ndef process(e): ...\n'))
    (tmp_path / "latin.py").write_bytes(b"# \xe9\n")
    with pytest.raises(JobError, match="not UTF-8"):
        check_script(tmp_path / "latin.py")


def test_checking_does_not_run_the_script(script: Callable[..., Path], tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    text = f"open({str(marker)!r}, 'w').close()\ndef process(events): return {{}}\n"
    check_script(script(text))
    assert not marker.exists()
    load_process(text)
    assert marker.exists()


def test_a_piece_is_the_same_bytes_for_the_same_work(sample: Any, tmp_path: Path) -> None:
    events = sample.events([3, 60, 61, 119])
    files = wanted_of(sample.map(events), events)
    recipe = Recipe(GOOD, ("Muon_*",), 500, Layout("t", {"run": ("rn",)}), "example.root")
    digest = write_piece(tmp_path / "a.piece", Piece(7, files, "CNAF"), recipe)
    assert write_piece(tmp_path / "b.piece", Piece(7, files, "CNAF"), recipe) == digest
    content = (tmp_path / "a.piece").read_bytes()
    assert content == (tmp_path / "b.piece").read_bytes()
    assert hashlib.sha256(content).hexdigest() == digest
    piece, read, again = read_piece(tmp_path / "a.piece")
    assert (piece.number, piece.site, piece.n_events, again) == (7, "CNAF", 4, digest)
    assert (read.script, read.branches, read.batch, read.example) == (GOOD, ("Muon_*",), 500, "example.root")
    assert read.layout == Layout("t", {"run": ["rn"]})
    for a, b in zip(piece.files, files, strict=True):
        assert (a.guid, a.pfn, a.lfn, a.file_entries) == (b.guid, b.pfn, b.lfn, b.file_entries)
        for column in ("rows", "entries", "run", "lumi", "event"):
            assert getattr(a, column).tolist() == getattr(b, column).tolist()


def test_a_damaged_piece_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.piece"
    write_piece(path, Piece(0, ()), Recipe(GOOD))
    assert read_piece(path)[0].n_events == 0
    for bad in (path.read_bytes()[:100], b"", b"not a zip"):
        path.write_bytes(bad)
        with pytest.raises(JobError, match=r"x\.piece: not a piece of a job"):
            read_piece(path)
