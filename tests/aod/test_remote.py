"""AOD on other machines, by real servers: XRootD and HTTP. Copies in turn, dead servers, only what is needed."""

from __future__ import annotations

import contextlib
import gc
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from testbed import httpd
from testbed.servers import free_port

from tagsel.aod import arrays, forecast, reading, skim
from tagsel.errors import AccessError
from tagsel.rootio import RootFile, remote


@pytest.fixture(params=[pytest.param("root", marks=pytest.mark.grid), "http"])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Path], str]]:
    """Put a file on a server; its URL."""
    if request.param == "root":
        address, folder = request.getfixturevalue("xrootd_server")
        own = folder / tmp_path.name
        own.mkdir(exist_ok=True)
        own.chmod(0o755)

        def put(path: Path) -> str:
            shutil.copy(path, own / path.name)
            return f"{address}/data/{own.name}/{path.name}"

        yield put
        return
    with httpd.running(tmp_path) as (address, _):

        def here(path: Path) -> str:
            if path.parent != tmp_path:
                shutil.copy(path, tmp_path / path.name)
            return f"{address}/{path.name}"

        yield here


def far(sample: Any, urls: list[str], copies: Any = None) -> Any:
    """The sample as a catalog knows it whose files lie elsewhere."""
    return replace(
        sample, files=[replace(f, pfn=u) for f, u in zip(sample.files, urls, strict=True)], replicas=copies or {}
    )


def test_the_events_are_those_of_the_local_files(sample: Any, serve: Callable[[Path], str]) -> None:
    events = sample.events(range(0, 120, 7))
    away = far(sample, [serve(Path(f.pfn)) for f in sample.files])
    found = arrays(away.map(events), events, "*")
    assert found.to_list() == arrays(sample.map(events), events, "*").to_list()
    assert len(arrays(away.map(sample.events([])), sample.events([]), "MET_pt")) == 0


def test_what_reading_costs_is_told_as_for_local_files(sample: Any, serve: Callable[[Path], str]) -> None:
    events = sample.events([3, 60, 61])
    away = far(sample, [serve(Path(f.pfn)) for f in sample.files])
    assert forecast(away.map(events), events, "MET_pt") == forecast(sample.map(events), events, "MET_pt")


def test_a_skim_of_remote_files(sample: Any, serve: Callable[[Path], str], tmp_path: Path) -> None:
    events = sample.events(range(5, 60, 9))
    away = far(sample, [serve(Path(f.pfn)) for f in sample.files])
    report = skim(away.map(events), events, tmp_path / "out.root", branches="MET_pt")
    assert (report.events, report.ledger.unreadable) == (len(events), 0)


def test_feature_109_only_what_is_needed_comes_over_the_network(maker: ModuleType, tmp_path: Path) -> None:
    """One entry of one branch of a file of 300 baskets a branch: its baskets, the header and the tree's own record."""
    one = maker.make(tmp_path, (3000,))
    with httpd.running(tmp_path) as (address, sent):
        away = far(one, [f"{address}/{Path(one.files[0].pfn).name}"])
        events = one.events([1234])
        assert arrays(away.map(events), events, "MET_pt").MET_pt.to_list() == [one.rows[1234][5]]
        assert 0 < sent.bytes < one.files[0].bytes / 3


@pytest.mark.parametrize("redirect", [False, True], ids=["direct", "redirected"])
@pytest.mark.parametrize("several", ["refused", "parts", "whole"])
def test_feature_109_bytes_read_over_http_are_what_the_server_counts(sample: Any, several: str, redirect: bool) -> None:
    """Every tenth basket of a file in batches of seven, then all of two files: bytes of files, without headers of HTTP.

    A server that answers a request for several ranges with the whole file is found out once: the first reading is not
    counted for it.
    """
    folder = Path(sample.files[0].pfn).parent
    with httpd.running(folder, several=several, redirect=redirect) as (address, sent):
        away = far(sample, [f"{address}/{Path(f.pfn).name}" for f in sample.files])
        for number, rows in enumerate([range(0, 50, 11), range(3, 70)]):
            events = sample.events(rows)
            before = sent.bytes
            source = reading(away.map(events), events, "MET_pt,Muon_*", 7)
            assert sum(len(batch.rows) for batch in source) == len(events)
            report = source.report
            if several != "whole" or number:
                assert sent.bytes - before == report.bytes_asked == report.bytes_read + report.bytes_opened
            near = forecast(sample.map(events), events, "MET_pt,Muon_*", 7)  # of the local files, nothing read
            assert (near.bytes_read, near.bytes_opened) == (report.bytes_read, report.bytes_opened)


