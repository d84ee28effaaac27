"""sites, transfer, subscribe, datasets files and close at the command line, with mistakes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tagsel.api import Workspace
from tagsel.catalog import PutSite, SetMeta
from tagsel.cli.main import run


@dataclass(frozen=True)
class Ran:
    """What a verb printed, and its exit code."""

    code: int
    out: str
    err: str


Tell = Callable[..., Ran]

MUON = "data09_900GeV.physics_Muon.TAG"


@pytest.fixture
def tell(tmp_path: Path, sample_home: Path, capsys: pytest.CaptureFixture[str]) -> Tell:
    """Run a verb in a copy of the sample's workspace."""
    shutil.copytree(sample_home, tmp_path / "W")

    def said(*words: str) -> Ran:
        capsys.readouterr()
        code = run(["-w", str(tmp_path / "W"), *words])
        return Ran(code, *capsys.readouterr())

    return said


def test_a_site_is_added_loaded_shown_taken_down_and_up_again(tell: Tell, tmp_path: Path) -> None:
    grid = tmp_path / "grid.toml"
    grid.write_text(
        '[sites.CERN]\nprefix = "/data/cern"\ntier = 0\n[sites.CNAF]\ntier = 1\n'
        '[[links]]\nbetween = ["CERN", "CNAF"]\nrate = 1250\n'
    )
    assert tell("sites", "load", str(grid)).out.split() == ["CERN", "CNAF"]
    assert tell("sites", "add", "HOME", "--prefix", str(tmp_path / "home"), "--set", "tier=3").code == 0
    cern = json.loads(tell("sites", "show", "CERN", "--json").out)
    assert (cern["tier"], cern["prefix"], cern["links"], cern["state"]) == (0, "/data/cern", {"CNAF": 1250.0}, "up")
    assert tell("sites", "down", "CNAF", "--ends", "2999-01-01T00:00+00:00", "--reason", "cooling").code == 0
    assert tell("sites", "exclude", "CERN", "--reason", "black hole").code == 0
    states = {s["site"]: s["state"] for s in json.loads(tell("sites", "--json").out)["sites"]}
    assert states["CNAF"] == "down until 2999-01-01T00:00+00:00: cooling"
    assert states["CERN"] == "excluded: black hole"
    for site in ("CERN", "CNAF"):
        assert tell("sites", "up", site).out == f"{site} is up\n"
    assert tell("sites", "up", "CERN").out == "CERN is up, as it was\n"


def test_a_copy_whose_file_is_gone_is_stale(tell: Tell, tmp_path: Path) -> None:
    tell("sites", "add", "HERE", "--prefix", str(tmp_path / "here"))
    done = tell("transfers", "request", MUON, "HERE")
    assert done.code == 0, done.err
    assert json.loads(tell("sites", "show", "HERE", "--json").out)["stale"] == []
    (place,) = tell("datasets", "files", MUON, "--site", "HERE").out.split()
    Path(place).unlink()
    shown = tell("sites", "show", "HERE", "--json")
    assert shown.code == 3
    assert [s["pfn"] for s in json.loads(shown.out)["stale"]] == [place]


def test_a_subscription_is_made_carried_out_and_ended(tell: Tell, tmp_path: Path) -> None:
    tell("sites", "add", "HERE", "--prefix", str(tmp_path / "here"))
    assert tell("subscriptions", "add", "*Muon.TAG", "HERE").code == 0
    assert tell("subscriptions", "--csv").out.splitlines() == ["pattern,site", "*Muon.TAG,HERE"]
    (rule,) = json.loads(tell("transfers", "run", "--json").out)["transfers"]
    assert (rule["dataset"], rule["state"], rule["done"], rule["files"]) == (MUON, "done", 1, 1)
    assert tell("subscriptions", "end", "*Muon.TAG", "HERE").code == 0
    assert tell("subscriptions", "--csv").out.splitlines() == ["pattern,site"]


