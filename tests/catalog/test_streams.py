"""Copies side by side, by several processes: kills and Ctrl-C in the middle, places that take no files, who waits."""

from __future__ import annotations

import logging
import os
import re
import resource
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tagsel.api import Workspace
from tagsel.catalog import Catalog, FileRecord, PutDataset, PutFiles, PutReplicas, PutSite
from tagsel.catalog.registry import FOLDER, Embedded
from tagsel.catalog.transfers import AHEAD, carry_out
from tagsel.catalog.view import View
from tagsel.cli.main import run

MANY = AHEAD + 9
"""Files of the dataset: more than are asked for at once."""

STOPS = """
import pathlib, sys
from tagsel.catalog import Catalog
from tagsel.catalog.transfers import carry_out
def told(done, total):
    print(done, total, flush=True)
    sys.stdin.readline()
carry_out(Catalog(pathlib.Path(sys.argv[1])), sys.argv[2], told)
"""
"""Carries a dataset's rules out, and stops after each file until it is told to go on, or its input ends."""


def _content(k: int) -> bytes:
    return f"file {k}".encode() * 1000


def _guid(k: int) -> str:
    return f"00D1B2C3-0000-4000-8000-{k:012X}"


def _dataset(catalog: Catalog, name: str, numbers: range) -> None:
    """A dataset whose files lie at CERN."""
    home = Path(catalog.site("CERN").prefix)
    files = []
    for k in numbers:
        path = home / f"{name}._{k:03}.root"
        path.write_bytes(_content(k))
        sums = f"adler32:{zlib.adler32(_content(k)):08x}"
        files.append(FileRecord(_guid(k), path.name, "", "AOD", 10, path.stat().st_size, checksum=sums))
    catalog.record(PutDataset(name, type="AOD", files=len(files)), PutFiles(name, files))
    catalog.record(PutReplicas("CERN", [(f.guid, str(home / f.lfn)) for f in files]))


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """CERN, CNAF and KIT; a.AOD of many files at CERN, which CNAF is to have, and b.AOD of two."""
    home = tmp_path / "W"
    for site in ("CERN", "CNAF", "KIT"):
        (tmp_path / site).mkdir()
    made = Workspace.init(home).catalog
    made.record(*(PutSite(site, str(tmp_path / site)) for site in ("CERN", "CNAF", "KIT")))
    _dataset(made, "a.AOD", range(1, MANY + 1))
    _dataset(made, "b.AOD", range(501, 503))
    Embedded(made).wish("a.AOD", "CNAF")
    return made


def _held(catalog: Catalog, site: str) -> set[str]:
    """The names of the copies that a site is said to hold."""
    return {Path(replica.pfn).name for replica in catalog.site_replicas(site)}


