"""Datasets as they stand: open, closed, frozen; containers; ids; sites that are down. What may be done when."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from tagsel.catalog import (
    Catalog,
    DropDataset,
    FileRecord,
    PutDataset,
    PutDowntime,
    PutFiles,
    PutSite,
)
from tagsel.errors import CatalogError

GUID = "00D1B2C3-0000-4000-8000-00000000000A"


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """A catalog with two datasets of one file."""
    made = Catalog(tmp_path)
    for name in ("a.TAG", "b.TAG"):
        made.record(PutDataset(name, version="1", events=7, files=1), PutFiles(name, [FileRecord(GUID, kind="TAG")]))
    return made


@pytest.mark.parametrize("state", ["closed", "frozen"])
def test_nothing_is_added_to_a_closed_dataset(catalog: Catalog, state: str) -> None:
    catalog.alter("a.TAG", state=state)
    for change in (
        PutFiles("a.TAG", [FileRecord(GUID, "other", kind="TAG")]),
        PutDataset("a.TAG", version="1", events=8, files=1, state=state),
        PutDataset("a.TAG", version="2", events=7, files=1, state=state),
        PutDataset("a.TAG", version="1", events=7, files=1),  # open again
    ):
        with pytest.raises(CatalogError, match=f"a.TAG is {state}"):
            catalog.record(change)
    with pytest.raises(CatalogError, match="its content cannot change"):
        catalog.need_open("a.TAG")
    catalog.need_open("b.TAG")
    catalog.record(PutFiles("a.TAG", [FileRecord(GUID, "aod", kind="AOD")]))  # what it points to may become known
    assert catalog.dataset("a.TAG").events == 7


def test_feature_74_a_frozen_dataset_stays(catalog: Catalog) -> None:
    catalog.alter("a.TAG", state="closed")
    catalog.alter("a.TAG", state="frozen")
    with pytest.raises(CatalogError, match="frozen"):
        catalog.record(DropDataset("a.TAG"))
    with pytest.raises(CatalogError, match="does not become closed again"):
        catalog.alter("a.TAG", state="closed")
    catalog.alter("b.TAG", state="closed")
    catalog.record(DropDataset("b.TAG"))
    assert catalog.names() == ["a.TAG"]


def test_an_id_is_of_name_and_version_alone(catalog: Catalog, tmp_path: Path) -> None:
    other = Catalog(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    other.record(PutDataset("a.TAG", version="1", events=99), PutDataset("c.TAG"))
    a, b = catalog.dataset("a.TAG"), catalog.dataset("b.TAG")
    assert a.id == other.dataset("a.TAG").id
    assert len({a.id, b.id, other.dataset("c.TAG").id}) == 3
    other.record(PutDataset("a.TAG", version="2"))
    assert other.dataset("a.TAG").id != a.id


def test_a_record_is_not_changed_by_what_was_made_of_an_older_one(catalog: Catalog) -> None:
    old = catalog.dataset("a.TAG")
    catalog.record(PutDataset("a.TAG", version="1", events=9, files=2))
    with pytest.raises(CatalogError, match="changed meanwhile"):
        catalog.record(PutDataset("a.TAG", version="1", events=7, state="closed", after=old.seq))
    assert catalog.alter("a.TAG", state="closed").events == 9


def test_a_container_stands_for_what_it_holds(catalog: Catalog) -> None:
    catalog.record(PutDataset("inner", members=("a.TAG",)))
    catalog.record(PutDataset("outer", members=("inner", "b.TAG")))
    assert [record.name for record, _ in catalog.resolve("outer")] == ["a.TAG", "b.TAG"]
    assert [record.name for record, _ in catalog.resolve("outer,a.TAG")] == ["a.TAG", "b.TAG"]
    assert catalog.dataset("outer").members == ("inner", "b.TAG")
    assert catalog.datasets("name = 'outer'")[0].members == ("inner", "b.TAG")
    held = catalog.sql("SELECT member FROM members WHERE dataset = 'outer' ORDER BY position")
    assert held.column("member").to_pylist() == ["inner", "b.TAG"]
    with pytest.raises(CatalogError, match="would hold itself"):
        catalog.record(PutDataset("inner", members=("outer",)))
    with pytest.raises(CatalogError, match="no dataset 'nothing'"):
        catalog.record(PutDataset("outer", members=("nothing",)))
    with pytest.raises(CatalogError, match="container inner holds dataset a.TAG"):
        catalog.record(DropDataset("a.TAG"))
    catalog.record(DropDataset("outer"), DropDataset("inner"), DropDataset("a.TAG"))
    assert catalog.names() == ["b.TAG"]


def test_feature_85_a_site_is_down_from_its_begin_until_before_its_end(catalog: Catalog) -> None:
    catalog.record(PutSite("S"), PutSite("T"))
    catalog.record(PutDowntime("S", "2026-11-25T08:00+00:00", "2026-11-25T10:00+00:00", "power"))
    catalog.record(PutDowntime("T", "2026-11-25T10:30+01:00"))  # 09:30 in UTC, open
    for when, down in (("07:59", set()), ("08:00", {"S"}), ("09:30", {"S", "T"}), ("10:00", {"T"}), ("23:00", {"T"})):
        assert set(catalog.down(datetime.fromisoformat(f"2026-11-25T{when}+00:00"))) == down


@pytest.mark.parametrize(
    ("site", "begins", "ends", "said"),
    [
        ("X", "2026-11-25T08:00+00:00", "", "no site 'X'"),
        ("S", "", "", "end is before its begin"),
        ("S", "tomorrow", "", "is no time"),
        ("S", "2026-11-25T08:00", "", "has no time zone"),
        ("S", "2026-11-25T08:00+00:00", "2026-11-25T07:00+00:00", "end is before its begin"),
    ],
)
def test_a_downtime_that_makes_no_sense_is_refused(
    catalog: Catalog, site: str, begins: str, ends: str, said: str
) -> None:
    catalog.record(PutSite("S"))
    with pytest.raises(CatalogError, match=said):
        catalog.record(PutDowntime(site, begins, ends))
