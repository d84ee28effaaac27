"""A Rucio server that dies, is slow or fails, at every request in turn: what a workspace knew stays, all or nothing."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from testbed import proxy, rucio
from testbed.servers import Missing, free_port, open_way

from tagsel.api import Workspace
from tagsel.catalog import DatasetFacts, FileRecord, rucio_client
from tagsel.catalog.rucio import Rucio
from tagsel.errors import CatalogError
from tagsel.rootio.copying import checksum

pytestmark = pytest.mark.grid

GUIDS = [f"00D1B2C3-0000-4000-8000-{k:012X}" for k in range(6)]
CUT = "NLooseMuon >= 2"


@dataclass
class There:
    """A server reached past (`registry`) and through a proxy (`configuration`), and a scope of its own."""

    registry: Rucio
    scope: str
    door: proxy.Proxy
    configuration: Path

    def dataset(self, name: str, numbers: list[int]) -> None:
        """A dataset of files of ten events each, with a cut where the server keeps it."""
        cut = CUT if self.registry.keeps_keys else ""
        self.registry.create(f"{self.scope}:{name}", DatasetFacts(type="AOD", cut=cut))
        self.attach(name, numbers)

    def attach(self, name: str, numbers: list[int]) -> None:
        """Add files to a dataset."""
        files = [
            FileRecord(
                GUIDS[k],
                f"{self.scope}:f{k}.root",
                f"root://far.example.org:1094//data/FAR/f{k}.root",
                entries=10,
                bytes=100,
                checksum="adler32:0000000a",
            )
            for k in numbers
        ]
        self.registry.attach(f"{self.scope}:{name}", files, "FAR")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Rucio's client logs each refusal."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def there(rucio_postgresql: Path, tmp_path: Path) -> Iterator[There]:
    """A server that keeps free keys, with a proxy before it, and a dataset of three files in a scope of its own."""
    yield from _there(rucio_postgresql, tmp_path)


def _there(configuration: Path, folder: Path) -> Iterator[There]:
    port = int(configuration.read_text().partition("127.0.0.1:")[2].split()[0])
    registry = Rucio(str(configuration))
    with proxy.running(port) as door:
        made = There(registry, rucio.new_scope(registry), door, rucio.configured(folder / "door.cfg", door.port))
        made.dataset("a.AOD", [0, 1, 2])
        yield made


@pytest.fixture
def mirror(there: There, tmp_path: Path) -> Workspace:
    """A workspace that knows the dataset as it was before a file was added, another taken away, and `b.AOD` made."""
    ws = Workspace.init(tmp_path / "W")
    ws.catalogs.add("rucio", datasets=[f"{there.scope}:*"], config=str(there.configuration), scope=there.scope)
    ws.catalogs.sync()
    there.attach("a.AOD", [3])
    there.registry._client.detach_dids(there.scope, "a.AOD", [{"scope": there.scope, "name": "f0.root"}])
    there.dataset("b.AOD", [4])
    return ws


def known(ws: Workspace) -> dict[str, tuple[str, list[str], list[str]]]:
    """By dataset its cut, the GUIDs of its files, and the sites of their copies."""
    catalog, found = ws.catalog, {}
    for name in catalog.names():
        guids = [f.guid for f in catalog.files(name)]
        copies = [c.site for held in catalog.replicas(guids).values() for c in held]
        found[name] = catalog.dataset(name).cut, guids, copies
    return found


def cut_of(there: There) -> str:
    return CUT if there.registry.keeps_keys else ""


def requests_of(there: There, call: Callable[[], object]) -> int:
    """How many requests a call makes when all goes well."""
    there.door.seen.clear()
    call()
    return len(there.door.seen)


def harmed(there: There, call: Callable[[], object], harm: Callable[[int, str], str]) -> CatalogError | None:
    """The error of a call whose requests come to harm; None where it got through all the same."""
    there.door.seen.clear()
    there.door.harm = harm
    try:
        call()
    except CatalogError as error:
        return error
    finally:
        there.door.harm = lambda _n, _r: ""
    return None


@pytest.mark.parametrize("harm", ["refuse", "lose", "half", "500"])
def test_fault_13_a_server_that_dies_at_any_request_of_a_sync_changes_nothing(
    there: There, mirror: Workspace, harm: str, tmp_path: Path
) -> None:
    """From request k on, for each k: before it is heard, before or within its answer, or the server only fails."""
    before = {"a.AOD": (cut_of(there), GUIDS[:3], ["FAR"] * 3)}
    shutil.copytree(mirror.folder, tmp_path / "other")
    count = requests_of(there, Workspace(tmp_path / "other").catalogs.sync)
    assert count > 8
    for k in range(count):
        error = harmed(there, mirror.catalogs.sync, lambda number, _request, k=k: harm if number >= k else "")
        assert error is not None and error.message.startswith("rucio could not "), k
        assert ("its server fails" if harm == "500" else "answer") in error.message, (k, error.message)
        assert known(mirror) == before, k
    done = mirror.catalogs.sync()
    assert (done.new, done.changed, done.files) == (["b.AOD"], ["a.AOD"], 4)
    assert known(mirror) == {
        "a.AOD": (cut_of(there), GUIDS[1:4], ["FAR"] * 3),
        "b.AOD": (cut_of(there), GUIDS[4:5], ["FAR"]),
    }


@pytest.mark.parametrize("harm", ["lose", "500"])
def test_a_server_that_fails_once_never_costs_a_fact(there: There, mirror: Workspace, harm: str) -> None:
    """A failure of one request is an error or is made good: no cut is taken for one that the server does not keep."""
    mirror.catalogs.sync()
    now = known(mirror)
    assert now["a.AOD"][0] == cut_of(there)
    for k in range(requests_of(there, mirror.catalogs.sync)):
        error = harmed(there, mirror.catalogs.sync, lambda number, _request, k=k: harm if number == k else "")
        assert known(mirror) == now, (k, error)
        assert error is None or error.message.startswith("rucio could not "), k


def test_a_server_that_takes_too_long_is_an_error_in_our_words(
    there: There, mirror: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second's patience: one call waits it out, once, wherever the server falls silent."""
    monkeypatch.setattr(rucio_client, "TIMEOUT_S", 1)
    before = known(mirror)
    for k in (0, 5):
        error = harmed(there, mirror.catalogs.sync, lambda number, _request, k=k: "silent" if number >= k else "")
        assert error is not None and "took longer than" in error.message
        assert len(there.door.seen) == k + 1  # the one that met silence was the last
        assert known(mirror) == before
    assert mirror.catalogs.sync().changed == ["a.AOD"]


