"""Every question of a workspace is logged for its asker, once, with what came out; `queries` of --sql shows it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from builders import build, rows, workspace

from tagsel.api import Workspace
from tagsel.base import question_log
from tagsel.errors import CatalogError, CutError, StoreError

COUNTS = [0, 1, 2, 3, 2, 1, 0, 2]
"""Muons of the eight events: four have two or more."""


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with three datasets of eight events."""
    ws = workspace(tmp_path_factory.mktemp("asked"))
    muons = {"nMuon": COUNTS, "Muon_pt": [[30.0] * n for n in COUNTS], "run": [7] * 8}
    for seed, name in enumerate(("a.TAG", "b.TAG", "c.TAG")):
        build(ws, name, rows(8, seed, **muons))
    return ws


@pytest.fixture
def home(datasets: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The workspace, and no questions yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return datasets


def test_feature_104_every_question_is_logged_with_its_answer(home: Workspace) -> None:
    """Of the eight events of each dataset four have two muons or more."""
    cut = "nMuon >= 2"
    home["a.TAG"].count(cut)
    home["a.TAG,b.TAG"].select(cut)
    home["a.TAG"].cutflow(cut, "nMuon >= 3")
    home["a.TAG"].hist("nMuon: 5, 0, 5", cut)
    home["a.TAG"].regions({"SR": cut, "CR": "nMuon < 2"})
    home["a.TAG"].sweep("nMuon >= {x}", [1, 2])
    home["a.TAG"].estimate(cut, sample=1.0)
    home["a.TAG"].triggers("HLT_mu10")
    home["a.TAG,b.TAG"].overlap(cut)
    home["a.TAG"].overlap(regions={"SR": cut, "CR": "nMuon < 2"})
    home["a.TAG"].pick(["7:0"])
    home["a.TAG"].why((7, 0), cut)
    home["a.TAG"].where(cut).head(2)
    home.datasets.find("type = ''")
    home.sql('SELECT count(*) FROM "a.TAG"')
    asked = question_log.read(home.folder)
    assert [q.verb for q in asked] == [
        "count",
        "select",
        "cutflow",
        "hist",
        "regions",
        "sweep",
        "estimate",
        "triggers",
        "overlap",
        "overlap",
        "pick",
        "why",
        "head",
        "datasets",
        "sql",
    ]
    by_verb = {question.verb: question for question in asked}
    count, listed = by_verb["count"], by_verb["select"]
    assert (count.datasets, count.text, count.read, count.accepted) == (("a.TAG@1",), cut, 8, 4)
    assert (listed.datasets, listed.read, listed.accepted) == (("a.TAG@1", "b.TAG@1"), 16, 8)
    assert count.digest == home["a.TAG"].count(f"({cut})").selection
    assert by_verb["cutflow"].accepted == 1
    assert by_verb["hist"].accepted == 4
    assert "SR: nMuon >= 2: 4" in by_verb["regions"].text
    assert by_verb["sweep"].text.startswith("1: 6; 2: 4 if ")
    assert by_verb["why"].text == f"7:0 is rejected if {cut}"
    assert by_verb["pick"].accepted == 1
    assert by_verb["sql"].accepted == 1


def test_the_text_is_the_canonical_cut(home: Workspace) -> None:
    home["a.TAG"].count("((nMuon)>=2) and (MET_pt>-1)")
    (asked,) = question_log.read(home.folder)
    assert asked.text == "nMuon >= 2 && MET_pt > -1"


def test_a_list_that_is_saved_asks_no_cutflow(home: Workspace, tmp_path: Path) -> None:
    """The cutflow in a list's provenance is made when it is asked for; it is no question of the user's."""
    home["a.TAG"].select("nMuon >= 1", "nMuon >= 2").save(tmp_path / "x.events")
    assert [question.verb for question in question_log.read(home.folder)] == ["select"]


def test_a_setting_turns_the_log_off(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    toml = home.folder / "tagsel.toml"
    text = toml.read_text()
    toml.write_text(text.replace("[settings]", "[settings]\nquestions = false"))
    home["a.TAG"].count("true")
    assert question_log.read(home.folder) == []
    toml.write_text(text)
    home["a.TAG"].count("true")
    monkeypatch.setenv("TAGSEL_QUESTIONS", "off")
    home["a.TAG"].count("true")
    assert len(question_log.read(home.folder)) == 1


def _stop(*progress: object) -> None:
    raise KeyboardInterrupt


def test_feature_104_a_question_without_an_answer_is_logged_with_the_reason(home: Workspace) -> None:
    """A cut with an unknown name, Ctrl-C, SQL and a condition that are refused, a damaged part; then one answer."""
    with pytest.raises(CutError, match="nMuons"):
        home["a.TAG"].count("nMuons >= 2", "true")
    with pytest.raises(KeyboardInterrupt):
        home["a.TAG,b.TAG"].select("nMuon > 1", progress=_stop, remember=False)
    with pytest.raises(CatalogError, match="nobody"):
        home.sql("SELECT * FROM nobody")
    with pytest.raises(CatalogError, match="colour"):
        home.datasets.find("colour = 'red'")
    home["a.TAG"].count("true")
    asked = question_log.read(home.folder)
    assert [(q.verb, q.datasets, q.text, q.accepted) for q in asked] == [
        ("count", ("a.TAG@1",), "nMuons >= 2 && true", None),
        ("select", ("a.TAG@1", "b.TAG@1"), "nMuon > 1", None),
        ("sql", (), "SELECT * FROM nobody", None),
        ("datasets", (), "colour = 'red'", None),
        ("count", ("a.TAG@1",), "true", 8),
    ]
    words = ["nMuons", "interrupted", "nobody", "colour", ""]
    assert all(word in q.error for q, word in zip(asked, words, strict=True))
    assert [bool(q.error) for q in asked] == [True] * 4 + [False]
    answered = home.sql("SELECT verb FROM queries WHERE error IS NULL AND seq IS NULL")
    assert answered.to_pylist() == [{"verb": "count"}]


def test_a_setting_that_cannot_be_read_hides_no_error_of_a_question(
    home: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cut's error, and the condition's; a question that is right meets the setting."""
    monkeypatch.setenv("TAGSEL_QUESTIONS", "perhaps")
    with pytest.raises(CutError, match="nMuons"):
        home["a.TAG"].count("nMuons >= 2")
    with pytest.raises(CatalogError, match="colour"):
        home.datasets.find("colour = 'red'")
    with pytest.raises(CatalogError, match="questions = 'perhaps'"):
        home["a.TAG"].count("true")


def test_a_question_that_damage_stops_is_logged(home: Workspace, tmp_path: Path) -> None:
    ws = workspace(tmp_path)
    build(ws, "d.TAG", rows(8, 1, nMuon=COUNTS, Muon_pt=[[30.0] * n for n in COUNTS]))
    (part,) = (ws.folder / "data" / "d.TAG").glob("*.parquet")
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    with pytest.raises(StoreError, match=part.name):
        ws["d.TAG"].select("nMuon >= 2 && MET_pt > 0 && weight < 9 && run > 0 && trigger_0 >= 0")
    (asked,) = question_log.read(ws.folder)
    assert (asked.verb, asked.datasets, asked.accepted) == ("select", ("d.TAG@1",), None)
    assert part.name in asked.error


def test_what_names_no_data_is_no_question(home: Workspace) -> None:
    """Without a dataset and its snapshot nothing was asked of any data."""
    with pytest.raises(CatalogError, match=r"z\.TAG"):
        home["z.TAG"].count("true")
    assert question_log.read(home.folder) == []


def test_queries_of_sql_shows_questions_and_changes(home: Workspace) -> None:
    """Two rows of one question to two datasets, and the line of the journal that `extend` left."""
    home["a.TAG,c.TAG"].count("nMuon >= 2")
    home.datasets.extend("c.TAG", "twice = 2 * nMuon")
    columns = "verb, dataset, snapshot, accepted, seq IS NULL AS asked"
    found = home.sql(f"SELECT {columns} FROM queries ORDER BY updated, part")
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        ("count", "a.TAG", 1, 8, True),
        ("count", "c.TAG", 1, 8, True),
        ("extend", "c.TAG", 2, 8, False),
    ]


def test_a_command_logs_its_question_when_it_ends(home: Workspace) -> None:
    command = [sys.executable, "-m", "tagsel", "-w", str(home.folder), "count", "a.TAG", "nMuon >= 2"]
    assert subprocess.run(command, env=os.environ, capture_output=True, check=True).stdout == b"4\n"
    (asked,) = question_log.read(home.folder)
    assert (asked.verb, asked.accepted) == ("count", 4)
