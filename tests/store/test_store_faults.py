"""Processes that die, race, lack permission or start cold: nothing acknowledged is lost, nothing is half done."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from deltalake import DeltaTable

from tagsel.base import atomic_write
from tagsel.errors import AccessError, StoreError
from tagsel.store import Source, Table, log
from tagsel.store.extend import user_attributes

Program = Callable[..., "subprocess.CompletedProcess[str]"]


def all_events(table: Table, number: int | None = None) -> list[int]:
    parts = table.snapshot(number).parts
    return [int(e) for p in parts for g in range(len(p.groups)) for e in p.read(g, ["event"])["event"]]


def whole(table: Table) -> None:
    """The dataset opens, every part reads, and a further commit lands."""
    for part in table.snapshot().parts:
        for g in range(len(part.groups)):
            part.read(g, part.columns)


APPEND = [
    ("store.write", 300, True),
    ("store.fsync", 300, True),
    ("store.rename", 300, True),
    ("store.commit", 300, True),
    ("store.logged", 310, False),
    ("store.manifest", 310, False),
]


@pytest.mark.parametrize(("step", "rows", "orphaned"), APPEND, ids=[s for s, _, _ in APPEND])
def test_fault_13_feature_10_killed_in_an_append(
    maker: ModuleType, table: Table, program: Program, step: str, rows: int, orphaned: bool
) -> None:
    """Before the Delta commit the old snapshot stands and gc finds what was left; after it the new one does."""
    documents = len(list(log.commits_folder(table.folder).iterdir()))
    done = program("append", table.folder, 500, 10, TAGSEL_KILL_AT=step)
    assert done.returncode == -signal.SIGKILL, done.stderr
    again = Table.open(table.folder)
    assert again.snapshot().rows == rows
    assert all_events(again)[:300] == list(range(300))
    assert all_events(again, 1) == list(range(300))
    assert bool(again.gc(dry_run=False, grace_s=0)) == orphaned
    assert not again.gc(dry_run=True, grace_s=0)
    records = len(list(log.commits_folder(table.folder).iterdir()))
    assert records == documents + (not orphaned)  # a commit that did not land leaves no record, either
    whole(again)
    again.append([maker.part(table.folder, 10, first_event=900)], maker.SCHEMA, {})
    assert all_events(again)[rows:] == list(range(900, 910))
    assert DeltaTable(str(table.folder)).to_pyarrow_table().num_rows == rows + 10


@pytest.mark.parametrize("step", ["store.write", "store.rename", "store.commit", "store.logged", "store.manifest"])
def test_fault_13_killed_in_a_compaction(maker: ModuleType, table: Table, program: Program, step: str) -> None:
    table.append([maker.part(table.folder, 10, first_event=500)], maker.SCHEMA, {})
    before = all_events(table)
    done = program("compact", table.folder, TAGSEL_KILL_AT=step)
    assert done.returncode == -signal.SIGKILL, done.stderr
    again = Table.open(table.folder)
    assert all_events(again) == before
    assert len(again.snapshot().parts) == (1 if step in ("store.logged", "store.manifest") else 2)
    again.gc(dry_run=False, grace_s=0)
    assert all_events(again) == before
    again.compact()
    assert all_events(again) == before


STEPS = ["store.write", "store.write:2", "store.rename", "store.rename:2", "store.commit", "store.logged"]
STEPS += ["store.manifest"]


@pytest.mark.parametrize("step", STEPS)
def test_fault_13_feature_06_killed_in_an_extension(
    maker: ModuleType, table: Table, program: Program, step: str
) -> None:
    """All parts have the new column, or none; gc takes what is left, and a second try lands."""
    table.append([maker.part(table.folder, 10, first_event=500)], maker.SCHEMA, {})
    before, marks = all_events(table), table.snapshot().duplicate_rows()
    done = program("extend", table.folder, TAGSEL_KILL_AT=step)
    assert done.returncode == -signal.SIGKILL, done.stderr
    landed = step in ("store.logged", "store.manifest")
    again = Table.open(table.folder)
    assert again.snapshot().number == (3 if landed else 2)
    assert ["user_score" in p.columns for p in again.snapshot().parts] == [landed, landed]
    assert all_events(again) == before
    again.gc(dry_run=False, grace_s=0)
    whole(again)
    if not landed:
        again.extend(again.snapshot(), user_attributes("score", "float32"), maker.score, {})
    scores = [p.read(0, ["user_score"])["user_score"].tolist() for p in again.snapshot().parts]
    assert scores == [[e / 2 for e in range(300)], [e / 2 for e in range(500, 510)]]
    assert (all_events(again), again.snapshot().duplicate_rows()) == (before, marks)
    engine = DeltaTable(str(table.folder)).to_pyarrow_table(columns=["event", "user_score"])
    assert dict(zip(*(engine[c].to_pylist() for c in ("event", "user_score")), strict=True))[501] == 250.5


@pytest.mark.parametrize("step", STEPS)
def test_fault_13_feature_10_killed_in_a_retraction(
    maker: ModuleType, table: Table, program: Program, step: str
) -> None:
    """300 rows of which 75 are of one AOD (events 75 to 149), 40 of which 10 are (510 to 519): all 85 go, or none."""
    table.append([maker.part(table.folder, 40, first_event=500, seed=2)], maker.SCHEMA, {})
    before = all_events(table)
    done = program("retract", table.folder, TAGSEL_KILL_AT=step)
    assert done.returncode == -signal.SIGKILL, done.stderr
    landed = step in ("store.logged", "store.manifest")
    left = [*range(75), *range(150, 300), *range(500, 510), *range(520, 540)]
    again = Table.open(table.folder)
    assert again.snapshot().number == (3 if landed else 2)
    assert all_events(again) == (left if landed else before)
    assert [r.rows for r in again.snapshot().retractions] == ([85] if landed else [])
    assert all_events(again, 2) == before
    again.gc(dry_run=False, grace_s=0)
    assert not again.gc(dry_run=True, grace_s=0)
    whole(again)
    if not landed:
        maker.retracted(again, maker.GUIDS[1])
    assert all_events(again) == left
    assert [s.entries for s in again.snapshot().sources] == [225, 30]
    assert DeltaTable(str(table.folder)).to_pyarrow_table().num_rows == 255


def test_fault_13_acknowledged_appends_survive_a_kill_in_a_later_one(table: Table, program: Program) -> None:
    """The program prints a part's name when its append has returned; it dies in the third commit."""
    done = program("append", table.folder, 1000, 10, 5, TAGSEL_KILL_AT="store.commit:3")
    assert done.returncode == -signal.SIGKILL
    acknowledged = done.stdout.split()
    assert len(acknowledged) == 2
    assert [p.name for p in Table.open(table.folder).snapshot().parts][1:] == acknowledged


