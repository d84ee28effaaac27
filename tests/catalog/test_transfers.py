"""Wishes for copies in our own catalog, carried out with real files: rules, subscriptions, retries, kills."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from tagsel.catalog import (
    Catalog,
    FileRecord,
    PutDataset,
    PutDowntime,
    PutFiles,
    PutReplicas,
    PutRule,
    PutSite,
    PutSubscription,
)
from tagsel.catalog.registry import Embedded
from tagsel.catalog.transfers import TRIES, carry_out
from tagsel.errors import CatalogError


def _content(k: int) -> bytes:
    return f"file {k}".encode() * 1000


def _guid(k: int) -> str:
    return f"00D1B2C3-0000-4000-8000-{k:012X}"


def _dataset(catalog: Catalog, name: str, numbers: list[int], checked: bool = True) -> None:
    """A dataset whose files lie at CERN."""
    home = Path(catalog.site("CERN").prefix)
    files = []
    for k in numbers:
        path = home / f"{name}._{k}.root"
        path.write_bytes(_content(k))
        sums = f"adler32:{zlib.adler32(_content(k)):08x}" if checked else ""
        files.append(FileRecord(_guid(k), path.name, "", "AOD", 10, path.stat().st_size, checksum=sums))
    catalog.record(PutDataset(name, type="AOD", files=len(files)), PutFiles(name, files))
    catalog.record(PutReplicas("CERN", [(f.guid, str(home / f.lfn)) for f in files]))


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """CERN and CNAF, and a dataset of three files at CERN."""
    home = tmp_path / "W"
    for folder in (home, tmp_path / "CERN", tmp_path / "CNAF"):
        folder.mkdir()
    made = Catalog(home)
    made.record(*(PutSite(s, str(tmp_path / s)) for s in ("CERN", "CNAF")))
    _dataset(made, "a.AOD", [1, 2, 3])
    return made


def test_feature_63_a_transfer_to_a_third_site_is_made_verified_and_known(catalog: Catalog, tmp_path: Path) -> None:
    Embedded(catalog).wish("a.AOD", "CNAF")
    (rule,) = carry_out(catalog)
    assert (rule.state, rule.done, rule.files, rule.tries, rule.error) == ("done", 3, 3, 0, "")
    for k in (1, 2, 3):
        assert (tmp_path / "CNAF" / "a.AOD" / f"a.AOD._{k}.root").read_bytes() == _content(k)
        assert [c.site for c in catalog.replicas([_guid(k)])[_guid(k)]] == ["CERN", "CNAF"]
    assert carry_out(catalog) == [rule]
    assert catalog.stale("CNAF") == []


def test_a_checksum_that_nobody_knew_is_kept(catalog: Catalog) -> None:
    _dataset(catalog, "b.AOD", [7], checked=False)
    Embedded(catalog).wish("b.AOD", "CNAF")
    carry_out(catalog)
    assert catalog.files("b.AOD")[0].checksum == f"adler32:{zlib.adler32(_content(7)):08x}"


def test_a_subscription_brings_new_versions(catalog: Catalog, tmp_path: Path) -> None:
    catalog.record(PutSubscription("a.*", "CNAF"))
    assert [(r.dataset, r.state, r.why) for r in carry_out(catalog)] == [("a.AOD", "done", "a.*")]
    _dataset(catalog, "a.v2.AOD", [4])
    _dataset(catalog, "other.AOD", [5])
    assert [(r.dataset, r.state) for r in carry_out(catalog)] == [("a.AOD", "done"), ("a.v2.AOD", "done")]
    assert sorted(p.name for p in (tmp_path / "CNAF").rglob("*.root")) == [
        "a.AOD._1.root",
        "a.AOD._2.root",
        "a.AOD._3.root",
        "a.v2.AOD._4.root",
    ]


def test_a_dataset_that_grows_is_completed(catalog: Catalog) -> None:
    Embedded(catalog).wish("a.AOD", "CNAF")
    carry_out(catalog)
    _dataset(catalog, "a.AOD", [4])
    assert [(r.state, r.done, r.files) for r in Embedded(catalog).rules("a.AOD")] == [("waiting", 3, 4)]
    assert [(r.state, r.done, r.files) for r in carry_out(catalog)] == [("done", 4, 4)]


def test_a_damaged_file_is_not_copied_and_the_rule_says_why_until_it_fails(catalog: Catalog, tmp_path: Path) -> None:
    bad = tmp_path / "CERN" / "a.AOD._2.root"
    bad.write_bytes(b"damage")
    Embedded(catalog).wish("a.AOD", "CNAF")
    for tries in range(1, TRIES + 1):
        (rule,) = carry_out(catalog)
        assert (rule.state, rule.done, rule.tries) == ("failed" if tries == TRIES else "waiting", 2, tries)
        assert "a.AOD._2.root" in rule.error
        assert "damaged" in rule.error
    bad.write_bytes(_content(2))
    assert carry_out(catalog)[0].state == "failed"  # until somebody asks again
    catalog.record(PutRule("a.AOD", "CNAF"))
    assert carry_out(catalog)[0].state == "done"
    assert sorted(p.name for p in (tmp_path / "CNAF").rglob("*.root")) == [f"a.AOD._{k}.root" for k in (1, 2, 3)]


def test_another_good_copy_serves_where_the_first_is_damaged_or_its_site_down(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "KIT").mkdir()
    catalog.record(PutSite("KIT", str(tmp_path / "KIT")))
    Embedded(catalog).wish("a.AOD", "KIT")
    carry_out(catalog)
    (tmp_path / "CERN" / "a.AOD._1.root").write_bytes(b"damage")
    catalog.record(PutDowntime("CERN", "2020-01-01T00:00+00:00"))
    Embedded(catalog).wish("a.AOD", "CNAF")
    assert [(r.site, r.state) for r in carry_out(catalog)] == [("CNAF", "done"), ("KIT", "done")]


def test_a_site_without_a_place_is_said(catalog: Catalog) -> None:
    catalog.record(PutSite("PAPER"))
    Embedded(catalog).wish("a.AOD", "PAPER")
    assert "has no prefix" in carry_out(catalog)[0].error
    with pytest.raises(CatalogError, match="no site 'NOWHERE'"):
        Embedded(catalog).wish("a.AOD", "NOWHERE")


def test_fault_28_a_name_never_leads_out_of_a_site(catalog: Catalog, tmp_path: Path) -> None:
    file = FileRecord(_guid(9), "../outside.root", str(tmp_path / "CERN" / "a.AOD._1.root"), "AOD")
    catalog.record(PutDataset("evil.AOD", type="AOD"), PutFiles("evil.AOD", [file]))
    Embedded(catalog).wish("evil.AOD", "CNAF")
    assert "'..'" in carry_out(catalog)[0].error
    assert not (tmp_path / "outside.root").exists()


@pytest.mark.parametrize("passage", [1, 2, 3])
def test_fault_13_a_kill_in_a_transfer_loses_nothing(catalog: Catalog, tmp_path: Path, passage: int) -> None:
    Embedded(catalog).wish("a.AOD", "CNAF")
    code = (
        "import sys, pathlib; from tagsel.catalog import Catalog, transfers;"
        "transfers.carry_out(Catalog(pathlib.Path(sys.argv[1])))"
    )
    environment = {**os.environ, "TAGSEL_KILL_AT": f"catalog.transfer:{passage}"}
    done = subprocess.run([sys.executable, "-c", code, str(catalog.folder)], env=environment, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    held = catalog.replicas([_guid(k) for k in (1, 2, 3)])
    assert sum(c.site == "CNAF" for copies in held.values() for c in copies) >= passage  # some are recorded together
    assert catalog.stale("CNAF") == []
    assert [(r.state, r.done) for r in carry_out(catalog)] == [("done", 3)]
    assert sorted(p.name for p in (tmp_path / "CNAF").rglob("*.root")) == [f"a.AOD._{k}.root" for k in (1, 2, 3)]


def test_a_closed_dataset_is_transferred_and_its_checksums_are_learnt(catalog: Catalog) -> None:
    _dataset(catalog, "b.AOD", [7], checked=False)
    catalog.alter("b.AOD", state="frozen")
    Embedded(catalog).wish("b.AOD", "CNAF")
    assert carry_out(catalog)[0].state == "done"
    assert catalog.files("b.AOD")[0].checksum == f"adler32:{zlib.adler32(_content(7)):08x}"


def test_a_copy_that_is_gone_is_made_again(catalog: Catalog, tmp_path: Path) -> None:
    Embedded(catalog).wish("a.AOD", "CNAF")
    carry_out(catalog)
    (tmp_path / "CNAF" / "a.AOD" / "a.AOD._2.root").unlink()
    assert [(r.state, r.done) for r in Embedded(catalog).rules("a.AOD")] == [("waiting", 2)]
    assert [(r.state, r.done) for r in carry_out(catalog)] == [("done", 3)]
    assert catalog.stale("CNAF") == []


def test_what_a_killed_copy_left_is_swept_up(catalog: Catalog, tmp_path: Path) -> None:
    stem = hashlib.sha256(b"a.AOD._1.root").hexdigest()[:16]
    left = tmp_path / "CNAF" / "a.AOD" / f".{stem}.part-{os.uname().nodename}-999999999"
    left.parent.mkdir()
    left.write_bytes(b"half")
    elsewhere = left.with_name(f".{stem}.part-other.example.org-999999999")  # may be alive
    elsewhere.write_bytes(b"half")
    Embedded(catalog).wish("a.AOD", "CNAF")
    carry_out(catalog)
    assert (left.exists(), elsewhere.exists()) == (False, True)


def test_a_long_name_is_copied_and_one_that_is_too_long_stops_no_other(catalog: Catalog, tmp_path: Path) -> None:
    """255 letters are what a file system takes; a name of 240 leaves no room for a mark behind it."""
    files = []
    for k, name in ((11, "l" * 240), (12, "m" * 300), (13, "short")):
        path = tmp_path / "CERN" / f"{k}"
        path.write_bytes(_content(k))
        files.append(FileRecord(_guid(k), f"{name}.root", str(path), "AOD", 10))
    catalog.record(PutDataset("long.AOD", type="AOD", files=3), PutFiles("long.AOD", files))
    for dataset in ("long.AOD", "a.AOD"):
        Embedded(catalog).wish(dataset, "CNAF")
    good, bad = carry_out(catalog)
    assert (good.dataset, good.state, good.done) == ("a.AOD", "done", 3)
    assert (bad.state, bad.done, bad.files, "too long" in bad.error) == ("waiting", 2, 3, True)
    names = {p.name for p in (tmp_path / "CNAF").rglob("*") if p.is_file()}
    assert names == {"l" * 240 + ".root", "short.root", *(f"a.AOD._{k}.root" for k in (1, 2, 3))}


def test_a_damaged_copy_is_not_counted_nor_written_over(catalog: Catalog, tmp_path: Path) -> None:
    Embedded(catalog).wish("a.AOD", "CNAF")
    carry_out(catalog)
    (copy,) = (tmp_path / "CNAF").rglob("a.AOD._2.root")
    copy.write_bytes(b"cut")
    (rule,) = carry_out(catalog)
    assert (rule.state, rule.done, "another file is there" in rule.error) == ("waiting", 2, True)
    assert copy.read_bytes() == b"cut"
    copy.unlink()
    assert [(r.state, r.done) for r in carry_out(catalog)] == [("done", 3)]


def test_a_size_that_nobody_knew_is_kept(catalog: Catalog) -> None:
    (file,) = (f for f in catalog.files("a.AOD") if f.guid == _guid(1))
    catalog.record(PutFiles("a.AOD", [replace(file, bytes=-1)]))
    Embedded(catalog).wish("a.AOD", "CNAF")
    carry_out(catalog)
    assert {f.guid: f.bytes for f in catalog.files("a.AOD")}[_guid(1)] == len(_content(1))


def test_results_of_one_name_have_copies_at_one_site(catalog: Catalog, tmp_path: Path) -> None:
    """Every job calls its result `result.parquet`; names with folders or a scope, and sites with rules, stay."""
    for k, name in ((21, "result.parquet"), (22, "result.parquet"), (23, "scope:r.root"), (24, "/store/data/r.root")):
        path = tmp_path / f"{k}"
        path.write_bytes(_content(k))
        catalog.record(PutDataset(f"s{k}.SEL"), PutFiles(f"s{k}.SEL", [FileRecord(_guid(k), name, str(path), "AOD")]))
        Embedded(catalog).wish(f"s{k}.SEL", "CNAF")
    ruled = {"rules": '[{"protocol": "p", "rules": [{"lfn": "/*(.*)", "pfn": "' + str(tmp_path / "RULED") + '/$1"}]}]'}
    catalog.record(PutSite("RULED", "", ruled))
    Embedded(catalog).wish("s21.SEL", "RULED")
    assert {r.state for r in carry_out(catalog)} == {"done"}
    there = {str(p.relative_to(tmp_path)) for s in ("CNAF", "RULED") for p in (tmp_path / s).rglob("*") if p.is_file()}
    assert there == {
        "CNAF/s21.SEL/result.parquet",
        "CNAF/s22.SEL/result.parquet",
        "CNAF/scope/r.root",
        "CNAF/store/data/r.root",
        "RULED/result.parquet",
    }


def test_a_copy_of_before_is_made_again_where_it_was(catalog: Catalog, tmp_path: Path) -> None:
    """Copies were once put beside one another, whatever their dataset; they stay where they are recorded."""
    old = tmp_path / "CNAF" / "a.AOD._1.root"
    old.write_bytes(_content(1))
    catalog.record(PutReplicas("CNAF", [(_guid(1), str(old))]))
    Embedded(catalog).wish("a.AOD", "CNAF")
    carry_out(catalog)
    assert [c.pfn for c in catalog.replicas([_guid(1)])[_guid(1)] if c.site == "CNAF"] == [str(old)]
    old.unlink()
    assert [r.state for r in carry_out(catalog)] == ["done"]
    assert old.read_bytes() == _content(1)


def test_one_site_is_carried_out_alone(catalog: Catalog, tmp_path: Path) -> None:
    catalog.record(PutSite("PAPER"))
    for site in ("CNAF", "PAPER"):
        Embedded(catalog).wish("a.AOD", site)
    assert [(r.site, r.state) for r in carry_out(catalog, "a.AOD", site="CNAF")] == [("CNAF", "done")]
    assert [(r.site, r.tries) for r in Embedded(catalog).rules("a.AOD")] == [("CNAF", 0), ("PAPER", 0)]
