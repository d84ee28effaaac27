"""Rucio's own daemons carry out what tagsel asked for: subscriptions, rules; and tagsel says what became of it.

Storage is folders: CERN has the files, CNAF can be reached from it, and no files go to LOST.
"""

from __future__ import annotations

import json
import secrets
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import SAMPLE
from testbed import rucio
from testbed.servers import Missing, open_way

from tagsel.api import Workspace
from tagsel.catalog import DatasetFacts, FileRecord
from tagsel.catalog.rucio import Rucio
from tagsel.cli.main import run
from tagsel.errors import CatalogError
from tagsel.rootio import RootFile
from tagsel.rootio.copying import checksum, copy

SCRIPT = SAMPLE.parent / "zmass.py"

pytestmark = pytest.mark.grid


@dataclass
class Server:
    """A server, its client's configuration, and where the files of its sites lie."""

    registry: Rucio
    configuration: Path
    storage: Path

    def daemons(self, *names: str) -> None:
        """Run daemons once."""
        rucio.run_daemons(self.configuration, *names)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for the module, for its daemons see everything that is new there."""
    home = tmp_path_factory.mktemp("rucio")
    open_way(home)
    try:
        with rucio.running(home / "server", "postgresql") as configuration:
            registry = Rucio(str(configuration))
            for site in ("CERN", "CNAF", "LOST"):
                rucio.folder_site(registry, site, home / site)
            registry._client.add_distance("CERN", "CNAF", {"distance": 1})
            yield Server(registry, configuration, home)
    except Missing as missing:
        pytest.skip(str(missing))


@dataclass
class There:
    """A scope of a server, and a workspace that mirrors it as the catalog `rucio`."""

    server: Server
    scope: str
    ws: Workspace
    capsys: pytest.CaptureFixture[str]

    def make(self, name: str, *texts: str, scope: str = "") -> None:
        """A dataset with a file at CERN for each text, by a client that is not tagsel's workspace."""
        self.server.registry.create(f"{scope or self.scope}:{name}", DatasetFacts(type="AOD"))
        self.attach(name, *texts, scope=scope)

    def attach(self, name: str, *texts: str, scope: str = "") -> None:
        """Add a file at CERN for each text to a dataset."""
        files = []
        for text in texts:
            lfn = f"{scope or self.scope}:{text}.root"
            path = self.at(lfn)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            guid = str(uuid.uuid5(uuid.NAMESPACE_URL, lfn)).upper()
            files.append(FileRecord(guid, lfn, entries=1, bytes=len(text), checksum=checksum(str(path))))
        self.server.registry.attach(f"{scope or self.scope}:{name}", files, "CERN")

    def at(self, lfn: str, site: str = "CERN") -> Path:
        """Where a file lies at a site."""
        return Path(self.server.registry.place(lfn, site))

    def tell(self, *words: str, codes: tuple[int, ...] = (0,)) -> Any:
        """What a verb says as JSON."""
        self.capsys.readouterr()
        assert run(["-w", str(self.ws.folder), *words, "--json"]) in codes
        return json.loads(self.capsys.readouterr().out)

    def rules(self) -> dict[tuple[str, str], tuple[Any, ...]]:
        """State, copies done, files and subscription by dataset of the scope and site, as `transfers` says.

        That is an exit code 3 where a rule failed: one of this test, or of one before it.
        """
        told = self.tell("transfers", "list", "--catalog", "rucio", codes=(0, 3))["transfers"]
        return {
            (r["dataset"].removeprefix(f"{self.scope}:"), r["site"]): (r["state"], r["done"], r["files"], r["why"])
            for r in told
            if r["dataset"].startswith(self.scope)
        }


