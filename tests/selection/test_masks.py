"""Remembered masks spare work and change no answer: sequences of refinements, thresholds, other processes, damage."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from builders import build, rows, workspace

from tagsel.api import Workspace
from tagsel.base.cache import Cache
from tagsel.engine import bitmap_files, compiled_scan
from tagsel.engine.bitmap_cache import MASKS
from tagsel.quality import LumiSet
from tagsel.selection import Count, Query, count, select
from tagsel.store import layout

STEPS = (
    "MET_pt > {}",
    "MET_pt < {}",
    "nMuon >= 2",
    "sum(Muon.pt) > {}",
    "(HLT_mu10 || lumi == 3)",
    "run in (7, 9)",
    "!(Muon.pt[0] > {})",
)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No masks from other tests; small parts are kept on disk, and row groups do not end at bytes."""
    monkeypatch.setattr(bitmap_files, "FEWEST_ROWS", 1)
    monkeypatch.setattr(bitmap_files, "_listed", Cache("mask-names", entries=1024))
    monkeypatch.setattr(layout, "ROW_GROUP", 100)
    monkeypatch.setattr(bitmap_files, "folder", lambda: tmp_path / "masks")
    MASKS.clear()
    yield
    bitmap_files.wait()
    MASKS.clear()


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    made = workspace(tmp_path)
    again = {**rows(120, 3), "event": rows(120, 1)["event"], "run": rows(120, 1)["run"], "lumi": rows(120, 1)["lumi"]}
    build(made, "a.TAG", rows(250, 1), rows(30, 2), again)
    return made


def asked(home: Workspace, *cuts: str, tier: str = "kernel", **options: object) -> Query:
    query = home["a.TAG"].query(list(cuts), **options)  # type: ignore[arg-type]
    object.__setattr__(query, "tier", tier)
    return query


def counted(home: Workspace, *cuts: str, **options: object) -> Count:
    return count(asked(home, *cuts, **options))


def test_any_sequence_of_refinements_is_as_without_masks(home: Workspace) -> None:
    """300 random queries, each of some of seven steps with one of six thresholds, in any order."""
    random = np.random.default_rng(3)
    good = LumiSet.from_ranges([(7, 1, 3), (8, 2, 9)])
    spared = 0
    for n in range(300):
        chosen = random.permutation(len(STEPS))[: random.integers(1, 5)]
        cut = " && ".join(STEPS[k].format(random.integers(1, 7) * 10) for k in chosen)
        options = {"lumi": good} if random.random() < 0.3 else {}
        found, took = select(asked(home, cut, **options))
        plain, _ = select(asked(home, cut, tier="interpreter", remember=False, **options))
        assert [tuple(e) for e in found] == [tuple(e) for e in plain], cut
        assert took.accepted == count(asked(home, cut, **options)).accepted == len(plain)
        spared += took.work.remembered
        if n % 50 == 49:  # as a new process finds them
            bitmap_files.wait()
            MASKS.clear()
    assert spared > 300


def test_what_was_judged_is_not_judged_again(home: Workspace) -> None:
    """Six row groups: 250 = 100 + 100 + 50 rows, 30, 120 = 100 + 20."""
    first = counted(home, "MET_pt > 20 && nMuon >= 2")
    assert first.work.remembered == 0 and first.work.bytes == 400 * (4 + 4)
    again = counted(home, "nMuon >= 2 && MET_pt > 20")
    assert again.accepted == first.accepted
    assert again.work.remembered == 12 and again.work.bytes == 0  # two steps, six row groups
    more = counted(home, "MET_pt > 20 && nMuon >= 2 && lumi == 3")
    assert more.work.remembered == 12 and more.work.bytes == 400 * 4  # the new step's column alone


