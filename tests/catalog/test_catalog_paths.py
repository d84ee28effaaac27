"""Logical file names: nothing outside a site's prefix is ever named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagsel.catalog import (
    Catalog,
    FileRecord,
    PutDataset,
    PutFiles,
    PutReplicas,
    PutSite,
    resolve_pfn,
    safe_lfn,
)
from tagsel.errors import AccessError

BAD = [
    "",
    "/etc/passwd",
    "..",
    "a/../../b",
    "a/..",
    "../a",
    "a\0b",
    "a\nb",
    "~/x",
    "a\\..\\b",
    "root://x//y",
    "x" * 5000,
]


@pytest.mark.parametrize("lfn", BAD)
def test_fault_28_an_lfn_that_leads_elsewhere_is_refused(lfn: str, tmp_path: Path) -> None:
    with pytest.raises(AccessError):
        safe_lfn(lfn)
    with pytest.raises(AccessError):
        resolve_pfn(tmp_path, lfn)


def test_fault_28_a_link_out_of_the_root_is_refused(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root, outside):
        folder.mkdir()
    (root / "away").symlink_to(outside)
    (root / "loop").symlink_to("loop")
    (root / "here").symlink_to(root / "real")
    for lfn in ("away/f.root", "away", "loop/f.root"):
        with pytest.raises(AccessError):
            resolve_pfn(root, lfn)
    assert resolve_pfn(root, "here/f.root") == root.resolve() / "real" / "f.root"
    assert resolve_pfn(root, "new/f..root") == root.resolve() / "new" / "f..root"
    with pytest.raises(AccessError):
        resolve_pfn("relative", "f.root")


@given(st.lists(st.sampled_from(["..", ".", "a", "", "b.root", "~"]), max_size=6).map("/".join))
def test_fault_28_a_resolved_path_lies_under_its_prefix(lfn: str) -> None:
    root = Path("/nowhere/at/all")
    try:
        path = resolve_pfn(root, lfn)
    except AccessError:
        return
    assert path == root or root in path.parents


def test_feature_60_stale_copies_are_found_by_site(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (store / "a.root").touch()
    guids = [f"0000000{i}-0000-4000-8000-00000000000A" for i in range(4)]
    catalog = Catalog(tmp_path)
    catalog.record(
        PutDataset("d.TAG"),
        PutFiles("d.TAG", [FileRecord(g, lfn=f"{n}.root") for g, n in zip(guids, "abcd", strict=True)]),
        PutSite("CERN", str(store)),
        PutSite("BNL", "root://bnl/"),
        PutReplicas("CERN", [(guids[0], "a.root"), (guids[1], "b.root"), (guids[2], str(tmp_path / "c.root"))]),
        PutReplicas("BNL", [(guids[0], "root://bnl//a.root"), (guids[3], "d.root")]),
    )
    assert [r.guid for r in catalog.stale("CERN")] == [guids[1], guids[2]]
    assert catalog.stale("BNL") == []  # remote: nothing can be said
    assert [(r.site, r.pfn) for r in catalog.replicas([guids[0].lower()])[guids[0]]] == [
        ("BNL", "root://bnl//a.root"),
        ("CERN", "a.root"),
    ]
    assert catalog.replicas([]) == {}
    catalog.record(PutReplicas("CERN", [(guids[3], "../../etc/passwd")]))
    with pytest.raises(AccessError):
        catalog.stale("CERN")
