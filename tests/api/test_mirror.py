"""A workspace and a real Rucio server: mirrored, offline, refreshed; outputs published. All by the API of users."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from testbed import rucio

from tagsel.api import Workspace
from tagsel.catalog import DatasetFacts, FileRecord, PutDataset, PutReplicas
from tagsel.catalog.rucio import Rucio
from tagsel.cli.main import run
from tagsel.errors import AccessError, CatalogError
from tagsel.rootio.copying import checksum

pytestmark = pytest.mark.grid

GUIDS = [f"00D1B2C3-0000-4000-8000-{k:012X}" for k in range(6)]


@dataclass
class There:
    """A server's scope, and a workspace that mirrors `*.AOD` of it."""

    registry: Rucio
    scope: str
    ws: Workspace
    configuration: Path

    def make(self, name: str, numbers: list[int], site: str = "FAR") -> None:
        """A dataset with the files of these numbers."""
        self.registry.create(f"{self.scope}:{name}", DatasetFacts(type="AOD", version="1.0.0"))
        self.attach(name, numbers, site)

    def attach(self, name: str, numbers: list[int], site: str = "FAR") -> None:
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
        self.registry.attach(f"{self.scope}:{name}", files, site)


@pytest.fixture(params=["sqlite", "postgresql"])
def there(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[There]:
    """A scope with two datasets and a container of both, and a workspace that mirrors it, not yet synced."""
    configuration = request.getfixturevalue(f"rucio_{request.param}")
    registry = Rucio(str(configuration))
    found = There(registry, rucio.new_scope(registry), Workspace.init(tmp_path / "W"), configuration)
    found.make("a.AOD", [0, 1, 2])
    found.make("b.AOD", [3])
    registry.create(f"{found.scope}:all.AOD", DatasetFacts(members=(f"{found.scope}:a.AOD", f"{found.scope}:b.AOD")))
    found.ws.catalogs.add("rucio", datasets=[f"{found.scope}:*.AOD"], config=str(configuration), scope=found.scope)
    yield found


def test_what_rucio_says_is_what_the_workspace_says(there: There) -> None:
    done = there.ws.catalogs.sync()
    assert (done.datasets, done.files, done.copies) == (3, 4, 4)
    assert sorted(done.new) == ["a.AOD", "all.AOD", "b.AOD"]
    assert (done.changed, done.gone, done.left_out) == ([], [], [])
    catalog = there.ws.catalog
    a = catalog.dataset("a.AOD")
    assert (a.type, a.version, a.files, a.events, a.bytes, a.state) == ("AOD", "1.0.0", 3, 30, 300, "open")
    assert (a.meta["catalog"], a.meta["scope"]) == ("rucio", there.scope)
    assert [f.guid for f in catalog.files("a.AOD", kind="AOD")] == GUIDS[:3]
    assert catalog.dataset("all.AOD").members == ("a.AOD", "b.AOD")
    (copy,) = catalog.replicas([GUIDS[0]])[GUIDS[0]]
    assert (copy.site, copy.pfn.rsplit("/", 1)[1]) == ("FAR", "f0.root")
    row = next(r for r in there.ws.catalogs.list().rows if r[0] == "rucio")
    assert row[3] == 3
    assert row[5].endswith(" s")


def test_asked_again_nothing_is_written(there: There) -> None:
    there.ws.catalogs.sync()
    before = (there.ws.folder / "catalog.journal").read_text().count("\n")
    done = there.ws.catalogs.sync()
    assert (done.datasets, done.new, done.changed, done.gone) == (3, [], [], [])
    lines = (there.ws.folder / "catalog.journal").read_text().splitlines()[before:]
    assert len(lines) == 1
    assert "PutCatalog" in lines[0]  # the time alone


def test_what_changes_there_changes_here(there: There) -> None:
    there.ws.catalogs.sync()
    there.attach("b.AOD", [4])
    there.registry.close(f"{there.scope}:b.AOD")
    there.registry._client.detach_dids(there.scope, "a.AOD", [{"scope": there.scope, "name": "f2.root"}])
    done = there.ws.catalogs.sync()
    assert sorted(done.changed) == ["a.AOD", "b.AOD"]
    assert there.ws.catalog.dataset("b.AOD").state == "closed"
    assert [f.guid for f in there.ws.catalog.files("b.AOD")] == [GUIDS[3], GUIDS[4]]
    assert [f.guid for f in there.ws.catalog.files("a.AOD")] == GUIDS[:2]
    assert there.ws.catalog.dataset("a.AOD").events == 20


def test_a_name_that_is_taken_here_is_left_alone_and_said(there: There) -> None:
    there.ws.catalog.record(PutDataset("a.AOD", type="AOD", events=5))
    done = there.ws.catalogs.sync(datasets=[f"{there.scope}:[ab].AOD"])
    assert done.left_out == [f"{there.scope}:a.AOD"]
    assert there.ws.catalog.dataset("a.AOD").events == 5
    assert there.ws.catalog.dataset("b.AOD").files == 1


def test_a_mirror_is_no_place_for_rows_of_ones_own(there: There) -> None:
    there.ws.catalogs.sync()
    with pytest.raises(CatalogError, match="mirrors another catalog's"):
        there.ws.ingest("x.root", dataset="a.AOD")
    with pytest.raises(CatalogError, match="is a mirror"):
        there.ws.catalogs.publish("a.AOD", site="NEAR")


def test_mistakes_are_said_before_anything_is_kept(there: There, tmp_path: Path) -> None:
    ws = Workspace.init(tmp_path / "other")
    for call, said in (
        (lambda: ws.catalogs.add("ruciio"), "unknown kind of catalog 'ruciio'"),
        (lambda: ws.catalogs.add("rucio", config=str(tmp_path / "nothing.cfg")), "there is no such file"),
        (lambda: ws.catalogs.sync(), "no other catalog is mirrored"),
        (lambda: there.ws.catalogs.sync("ruciio"), "no catalog 'ruciio'"),
        (lambda: there.ws.catalogs.sync(datasets=["nosuchscope:*"]), "no scope 'nosuchscope'"),
        (lambda: there.ws.catalogs.forget("rucioo"), "no catalog 'rucioo'"),
    ):
        with pytest.raises((CatalogError, AccessError), match=said):
            call()
    assert ws.catalogs.list().rows == ()


def test_work_goes_on_when_the_server_is_gone(tmp_path: Path) -> None:
    """Its own server, which is stopped: what was mirrored is there, what needs the server says so."""
    from testbed.servers import Missing, open_way

    open_way(tmp_path)
    (tmp_path / "server").mkdir()
    try:
        with rucio.running(tmp_path / "server") as configuration:
            registry = Rucio(str(configuration))
            found = There(registry, rucio.new_scope(registry), Workspace.init(tmp_path / "W"), configuration)
            found.make("a.AOD", [0, 1])
            found.ws.catalogs.add("rucio", datasets=[f"{found.scope}:*"], config=str(configuration))
            found.ws.catalogs.sync()
    except Missing as missing:
        pytest.skip(str(missing))
    ws = Workspace(tmp_path / "W")
    assert [row[0] for row in ws.sites.list().rows] == ["FAR", "NEAR"]
    assert len(ws.datasets.files("a.AOD", site="FAR").rows) == 2
    with pytest.raises(CatalogError, match="does not answer"):
        ws.catalogs.sync()
    assert ws.catalog.dataset("a.AOD").files == 2


def test_feature_73_an_output_is_published_with_where_it_came_from(
    there: There, tmp_path: Path, sample_home: Path
) -> None:
    """To a site whose storage is a folder; published twice it is the same; mirrored elsewhere it says its parents."""
    keeps = there.registry.keeps_keys
    storage = tmp_path / "storage"
    rucio.folder_site(there.registry, f"STORE-{there.scope.upper()}", storage)
    shutil.copytree(sample_home, tmp_path / "S")
    ws = Workspace(tmp_path / "S")
    ws.catalogs.add("rucio", config=str(there.configuration), scope=there.scope)
    (tmp_path / "job.py").write_text("def process(events):\n    return {'n': len(events)}\n")
    events = ws["data09_900GeV.physics_Muon.TAG"].select("NLooseMuon >= 2")
    job = ws.lists[events].submit(tmp_path / "job.py", output="user.n.NUMBERS")
    job.wait()
    done = ws.catalogs.publish("user.n.NUMBERS", site=f"STORE-{there.scope.upper()}")
    assert (done.name, done.files) == (f"{there.scope}:user.n.NUMBERS", 1)
    assert (done.unsaid == ()) == keeps
    assert ws.catalogs.publish("user.n.NUMBERS", site=f"STORE-{there.scope.upper()}") == done
    (record,) = there.registry.datasets([done.name])
    assert (record.state, record.files, record.type) == ("closed", 1, "NUMBERS")
    if keeps:
        assert record.cut == "NLooseMuon >= 2"
        assert record.parents == ("data09_900GeV.physics_Muon.TAG@1",)
        assert record.meta["selected"] == len(events)
    (file,) = there.registry.files([done.name])[done.name]
    (written,) = (p for p in storage.rglob("*") if p.is_file())
    assert file.checksum == checksum(str(written))
    assert ws.catalogs.sync(datasets=[done.name]).left_out == []  # it is ours
    rucio.folder_site(there.registry, f"OTHER-{there.scope.upper()}", tmp_path / "other")
    with pytest.raises(CatalogError, match=f"is there already, at STORE-.*no copy at OTHER-{there.scope.upper()}"):
        ws.catalogs.publish("user.n.NUMBERS", site=f"OTHER-{there.scope.upper()}")
    path = job.result().path
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(CatalogError, match="is not the file of user.n.NUMBERS that was registered: 20 B"):
        ws.catalogs.publish("user.n.NUMBERS", site=f"STORE-{there.scope.upper()}")


def test_a_publication_that_was_broken_off_is_finished_and_one_that_is_whole_is_left(
    there: There, tmp_path: Path, sample_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files; the second cannot be copied at first. A site that is not there leaves nothing behind."""
    from tagsel.api import catalogs

    site, name = f"STORE-{there.scope.upper()}", "data09_900GeV.physics_MinBias.TAG"
    rucio.folder_site(there.registry, site, tmp_path / "storage")
    shutil.copytree(sample_home, tmp_path / "S")
    ws = Workspace(tmp_path / "S")
    ws.catalogs.add("rucio", config=str(there.configuration), scope=there.scope)
    with pytest.raises(CatalogError, match="no such site"):
        ws.catalogs.publish(name, site="NOWHERE")
    assert there.registry.names(f"{there.scope}:{name}") == []
    place, copied = catalogs._placed, []

    def second_fails(file: FileRecord, where: str) -> FileRecord:
        if copied:
            raise CatalogError("the network is gone")
        copied.append(file.guid)
        return place(file, where)

    monkeypatch.setattr(catalogs, "_placed", second_fails)
    with pytest.raises(CatalogError, match="network is gone"):
        ws.catalogs.publish(name, site=site)
    monkeypatch.setattr(catalogs, "_placed", place)
    done = ws.catalogs.publish(name, site=site)
    assert done.files == 2
    assert ws.catalogs.publish(name, site=site) == done
    (record,) = there.registry.datasets([done.name])
    assert (record.state, record.files) == ("closed", 2)


def test_only_what_is_gone_there_goes_here(there: There) -> None:
    """What was mirrored once by name, and what an earlier pattern asked for, stays while Rucio has it."""
    there.make("once.ESD", [5])
    there.ws.catalogs.sync(datasets=[f"{there.scope}:once.ESD"])
    there.ws.catalogs.add("rucio", datasets=[f"{there.scope}:z*"], config=str(there.configuration), scope=there.scope)
    done = there.ws.catalogs.sync()
    assert done.gone == []
    assert set(there.ws.catalog.names()) == {"a.AOD", "b.AOD", "all.AOD", "once.ESD"}
    assert there.ws.catalog.catalogs()[0].patterns == (f"{there.scope}:*.AOD", f"{there.scope}:z*")


def test_what_cannot_be_held_here_is_named_and_the_rest_is_mirrored(there: There) -> None:
    """A name with slashes, and a file without a GUID."""
    there.registry.create(f"{there.scope}:/MuonA/Run2018-v1/AOD", DatasetFacts())
    there.make("c.AOD", [5])
    bare = {
        "scope": there.scope,
        "name": "bare.root",
        "bytes": 1,
        "adler32": "00000001",
        "pfn": "root://far.example.org:1094//data/FAR/bare.root",
    }
    there.registry._client.attach_dids(there.scope, "c.AOD", [bare], rse="FAR")
    done = there.ws.catalogs.sync(datasets=[f"{there.scope}:*"])
    assert sorted(done.left_out) == [
        f"1 files of {there.scope}:c.AOD, which have no GUID",
        f"{there.scope}:/MuonA/Run2018-v1/AOD",
    ]
    assert [f.guid for f in there.ws.catalog.files("c.AOD")] == [GUIDS[5]]
    assert there.ws.catalog.dataset("a.AOD").files == 3


def test_a_site_of_ones_own_is_not_taken_over_and_keys_of_the_others_follow(there: There) -> None:
    there.ws.catalogs.sync()
    there.registry._client.add_rse_attribute("NEAR", "zone", f"z{there.scope}")
    there.ws.catalogs.sync()
    assert there.ws.catalog.site("NEAR").meta["zone"] == f"z{there.scope}"
    other = Workspace.init(there.ws.folder.parent / "other")
    other.sites.add("FAR", "/mine")
    other.catalog.record(PutDataset("x.AOD"), PutReplicas("FAR", [(GUIDS[0], "/mine/f0.root")]))
    other.catalogs.add("rucio", datasets=[f"{there.scope}:*.AOD"], config=str(there.configuration))
    done = other.catalogs.sync()
    assert "site FAR" in done.left_out
    assert [c.pfn for c in other.catalog.replicas([GUIDS[0]])[GUIDS[0]]] == ["/mine/f0.root"]
    assert "catalog" not in other.catalog.site("FAR").meta


def test_the_command_line_says_what_rucio_says(there: There, capsys: pytest.CaptureFixture[str]) -> None:
    home = ["-w", str(there.ws.folder)]
    there.ws.catalogs.sync()
    assert run([*home, "catalogs", "sync", "--datasets", "nosuch:*"]) == 2
    assert "no scope 'nosuch'" in capsys.readouterr().err
    assert run([*home, "transfers", "request", "a.AOD", "NEAR", "--json"]) in (0, 3)
    capsys.readouterr()
    assert run([*home, "subscriptions", "add", f"{there.scope}:q*", "NOWHERE", "--catalog", "rucio", "--json"]) == 2
    told = json.loads(capsys.readouterr().out)["error"]
    assert (told["exit_code"], told["kind"]) == (2, "CatalogError")
    assert "no such site" in told["message"] or "rucio could not" in told["message"]