def test_a_server_that_is_overloaded_is_said_after_a_few_tries(there: There, mirror: Workspace) -> None:
    error = harmed(there, mirror.catalogs.sync, lambda _number, _request: "503")
    assert error is not None and "its server fails" in error.message and "503" in error.message
    assert 2 <= len(there.door.seen) <= 10


def test_a_wish_whose_rule_cannot_be_read_is_said_to_be_asked_for(there: There, mirror: Workspace) -> None:
    """The server fails from the first request on, the second one, and so on: the rule is there, or none is."""
    mirror.catalogs.sync()
    count = requests_of(there, lambda: mirror.transfers.request("a.AOD", "NEAR"))
    said = set()
    for k in range(count):
        name = f"{k}.AOD"
        there.dataset(name, [k % 5])
        mirror.catalogs.sync()
        transfer = partial(mirror.transfers.request, name, "NEAR")
        error = harmed(there, transfer, lambda number, _request, k=k: "500" if number >= k else "")
        assert error is not None
        asked = error.message.startswith(f"copies of {name} at NEAR are asked of rucio, but then: rucio could not")
        assert asked == bool([rule for rule in mirror.transfers.list(catalog="rucio") if rule.dataset.endswith(name)])
        said.add(asked)
    assert said == {True, False}


# -- publishing

OUTPUT = "user.n.NUMBERS"


@pytest.fixture
def output(there: There, tmp_path: Path, sample_home: Path) -> Callable[[str], object]:
    """A function that publishes a job's output, one file, in a scope, to a site that is a folder."""
    storage = tmp_path / "storage"
    storage.mkdir()
    site = f"STORE-{there.scope.upper()}"
    ways = {"read": 1, "write": 1, "delete": 1}
    there.registry._client.add_rse(site, deterministic=True)
    there.registry._client.add_protocol(
        site,
        {
            "scheme": "file",
            "hostname": "localhost",
            "port": 0,
            "prefix": f"{storage}/",
            "impl": "rucio.rse.protocols.posix.Default",
            "domains": {"lan": ways, "wan": ways},
        },
    )
    there.registry._client.set_local_account_limit("root", site, -1)
    shutil.copytree(sample_home, tmp_path / "S")
    ws = Workspace(tmp_path / "S")
    ws.catalogs.add("rucio", config=str(there.configuration))
    (tmp_path / "job.py").write_text("def process(events):\n    return {'n': len(events)}\n")
    events = ws["data09_900GeV.physics_Muon.TAG"].select(CUT)
    ws.lists[events].submit(tmp_path / "job.py", output=OUTPUT).wait()
    return lambda scope: ws.catalogs.publish(OUTPUT, site=site, scope=scope)