def test_a_copy_that_breaks_off_is_counted_as_far_as_it_came(sample: Any) -> None:
    """The first answer, 403 bytes of header, breaks off in the middle; the copy of another server is read instead."""
    from aodmaker import Replica

    folder, name = Path(sample.files[0].pfn).parent, Path(sample.files[0].pfn).name
    events = sample.events(range(10))
    with httpd.running(folder, breaks=1) as (first, cut), httpd.running(folder) as (second, whole):
        copies = {sample.files[0].guid: [Replica("A", f"{first}/{name}"), Replica("B", f"{second}/{name}")]}
        gone = far(sample, ["/nowhere/a.root", *(f.pfn for f in sample.files[1:])], copies)
        source = reading(gone.map(events), events, "MET_pt")
        assert sum(len(batch.rows) for batch in source) == 10
        assert 0 < cut.bytes < 403
        assert abs(source.report.bytes_asked - cut.bytes - whole.bytes) <= 403


def test_copies_are_tried_in_turn(sample: Any, serve: Callable[[Path], str], tmp_path: Path) -> None:
    """A local path that is not there, a server that is dead, a copy that is another file: the last one is good."""
    from aodmaker import Replica

    first, other = sample.files[0], sample.files[1]
    wrong = tmp_path / "wrong.root"
    shutil.copy(other.pfn, wrong)
    dead = f"root://127.0.0.1:{free_port()}//data/a.root"
    copies = {
        first.guid: [Replica("DEAD", dead), Replica("OLD", serve(wrong)), Replica("GOOD", serve(Path(first.pfn)))]
    }
    away = far(sample, ["/nowhere/a.root", other.pfn, sample.files[2].pfn], copies)
    events = sample.events(range(50))
    mapped = away.map(events)
    assert (mapped.files[0].pfn, mapped.files[0].others[-1]) == (dead, "/nowhere/a.root")
    assert arrays(mapped, events, "MET_pt").to_list() == arrays(sample.map(events), events, "MET_pt").to_list()
    near = replace(away, replicas={first.guid: [*copies[first.guid], Replica("HERE", first.pfn)]})
    assert near.map(events).files[0].pfn == first.pfn  # a local file comes first


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # uproot leaves a socket after a 404
def test_no_copy_can_be_read_and_each_says_why(sample: Any, serve: Callable[[Path], str]) -> None:
    from aodmaker import Replica

    gone = serve(Path(sample.files[0].pfn)).replace("AOD.00", "gone")
    copies = {sample.files[0].guid: [Replica("A", gone)]}
    away = far(sample, ["/nowhere/a.root", sample.files[1].pfn, sample.files[2].pfn], copies)
    events = sample.events(range(60))
    source = reading(away.map(events), events, "MET_pt")
    assert sum(len(batch.rows) for batch in source) == 10
    (problem,) = source.report.problems
    assert problem.events == 50 and "none of 2 copies" in problem.reason
    assert gone in problem.reason and "/nowhere/a.root" in problem.reason
    del source, problem
    gc.collect()  # the socket is closed in this test, and its warning does not fall upon a later one


def test_a_dead_server_is_asked_once_and_not_for_each_of_its_files(
    sample: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    connect = socket.create_connection
    monkeypatch.setattr(remote.socket, "create_connection", lambda *a: (asked.append(a[0]), connect(*a))[1])
    dead = f"root://127.0.0.1:{free_port()}/"
    away = far(sample, [f"{dead}/data/{n}.root" for n in range(3)])
    events = sample.events(range(120))
    source = reading(away.map(events), events, "MET_pt")
    assert not list(source) and source.report.ledger.unreadable == 120
    assert len(asked) == 1
    assert all("does not answer: Connection refused" in p.reason for p in source.report.problems)


@pytest.fixture
def mute() -> Iterator[tuple[int, list[socket.socket]]]:
    """(port, connections) of a server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(server.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1], taken
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for one in taken:
            one.close()


@pytest.mark.parametrize("scheme", ["root", "http", "https"])
def test_fault_26_a_server_that_accepts_and_never_answers_costs_one_timeout(
    sample: Any, mute: tuple[int, list[socket.socket]], scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three files on it: the first of the map has a copy here, the others have none."""
    monkeypatch.setattr(remote, "ANSWER_S", 0.5)
    port, taken = mute
    away = far(sample, [f"{scheme}://127.0.0.1:{port}//data/{n}.root" for n in range(3)])
    events = sample.events(range(120))
    mapped = away.map(events)
    first, *others = mapped.files
    (here,) = [f.pfn for f in sample.files if f.guid == first.guid]
    spared = replace(first, others=(here,))
    source = reading(replace(mapped, files=(spared, *others)), events, "MET_pt")
    delivered = sum(len(batch.rows) for batch in source)
    assert len(taken) == 1  # one connection, and so one timeout
    assert source.report.ledger.delivered == delivered == len(first.entries)
    assert source.report.ledger.unreadable == 120 - len(first.entries)
    assert [p.guid for p in source.report.problems] == [f.guid for f in others]
    assert all("does not answer: " in p.reason and "timed out" in p.reason for p in source.report.problems)


def test_a_truncated_remote_file_is_refused(sample: Any, serve: Callable[[Path], str], tmp_path: Path) -> None:
    short = tmp_path / "short.root"
    short.write_bytes(Path(sample.files[0].pfn).read_bytes()[:-700])
    with pytest.raises(AccessError, match="short.root"), RootFile(serve(short)) as file:
        file.events().arrays(["MET_pt"])
