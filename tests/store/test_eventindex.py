"""The event index against a look at every row: packing, files, caches that are gone, damaged, foreign or read-only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagsel.errors import StoreError
from tagsel.kernels import kernel_cache
from tagsel.store import Part, Table, eventindex, lookup, write_part
from tagsel.store.eventindex import EventIndex, encode, index_path
from tagsel.store.footers import identity_of
from tagsel.store.packing import BLOCK, Packed, bits_of, joined, pack

WILD = (0, 1, 2, 127, 128, 2**31, 2**53, 2**53 + 1, 2**62, 2**63 - 2, 2**63 - 1)
PART = identity_of(Path("x/abc-1.parquet"))


# packed numbers


@given(st.integers(0, 64), st.integers(1, BLOCK), st.integers(0, 2**32 - 1))
def test_packed_numbers_read_back(bits: int, size: int, seed: int) -> None:
    """Three blocks of one width, the last one short: every number is read back without its neighbours."""
    rng = np.random.default_rng(seed)
    sizes = np.array([BLOCK, BLOCK, size])
    values = rng.integers(0, 2**bits - 1, (BLOCK, 3), np.uint64, endpoint=True)
    values[0] = 2**bits - 1
    words, widths, starts = pack(values, sizes)
    assert widths.tolist() == [bits] * 3
    assert len(words) == 2 * (BLOCK * bits // 64) + (size * bits + 63) // 64
    packed = joined([(words, widths, starts)])
    for block in range(3):
        places = np.arange(sizes[block])
        read = packed.of(np.full(len(places), block)).at(places)
        assert read.view(np.uint64).tolist() == values[: sizes[block], block].tolist()


def test_packings_one_after_another() -> None:
    one = np.arange(BLOCK, dtype=np.uint64)[:, None]
    pieces = [pack(one * np.uint64(k), np.array([BLOCK])) for k in (1, 0, 1000)]
    both: Packed = joined(pieces)
    assert both.of(np.array([0, 1, 2])).at(np.array([5, 5, 5])).tolist() == [5, 0, 5000]


def test_bits_that_numbers_need() -> None:
    numbers = [n for k in range(1, 64) for n in (2**k - 1, 2**k)] + [0, 1, 2**64 - 1]
    assert bits_of(np.array(numbers, np.uint64)).tolist() == [n.bit_length() for n in numbers]


# finding


def brute(run: Sequence[int], event: Sequence[int], wanted: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """(which of the wanted, row), by a plain loop."""
    rows: dict[tuple[int, int], list[int]] = {}
    for row, key in enumerate(zip(run, event, strict=True)):
        rows.setdefault(key, []).append(row)
    return [(k, row) for k, key in enumerate(wanted) for row in rows.get(key, ())]


def found(index: EventIndex, wanted: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same, by the index: by the compiled search, and by that in arrays, which must agree."""
    run, event = np.array([r for r, _ in wanted], np.int32), np.array([e for _, e in wanted], np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(eventindex, "_compiled", lambda _: False)
        plain = [a.tolist() for a in index.find(run, event)]
        patch.setattr(eventindex, "_compiled", lambda _: True)
        which, rows = (a.tolist() for a in index.find(run, event))
    assert [which, rows] == plain
    return list(zip(which, rows, strict=True))


def made(run: Sequence[int], event: Sequence[int]) -> EventIndex:
    data = encode(np.array(run, np.int32), np.array(event, np.int64), PART)
    return EventIndex(np.frombuffer(data, np.uint8), PART, len(run))


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 3, BLOCK, BLOCK + 1, 700]), st.sampled_from([1, 2, 40]))
def test_the_index_finds_what_a_loop_finds(seed: int, rows: int, runs: int) -> None:
    """Few and many runs; events rising, scattered, repeated over whole blocks, and at the ends of their range."""
    rng = np.random.default_rng(seed)
    run = rng.integers(1, runs, rows, endpoint=True) * rng.choice([1, 50_000_000])
    style = rng.integers(5)
    event = [
        np.arange(rows),
        rng.integers(0, 2**40, rows),
        rng.integers(0, 1 + rows // 200, rows),
        rng.choice(WILD, rows),
        np.arange(rows)[::-1] * 3,
    ][style]
    asked = [(int(r), int(e)) for r, e in zip(run, event, strict=True)]
    near = [(r + int(dr), e + int(de)) for (r, e), dr, de in zip(asked, *rng.integers(-1, 2, (2, rows)), strict=True)]
    edges = [(int(r), e) for r in np.unique(run) for e in WILD]
    wanted = sorted({(r, e) for r, e in (*asked[::2], *near, *edges) if 0 <= e < 2**63 and 0 <= r < 2**31})
    assert found(made(run.tolist(), event.tolist()), wanted) == brute(run.tolist(), event.tolist(), wanted)


@pytest.mark.parametrize("many", [0, 10**9])
def test_few_ids_are_found_as_many_are(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to search in a block by arrays, for every event of blocks of 1 to 300 rows, and those in between."""
    monkeypatch.setattr(eventindex, "_MANY", many)
    for rows in (*range(1, 20), 100, *range(BLOCK - 2, BLOCK + 3), 300):
        event = np.cumsum(np.random.default_rng(rows).integers(0, 4, rows)).tolist()
        wanted = [(1, e) for e in range(max(event) + 2)]
        assert found(made([1] * rows, event), wanted) == brute([1] * rows, event, wanted)


@pytest.mark.parametrize(
    ("ready", "kept", "ids", "compiled", "loads"),
    [
        (True, True, 1, True, False),
        (False, True, 1, False, True),
        (False, False, 1, False, False),
        (False, False, 2_048, False, False),
    ],
)
def test_few_ids_use_the_compiled_search_where_it_is_there(
    monkeypatch: pytest.MonkeyPatch, ready: bool, kept: bool, ids: int, compiled: bool, loads: bool
) -> None:
    """Work: they load it behind the answer where the disk has it, and never have it compiled."""
    loaded: list[str] = []
    monkeypatch.setattr(kernel_cache, "ready", lambda _: ready)
    monkeypatch.setattr(kernel_cache, "kept", lambda _: kept)
    monkeypatch.setattr(kernel_cache, "soon", loaded.extend)
    monkeypatch.setattr(kernel_cache, "at_hand", lambda *_: False)
    eventindex._load.cache_clear()
    assert [eventindex._compiled(ids) for _ in range(3)] == [compiled] * 3
    assert len(loaded) == (2 if loads else 0)


def test_feature_54_an_id_in_a_thousand_rows_gives_them_all() -> None:
    """Event 7 stands in rows 3, 6, …, 2997: over 7 blocks; 8 is nowhere; 9 in the rest."""
    event = [7 if i % 3 == 0 and i else 9 for i in range(3000)]
    assert found(made([1] * 3000, event), [(1, 7), (1, 8)]) == [(0, i) for i in range(3, 3000, 3)]


def test_rows_in_order_of_their_events_take_two_tenths_of_a_byte() -> None:
    """1,000 whole blocks of events 5, 6, …: no bits; a block's 35 bytes of directory are all that is kept."""
    rows = 1000 * BLOCK
    data = encode(np.full(rows, 1, np.int32), np.arange(5, 5 + rows), PART)
    assert len(data) < 1000 * 35 + 300 < rows * 0.28


# the files


def flipped(data: bytes, at: int, bit: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    return bytes(changed)


def all_ids(maker: ModuleType, part: Part) -> list[tuple[int, int]]:
    """(which, row) of events 0 to 599 of run 1, of which the part has 0 to 299."""
    which, rows = lookup.find_in(part, np.ones(600, np.int32), np.arange(600))
    return list(zip(which.tolist(), rows.tolist(), strict=True))


RIGHT = [(i, i) for i in range(300)]


def test_a_part_is_born_with_its_index(maker: ModuleType, table: Table) -> None:
    part = table.snapshot().parts[0]
    data = index_path(part.path).read_bytes()
    assert data == encode(np.ones(300, np.int32), np.arange(300), identity_of(part.path))
    assert all_ids(maker, part) == RIGHT


def test_fault_30_a_deleted_index_is_made_again(maker: ModuleType, table: Table) -> None:
    part = table.snapshot().parts[0]
    path = index_path(part.path)
    data = path.read_bytes()
    for gone in (path.unlink, lambda: (path.unlink(), path.parent.rmdir())):
        gone()
        assert all_ids(maker, part) == RIGHT
        assert path.read_bytes() == data


def test_fault_02_03_30_no_damage_of_an_index_changes_an_answer(maker: ModuleType, table: Table) -> None:
    """A bit flipped in every 7th byte, the file cut anywhere, or longer: dropped, made again from the part."""
    part = table.snapshot().parts[0]
    path = index_path(part.path)
    data = path.read_bytes()
    bad = [flipped(data, at, at % 8) for at in range(0, len(data), 7)]
    bad += [data[:size] for size in (*range(0, len(data), 31), len(data) - 1)]
    for k, content in enumerate((*bad, data + b"\0", b"", b"TAGSELE2" + data[8:])):
        path.write_bytes(content)
        os.utime(path, ns=(k, k))  # a state of its own
        assert all_ids(maker, part) == RIGHT, k
        assert path.read_bytes() == data, k


def test_fault_02_damage_past_the_directory_is_found_when_it_is_touched(
    maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """30,000 scattered events, several pages of words: one byte changed, every id is found all the same."""
    rows = 30_000
    values = maker.columns(rows)
    values["event"] = np.random.default_rng(5).integers(0, 2**40, rows)
    assert len(np.unique(values["event"])) == rows
    dataset = Table.create(tmp_path / "ds", maker.SCHEMA)
    new = write_part(dataset.folder, maker.SCHEMA, [maker.batch(values)])
    part = dataset.append([new], maker.SCHEMA, {}).parts[0]
    path = index_path(part.path)
    data = path.read_bytes()
    assert len(data) > 2 * 65_536
    order = np.argsort(values["event"])
    for k, at in enumerate(range(len(data) - 20, 30_000, -30_000)):
        monkeypatch.setattr(eventindex, "_compiled", lambda _, k=k: bool(k % 2))  # by arrays, by the compiled search
        path.write_bytes(flipped(data, at, 3))
        os.utime(path, ns=(k, k))
        _, found_rows = lookup.find_in(part, np.ones(rows, np.int32), values["event"][order])
        assert found_rows.tolist() == order.tolist()
        assert path.read_bytes() == data


def test_fault_30_the_index_of_another_part_is_not_believed(maker: ModuleType, table: Table) -> None:
    """Another part of 300 rows, other events: under this part's name its index is dropped."""
    snapshot = table.append([maker.part(table.folder, 300, first_event=1000)], maker.SCHEMA, {})
    one, other = (index_path(p.path) for p in snapshot.parts)
    good = one.read_bytes()
    one.write_bytes(other.read_bytes())
    assert all_ids(maker, snapshot.parts[0]) == RIGHT
    assert one.read_bytes() == good


def test_a_dataset_that_cannot_be_written_answers_too(
    maker: ModuleType, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is made once and kept in memory: its part is read once."""
    part = table.snapshot().parts[0]
    index_path(part.path).unlink()

    def full(path: Path, data: bytes) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(lookup, "write_bytes", full)
    assert all_ids(maker, part) == RIGHT
    read: list[int] = []
    original = Part.read
    monkeypatch.setattr(Part, "read", lambda p, g, c: read.append(g) or original(p, g, c))
    assert all_ids(maker, part) == RIGHT
    assert not read
    assert not index_path(part.path).exists()


def test_a_damaged_part_without_an_index_is_an_error(table: Table, maker: ModuleType) -> None:
    part = table.snapshot().parts[0]
    data = bytearray(part.path.read_bytes())
    data[data.find(np.arange(300, dtype=np.int64).tobytes()) + 9] ^= 4
    part.path.write_bytes(bytes(data))
    assert all_ids(maker, part) == RIGHT  # the index is there: the part is not looked at
    index_path(part.path).unlink()
    with pytest.raises(StoreError, match="column event"):
        all_ids(maker, part)


def test_parts_that_cannot_hold_an_id_are_not_opened(maker: ModuleType, table: Table) -> None:
    """Parts of runs 1, 2, 3 and, in run 1, of events 0-299 and 1000-1299: each id opens the one that may hold it."""
    new = [maker.part(table.folder, 300, run=r, first_event=f) for r, f in ((2, 0), (3, 0), (1, 1000))]
    parts = table.append(new, maker.SCHEMA, {}).parts
    for at, (run, event) in enumerate([(1, 5), (2, 7), (3, 299), (1, 1299)]):
        keep = parts[at].path.name
        for part in parts:
            index_path(part.path).unlink(missing_ok=True)
        asked = np.array([run], np.int32), np.array([event])
        assert [(p.name, w.tolist(), r.tolist()) for p, w, r in lookup.find(parts, *asked)] == [
            (keep, [0], [event % 1000])
        ]
        assert lookup.near(parts, run, event) == [parts[at]]
        assert [p.stem for p in index_path(parts[0].path).parent.iterdir()] == [parts[at].path.stem]
    assert not list(lookup.find(parts, np.array([1, 4, 9], np.int32), np.array([500, 5, 5])))
    assert not list(lookup.find((), np.array([1], np.int32), np.array([5])))


def test_processes_that_make_an_index_at_once_agree(maker: ModuleType, table: Table) -> None:
    part = table.snapshot().parts[0]
    path = index_path(part.path)
    data = path.read_bytes()
    program = (
        "import sys, numpy as np; from pathlib import Path; from tagsel.store import Table, lookup\n"
        "from tagsel.store.eventindex import index_path\n"
        "part = Table.open(Path(sys.argv[1])).snapshot().parts[0]\n"
        "for _ in range(20):\n"
        "    index_path(part.path).unlink(missing_ok=True)\n"
        "    print(len(lookup.find_in(part, np.ones(600, np.int32), np.arange(600))[1]))\n"
        "assert 'numba' not in sys.modules and 'pyarrow' not in sys.modules\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(table.folder)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [process.communicate(timeout=120)[0].split() for process in running]
    assert said == [["300"] * 20] * 3
    assert all_ids(maker, part) == RIGHT
    assert path.read_bytes() == data


@pytest.mark.parametrize("step", ["store.rename", "store.commit"])
def test_fault_13_an_index_goes_with_its_part(
    maker: ModuleType, table: Table, program: Callable[..., subprocess.CompletedProcess[str]], step: str
) -> None:
    """Killed before the commit: gc takes the part and its index, and leaves those of the snapshot."""
    program("append", table.folder, 500, 10, TAGSEL_KILL_AT=step)
    table.gc(dry_run=False, grace_s=0)
    stems = [p.path.stem for p in table.snapshot().parts]
    assert [p.stem for p in (table.folder / "_tagsel" / "index").iterdir()] == stems
