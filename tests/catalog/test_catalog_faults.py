"""Kills, damage, full disks, missing rights and crowds: nothing acknowledged is lost, and everything is said."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from tagsel.base.lock_file import read_holder
from tagsel.catalog import Catalog, FileRecord, LogQuery, PutDataset, PutFiles, SetMeta
from tagsel.catalog.turnstile import exclusive, shared
from tagsel.catalog.view import current_version
from tagsel.errors import AccessError, CatalogError, MemoryLimitError

GUIDS = [f"{i:08X}-0000-4000-8000-00000000000A" for i in range(40)]
IMPORTS = "import sys; from pathlib import Path; from tagsel.catalog import *; catalog = Catalog(Path(sys.argv[1]))\n"


def _run(code: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", IMPORTS + code, str(folder)]
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=False)


def _filled(folder: Path) -> Catalog:
    catalog = Catalog(folder)
    catalog.record(
        PutDataset("a.TAG", year=2009, meta={"trigger": 2}), PutFiles("a.TAG", [FileRecord(g) for g in GUIDS])
    )
    catalog.record(PutDataset("b.TAG", year=2010))
    return catalog


def _looked_up(catalog: Catalog) -> tuple[object, ...]:
    return catalog.datasets("year > 0"), catalog.files("a.TAG"), catalog.names()


def _answers(catalog: Catalog) -> tuple[object, ...]:
    rows = catalog.sql("SELECT count(*) AS n, sum(year)::BIGINT AS y FROM datasets").to_pylist()
    return *_looked_up(catalog), rows


@pytest.mark.parametrize(
    ("where", "there"),
    [
        ("catalog.journal", False),
        ("catalog.apply", True),
        ("catalog.journal:2", False),
        ("catalog.apply:2", True),
    ],
)
def test_fault_13_a_kill_while_recording_loses_nothing_acknowledged(tmp_path: Path, where: str, there: bool) -> None:
    """A line cut in its middle is not there; a line that was fsynced is, though nobody was told of it."""
    _filled(tmp_path)
    code = """
for k in (1, 2):
    catalog.record(PutDataset(f"new{k}.TAG", meta={"k": k}), SetMeta("a.TAG", {"last": k}))
    print(k, flush=True)