def test_a_wish_is_for_one_site_and_can_be_taken_back(tell: Tell, tmp_path: Path) -> None:
    """PAPER has no place for copies, so its wish fails at its third try; HERE has one."""
    tell("sites", "add", "PAPER")
    tell("sites", "add", "HERE", "--prefix", str(tmp_path / "here"))
    assert tell("transfers", "request", MUON, "PAPER").code == 3
    tell("transfers", "run"), tell("transfers", "run")
    here = tell("transfers", "request", MUON, "HERE", "--json")
    (rule,) = json.loads(here.out)["transfers"]
    assert (here.code, rule["site"], rule["state"]) == (0, "HERE", "done")
    assert tell("transfers").code == 3
    gone = tell("transfers", "cancel", MUON, "PAPER")
    assert gone.out == f"{MUON} is no more asked for at PAPER; 0 of its 1 files are there, and stay\n"
    again = tell("transfers", "cancel", MUON, "PAPER")
    assert (again.code, "no copies of" in again.err, "they were at HERE" in again.err) == (2, True, True)
    assert tell("transfers").code == 0
    (taken,) = [json.loads(tell("transfers", "cancel", MUON, "HERE", "--json").out)["cancelled"]]
    assert (taken["site"], taken["done"], taken["files"]) == ("HERE", 1, 1)
    (place,) = tell("datasets", "files", MUON, "--site", "HERE").out.split()
    assert Path(place).is_file()


def test_a_wish_that_a_subscription_would_make_again_is_not_taken_back(tell: Tell, tmp_path: Path) -> None:
    tell("sites", "add", "HERE", "--prefix", str(tmp_path / "here"))
    tell("subscriptions", "add", "*Muon.TAG", "HERE")
    tell("transfers", "run")
    refused = tell("transfers", "cancel", MUON, "HERE")
    assert (refused.code, "subscriptions end" in refused.err) == (2, True)
    tell("subscriptions", "end", "*Muon.TAG", "HERE")
    assert tell("transfers", "cancel", MUON, "HERE").code == 0


def test_a_rule_of_another_catalog_is_not_taken_back_here(tell: Tell, tmp_path: Path) -> None:
    catalog = Workspace(tmp_path / "W").catalog
    catalog.record(PutSite("FAR", "", {"catalog": "rucio"}), SetMeta(MUON, {"catalog": "rucio"}))
    refused = tell("transfers", "cancel", MUON, "FAR")
    assert (refused.code, "those of catalog rucio" in refused.err) == (2, True)


def test_a_closed_dataset_takes_no_rows(tell: Tell) -> None:
    assert tell("datasets", "close", MUON).out == f"{MUON} is closed\n"
    sample = Path(__file__).parents[2] / "data/sample/files/data09_900GeV.physics_MinBias.TAG._0001.parquet"
    refused = tell("ingest", str(sample), "--dataset", MUON)
    assert (refused.code, "is closed: its content cannot change" in refused.err) == (2, True)
    assert tell("datasets", "freeze", MUON).out == f"{MUON} is frozen\n"
    assert json.loads(tell("datasets", "show", MUON, "--json").out)["state"] == "frozen"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["transfers", "request", MUON, "HOMME"], "did you mean HOME"),
        (["transfers", "cancel", MUON, "HOMME"], "did you mean HOME"),
        (["sites", "tst"], "did you mean test"),
        (["transfers", "request", "nothing.TAG", "HOME"], "no dataset 'nothing.TAG'"),
        (["sites", "show", "HOMME"], "did you mean HOME"),
        (["sites", "down", "HOME", "--ends", "tomorrow"], "is no time"),
        (["sites", "load", "nothing.toml"], "cannot be read"),
        (["sites", "add", "../x"], "cannot name"),
        (["subscriptions", "add", "a.*", "HOMME"], "did you mean HOME"),
        (["subscriptions", "end", "a.*", "HOME"], "there are none"),
        (["catalogs", "sync"], "no other catalog is mirrored"),
        (["catalogs", "add", "ruico"], "did you mean rucio"),
        (["catalogs", "publish", MUON, "--site", "X"], "no other catalog is mirrored"),
        (["datasets", "files", MUON, "--site", "HOMME"], "did you mean HOME"),
        (["datasets", "close", "nothing.TAG"], "no dataset 'nothing.TAG'"),
    ],
)
def test_mistakes_are_said(tell: Tell, words: list[str], said: str) -> None:
    done = tell(*words)
    assert (done.code, said in done.err) == (2, True), done.err