def test_a_tighter_threshold_looks_only_at_rows_that_passed(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    met = np.concatenate([rows(250, 1)["MET_pt"], rows(30, 2)["MET_pt"], rows(120, 3)["MET_pt"]])
    seen: list[int] = []
    monkeypatch.setattr("tagsel.engine.steps.learn", lambda prints, found: seen.append(int(found[:, 0].sum())))
    options = {"duplicates": "all"}
    for cut in ("MET_pt > 20", "MET_pt > 40", "MET_pt > 30", "MET_pt > 10"):
        counted(home, cut, **options)
    # all; those above 20; those above 20 again; all, since nothing looser is known
    above = int((met > np.float32(20)).sum())
    assert seen == [400, above, above, 400]


def test_without_remember_masks_are_neither_used_nor_kept(home: Workspace, tmp_path: Path) -> None:
    assert counted(home, "MET_pt > 20", remember=False).work.remembered == 0
    assert counted(home, "MET_pt > 20").work.remembered == 0  # nothing was kept
    assert counted(home, "MET_pt > 20", remember=False).work.bytes == 400 * 4
    assert counted(home, "MET_pt > 20").work.remembered == 6


def test_rows_that_were_not_reached_are_not_assumed(home: Workspace) -> None:
    """`nMuon >= 2` was judged on rows above 100 GeV only; alone it is judged on the others too."""
    counted(home, "MET_pt > 100 && nMuon >= 2", duplicates="all")
    n = np.concatenate([rows(250, 1)["nMuon"], rows(30, 2)["nMuon"], rows(120, 3)["nMuon"]])
    assert counted(home, "nMuon >= 2", duplicates="all").accepted == int((n >= 2).sum())


def kept(home: Workspace, tmp_path: Path) -> list[Path]:
    """The files of one step on three parts, as another process would find them."""
    counted(home, "MET_pt > 20")
    bitmap_files.wait()
    MASKS.clear()
    found = sorted((tmp_path / "masks").glob("*/*.mask"))
    assert len(found) == 3
    return found


def test_another_process_finds_them(home: Workspace, tmp_path: Path) -> None:
    kept(home, tmp_path)
    again = counted(home, "MET_pt > 20")
    assert again.work.remembered == 6 and again.work.bytes == 0


DAMAGE: tuple[Callable[[bytes], bytes], ...] = (
    lambda good: b"",
    lambda good: good[:-1],
    lambda good: good + b"\0",
    lambda good: good[:20] + bytes([good[20] ^ 1]) + good[21:],
    lambda good: good[:-3] + bytes([good[-3] ^ 16]) + good[-2:],
    lambda good: b"TAGSELM0" + good[8:],
)


@pytest.mark.parametrize("damage", DAMAGE)
def test_fault_30_damaged_masks_are_dropped_and_made_again(
    home: Workspace, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    right = counted(home, "MET_pt > 20", remember=False).accepted
    for path in kept(home, tmp_path):
        path.write_bytes(damage(path.read_bytes()))
    assert counted(home, "MET_pt > 20").work.remembered == 0
    bitmap_files.wait()
    MASKS.clear()
    again = counted(home, "MET_pt > 20")
    assert again.accepted == right and again.work.remembered == 6


def test_a_mask_of_another_step_or_part_is_dropped_and_made_again(home: Workspace, tmp_path: Path) -> None:
    """Masks of the same part have one size, so only what a file says of its step tells them apart."""
    cuts = ("MET_pt > 20", "nMuon >= 2")
    right = [counted(home, cut, remember=False).accepted for cut in cuts]
    assert right[0] != right[1]
    for cut in cuts:
        counted(home, cut)
    bitmap_files.wait()
    first, second = sorted((tmp_path / "masks").iterdir())
    for mine in first.iterdir():
        other = second / mine.name
        kept_bytes = mine.read_bytes(), other.read_bytes()
        assert len(kept_bytes[0]) == len(kept_bytes[1])
        other.write_bytes(kept_bytes[0])
        mine.write_bytes(kept_bytes[1])
    MASKS.clear()
    answers = [counted(home, cut) for cut in cuts]
    assert [answer.accepted for answer in answers] == right
    assert [answer.work.remembered for answer in answers] == [0, 0]


def test_fault_30_masks_that_others_may_write_are_not_used(home: Workspace, tmp_path: Path) -> None:
    for path in kept(home, tmp_path):
        path.chmod(0o666)
    assert counted(home, "MET_pt > 20").work.remembered == 0
    bitmap_files.wait()
    MASKS.clear()
    (folder,) = (tmp_path / "masks").iterdir()
    folder.chmod(0o777)
    bitmap_files._listed.clear()
    assert counted(home, "MET_pt > 20").work.remembered == 0


def test_the_oldest_masks_go_first(home: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bitmap_files, "MOST_BYTES", 300)
    monkeypatch.setattr(bitmap_files, "_CHECK_EVERY", 1)
    monkeypatch.setattr(MASKS._masks, "max_bytes", 100)
    for limit in range(20, 60):
        counted(home, f"MET_pt > {limit}")
    bitmap_files.wait()
    assert sum(p.stat().st_size for p in (tmp_path / "masks").glob("*/*.mask")) <= 300 + 100
    assert MASKS._masks.nbytes <= 100


def test_feature_94_the_command_line_can_forget(sample_home: Path) -> None:
    cut = ["count", "data09_900GeV.physics_MinBias.TAG", "NTrk > 3", "-w", str(sample_home), "--json"]
    run = [
        subprocess.run([sys.executable, "-m", "tagsel", *cut, *more], capture_output=True, text=True, check=True)
        for more in ([], ["--no-remember"])
    ]
    assert run[0].stdout.partition('"work"')[0] == run[1].stdout.partition('"work"')[0]


def test_masks_are_kept_only_where_they_pay(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """400 rows, three comparisons: 1,200 comparisons."""
    cut = "MET_pt > 20 && nMuon >= 1 && MET_pt < 90"
    for pays, spared in ((1201, 0), (1200, 18)):  # 6 row groups, 3 steps
        monkeypatch.setattr(compiled_scan, "MASKS_PAY", pays)
        MASKS.clear()
        counts = [counted(home, cut, duplicates="all") for _ in range(2)]
        assert counts[0].accepted == counts[1].accepted
        assert counts[1].work.remembered == spared


def test_threads_may_ask_at_once(home: Workspace) -> None:
    """Six threads, each with thresholds of its own for one expression: their answers are those of one thread."""
    met = np.concatenate([rows(250, 1)["MET_pt"], rows(30, 2)["MET_pt"], rows(120, 3)["MET_pt"]])
    limits = np.random.default_rng(6).permutation(60).tolist()
    counted(home, "MET_pt > 1")
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda n: counted(home, f"MET_pt > {n}", duplicates="all").accepted, limits))
    assert found == [int((met > np.float32(n)).sum()) for n in limits]