"""
    done = _run(code, tmp_path, TAGSEL_KILL_AT=where)
    assert done.returncode == -signal.SIGKILL, done.stderr
    acknowledged = [int(k) for k in done.stdout.split()]
    died_in = len(acknowledged) + 1
    wanted = [*acknowledged, died_in] if there else acknowledged
    catalog = Catalog(tmp_path)
    names = ["a.TAG", "b.TAG", *(f"new{k}.TAG" for k in wanted)]
    assert catalog.names() == [d.name for d in catalog.datasets("true")] == names
    assert catalog.dataset("a.TAG").meta.get("last") == (max(wanted) if wanted else None)
    assert len(catalog.files("a.TAG")) == len(GUIDS)
    catalog.record(PutDataset("after.TAG"))
    assert [d.name for d in Catalog(tmp_path).datasets("name = 'after.TAG'")] == ["after.TAG"]


def _journal_to_version_1(path: Path) -> tuple[int, int]:
    """Write the lines of a journal as version 1 did, chained by CRC-32; its bytes, and the last CRC."""
    crc, written = 0, b""
    for line in path.read_bytes().splitlines():
        document = json.loads(line)
        del document["sha256"]
        body = json.dumps({**document, "v": 1}, ensure_ascii=False, separators=(",", ":"))[:-1].encode()
        crc = zlib.crc32(body, crc)
        written += b'%s,"crc":"%08x"}\n' % (body, crc)
    path.write_bytes(written)
    return len(written), crc


def _to_version_1(folder: Path) -> None:
    """What an older tagsel would have left: its tables, its journal, no tip."""
    import duckdb

    size, crc = _journal_to_version_1(folder / "catalog.journal")
    (folder / "catalog.tip").unlink()
    with duckdb.connect(str(folder / "catalog.duckdb")) as connection:
        new = "members catalogs rules subscriptions downtimes links retractions site_tests conditions requests answers"
        for table in new.split():
            connection.execute(f"DROP TABLE {table}")
        connection.execute("ALTER TABLE files DROP COLUMN checksum")
        connection.execute("DROP VIEW locations; ALTER TABLE view_state DROP COLUMN chain")
        connection.execute("ALTER TABLE view_state DROP COLUMN origin")
        connection.execute("ALTER TABLE view_state ADD COLUMN crc BIGINT")
        connection.execute("UPDATE view_state SET version = 1, bytes = ?, crc = ?", [size, crc])


def test_an_older_view_is_migrated_and_equals_a_new_one(tmp_path: Path) -> None:
    catalog = _filled(tmp_path)
    answers, inode = _answers(catalog), (tmp_path / "catalog.duckdb").stat().st_ino
    _to_version_1(tmp_path)
    catalog = Catalog(tmp_path)
    assert _answers(catalog) == answers
    assert (tmp_path / "catalog.duckdb").stat().st_ino == inode  # migrated, not made anew
    assert catalog.sql("FROM locations").num_rows == 0


def test_fault_13_a_kill_in_a_migration_leaves_the_old_version_or_the_new(tmp_path: Path) -> None:
    catalog = _filled(tmp_path)
    answers = _answers(catalog)
    _to_version_1(tmp_path)
    done = _run('catalog.datasets("true")', tmp_path, TAGSEL_KILL_AT="catalog.migrate")
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert _answers(Catalog(tmp_path)) == answers


def test_a_view_of_a_newer_tagsel_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import duckdb

    catalog = _filled(tmp_path)
    answers = _answers(catalog)
    with duckdb.connect(str(tmp_path / "catalog.duckdb")) as connection:
        connection.execute("UPDATE view_state SET version = ?", [current_version() + 1])
    assert _answers(catalog) == answers
    assert "of a newer tagsel" in caplog.text


def test_fault_17_a_deleted_view_is_replayed(tmp_path: Path) -> None:
    catalog = _filled(tmp_path)
    answers = _answers(catalog)
    (tmp_path / "catalog.duckdb").unlink()
    assert _answers(catalog) == answers
    assert _answers(Catalog(tmp_path)) == answers
    assert catalog.rebuild() == 2
    assert _answers(catalog) == answers


def test_fault_17_a_damaged_view_is_said_and_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Bits flipped over the whole file, cuts, and rubbish: the answers are always those of the journal."""
    answers = _answers(_filled(tmp_path))
    path = tmp_path / "catalog.duckdb"
    whole, chance = path.read_bytes(), random.Random(17)
    spots = [chance.randrange(len(whole)) for _ in range(3)] + [chance.randrange(12288) for _ in range(4)]
    flipped = [whole[:k] + bytes([whole[k] ^ (1 << chance.randrange(8))]) + whole[k + 1 :] for k in spots]
    cut = [whole[:k] for k in (0, 4096, len(whole) - 1)]
    for damaged in [*flipped, *cut, b"rubbish" * 1000]:
        path.write_bytes(damaged)
        assert _answers(Catalog(tmp_path)) == answers
    assert "made again from the journal" in caplog.text