@pytest.fixture
def there(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> There:
    """A new scope, and a new workspace that mirrors it."""
    scope = f"s{secrets.token_hex(4)}"
    server.registry._client.add_scope("root", scope)
    ws = Workspace.init(tmp_path / "W")
    ws.catalogs.add("rucio", datasets=[f"{scope}:*"], config=str(server.configuration), scope=scope)
    return There(server, scope, ws, capsys)


def test_feature_63_a_subscription_brings_a_new_version_to_a_site_and_its_end_ends_that(there: There) -> None:
    """Two files, then a third; a scope whose name goes on, and a name that does not match, get no rule.

    Ended, a version that comes gets none; subscribed to again, the next one does.
    """
    pattern, longer = f"{there.scope}:mu.v*.AOD", f"{there.scope}b"
    there.server.registry._client.add_scope("root", longer)
    assert there.tell("subscriptions", "add", pattern, "CNAF", "--catalog", "rucio")["subscribed"]
    there.make("mu.v1.AOD", "one", "two")
    there.make("mu.v1.AOD", scope=longer)
    there.make("other.AOD", "other")
    assert there.rules() == {}
    there.server.daemons("transmogrifier")
    assert there.rules() == {("mu.v1.AOD", "CNAF"): ("moving", 0, 2, pattern)}
    there.attach("mu.v1.AOD", "three")
    there.server.daemons("judge-evaluator", "conveyor")
    assert there.rules() == {("mu.v1.AOD", "CNAF"): ("done", 3, 3, pattern)}
    there.ws.catalogs.sync()
    held = [Path(row["place"]) for row in there.ws.datasets.files("mu.v1.AOD", site="CNAF").to_json()]
    assert sorted(path.read_text() for path in held) == ["one", "three", "two"]

    assert not there.tell("subscriptions", "end", pattern, "CNAF", "--catalog", "rucio")["subscribed"]
    left = there.tell("subscriptions", "list", "--catalog", "rucio")["subscriptions"]
    assert pattern not in [wish["pattern"] for wish in left]
    there.make("mu.v2.AOD", "four")
    there.server.daemons("transmogrifier")
    assert there.rules() == {("mu.v1.AOD", "CNAF"): ("done", 3, 3, pattern)}
    there.ws.subscriptions.add(pattern, "CNAF", catalog="rucio")
    there.make("mu.v3.AOD", "five")
    there.server.daemons("transmogrifier")
    made = there.rules()
    assert made["mu.v3.AOD", "CNAF"] == ("moving", 0, 1, pattern)
    assert made["mu.v2.AOD", "CNAF"] == ("moving", 0, 1, "")  # it was there: its rule was made at once
    there.ws.subscriptions.end(pattern, "CNAF", catalog="rucio")


def test_feature_63_a_transfer_of_a_mirrored_dataset_is_made_by_rucio_and_mapped(
    there: There, tmp_path: Path, sample_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The AODs of the sample at CERN: two files, which then have two copies each, and can be read at both sites."""
    shutil.rmtree(there.ws.folder)
    shutil.copytree(sample_home, there.ws.folder)
    ws = there.ws = Workspace(there.ws.folder)
    ws.catalogs.add("rucio", datasets=[f"{there.scope}:*"], config=str(there.server.configuration))
    name = "data09_900GeV.physics_Muon.AOD"
    there.server.registry.create(f"{there.scope}:{name}", DatasetFacts(type="AOD"))
    for path in sorted(SAMPLE.glob("*.physics_Muon.AOD.*.root")):
        lfn = f"{there.scope}:{path.name}"
        with RootFile(path) as file:
            record = FileRecord(
                file.guid,
                lfn,
                "",
                "AOD",
                file.events().entries,
                path.stat().st_size,
                checksum=copy(str(path), str(there.at(lfn))),
            )
        there.server.registry.attach(f"{there.scope}:{name}", [record], "CERN")
    ws.catalogs.sync()
    (asked,) = there.tell("transfers", "request", name, "CNAF")["transfers"]
    assert (asked["state"], asked["done"], asked["files"]) == ("moving", 0, 2)
    there.server.daemons("conveyor")
    assert there.rules() == {(name, "CNAF"): ("done", 2, 2, "")}
    events = ws["data09_900GeV.physics_Muon.TAG"].select("NLooseMuon >= 2")

    def sites() -> set[tuple[str, ...]]:
        return {tuple(s for s in f.sites if s in ("CERN", "CNAF")) for f in ws.lists[events].map().files}

    assert sites() == {("CERN",)}
    listed, home = str(tmp_path / "z.events"), ["-w", str(ws.folder)]
    events.save(listed)
    for verb in (["map", listed], ["submit", listed, "--run", str(SCRIPT), "--dry-run"]):
        assert run([*verb, *home]) == 0
        assert "copies are as rucio said" in capsys.readouterr().err  # how old, and that they may be others now
    assert run(["submit", listed, "--run", str(SCRIPT), "--dry-run", "--refresh", *home]) == 0
    assert "copies are as" not in capsys.readouterr().err
    assert sites() == {("CERN", "CNAF")}
    assert ws.catalogs.sync().copies == 4
    assert sites() == {("CERN", "CNAF")}
    for row in ws.datasets.files(name, site="CNAF").to_json():
        with RootFile(row["place"]) as file:
            assert file.guid == row["guid"]


def test_a_rule_that_is_stuck_says_why_and_is_an_exit_code(there: There) -> None:
    """To LOST no distance is known; a file that is not where it should be is tried four times by Rucio."""
    there.make("a.AOD", "a")
    there.make("gone.AOD", "gone")
    lost = there.at(f"{there.scope}:gone.root")
    lost.unlink()
    there.ws.catalogs.sync()
    there.tell("transfers", "request", "a.AOD", "LOST")
    there.tell("transfers", "request", "gone.AOD", "CNAF")
    there.server.daemons(*["conveyor"] * 4)
    told = there.tell("transfers", "list", "--catalog", "rucio", codes=(3,))["transfers"]
    a, gone = [rule for rule in told if rule["dataset"].startswith(there.scope)]
    assert [(r["site"], r["state"], r["done"], r["files"]) for r in (a, gone)] == [
        ("LOST", "failed", 0, 1),
        ("CNAF", "failed", 0, 1),
    ]
    assert a["error"].startswith("no copy of a file can be moved from where it is to there (rucio: ")
    assert gone["error"] == f"rucio: {lost}: No such file or directory"


def test_what_has_lived_its_time_is_gone_here_too(there: There) -> None:
    """A dataset and a rule whose lifetimes are over, of three datasets."""
    for name in ("short.AOD", "ruled.AOD", "long.AOD"):
        there.make(name, name)
    there.ws.catalogs.sync()
    client = there.server.registry._client
    ruled = [{"scope": there.scope, "name": "ruled.AOD"}]
    client.add_replication_rule(ruled, 1, "CERN", lifetime=-1)
    client.set_metadata(there.scope, "short.AOD", "lifetime", -1)
    assert there.rules() == {("ruled.AOD", "CERN"): ("done", 1, 1, "")}
    there.server.daemons("undertaker", "judge-cleaner")
    assert there.rules() == {}
    assert there.ws.catalogs.sync().gone == ["short.AOD"]
    assert there.ws.catalog.names() == ["long.AOD", "ruled.AOD"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda ws: ws.subscriptions.end("x:*", "CNAF", catalog="rucio"), "no subscription of 'x:\\*' to CNAF"),
        (lambda ws: ws.subscriptions.end("x:*", "CNAF", catalog="rucioo"), "no catalog 'rucioo'"),
        (lambda ws: ws.transfers.list(catalog="rucioo"), "no catalog 'rucioo'"),
    ],
)
def test_mistakes_are_said(there: There, call: Callable[[Workspace], Any], said: str) -> None:
    with pytest.raises(CatalogError, match=said):
        call(there.ws)


def test_a_subscription_of_somebody_to_several_sites_is_not_ended_for_one(there: There) -> None:
    rules = [{"copies": 1, "rse_expression": site, "activity": "User Subscriptions"} for site in ("CERN", "CNAF")]
    client, wanted = there.server.registry._client, {"scope": [there.scope], "pattern": "x.*"}
    client.add_subscription(f"{there.scope}-both", "root", wanted, rules, "", None, False, False)
    with pytest.raises(CatalogError, match="is to CERN, too, and ends whole"):
        there.ws.subscriptions.end("x.*", "CNAF", catalog="rucio")
    assert len([row for row in there.ws.subscriptions.list(catalog="rucio").rows if row[0] == "x.*"]) == 2
