"""Stacks of zones: what they say is what the parts' sidecars say, whatever became of the dataset or of them."""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tagsel.schema import Schema
from tagsel.store import Frame, Snapshot, Table, stacked
from tagsel.store.stacked import BOUNDS, WHERE, Stack, Stored, folder_of

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ("run", "event", "MET_pt", "word", "good", "Muon_pt", "stream")


def said(stack: Stack, snapshot: Snapshot) -> dict[str, Any]:
    """All that is asked of stacks, as lists."""
    had = {c for p in snapshot.parts for c in p.columns}
    halves = {(c, n): stack.half(c, n).tolist() for c in COLUMNS if c in had for n in (BOUNDS, WHERE)}
    places = {}
    for kind in ("ids", "aod"):
        found = stack.places(kind)
        fields = {} if found is None else {n: a.tolist() for n, a in sorted(found.fields.items())}
        places[kind] = found and (found.starts.tolist(), fields, found.names)
    return {**halves, **places}


def check(snapshot: Snapshot) -> None:
    """A stack in the dataset's folder, twice (it may have been written anew), against the sidecars part by part."""
    if snapshot.parts:
        expected = said(Stack(None, snapshot.parts), snapshot)
        assert said(Stack(snapshot.folder, snapshot.parts), snapshot) == expected
        assert said(Stack(snapshot.folder, snapshot.parts), snapshot) == expected


def stacks(table: Table) -> list[Path]:
    """The stacks' files."""
    return sorted(folder_of(table.folder).glob("*.stack"))


@contextmanager
def rewriting_at_once() -> Iterator[None]:
    """Each new part is stacked, as with many."""
    before, stacked.AT_MOST_MISSING = stacked.AT_MOST_MISSING, 1
    try:
        yield
    finally:
        stacked.AT_MOST_MISSING = before


STEPS = st.lists(
    st.sampled_from(["append", "narrow", "several", "compact", "restore", "look", "look back", "flip", "cut", "swap"]),
    min_size=2,
    max_size=9,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, st.booleans(), st.randoms(use_true_random=False))
def test_stacks_say_what_the_sidecars_say(
    maker: ModuleType, steps: list[str], at_once: bool, chance: random.Random
) -> None:
    """After appends (with absent columns), compactions, restores and damage, at the newest and at older snapshots."""
    narrow = Schema(tuple(a for a in maker.SCHEMA if a.column not in ("MET_pt", "word")), "test")
    with tempfile.TemporaryDirectory() as folder:
        table = Table.create(Path(folder) / "ds", maker.SCHEMA)
        fresh = iter(range(1, 1000))

        def new(schema: Schema) -> Any:
            k = next(fresh)
            return maker.part(table.folder, 5, schema, first_event=100 * k, run=k)

        table.append([new(maker.SCHEMA), new(maker.SCHEMA)], maker.SCHEMA, {})
        check(table.snapshot())
        for step in steps:
            files = stacks(table)
            if step == "narrow":
                table.append([new(narrow)], narrow, {}, evolve=True)
            elif step in ("append", "several"):
                table.append([new(maker.SCHEMA) for _ in range(1 if step == "append" else 3)], maker.SCHEMA, {})
            elif step == "compact":
                table.compact()
            elif step == "restore":
                table.restore(chance.choice(table.snapshots()))
            elif step == "look back":
                check(table.snapshot(chance.choice(table.snapshots())))
            elif step in ("flip", "cut") and files:
                path = chance.choice(files)
                data = bytearray(path.read_bytes())
                at = chance.randrange(len(data))
                data[at] ^= 1 << chance.randrange(8)
                path.write_bytes(data if step == "flip" else data[:at])
            elif step == "swap" and len(files) > 1:  # of the same parts, but another column
                some, other = chance.sample(files, 2)
                some.write_bytes(other.read_bytes())
            if at_once:
                with rewriting_at_once():
                    check(table.snapshot())
            else:
                check(table.snapshot())


def test_a_stack_grows_by_the_new_parts(maker: ModuleType, table: Table) -> None:
    """2 parts are stacked; with a third (1 new for 2 old) the stack is written anew; an older snapshot uses it too."""
    for k in (1, 2):
        table.append([maker.part(table.folder, 10, first_event=1000 * k)], maker.SCHEMA, {})
        Stack(table.folder, table.snapshot().parts).half("event", BOUNDS)
        (path,) = stacks(table)
        assert Stored(path).parts == 1 + k
    older = table.snapshot(2)
    assert Stack(table.folder, older.parts).half("event", BOUNDS)[1].tolist() == [299, 1009]
    assert Stored(path).parts == 3