def test_fault_17_a_damaged_checkpoint_is_passed_over(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    catalog.record(*[PutDataset(f"d{i:04}.TAG", cut="x" * 300) for i in range(1000)])
    checkpoint = tmp_path / "catalog.json"
    names, whole = catalog.names(), checkpoint.read_bytes()
    assert len(names) == 1000
    assert b'"seq":1' in whole
    catalog.record(LogQuery("count"), PutDataset("e.TAG"))
    for damaged in (
        whole,
        whole[:-5],
        whole.replace(b"d0007", b"d0008"),
        b"",
        b"{}\n{}",
        whole.replace(b'"seq":1', b'"seq":2', 1),
    ):
        checkpoint.write_bytes(damaged)
        assert Catalog(tmp_path).names() == [*names, "e.TAG"]


def test_fault_11_a_full_disk_under_the_journal_is_an_error_and_nothing_is_recorded(tmp_path: Path) -> None:
    """The limit on file size makes the kernel refuse the write in its middle, as a full disk does."""
    catalog = _filled(tmp_path)
    answers, journal = _answers(catalog), (tmp_path / "catalog.journal").read_bytes()
    code = f"""
import resource
from tagsel.errors import CatalogError
resource.setrlimit(resource.RLIMIT_FSIZE, ({len(journal) + 200}, resource.RLIM_INFINITY))
try:
    catalog.record(PutDataset("big.TAG", cut="x" * 1000))
except CatalogError as error:
    assert "nothing was recorded" in str(error) and "catalog.journal" in str(error), error
    assert catalog.names() == ["a.TAG", "b.TAG"]
    print("refused")
"""
    done = _run(code, tmp_path)
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr
    assert (tmp_path / "catalog.journal").read_bytes() == journal
    assert _answers(Catalog(tmp_path)) == answers
    catalog.record(PutDataset("c.TAG"))


def test_fault_62_a_view_that_memory_does_not_suffice_for_is_not_called_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was made again from the journal, which takes more memory still."""
    _filled(tmp_path)
    before = (tmp_path / "catalog.duckdb").read_bytes()

    def refuse(path: Path, sealed: bool) -> None:
        raise duckdb.OutOfMemoryException("Out of Memory Error: Allocation failure")

    monkeypatch.setattr("tagsel.catalog.view._opened", refuse)
    with pytest.raises(MemoryLimitError, match="the catalog's database: not enough memory"):
        Catalog(tmp_path).datasets("year > 0")
    assert "does not serve" not in caplog.text
    assert (tmp_path / "catalog.duckdb").read_bytes() == before


def test_fault_11_a_full_disk_under_the_view_loses_nothing(tmp_path: Path) -> None:
    code = """
import logging, resource
logging.basicConfig(level=logging.WARNING)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
catalog.record(PutDataset("a.TAG", year=2009))
assert [d.name for d in catalog.datasets("year = 2009")] == ["a.TAG"]
"""
    done = _run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cannot be written, the journal has it all" in done.stderr
    assert [d.name for d in Catalog(tmp_path).datasets("year = 2009")] == ["a.TAG"]
    assert not list(tmp_path.glob("*.new*"))


@contextmanager
def _as_another_user(folder: Path) -> Iterator[None]:
    """Be a user who may read `folder` and not write it; root drops to nobody, for root minds no bits."""
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


def test_fault_19_a_read_only_catalog_is_read_and_a_change_names_the_path(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        catalog = _filled(folder)
        answers = _looked_up(catalog)
        with _as_another_user(folder):
            assert _looked_up(Catalog(folder)) == answers
            with pytest.raises(AccessError, match=r"may not change the workspace: .*catalog\.journal"):
                Catalog(folder).record(PutDataset("c.TAG"))
        catalog.record(LogQuery("count"))  # quiet: the view lags behind
        with _as_another_user(folder):
            assert len(Catalog(folder).history()) == 1
            assert _looked_up(Catalog(folder)) == answers
        # Four questions found the view behind: the warning is of the catalog, once a process.
        assert caplog.text.count("replaying the journal in memory") == 1
    with tempfile.TemporaryDirectory() as name:
        with _as_another_user(Path(name)):
            assert Catalog(Path(name)).names() == []
            with pytest.raises(AccessError):
                Catalog(Path(name)).record(PutDataset("c.TAG"))
        assert list(Path(name).iterdir()) == []


def test_nothing_is_made_before_the_first_change(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    assert (
        catalog.names()
        == catalog.datasets("year = 2009")
        == catalog.files()
        == catalog.history()
        == catalog.jobs()
        == []
    )
    assert catalog.sql("SELECT count(*) AS n FROM datasets").to_pylist() == [{"n": 0}]
    with pytest.raises(CatalogError, match="no journal"):
        catalog.rebuild()
    assert list(tmp_path.iterdir()) == []


def test_fault_16_six_readers_and_two_writers_nobody_starves(tmp_path: Path) -> None:
    """Readers ask without pause until they see all that is written; each wait is bounded, so any error fails."""
    Catalog(tmp_path).record(PutDataset("start.TAG"))
    writer = """
for k in range(4):
    catalog.record(PutDataset(f"w{sys.argv[2]}.{k}.TAG", year=2009))
"""
    reader = """
for _ in range(100_000):
    if len(catalog.datasets("year = 2009")) == 8:
        break
else:
    sys.exit("never saw the end")
"""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", IMPORTS + code, str(tmp_path), str(k)], stderr=subprocess.PIPE, text=True
        )
        for k, code in enumerate([reader] * 6 + [writer] * 2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0] * 8, errors
    assert len(Catalog(tmp_path).names("w*")) == 8


def test_fault_16_a_bounded_wait_ends_in_an_error_that_names_the_holder(tmp_path: Path) -> None:
    with exclusive(tmp_path):
        for enter in (shared, exclusive):
            with (
                pytest.raises(CatalogError, match=rf"held by process {os.getpid()} of .* on .*, writing"),
                enter(tmp_path, 0.05),
            ):
                pass
    with shared(tmp_path), shared(tmp_path, 0.05):
        with pytest.raises(CatalogError, match="reading") as caught, exclusive(tmp_path, 0.05):
            pass
        assert caught.value.fields["path"] == str(tmp_path / "catalog.lock")
    with exclusive(tmp_path, 0.05):
        pass
    (tmp_path / "catalog.lock").write_text("rubbish")
    assert str(read_holder(tmp_path / "catalog.lock")) == "a process that left no name"


def test_fault_16_a_waiting_writer_stops_new_readers(tmp_path: Path) -> None:
    entered = threading.Event()

    def write() -> None:
        with exclusive(tmp_path, 30):
            entered.set()

    with shared(tmp_path):
        thread = threading.Thread(target=write)
        thread.start()
        with (tmp_path / "catalog.gate").open("rb") as gate:
            while _is_free(gate.fileno()):
                pass
        with pytest.raises(CatalogError), shared(tmp_path, 0.05):
            pass
        assert not entered.is_set()
    thread.join(30)
    assert entered.is_set()


def _is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def test_threads_of_one_process_share_a_catalog(tmp_path: Path) -> None:
    Catalog(tmp_path).record(PutDataset("a.TAG"))
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            catalog = Catalog(tmp_path)
            for k in range(3):
                catalog.record(SetMeta("a.TAG", {f"k{number}_{k}": k}))
                assert catalog.datasets(f"k{number}_{k} = {k}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert len(Catalog(tmp_path).dataset("a.TAG").meta) == 12


def test_names_and_records_need_no_duckdb(tmp_path: Path) -> None:
    """A shell's completion and `tagsel count` have no time for it; noting a query in the audit has none either."""
    _filled(tmp_path)
    code = """
assert catalog.names() == ["a.TAG", "b.TAG"] and catalog.dataset("a.TAG").meta == {"trigger": 2}
catalog.resolve("a.TAG@1,b*"); catalog.datasets(); catalog.jobs(); catalog.pins(); catalog.sites()
catalog.parents("a.TAG")
catalog.record(LogQuery("count", "a.TAG"))
heavy = {"duckdb", "pyarrow", "numpy", "uproot", "numba"} & set(sys.modules)
assert not heavy, heavy
"""
    done = _run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [q.verb for q in Catalog(tmp_path).history()] == ["count"]
