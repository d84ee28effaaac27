"""Frozen datasets: what they held then stays with them, and is compared."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from builders import build, rows, workspace
from nanofile import nano

from tagsel.api import Workspace
from tagsel.catalog import PutDataset, SetMeta
from tagsel.cli.main import run
from tagsel.errors import CatalogError, TagselError
from tagsel.store import disk


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    """The same 12 events twice: in one file, and in three whose order is another."""
    made = workspace(tmp_path)
    lumi = np.array([1, 1, 2, 2, 2, 5, 5, 6, 7, 7, 7, 7], np.int32)
    all_of_it = rows(12, run=np.full(12, 7, np.int32), lumi=lumi)
    build(made, "one.TAG", all_of_it)
    build(made, "three.TAG", *({c: v[a:b] for c, v in all_of_it.items()} for a, b in ((8, 12), (0, 3), (3, 8))))
    return made


def test_feature_17_a_frozen_dataset_keeps_its_luminosity_and_digests(home: Workspace) -> None:
    """Blocks 1, 2, 5, 6 and 7 of run 7 have events: five. However the events were ingested, or packed since."""
    blocks = json.dumps({"7": [[1, 2], [5, 7]]}) + "\n"
    kept = home.datasets.freeze("one.TAG", meta={"luminosity_fb": 36.1})
    assert (kept["frozen_lumi_blocks"], kept["luminosity_fb"]) == (5, 36.1)
    assert kept["frozen_lumi"] == hashlib.sha256(blocks.encode()).hexdigest()
    assert kept["frozen_events"] == home["one.TAG"].where("true").events().digest
    assert {key: home.catalog.dataset("one.TAG").meta[key] for key in kept} == kept
    home.datasets.compact("three.TAG")
    same = home.datasets.freeze("three.TAG")
    assert same == {key: value for key, value in kept.items() if key != "luminosity_fb"}
    assert home.datasets.find("luminosity_fb > 30 and state = 'frozen'").names() == ["one.TAG"]
    assert not [f for f in home.datasets.check("one.TAG,three.TAG").findings if "frozen" in f.what]


def test_feature_17_what_is_not_as_it_was_is_found(home: Workspace) -> None:
    home.datasets.freeze("one.TAG")
    home.catalog.record(SetMeta("one.TAG", {"frozen_events": "0" * 64}))
    found = [f for f in home.datasets.check("one.TAG").findings if "frozen" in f.what]
    assert [(f.kind, f.count, f.names) for f in found] == [("corrupt", 1, ("frozen_events",))]
    assert not home.datasets.check("one.TAG").sound
    home.datasets.freeze("one.TAG")  # again: that hides nothing
    assert not home.datasets.check("one.TAG").sound


def test_what_is_closed_stays_closed(home: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is worked out of one that is closed only; its keys cannot be taken by hand."""
    assert home.datasets.close("one.TAG") == {}
    with pytest.raises(CatalogError, match="frozen_lumi is worked out from the content"):
        home.datasets.freeze("one.TAG", meta={"frozen_lumi": 1})
    assert home.catalog.dataset("one.TAG").state == "closed"
    assert run(["-w", str(home.folder), "datasets", "freeze", "one.TAG", "--meta", "luminosity_fb=1.5"]) == 0
    said = capsys.readouterr()
    assert said.out == "one.TAG is frozen\n"
    assert said.err.startswith("luminosity_fb = 1.5\nfrozen_lumi_blocks = 5\n")


def test_a_dataset_that_is_closed_while_files_are_read_gets_none_of_their_rows(tmp_path: Path) -> None:
    """Closed after the ingest has asked whether it is open, and has written a part, and before it commits."""
    home = workspace(tmp_path)
    home.ingest(nano(tmp_path / "a.root", 1000), dataset="x.TAG")
    folder, written, errors = home.folder / "data" / "x.TAG", threading.Event(), []
    before = sorted(p.name for p in folder.rglob("*.parquet"))

    def add() -> None:
        try:
            Workspace(home.folder).ingest(
                nano(tmp_path / "b.root", 2000), dataset="x.TAG", progress=lambda _: written.set()
            )
        except CatalogError as error:
            errors.append(error.message)

    other = threading.Thread(target=add)
    with disk.changing(folder):  # as `close` holds it
        other.start()
        assert written.wait(60)
        home.catalog.alter("x.TAG", state="frozen")
    other.join()
    assert errors == ["dataset x.TAG is frozen: its content cannot change"]
    assert home.home.table("x.TAG").snapshot().rows == home.catalog.dataset("x.TAG").events == 25
    assert sorted(p.name for p in folder.rglob("*.parquet")) == before