def test_a_stack_of_another_column_is_made_again(maker: ModuleType, table: Table) -> None:
    """Both stacks are of the same two parts; event and MET_pt have blocks of the same size, too."""
    table.append([maker.part(table.folder, 10, first_event=1000)], maker.SCHEMA, {})
    parts = table.snapshot().parts
    before = {column: Stack(table.folder, parts).half(column, BOUNDS).tolist() for column in ("event", "MET_pt")}
    assert before["event"][1] == [299, 1009]
    good = {path: path.read_bytes() for path in stacks(table)}
    first, second = good
    assert len(good[first]) == len(good[second])
    first.write_bytes(good[second])
    second.write_bytes(good[first])
    assert set(table.gc(dry_run=True, grace_s=0)) == {first, second}
    assert {column: Stack(table.folder, parts).half(column, BOUNDS).tolist() for column in before} == before
    assert {path: path.read_bytes() for path in stacks(table)} == good


def test_one_part_needs_no_stack(table: Table) -> None:
    Frame(table.snapshot().parts, table.folder).zone("event", np.arange(1))
    assert not folder_of(table.folder).exists()


def test_where_no_stack_can_be_written_there_is_none(maker: ModuleType, table: Table) -> None:
    table.append([maker.part(table.folder, 10, first_event=1000)], maker.SCHEMA, {})
    folder_of(table.folder).write_text("no folder")
    assert Stack(table.folder, table.snapshot().parts).half("event", BOUNDS)[1].tolist() == [299, 1009]


def test_gc_takes_stacks_that_serve_no_snapshot(maker: ModuleType, table: Table) -> None:
    table.append([maker.part(table.folder, 10, first_event=1000)], maker.SCHEMA, {})
    Stack(table.folder, table.snapshot().parts).half("event", BOUNDS)
    (path,) = stacks(table)
    aside = path.with_name(".tmp-1-x")
    aside.write_bytes(b"")
    assert path not in table.gc(dry_run=True, grace_s=0)
    table.pin(2, "kept")
    table.compact()
    assert path not in table.gc(dry_run=True, grace_s=0)
    table.unpin(2)
    assert {path, aside} <= set(table.gc(dry_run=False, grace_s=0))
    assert not path.exists()


PROGRAM = """
import os, sys
from pathlib import Path
from tagsel.selection import Input, Query
from tagsel.selection.run import count, prepare
from tagsel.store.snapshots import newest
folder, opened = Path(sys.argv[1]), []
sys.addaudithook(lambda name, args: opened.append(str(args[0])) if name == "open" else None)
query = Query((Input("many", newest(folder)),), (("", sys.argv[2]),))
answer = int(count(query)) if sys.argv[3] == "count" else len(prepare(query).plan.columns)
mine = [os.path.relpath(name, folder) for name in opened if name.startswith(str(folder))]
print(answer)
print(*sorted(mine), sep="\\n")
"""


@pytest.fixture(scope="module")
def many() -> ModuleType:
    """bench/manyparts.py."""
    spec = importlib.util.spec_from_file_location("manyparts", ROOT / "bench" / "manyparts.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def opened(folder: Path, cut: str, what: str = "plan") -> tuple[int, list[str]]:
    """The answer of a fresh process, and the files of the dataset that it opened."""
    command = [sys.executable, "-c", PROGRAM, str(folder), cut, what]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    answer, *files = done.stdout.splitlines()
    return int(answer), files


def test_planning_opens_a_file_a_column_whatever_the_parts_and_columns(many: ModuleType, tmp_path: Path) -> None:
    """Once stacked: 3 stacks for 3 columns and no sidecar; as many files for 40 parts as for 4, for 60 columns as 4."""
    found = {}
    for parts, columns in ((4, 4), (40, 4), (4, 60)):
        folder = tmp_path / f"{parts}x{columns}"
        many.make(folder, parts, columns)
        first = opened(folder, many.CUT)[1]
        assert sum("zones/" in name for name in first) >= 3 * parts
        answer, files = opened(folder, many.CUT)
        assert answer == 3
        assert sum(name.startswith("_tagsel/stacked/") for name in files) == 3
        assert not any("zones/" in name for name in files)
        sizes = sorted(path.stat().st_size for path in folder_of(folder).iterdir())
        found[parts, columns] = len(files), sizes
    assert found[4, 4] == found[4, 60]
    assert found[4, 4][0] == found[40, 4][0]


@pytest.mark.parametrize("cut, passing", [("x0 < 0", 0), ("x1 >= 0", 1)])
def test_what_zones_decide_is_counted_without_data(many: ModuleType, tmp_path: Path, cut: str, passing: int) -> None:
    """There are no files of events: x0 is part % 100 to 10 more, x1 0 to 10, in 8 row groups of 131,072 rows a part."""
    many.make(tmp_path / "ds", 5, 2)
    for _ in range(2):
        answer, files = opened(tmp_path / "ds", cut, "count")
        assert answer == passing * 5 * 8 * 131_072
        assert not any(name.endswith(".parquet") for name in files)