def test_fault_14_writers_at_once_all_land(table: Table) -> None:
    """Four processes of three appends each, 10 rows an append: 300 + 120 rows, 12 snapshots more, none twice."""
    maker = Path(__file__).with_name("tagmaker.py")
    running = [
        subprocess.Popen(
            [sys.executable, str(maker), "append", str(table.folder), str(1000 * k), "10", "3"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for k in range(1, 5)
    ]
    ended = [process.communicate(timeout=120) for process in running]
    assert [p.returncode for p in running] == [0] * 4, ended
    names = [n for out, _ in ended for n in out.split()]
    snapshot = Table.open(table.folder).snapshot()
    assert (snapshot.number, snapshot.rows) == (13, 420)
    assert sorted(p.name for p in snapshot.parts[1:]) == sorted(names)
    assert sorted(all_events(table)[300:]) == [1000 * k + i for k in range(1, 5) for i in range(30)]
    assert DeltaTable(str(table.folder)).to_pyarrow_table().num_rows == 420
    assert [table.snapshot(n).rows for n in range(1, 14)] == [300 + 10 * n for n in range(13)]


def test_fault_14_another_engine_changing_the_columns_meanwhile_is_waited_out(
    maker: ModuleType, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our look at the table and our commit its columns change: Delta refuses, and the commit is made again."""
    import pyarrow as pa
    from deltalake import Schema as DeltaSchema

    added = DeltaSchema.from_arrow(pa.schema([pa.field("foreign", pa.float32())])).fields
    original, calls = DeltaTable.create_write_transaction, []

    def meddled(self, *given, **named):  # a seam of the library, to have a race each time
        calls.append(1)
        if len(calls) == 1:
            DeltaTable(str(table.folder)).alter.add_columns(added)
        return original(self, *given, **named)

    monkeypatch.setattr(DeltaTable, "create_write_transaction", meddled)
    snapshot = table.append([maker.part(table.folder, 10, first_event=500)], maker.SCHEMA, {})
    assert len(calls) == 2
    assert (snapshot.number, snapshot.rows) == (2, 310)
    assert table.snapshots() == [0, 1, 2]


@pytest.mark.parametrize("failing", ["record", "log entry"])
def test_fault_12_a_failing_fsync_in_a_commit_is_not_acknowledged(
    maker: ModuleType, table: Table, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    new = maker.part(table.folder, 10, first_event=500)
    original = atomic_write._fsync

    def fsync(descriptor: int) -> None:
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        if ("_delta_log" in path) if failing == "log entry" else (".tmp-" in path):
            raise OSError(errno.EIO, "Input/output error")
        original(descriptor)

    monkeypatch.setattr(atomic_write, "_fsync", fsync)
    with pytest.raises(StoreError, match="Input/output error"):
        table.append([new], maker.SCHEMA, {})
    monkeypatch.undo()
    assert all_events(table, 1) == list(range(300))
    whole(table)


def test_fault_11_a_full_disk_in_a_commit_leaves_the_old_snapshot(
    maker: ModuleType, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = maker.part(table.folder, 10, first_event=500)
    source = Source("S", "s.root", 0, 0, {"n": 1})

    def full(descriptor: int, data: bytes) -> None:
        os.write(descriptor, bytes(memoryview(data)[:5]))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic_write, "write_all", full)
    with pytest.raises(StoreError, match="No space left on device") as caught:
        table.append([new], maker.SCHEMA, {}, [source])
    assert caught.value.fields["errno"] == errno.ENOSPC
    monkeypatch.undo()
    assert not list(table.folder.rglob(".tmp-*"))
    assert table.snapshots() == [0, 1]
    assert table.append([new], maker.SCHEMA, {}, [source]).rows == 310


def test_fault_11_a_full_disk_after_the_commit_costs_only_the_caches(
    maker: ModuleType, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tagsel.store import commits

    new = maker.part(table.folder, 10, first_event=0)
    original = commits._sync_entry

    def then_full(folder: Path, version: int) -> None:
        original(folder, version)

        def full(descriptor: int, data: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(atomic_write, "write_all", full)

    monkeypatch.setattr(commits, "_sync_entry", then_full)
    snapshot = table.append([new], maker.SCHEMA, {})
    assert (snapshot.rows, snapshot.duplicate_rows()) == (310, 10)
    assert not log.manifest_path(table.folder, 2).exists()
    monkeypatch.undo()
    again = Table.open(table.folder).snapshot()
    assert (again.rows, again.duplicate_rows()) == (310, 10)
    assert log.manifest_path(table.folder, 2).exists()


_AS_OTHER = """
import os, sys, importlib.util, pathlib
spec = importlib.util.spec_from_file_location("tagmaker", {maker!r}); m = importlib.util.module_from_spec(spec)
spec.loader.exec_module(m)
import deltalake.transaction, pyarrow.compute, pyarrow.parquet, numpy.random  # before the rights to read them go
from tagsel.errors import AccessError, StoreError
from tagsel.store import Table
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
folder = pathlib.Path({folder!r})
table = Table.open(folder)
print(sum(len(p.read(g, ["MET_pt"])["MET_pt"]) for p in table.snapshot().parts for g in range(len(p.groups))))
print(sorted(p.lumi_counts(0)[2].sum() for p in table.snapshot().parts))
for name, act in (
    ("part", lambda: m.part(folder, 5)),
    ("append", lambda: table.append([], m.SCHEMA, {{}}, [m.Source("x", "x", 0, 0, {{}})])),
    ("pin", lambda: table.pin(1, "x")),
    ("gc", lambda: table.gc(dry_run=False, grace_s=0)),
    ("create", lambda: Table.create(folder / "sub", m.SCHEMA)),
):
    try:
        act()
        print(name, "worked")
    except (AccessError, StoreError) as error:
        print(name, str(folder) in error.message, "Permission denied" in error.message)
"""


@pytest.mark.parametrize("sidecars", ["there", "gone"])
def test_fault_19_a_read_only_dataset_reads_and_refuses_writes_by_path(maker: ModuleType, sidecars: str) -> None:
    """As another user, since root is not held by permissions; with the sidecars gone zones are made in memory."""
    top = Path(tempfile.mkdtemp())  # tmp_path lies in a folder private to this user
    try:
        table = Table.create(top, maker.SCHEMA)
        table.append([maker.part(top, 40)], maker.SCHEMA, {})
        if sidecars == "gone":
            shutil.rmtree(top / "_tagsel" / "zones")
        for path in (top, *top.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        files = sorted(top.rglob("*"))
        code = _AS_OTHER.format(maker=maker.__file__, folder=str(top))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            "40",
            "[np.int64(40)]",
            *(f"{name} True True" for name in ("part", "append", "pin", "gc", "create")),
        ]
        assert sorted(top.rglob("*")) == files
    finally:
        for path in (top, *top.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)
        shutil.rmtree(top, ignore_errors=True)


def test_fault_36_a_pinned_snapshot_outlives_compaction_log_clean_up_and_40_days(
    maker: ModuleType, table: Table
) -> None:
    """The log's entries are 40 days old, the table is compacted, the log cleaned by Delta's own means, and gc runs."""
    table.append([maker.part(table.folder, 10, first_event=500)], maker.SCHEMA, {})
    table.pin(2, "list dimuon")
    then = all_events(table, 2), table.snapshot(2).duplicate_rows()
    table.compact()
    for k in range(4):
        table.append([maker.part(table.folder, 10, first_event=1000 + 10 * k)], maker.SCHEMA, {})
    old = time.time() - 40 * 86_400
    for path in table.folder.rglob("*"):
        os.utime(path, (old, old))
    delta = DeltaTable(str(table.folder))
    delta.create_checkpoint()
    delta.cleanup_metadata()
    delta.vacuum(retention_hours=None, dry_run=False)
    table.gc(dry_run=False, grace_s=0)
    again = Table.open(table.folder)
    assert (all_events(again, 2), again.snapshot(2).duplicate_rows()) == then
    assert again.snapshot().rows == 350


_COLD = """
import sys
from pathlib import Path
from tagsel.store import Table
snapshot = Table.open(Path({folder!r})).snapshot()
part = snapshot.parts[0]
values = part.read(0, ["event", "MET_pt", "Muon_pt", "good", "trigger_0", "menu"])
zones = part.zones(["event", "menu"])
print(snapshot.rows, int(values["event"].sum()), int(values["menu"].sum()), int(zones["event"].max[0]))
print(int(part.lumi_counts(0)[2].sum()), part.duplicates(0), len(snapshot.schema), len(snapshot.sources))
print(sorted({{m.partition(".")[0] for m in sys.modules}} & {{"pyarrow", "deltalake", "duckdb", "numba", "polars"}}))
"""


def test_a_cold_process_plans_and_reads_hot_columns_with_numpy_alone(table: Table) -> None:
    """Manifest, zones, luminosity blocks, marks and mapped columns: no Parquet or Delta library is imported."""
    code = _COLD.format(folder=str(table.folder))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines() == [
        f"300 {299 * 300 // 2} {300 * 77} 299",
        "300 None 17 1",
        "[]",
    ]


@pytest.mark.parametrize("seam", ["_fsync", "write_all"])
def test_fault_11_12_an_error_at_any_write_or_fsync_leaves_the_old_snapshot_or_the_new(
    maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seam: str
) -> None:
    """The k-th call fails, for every k that writing a part and committing it makes; then it is tried again."""
    original = getattr(atomic_write, seam)
    table = Table.create(tmp_path / "ds", maker.SCHEMA)
    committed, k, failed = 0, 0, 0
    while failed < k or k == 0:
        calls = []

        def failing(*given: object, calls: list[int] = calls, last: int = k) -> None:
            calls.append(1)
            if len(calls) == last + 1:
                raise OSError(errno.EIO, "Input/output error")
            original(*given)

        monkeypatch.setattr(atomic_write, seam, failing)
        try:
            acknowledged = table.append([maker.part(table.folder, 10, first_event=100 * k)], maker.SCHEMA, {})
        except (AccessError, StoreError) as error:
            acknowledged = None
            assert "Input/output error" in error.message
        monkeypatch.setattr(atomic_write, seam, original)
        rows = Table.open(table.folder).snapshot().rows
        assert rows in ((committed + 10,) if acknowledged else (committed, committed + 10))
        assert acknowledged is None or acknowledged.rows == rows
        whole(table)
        committed, k = rows, k + 1
        failed = k if len(calls) < k else failed  # all calls of one append were made to fail once
    assert not list(table.folder.rglob(".tmp-*"))
    assert k > 5
    assert all_events(table) == [e for e in all_events(table) if e % 100 < 10]