def test_keys_that_say_whose_a_dataset_is_are_not_the_users(home: Workspace, tmp_path: Path) -> None:
    """Else one could pass for another catalog's, whose states are not ours to keep."""
    home.datasets.freeze("one.TAG")
    for key in ("catalog", "Scope", "published"):
        with pytest.raises(CatalogError, match=f"{key.lower()} is a key of tagsel's own"):
            home.datasets.freeze("one.TAG", meta={key: "x"})
        with pytest.raises(CatalogError, match="key of tagsel's own"):
            home.ingest(nano(tmp_path / "a.root", 1000), dataset="new.TAG", meta={key: "x"})
    with pytest.raises(CatalogError, match="does not become closed again"):
        home.datasets.close("one.TAG", meta={"note": "late"})
    assert "note" not in home.catalog.dataset("one.TAG").meta
    assert home.catalog.dataset("one.TAG").state == "frozen"
    assert "new.TAG" not in home


def test_a_dataset_that_is_frozen_before_damage_is_met_is_said_to_be(home: Workspace) -> None:
    """The content cannot be read, so its digests are not recorded; but nothing adds to it any more."""
    (part,) = (home.folder / "data" / "one.TAG").glob("*.parquet")
    whole = part.read_bytes()
    part.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TagselError, match=r"one\.TAG is frozen, but then: .*" + part.name) as failed:
        home.datasets.freeze("one.TAG")
    assert "the same command again says the rest" in failed.value.hint
    assert home.catalog.dataset("one.TAG").state == "frozen"
    assert "frozen_events" not in home.catalog.dataset("one.TAG").meta
    part.write_bytes(whole)
    assert home.datasets.freeze("one.TAG")["frozen_lumi_blocks"] == 5


def test_a_container_takes_no_rows(home: Workspace, tmp_path: Path) -> None:
    home.catalog.record(PutDataset("both.TAG", members=("one.TAG", "three.TAG")))
    with pytest.raises(CatalogError, match=r"both\.TAG is a container"):
        home.ingest(nano(tmp_path / "a.root", 1000), dataset="both.TAG")
    with pytest.raises(CatalogError, match=r"both\.TAG is a container") as refused:
        home.datasets.runs("both.TAG")
    assert "one.TAG" in refused.value.hint
    assert not (home.folder / "data" / "both.TAG").exists()


@pytest.mark.parametrize("freeze", [False, True])
def test_fault_58_a_frozen_dataset_is_not_extended(home: Workspace, freeze: bool) -> None:
    home.datasets.freeze("one.TAG") if freeze else home.datasets.close("one.TAG")
    before = home["one.TAG"].inputs[0].snapshot.number
    with pytest.raises(CatalogError, match="one.TAG is (closed|frozen): its content cannot change"):
        home.datasets.extend("one.TAG", "double = 2 * MET_pt")
    assert home["one.TAG"].inputs[0].snapshot.number == before
    assert home.datasets.extend("three.TAG", "double = 2 * MET_pt").matched == 12


def test_fault_58_retracting_a_file_behind_a_frozen_dataset_names_it_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of 25 events is in two datasets, of which one is frozen: 25 rows go, 25 stay and are named."""
    home = workspace(tmp_path)
    path = nano(tmp_path / "x.root", 1)
    for name in ("kept.TAG", "open.TAG"):
        home.ingest(path, dataset=name)
    frozen = home.datasets.freeze("kept.TAG")
    assert run(["-w", str(home.folder), "datasets", "retract", str(path), "--reason", "bad", "--yes"]) == 3
    assert "kept.TAG is frozen: it keeps its 25 rows of x.root" in capsys.readouterr().err
    assert (home["kept.TAG"].events, home["open.TAG"].events) == (25, 0)
    assert home["kept.TAG"].where("true").events().digest == frozen["frozen_events"]
    with pytest.raises(CatalogError, match="x.root is behind 25 of 25 rows of kept.TAG, which is frozen"):
        home.datasets.retract(path, reason="bad")
