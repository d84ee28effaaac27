"""One suite of behaviours for every registry: the catalog of a workspace, and Rucio over SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from testbed import rucio

from tagsel.catalog import Catalog, PutSite
from tagsel.catalog.records import DatasetFacts, FileRecord, Replica, Subscription
from tagsel.catalog.registry import Embedded, Registry
from tagsel.catalog.rucio import Rucio
from tagsel.errors import AccessError, CatalogError


@dataclass
class Shared:
    """A registry with the sites NEAR and FAR, and how names and places are spelt there."""

    registry: Registry
    scope: str
    free_keys: bool

    def name(self, text: str) -> str:
        """A dataset's name."""
        return f"{self.scope}{text}"

    def file(self, k: int, entries: int = 10) -> FileRecord:
        """File `k`, of a GUID with k at its end."""
        place = f"root://far.example.org:1094//data/FAR/f{k}.root"
        return FileRecord(
            _guid(k), self.name(f"f{k}.root"), place, entries=entries, bytes=100 + k, checksum=f"adler32:{k:08x}"
        )


def _guid(k: int) -> str:
    return f"00D1B2C3-0000-4000-8000-{k:012X}"


@pytest.fixture(params=["embedded", "sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shared]:
    """Each registry, empty but for its sites."""
    if request.param == "embedded":
        catalog = Catalog(tmp_path)
        catalog.record(
            PutSite("NEAR", "/data/NEAR", {"tier": 1}), PutSite("FAR", "root://far.example.org//data/FAR", {"tier": 1})
        )
        yield Shared(Embedded(catalog), "", True)
    else:
        registry = Rucio(str(request.getfixturevalue(f"rucio_{request.param}")))
        yield Shared(registry, f"{rucio.new_scope(registry)}:", request.param == "postgresql")


def test_a_dataset_has_the_files_and_copies_that_were_attached(shared: Shared) -> None:
    """Three files of 10 events and of 101, 102 and 103 bytes: 30 events, 306 bytes."""
    registry, name = shared.registry, shared.name("data18.Muon.AOD")
    registry.create(name, DatasetFacts(type="AOD", version="1.0.0", stream="Muon"))
    registry.attach(name, [shared.file(2), shared.file(1)], "FAR")
    registry.attach(name, [shared.file(3)], "FAR")
    (record,) = registry.datasets([name])
    assert (record.name, record.type, record.version, record.stream) == (name, "AOD", "1.0.0", "Muon")
    assert (record.files, record.events, record.bytes, record.state) == (3, 30, 306, "open")
    files = registry.files([name])[name]
    assert [(f.guid, f.lfn, f.entries, f.bytes, f.checksum) for f in files] == [
        (_guid(k), shared.name(f"f{k}.root"), 10, 100 + k, f"adler32:{k:08x}") for k in (1, 2, 3)
    ]
    copies = registry.copies([name])
    assert list(copies) == [_guid(k) for k in (1, 2, 3)]
    for k in (1, 2, 3):
        (copy,) = copies[_guid(k)]
        assert (copy.site, copy.guid) == ("FAR", _guid(k))
        assert copy.pfn.replace("FAR//", "FAR/") == f"root://far.example.org:1094//data/FAR/f{k}.root"


def test_a_container_has_the_files_of_what_it_holds(shared: Shared) -> None:
    registry = shared.registry
    names = [shared.name(n) for n in ("a.AOD", "b.AOD")]
    for k, name in enumerate(names):
        registry.create(name, DatasetFacts(type="AOD"))
        registry.attach(name, [shared.file(k)], "FAR")
    whole = shared.name("all.AOD")
    registry.create(whole, DatasetFacts(members=tuple(names)))
    assert registry.datasets([whole])[0].members == tuple(names)
    assert [f.guid for f in registry.files([whole])[whole]] == [_guid(0), _guid(1)]
    assert list(registry.copies([whole])) == [_guid(0), _guid(1)]


def test_names_are_found_by_globs_and_come_sorted(shared: Shared) -> None:
    for n in ("b1.AOD", "a1.AOD", "a2.AOD", "a3.ESD"):
        shared.registry.create(shared.name(n), DatasetFacts())
    assert shared.registry.names(shared.name("a?.AOD")) == [shared.name("a1.AOD"), shared.name("a2.AOD")]
    assert shared.registry.names(shared.name("*")) == [shared.name(n) for n in ("a1.AOD", "a2.AOD", "a3.ESD", "b1.AOD")]
    assert shared.registry.names(shared.name("[ab]1.*")) == [shared.name("a1.AOD"), shared.name("b1.AOD")]
    assert shared.registry.names(shared.name("z*")) == []


def test_a_name_is_given_once(shared: Shared) -> None:
    shared.registry.create(shared.name("a.AOD"), DatasetFacts())
    with pytest.raises(CatalogError, match="already|taken"):
        shared.registry.create(shared.name("a.AOD"), DatasetFacts())


def test_a_closed_dataset_takes_no_more(shared: Shared) -> None:
    registry, name = shared.registry, shared.name("a.AOD")
    registry.create(name, DatasetFacts())
    registry.attach(name, [shared.file(1)], "FAR")
    registry.close(name)
    registry.close(name)
    assert registry.datasets([name])[0].state == "closed"
    with pytest.raises(CatalogError, match="closed"):
        registry.attach(name, [shared.file(2)], "FAR")
    assert [f.guid for f in registry.files([name])[name]] == [_guid(1)]


def test_free_keys_keep_their_types_or_are_refused(shared: Shared) -> None:
    registry, name = shared.registry, shared.name("a.AOD")
    registry.create(name, DatasetFacts())
    keys = {"job_cut": "nMuon >= 2", "trigger": 2, "mu": 0.5, "good": True}
    if shared.free_keys:
        registry.describe(name, keys)
        assert registry.datasets([name])[0].meta == keys
    else:
        with pytest.raises(CatalogError, match="does not keep such keys") as refused:
            registry.describe(name, keys)
        assert "PostgreSQL" in refused.value.hint


def test_what_is_not_there_is_said(shared: Shared) -> None:
    registry, there = shared.registry, shared.name("a.AOD")
    registry.create(there, DatasetFacts())
    for call in (
        lambda: registry.datasets([shared.name("nothing.AOD")]),
        lambda: registry.attach(shared.name("nothing.AOD"), [shared.file(1)], "FAR"),
        lambda: registry.attach(there, [shared.file(1)], "NOWHERE"),
        lambda: registry.wish(there, "NOWHERE"),
        lambda: registry.rules(shared.name("nothing.AOD")),
    ):
        with pytest.raises(CatalogError, match="no "):
            call()


def test_sites_are_listed_with_their_keys(shared: Shared) -> None:
    sites = {s.name: s.meta for s in shared.registry.sites()}
    assert sites["NEAR"]["tier"] in (1, "1")
    assert list(sites) == sorted(sites)


def test_a_wish_is_kept_once_and_is_done_where_the_copies_are(shared: Shared) -> None:
    registry, name = shared.registry, shared.name("a.AOD")
    registry.create(name, DatasetFacts())
    registry.attach(name, [shared.file(1), shared.file(2)], "FAR")
    for site in ("FAR", "NEAR", "FAR", "NEAR"):
        registry.wish(name, site)
    here, there = registry.rules(name)
    assert (here.site, here.state, here.done, here.files) == ("FAR", "done", 2, 2)
    assert (there.site, there.state in ("waiting", "moving"), there.done, there.files) == ("NEAR", True, 0, 2)


def test_a_subscription_is_listed_once(shared: Shared) -> None:
    pattern = shared.name("data18.*.AOD")
    shared.registry.subscribe(pattern, "NEAR")
    shared.registry.subscribe(pattern, "NEAR")
    assert shared.registry.subscriptions().count(Subscription(pattern, "NEAR")) == 1


def test_a_subscription_is_ended_and_can_be_made_again(shared: Shared) -> None:
    """Of two sites one is ended; again, as what was never there, it is not there."""
    registry, pattern = shared.registry, shared.name("data18.*.AOD")
    for site in ("NEAR", "FAR"):
        registry.subscribe(pattern, site)
    registry.unsubscribe(pattern, "NEAR")
    assert [s.site for s in registry.subscriptions() if s.pattern == pattern] == ["FAR"]
    with pytest.raises(CatalogError, match="no subscription of .* to NEAR") as refused:
        registry.unsubscribe(pattern, "NEAR")
    assert f"{pattern} to FAR" in refused.value.hint
    registry.subscribe(pattern, "NEAR")
    assert [s.site for s in registry.subscriptions() if s.pattern == pattern] == ["FAR", "NEAR"]


def test_all_wishes_are_listed_by_dataset_and_site(shared: Shared) -> None:
    registry = shared.registry
    for k, name in enumerate(("b.AOD", "a.AOD")):
        registry.create(shared.name(name), DatasetFacts())
        registry.attach(shared.name(name), [shared.file(k)], "FAR")
    for name, site in (("b.AOD", "NEAR"), ("a.AOD", "NEAR"), ("a.AOD", "FAR")):
        registry.wish(shared.name(name), site)
    mine = [r for r in registry.every_rule() if r.dataset.startswith(shared.scope)]
    assert [(r.dataset, r.site) for r in mine] == [
        (shared.name(n), s) for n, s in (("a.AOD", "FAR"), ("a.AOD", "NEAR"), ("b.AOD", "NEAR"))
    ]
    assert mine == [*registry.rules(shared.name("a.AOD")), *registry.rules(shared.name("b.AOD"))]


@pytest.mark.grid
def test_a_dead_server_and_a_wrong_password_are_said(
    rucio_sqlite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = rucio_sqlite.read_text()
    port = text.partition("rucio_host=http://127.0.0.1:")[2].partition("\n")[0]
    for wrong, said in (
        (text.replace(port, "9").replace("token", "t1"), "does not answer"),
        (text.replace("tagsel-secret", "guess").replace("token", "t2"), "does not accept the credentials"),
    ):
        path = tmp_path / "wrong.cfg"
        path.write_text(wrong.replace(str(rucio_sqlite.parent), str(tmp_path)))
        monkeypatch.delenv("RUCIO_CONFIG", raising=False)
        with pytest.raises(CatalogError, match=said):
            Rucio(str(path))
    with pytest.raises(AccessError, match="there is no such file"):
        Rucio(str(tmp_path / "nothing.cfg"))


def test_copies_are_what_a_job_is_told(shared: Shared) -> None:
    """The same record whichever registry it comes from: site, name, GUID."""
    registry, name = shared.registry, shared.name("a.AOD")
    registry.create(name, DatasetFacts())
    registry.attach(name, [shared.file(7)], "FAR")
    (copies,) = registry.copies([name]).values()
    assert [type(c) for c in copies] == [Replica]