def _there(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def _states(catalog: Catalog) -> list[tuple[str, str, str, str]]:
    return [(r.dataset, r.site, r.state, r.error) for r in Embedded(catalog).every_rule()]


@contextmanager
def _stopped(catalog: Catalog, dataset: str) -> Iterator[subprocess.Popen[str]]:
    """A process that carries a dataset's rules out, and has stopped after its first file."""
    with subprocess.Popen(
        [sys.executable, "-c", STOPS, str(catalog.folder), dataset], stdin=-1, stdout=-1, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"1 {MANY}\n"
        yield process


def test_every_file_is_told_copied_and_known(catalog: Catalog, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    (rule,) = carry_out(catalog, progress=lambda done, total: told.append((done, total)))
    assert (rule.state, rule.done, rule.files) == ("done", MANY, MANY)
    assert told == [(k, MANY) for k in range(1, MANY + 1)]
    assert _held(catalog, "CNAF") == _there(tmp_path / "CNAF") == {f"a.AOD._{k:03}.root" for k in range(1, MANY + 1)}
    folder = tmp_path / "CNAF" / "a.AOD"
    assert all((folder / f"a.AOD._{k:03}.root").read_bytes() == _content(k) for k in range(1, MANY + 1))
    assert list((catalog.folder / FOLDER).glob("*.lock")) == []


def test_two_sites_and_two_rules_of_one_file(catalog: Catalog, tmp_path: Path) -> None:
    catalog.record(PutDataset("all.AOD", type="AOD", members=("a.AOD", "b.AOD")))
    for name, site in (("a.AOD", "KIT"), ("all.AOD", "KIT"), ("all.AOD", "CNAF")):
        Embedded(catalog).wish(name, site)
    assert [(r.dataset, r.site, r.state, r.done) for r in carry_out(catalog)] == [
        ("a.AOD", "CNAF", "done", MANY),
        ("a.AOD", "KIT", "done", MANY),
        ("all.AOD", "CNAF", "done", MANY + 2),
        ("all.AOD", "KIT", "done", MANY + 2),
    ]
    for site in ("CNAF", "KIT"):
        assert len(catalog.site_replicas(site)) == len(_there(tmp_path / site)) == MANY + 2


def test_a_checksum_that_is_learnt_is_kept_by_the_dataset_of_the_file(catalog: Catalog) -> None:
    (file,) = (f for f in catalog.files("b.AOD") if f.guid == _guid(501))
    catalog.record(PutFiles("b.AOD", [replace(file, checksum="")]))
    catalog.record(PutDataset("all.AOD", type="AOD", members=("b.AOD",)))
    Embedded(catalog).wish("all.AOD", "KIT")
    assert [r.state for r in carry_out(catalog, "all.AOD")] == ["done"]
    assert catalog.files("b.AOD")[0].checksum == f"adler32:{zlib.adler32(_content(501)):08x}"
    assert catalog.files("all.AOD") == []


def test_the_error_is_that_of_the_first_file(catalog: Catalog, tmp_path: Path) -> None:
    for k in (MANY - 1, 7, 8):
        (tmp_path / "CERN" / f"a.AOD._{k:03}.root").write_bytes(b"damage")
    (rule,) = carry_out(catalog)
    assert (rule.state, rule.done, rule.tries) == ("waiting", MANY - 3, 1)
    assert "a.AOD._007.root" in rule.error
    assert "damaged" in rule.error


def test_two_files_of_one_name_never_write_over_each_other(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "CERN" / "other").write_bytes(b"other")
    files = [
        FileRecord(_guid(700 + k), "same.root", str(tmp_path / "CERN" / name), "AOD")
        for k, name in enumerate(("b.AOD._501.root", "other"))
    ]
    catalog.record(PutDataset("c.AOD", type="AOD"), PutFiles("c.AOD", files))
    Embedded(catalog).wish("c.AOD", "KIT")
    (rule,) = carry_out(catalog, "c.AOD")
    assert "another file is there" in rule.error
    assert (tmp_path / "KIT" / "c.AOD" / "same.root").read_bytes() == _content(501)
    assert [c.guid for c in catalog.site_replicas("KIT")] == [_guid(700)]


@pytest.mark.parametrize(
    "at", ["copying.piece:1", f"copying.piece:{MANY}", "catalog.transfer.copied:1", "catalog.transfer.copied:2"]
)
def test_fault_13_a_kill_in_the_middle_is_shown_and_mended(catalog: Catalog, tmp_path: Path, at: str) -> None:
    code = STOPS.replace("sys.stdin.readline()", "pass")
    done = subprocess.run(
        [sys.executable, "-c", code, str(catalog.folder), "a.AOD"],
        env={**os.environ, "TAGSEL_KILL_AT": at},
        check=False,
        timeout=60,
        stdout=subprocess.DEVNULL,
    )
    assert done.returncode == -signal.SIGKILL
    assert _states(catalog) == [("a.AOD", "CNAF", "waiting", "interrupted")]
    assert _held(catalog, "CNAF") <= _there(tmp_path / "CNAF")
    assert [(r.state, r.done, r.tries, r.error) for r in carry_out(catalog)] == [("done", MANY, 0, "")]
    assert _held(catalog, "CNAF") == _there(tmp_path / "CNAF")  # and no half of a file


def test_ctrl_c_leaves_nothing_half_done(catalog: Catalog, tmp_path: Path) -> None:
    def interrupt(done: int, _: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(catalog, progress=interrupt)
    assert 3 <= len(_there(tmp_path / "CNAF")) < MANY
    assert _held(catalog, "CNAF") == _there(tmp_path / "CNAF")
    assert _states(catalog) == [("a.AOD", "CNAF", "waiting", "interrupted")]
    assert [(r.state, r.tries) for r in carry_out(catalog)] == [("done", 0)]


def test_ctrl_c_is_ctrl_c_while_duckdb_is_at_work(catalog: Catalog) -> None:
    def interrupted(connection: Any) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        connection.execute("SELECT sum(hash(a.range + b.range)) FROM range(3000000) a, range(1000) b").fetchall()

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)  # as SIGINT, a moment later
    try:
        with pytest.raises(KeyboardInterrupt):
            View(catalog.folder).read(interrupted)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_rule_is_moving_as_long_as_its_process_lives(catalog: Catalog) -> None:
    with _stopped(catalog, "a.AOD") as process:
        (rule,) = Embedded(catalog).every_rule()
        assert (rule.state, rule.files, rule.error) == ("moving", MANY, "")
        assert 1 <= rule.done < MANY
        process.kill()
    assert _states(catalog) == [("a.AOD", "CNAF", "waiting", "interrupted")]


def test_another_process_copies_what_the_first_does_not(catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    Embedded(catalog).wish("b.AOD", "CNAF")
    with _stopped(catalog, "a.AOD") as process, caplog.at_level(logging.WARNING, "tagsel"):
        assert [r.state for r in carry_out(catalog, "b.AOD")] == ["done"]
        assert caplog.messages == []
        assert [s[2] for s in _states(catalog)] == ["moving", "done"]
        process.kill()


def test_who_is_waited_for_is_said_at_once(catalog: Catalog) -> None:
    tagsel = [sys.executable, "-m", "tagsel", "-w", str(catalog.folder), "transfers", "run"]
    with _stopped(catalog, "a.AOD") as first:
        with subprocess.Popen(tagsel, stdout=-1, stderr=-1, text=True) as second:
            assert first.stdin is not None
            assert second.stderr is not None
            machine = re.escape(os.uname().nodename)
            line = second.stderr.readline()
            assert re.fullmatch(
                rf"a\.AOD to CNAF: waiting for process {first.pid} of \w+ on {machine}, copying, since \S+\n", line
            ), line
            first.stdin.close()
            out, err = second.communicate(timeout=60)
        assert (second.returncode, out, err) == (0, f"a.AOD\tCNAF\tdone\t{MANY}\t{MANY}\t0\t\t\n", "")
        assert first.wait(60) == 0


def test_who_waits_goes_on_where_the_first_was_killed(catalog: Catalog) -> None:
    tagsel = [sys.executable, "-m", "tagsel", "-w", str(catalog.folder), "transfers", "run"]
    with _stopped(catalog, "a.AOD") as first, subprocess.Popen(tagsel, stdout=-1, stderr=-1, text=True) as second:
        assert second.stderr is not None
        assert "a.AOD to CNAF: waiting for process" in second.stderr.readline()
        first.kill()
        out, _ = second.communicate(timeout=60)
    assert (second.returncode, out) == (0, f"a.AOD\tCNAF\tdone\t{MANY}\t{MANY}\t0\t\t\n")


def test_fault_19_a_place_that_takes_no_files(catalog: Catalog) -> None:
    catalog.record(PutSite("CNAF", "/sys/kernel/tagsel"))  # not even root makes a folder there
    (rule,) = carry_out(catalog)
    assert (rule.state, rule.done, rule.tries) == ("waiting", 0, 1)
    assert "/sys/kernel/tagsel/a.AOD/a.AOD._001.root: cannot be written" in rule.error


def test_fault_11_a_file_that_finds_no_room_is_named_and_the_others_copied(catalog: Catalog, tmp_path: Path) -> None:
    big = tmp_path / "CERN" / "a.AOD._002.root"
    size = 64 << 20
    with big.open("wb") as file:
        file.truncate(size)
    record = FileRecord(_guid(2), big.name, "", "AOD", 10, size)
    catalog.record(PutFiles("a.AOD", [record]))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, hard))
    try:
        (rule,) = carry_out(catalog)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (rule.state, rule.done, rule.tries) == ("waiting", MANY - 1, 1)
    assert "a.AOD._002.root: cannot be written: File too large" in rule.error
    assert _held(catalog, "CNAF") == _there(tmp_path / "CNAF")
    assert [r.state for r in carry_out(catalog)] == ["done"]


@pytest.mark.grid
def test_many_files_go_to_a_server_and_a_kill_is_mended(
    catalog: Catalog, tmp_path: Path, xrootd_server: tuple[str, Path]
) -> None:
    address, data = xrootd_server
    folder = data / tmp_path.name
    catalog.record(PutSite("FAR", f"{address}/data/{tmp_path.name}"))
    Embedded(catalog).wish("a.AOD", "FAR")
    code = STOPS.replace("sys.stdin.readline()", "pass")
    words = [sys.executable, "-c", code, str(catalog.folder), "a.AOD"]
    environment = {**os.environ, "TAGSEL_KILL_AT": f"copying.piece:{3 * MANY + 11}"}
    done = subprocess.run(words, env=environment, check=False, timeout=60, stdout=subprocess.DEVNULL)
    assert done.returncode == -signal.SIGKILL
    assert ("a.AOD", "FAR", "waiting", "interrupted") in _states(catalog)
    assert [(r.site, r.state, r.done) for r in carry_out(catalog)] == [("CNAF", "done", MANY), ("FAR", "done", MANY)]
    assert _held(catalog, "FAR") == _there(folder)
    made = [(folder / "a.AOD" / f"a.AOD._{k:03}.root").read_bytes() for k in range(1, MANY + 1)]
    assert made == [_content(k) for k in range(1, MANY + 1)]


def test_a_transfer_of_the_command_line_shows_an_interrupted_one(
    catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    with _stopped(catalog, "a.AOD") as process:
        process.kill()
    assert run(["-w", str(catalog.folder), "transfers", "--csv"]) == 3
    header, row = capsys.readouterr().out.splitlines()
    assert header == "dataset,site,state,done,files,tries,subscription,error"
    words = row.split(",")
    assert (words[:3], words[4:]) == (["a.AOD", "CNAF", "waiting"], [str(MANY), "0", "", "interrupted"])
