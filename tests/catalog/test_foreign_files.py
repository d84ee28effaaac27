"""Files of a catalog are bound to its journal: those of another workspace, copied here, are not taken for its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import duckdb
import pytest

from tagsel.api.recovering import _of_journal
from tagsel.catalog import Catalog, PutDataset
from tagsel.catalog.recovery import recover
from tagsel.errors import CatalogError

OWN = ["own0.TAG", "own1.TAG", "own2.TAG"]
OTHER = [f"other{number}.TAG" for number in range(7)]


def _catalog(folder: Path, names: list[str]) -> Catalog:
    folder.mkdir()
    catalog = Catalog(folder)
    for name in names:
        catalog.record(PutDataset(name))
    return catalog


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The folders of two catalogs, with a checkpoint each: one with the datasets OWN, one with OTHER."""
    monkeypatch.setattr("tagsel.catalog.state._TAIL", 0)
    _catalog(tmp_path / "own", OWN)
    _catalog(tmp_path / "other", OTHER)
    return tmp_path / "own", tmp_path / "other"


@pytest.mark.parametrize("name", ["catalog.duckdb", "catalog.json"])
@pytest.mark.parametrize("to_other", [False, True], ids=["a longer one", "a shorter one"])
def test_a_view_or_checkpoint_of_another_workspace_is_made_again(
    folders: tuple[Path, Path], name: str, to_other: bool
) -> None:
    """The journal knows its own datasets, whichever of the two catalogs knows more lines."""
    here, there = folders[::-1] if to_other else folders
    names = OTHER if to_other else OWN
    whole = (here / "catalog.journal").read_bytes()
    shutil.copy(there / name, here / name)
    again = Catalog(here)
    assert again.names() == names
    assert [record.name for record in again.datasets("true")] == names  # by the view
    assert again.rebuild() == len(names)
    assert not recover(here).needed
    assert (here / "catalog.journal").read_bytes() == whole
    again.record(PutDataset("z.TAG"))
    assert [record.name for record in Catalog(here).datasets("true")] == [*names, "z.TAG"]


@pytest.mark.parametrize("name", ["catalog.duckdb", "catalog.json", "catalog.tip"])
def test_recover_makes_a_file_of_another_workspace_again_and_leaves_the_journal(
    folders: tuple[Path, Path], name: str
) -> None:
    own, other = folders
    whole = (own / "catalog.journal").read_bytes()
    shutil.copy(other / name, own / name)
    said = recover(own, dry_run=True)
    assert (said.foreign, said.known, said.lost, said.restored) == ((name,), len(OWN), (), ())
    assert _of_journal(said) == [f"{name} is of another workspace: nothing is taken from it"]
    assert recover(own) == said
    assert (own / "catalog.journal").read_bytes() == whole
    assert [record.name for record in Catalog(own).datasets("true")] == Catalog(own).names() == OWN
    assert not recover(own).needed


def test_a_view_of_another_workspace_that_an_older_tagsel_wrote_is_made_again(folders: tuple[Path, Path]) -> None:
    """It states no journal, but the times of its rows are not those of the journal's lines."""
    own, other = folders
    whole = (own / "catalog.journal").read_bytes()
    with duckdb.connect(str(other / "catalog.duckdb")) as connection:
        connection.execute("ALTER TABLE view_state DROP COLUMN origin")
        connection.execute("UPDATE view_state SET version = 5")
    shutil.copy(other / "catalog.duckdb", own / "catalog.duckdb")
    with pytest.raises(CatalogError, match=r"catalog\.duckdb knew 7 lines"):
        Catalog(own).datasets("true")
    assert recover(own).foreign == ("catalog.duckdb",)
    assert (own / "catalog.journal").read_bytes() == whole
    assert [record.name for record in Catalog(own).datasets("true")] == OWN


def test_files_of_an_older_tagsel_are_bound_at_the_next_change(folders: tuple[Path, Path]) -> None:
    own, other = folders
    for name in ("catalog.json", "catalog.tip"):
        (own / name).unlink()
    with duckdb.connect(str(own / "catalog.duckdb")) as connection:
        connection.execute("ALTER TABLE view_state DROP COLUMN origin")
        connection.execute("UPDATE view_state SET version = 5")
    Catalog(own).record(PutDataset("own3.TAG"))
    origin = json.loads((own / "catalog.journal").read_bytes().splitlines()[0])["sha256"]
    assert json.loads((own / "catalog.tip").read_bytes())["origin"] == origin
    assert json.loads((own / "catalog.json").read_bytes().splitlines()[0])["origin"] == origin
    with duckdb.connect(str(own / "catalog.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT version, seq, origin FROM view_state").fetchall() == [(6, 4, origin)]
    shutil.copy(other / "catalog.duckdb", own / "catalog.duckdb")
    assert [record.name for record in Catalog(own).datasets("true")] == [*OWN, "own3.TAG"]


def test_a_journal_of_another_workspace_is_damage_and_the_view_gives_its_own_back(folders: tuple[Path, Path]) -> None:
    own, other = folders
    shutil.copy(other / "catalog.journal", own / "catalog.journal")
    for ask in (lambda: Catalog(own).names(), lambda: Catalog(own).datasets("true"), lambda: Catalog(own).rebuild()):
        with pytest.raises(CatalogError, match=r"catalog\.journal is that of another workspace"):
            ask()
    with pytest.raises(CatalogError, match="another workspace"):
        Catalog(own).record(PutDataset("z.TAG"))
    said = recover(own, dry_run=True)
    assert (said.foreign, said.lines, said.known, said.lost) == (("catalog.journal",), 0, len(OWN), ())
    done = recover(own)
    assert (own / done.kept).read_bytes() == (other / "catalog.journal").read_bytes()
    assert [record.name for record in Catalog(own).datasets("true")] == Catalog(own).names() == OWN
    assert not recover(own).needed


def test_a_tip_of_another_workspace_is_foreign_where_no_file_has_rows(folders: tuple[Path, Path]) -> None:
    """View and checkpoint are gone: the journal has rows, the tip has none, so the journal counts."""
    own, other = folders
    whole = (own / "catalog.journal").read_bytes()
    for name in ("catalog.duckdb", "catalog.json"):
        (own / name).unlink()
    shutil.copy(other / "catalog.tip", own / "catalog.tip")
    assert Catalog(own).names() == OWN
    assert [record.name for record in Catalog(own).datasets("true")] == OWN
    said = recover(own)
    assert (said.foreign, said.lines, said.known, said.lost) == (("catalog.tip",), len(OWN), len(OWN), ())
    assert (own / "catalog.journal").read_bytes() == whole
    assert json.loads((own / "catalog.tip").read_bytes())["seq"] == len(OWN)
    assert not recover(own).needed
    Catalog(own).record(PutDataset("z.TAG"))
    assert Catalog(own).names() == [*OWN, "z.TAG"]


@pytest.mark.parametrize("name", ["catalog.duckdb", "catalog.json"])
def test_a_journal_is_foreign_where_a_file_with_rows_says_so(folders: tuple[Path, Path], name: str) -> None:
    """The tip came with the other journal or is gone; the one file that is left has rows of the workspace's own."""
    own, other = folders
    for file in {"catalog.duckdb", "catalog.json", "catalog.tip"} - {name}:
        (own / file).unlink()
    shutil.copy(other / "catalog.journal", own / "catalog.journal")
    assert recover(own, dry_run=True).foreign == ("catalog.journal",)
