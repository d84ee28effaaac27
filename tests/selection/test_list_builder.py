"""Event lists written by compiled code: the same as from the columns, whatever the order of files and entries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import GUIDS, build, rows, workspace
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tagsel.api import Workspace
from tagsel.engine import compiled_scan
from tagsel.engine.bitmaps import Bits, Taken
from tagsel.engine.row_groups import Unit
from tagsel.kernels.memory import address_of
from tagsel.language.bounds import SOME
from tagsel.selection import list_builder, select
from tagsel.selection.list_builder import (
    LARGE,
    EventColumns,
    events_of_group,
    events_of_rows,
    segments,
    together,
)
from tagsel.store import Frame, OpenParts, layout

ROWS = (300, 130, 1, 200)


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> Frame:
    """Parts whose files come against the order of their GUIDs, from entries in the middle; row groups of 70 rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "ROW_GROUP", 70)
        home = workspace(tmp_path_factory.mktemp("listed"))
        parts = []
        for k, n in enumerate(ROWS):
            order = np.arange(n)
            parts.append(
                rows(
                    n,
                    k + 1,
                    run=np.sort(order // 90 + 7).astype(np.int32),
                    lumi=(order // 40 % 3 + 1).astype(np.int32),
                    aod_guid=np.array([GUIDS[9 - 2 * k - i // 110] for i in order], object),
                    aod_entry=np.where(order < 60, order + 500, order - 60),
                )
            )
        build(home, "a.TAG", *parts)
        found = home.home.inputs("a.TAG")[0].snapshot.frame
        found.open(np.arange(len(found)))
        return found


def taken(frame: Frame, mask: np.ndarray) -> Taken:
    """The rows of a mask over all of a snapshot as the loop gives them, the last row group first."""
    bits = Bits.of(frame.rows)
    for group, place in enumerate(bits.addresses.tolist()):
        mine = mask[frame.first_rows[group] :][: frame.rows[group]]
        at = (place - address_of(bits.memory)) // 8
        packed = np.packbits(mine, bitorder="little")
        bits.memory.view(np.uint8)[8 * at : 8 * at + len(packed)] = packed
    counts = np.add.reduceat(mask.astype(np.int64), frame.first_rows)
    back = np.arange(len(frame))[::-1]
    return Taken.of([(back, counts[::-1], bits.addresses[::-1], bits)])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), share=st.sampled_from([0.0, 0.003, 0.1, 0.9, 1.0]), threads=st.integers(1, 3))
def test_a_list_is_that_of_the_columns(frame: Frame, seed: int, share: float, threads: int) -> None:
    mask = np.random.default_rng(seed).random(sum(ROWS)) < share
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(list_builder, "LITTLE", 0)
        found = list_builder.events_of_bits(0, frame, taken(frame, mask), threads)
    numbers = np.flatnonzero(mask)
    assert taken(frame, mask).rows(frame).tolist() == numbers.tolist()
    plain = events_of_rows(0, frame, numbers)
    names = np.array([*plain.stages["aod"].guid.values, ""])[plain.stages["aod"].guid.codes]
    order = np.lexsort((plain.stages["aod"].entry, names))
    for name in ("run", "lumi", "event"):
        assert getattr(found, name).tolist() == getattr(plain, name)[order].tolist()
    assert found.stages["aod"].guid.strings() == names[order].tolist()
    assert found.stages["aod"].entry.tolist() == plain.stages["aod"].entry[order].tolist()
    assert found.in_order


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), share=st.sampled_from([0.0, 0.003, 0.1, 1.0]))
def test_row_groups_and_the_snapshot_give_the_same_events(frame: Frame, seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random(sum(ROWS)) < share
    by_group = []
    for group in range(len(frame)):
        first, size = int(frame.first_rows[group]), int(frame.rows[group])
        unit = Unit(0, frame.part(group), int(frame.group_of[group]), size, SOME, first)
        by_group += events_of(events_of_group(unit, np.flatnonzero(mask[first : first + size])))
    whole = events_of(events_of_rows(0, frame, np.flatnonzero(mask)))
    assert len(whole) == np.count_nonzero(mask) and sorted(by_group) == sorted(whole)


def events_of(columns: EventColumns) -> list[tuple[object, ...]]:
    """A tuple an event: run, lumi, event, AOD file and entry."""
    ids = (columns.run.tolist(), columns.lumi.tolist(), columns.event.tolist())
    if not len(columns.event):
        return []
    aod = columns.stages["aod"]
    return list(zip(*ids, aod.guid.strings(), aod.entry.tolist(), strict=True))


def test_an_entry_that_stands_twice_leaves_the_order_to_the_list(tmp_path: Path) -> None:
    home = workspace(tmp_path)
    same = {
        "aod_guid": np.array([GUIDS[3]] * 80, object),
        "run": np.full(80, 7, np.int32),
        "lumi": np.ones(80, np.int32),
    }
    entries = np.arange(80), np.arange(40, 120)
    build(home, "a.TAG", *(rows(80, k + 1, aod_entry=entry, **same) for k, entry in enumerate(entries)))
    known = segments(home.home.inputs("a.TAG")[0].snapshot.frame)
    assert known is not None and not known.in_order
    query = home["a.TAG"].query(["MET_pt > 10"], remember=False)
    events = [list(select(replace(query, tier=tier))[0]) for tier in ("kernel", "interpreter")]
    assert events[0] == events[1] and len(events[0]) > 80


def test_only_parts_without_stretches_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = workspace(tmp_path)
    build(home, "a.TAG", rows(200))  # each row of another file than the one before
    snapshot = home.home.inputs("a.TAG")[0].snapshot
    assert segments(snapshot.frame) is None
    query = home["a.TAG"].query(["MET_pt > 10"], remember=False)
    assert list(select(replace(query, tier="kernel"))[0]) == list(select(replace(query, tier="interpreter"))[0])


def test_events_that_must_be_decoded_are_decoded_in_batches(
    frame: Frame, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[int] = []
    memory = OpenParts.memory
    monkeypatch.setattr(OpenParts, "memory", lambda s, c, g: (asked.append(len(g)), memory(s, c, g))[1])
    monkeypatch.setattr(Frame, "mapped", lambda *_: False)
    monkeypatch.setattr(compiled_scan, "DECODED_AT_ONCE", 150)
    mask = np.ones(sum(ROWS), bool)
    found = list_builder.events_of_bits(0, frame, taken(frame, mask))
    assert len(found.event) == sum(ROWS) and len(asked) > 3 and max(asked) <= 3


def test_a_workspace_of_no_rows_gives_an_empty_list(tmp_path: Path) -> None:
    home: Workspace = workspace(tmp_path)
    build(home, "a.TAG", rows(0))
    assert len(select(replace(home["a.TAG"].query(["MET_pt > 1"]), tier="kernel"))[0]) == 0


@pytest.mark.parametrize("size", [0, 1, 17, LARGE // 24, LARGE // 4 + 3])
def test_columns_of_one_piece_of_memory_do_not_overlap(size: int) -> None:
    made = together(size, [np.int32, np.int64, np.int32, np.int64])
    for number, column in enumerate(made):
        column[:] = number
        assert column.flags.aligned and address_of(column) % 8 == 0
    assert [(len(c), c.dtype.itemsize, set(c.tolist())) for c in made] == [
        (size, itemsize, {number} if size else set()) for number, itemsize in enumerate([4, 8, 4, 8])
    ]