def told(folder: Path) -> object:
    """Where the workspace says that its output was published."""
    return Workspace(folder / "S").catalog.dataset(OUTPUT).meta.get("published")


def check_published(there: There, scope: str, folder: Path) -> None:
    """It is there once, whole, closed, and says where it came from as far as the server keeps that."""
    name = f"{scope}:{OUTPUT}"
    (record,) = there.registry.datasets([name])
    assert (record.state, record.files, record.cut) == ("closed", 1, cut_of(there))
    (file,) = there.registry.files([name])[name]
    (copy,) = there.registry.copies([name])[file.guid]
    assert checksum(copy.pfn) == file.checksum
    assert told(folder) == f"rucio:{name}"


@pytest.mark.parametrize("harm", ["refuse", "lose"])
def test_fault_13_a_server_that_dies_at_any_request_of_a_publication_is_taken_up_again(
    there: There, output: Callable[[str], object], harm: str, tmp_path: Path
) -> None:
    """For each request: the workspace does not call it published, and the same command completes it afterwards."""
    last = there.scope
    for k in range(requests_of(there, lambda: output(there.scope))):
        check_published(there, last, tmp_path)
        there.registry._client.add_scope("root", scope := f"{there.scope}x{k}")
        error = harmed(there, lambda s=scope: output(s), lambda n, _r, k=k: harm if n >= k else "")
        assert error is not None, k
        closed = f"rucio:{scope}:{OUTPUT} is published at "  # and the last request, which lists its files, is lost
        assert error.message.startswith(("rucio could not ", closed)), k
        assert "rucio could not " in error.message, k
        assert told(tmp_path) == f"rucio:{last}:{OUTPUT}"
        output(last := scope)
    check_published(there, last, tmp_path)


def test_a_server_that_fails_once_publishes_nothing_without_its_cut(
    there: There, output: Callable[[str], object], tmp_path: Path
) -> None:
    for k in range(requests_of(there, lambda: output(there.scope))):
        there.registry._client.add_scope("root", scope := f"{there.scope}x{k}")
        if harmed(there, lambda s=scope: output(s), lambda n, _r, k=k: "500" if n == k else "") is not None:
            output(scope)
        check_published(there, scope, tmp_path)


# -- a real kill


@pytest.mark.parametrize("request_of", ["GET /dids/", "POST /dids/"])
def test_fault_13_kill_9_of_the_server_in_a_sync_and_in_attaching(tmp_path: Path, request_of: str) -> None:
    """Its own server, killed as the request comes and started anew over the same database: all is there, each once."""
    port = free_port()
    open_way(tmp_path)
    (tmp_path / "server").mkdir()
    try:
        _killed_and_back(tmp_path, port, request_of)
    except Missing as missing:
        pytest.skip(str(missing))


def _killed_and_back(folder: Path, port: int, request_of: str) -> None:
    with rucio.server(folder / "server", port) as process:
        begun = _there(rucio.configured(folder / "rucio.cfg", port), folder)
        there = next(begun)
        ws = Workspace.init(folder / "W")
        ws.catalogs.add("rucio", datasets=[f"{there.scope}:*"], config=str(there.configuration), scope=there.scope)
        behind = Rucio(str(there.configuration))
        (new,) = [
            FileRecord(
                GUIDS[5],
                f"{there.scope}:f5.root",
                "root://far.example.org:1094//data/FAR/f5.root",
                entries=10,
                bytes=100,
                checksum="adler32:0000000a",
            )
        ]
        calls: dict[str, Callable[[], Any]] = {
            "GET /dids/": ws.catalogs.sync,
            "POST /dids/": lambda: behind.attach(f"{there.scope}:a.AOD", [new], "FAR"),
        }
        error = harmed(there, calls[request_of], lambda _n, request: kill(process, request, request_of))
        assert process.poll() is not None
        assert error is not None and "does not answer" in error.message
        assert known(ws) == {}
    with rucio.server(folder / "server", port):
        calls[request_of]()
        ws.catalogs.sync()
        wanted = [*GUIDS[:3], *([GUIDS[5]] if request_of.startswith("POST") else [])]
        assert known(ws) == {"a.AOD": ("", wanted, ["FAR"] * len(wanted))}
    begun.close()


def kill(process: subprocess.Popen[bytes], request: str, wanted: str) -> str:
    """kill -9 of the server when a request comes that begins so."""
    if request.startswith(wanted) and process.poll() is None:
        process.kill()
        process.wait()
    return "" if process.poll() is None else "refuse"
