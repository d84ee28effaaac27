"""The catalog of a workspace: datasets, their files, sites and replicas, runs, jobs, pins and the audit.

Invariant: what `record` returned from is in the journal, on disk; everything else here can be made again
from it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tagsel.base.atomic_write import remedy
from tagsel.base.lock_file import opening, owner_of, user_name
from tagsel.catalog import constraints, journal, metadata_query, requests, sandbox, turnstile
from tagsel.catalog.changes import Change, PutDataset, Stamp
from tagsel.catalog.lineage import IsParent, Lineage, ancestors, by_name, descendants
from tagsel.catalog.metadata_query import Facets
from tagsel.catalog.names import matching, parse_dataset_spec
from tagsel.catalog.records import (
    DatasetRecord,
    Downtime,
    FileRecord,
    JobRecord,
    Link,
    PinRecord,
    QueryRecord,
    Replica,
    RetractionRecord,
    Rule,
    RunRecord,
    SharedCatalog,
    Site,
    SiteTest,
    Subscription,
    canonical_guid,
)
from tagsel.catalog.requests import JobRequest
from tagsel.catalog.site_paths import located, places_of
from tagsel.catalog.state import State, dataset_record
from tagsel.catalog.tables import TABLES, Put, Row, Rows, from_json, from_row, owned_tables, table_of
from tagsel.catalog.view import View, fetch_rows
from tagsel.errors import AccessError, CatalogError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

    from tagsel.catalog.sandbox import DatasetParts


_R = TypeVar("_R")

_PATIENCE = 10
"""How often a change of a record is tried anew when others change it meanwhile."""


class Catalog:
    """The catalog in `folder`, which must exist; no file is made before the first change.

    Names, records, sites, jobs and pins are answered without DuckDB; files, replicas, runs, conditions and
    SQL with it. Safe to use from several processes and threads at once, one object a thread.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._state = State(self.folder)
        self._view = View(self.folder, self._state.positions)

    # --- changes -------------------------------------------------------------------------------------------

    def record(self, *changes: Change) -> None:
        """Make `changes`, all or none: they are on disk in the journal when this returns.

        Raises CatalogError where one may not be made, and where the catalog stays busy or cannot be written
        (AccessError).
        """
        if not changes:
            return
        self.need_writable()
        with turnstile.exclusive(self.folder):
            state = self._state.refresh()
            if not self._state.tip.exists():  # of an older tagsel: then the view is the only witness
                self._view.need_journal()
            stamp = Stamp(self._state.end.seq + 1, datetime.now(UTC).isoformat(timespec="milliseconds"), who())
            try:
                self._rehearse(changes, state, stamp)
                entry = journal.append(self._state.journal, self._state.end, stamp, changes)
            except BaseException:
                self._state.forget()
                raise
            self._state.end = entry.end
            self._state.acknowledge()
            if not all(change.quiet for change in changes):
                self._view.bring_up()
            self._state.save()

    def check(self, *changes: Change) -> None:
        """CatalogError where `record` would refuse these changes; nothing is written."""
        state = self._state.refresh()
        try:
            self._rehearse(changes, state, Stamp(self._state.end.seq + 1, "", ""))
        finally:
            self._state.forget()

    def is_held(self) -> bool:
        """Whether another process holds the catalog alone, and does not let go within a second."""
        return turnstile.is_held(self.folder)

    def may_write(self) -> bool:
        """Whether this user may change the catalog, by the permissions of its files."""
        return self._closed() is None

    def need_writable(self) -> None:
        """AccessError, naming the file, where this user may not change the catalog. Ask before anything is written."""
        path = self._closed()
        if path is not None:
            raise AccessError(
                f"you ({user_name()}) may not change the workspace: {path} belongs to {owner_of(path)}, who gave you "
                "no right to write it",
                hint=opening(path),
                path=str(path),
            )

    def _closed(self) -> Path | None:
        """The first of the catalog's files, or its folder, that this user may not write."""
        files = [self._state.journal, *turnstile.files(self.folder)]
        for path in [path if path.exists() else self.folder for path in files]:
            if not os.access(path, os.W_OK, effective_ids=True):
                return path
        return None

    def _rehearse(self, changes: Sequence[Change], state: Rows, stamp: Stamp) -> None:
        """Fold `changes` into the state, each checked on what those before it made."""
        for part, change in enumerate(changes):
            change.check(state)
            ops = list(change.ops(Stamp(stamp.seq, stamp.when, stamp.who, part)))
            for op in ops:
                if isinstance(op, Put):
                    TABLES[op.table].check(op.row)
            state.fold(ops)

    def rebuild(self) -> int:
        """Throw the DuckDB view and the checkpoint away and replay the journal; the number of its lines.

        CatalogError, before anything is thrown away, where one of them knows lines that the journal does not have.
        """
        if not self._state.journal.exists():
            raise CatalogError(f"there is no journal at {self._state.journal}", path=str(self._state.journal))
        self.need_writable()
        with turnstile.exclusive(self.folder):
            self._state.forget()
            self._state.refresh()
            self._view.need_journal()
            self._state.checkpoint.unlink(missing_ok=True)
            self._state.forget()
            lines = self._rebuilt_view()
            self._state.refresh()
            self._state.save()
        return lines

    def _rebuilt_view(self) -> int:
        """Make the view anew; CatalogError where it cannot be written: the journal is as it was."""
        import duckdb

        try:
            return self._view.rebuild()
        except (duckdb.Error, OSError) as error:
            reason = str(error).splitlines()[0]
            raise CatalogError(
                f"{self._view.path} cannot be written, the journal has it all: {reason}",
                hint=f"{remedy(error)}, and give the command again",
                path=str(self._view.path),
            ) from error

    # --- datasets ------------------------------------------------------------------------------------------

    def datasets(self, where: str = "") -> list[DatasetRecord]:
        """Datasets for which `where` is true, sorted by name; all of them for "".

        `where` is an SQL boolean expression over the columns of a dataset and any free key, which is NULL
        where a dataset lacks it. Raises CatalogError for what is no such expression, and for unknown names,
        with the nearest.
        """
        rows = self._state.refresh()
        if not where.strip():
            return [dataset_record(rows, name) for name in sorted(rows.rows["datasets"])]
        return metadata_query.find(self._view, where)

    def facets(self, where: str = "", by: Sequence[str] = (), most: int = metadata_query.MOST) -> Facets:
        """Return each key's values among the datasets that `where` selects, with their datasets and events.

        See `metadata_query.facets`.
        """
        return metadata_query.facets(self._view, where, by, most)

    def dataset(self, name: str) -> DatasetRecord:
        """The dataset `name`; CatalogError with the nearest names when there is none."""
        rows = self._state.refresh()
        if name not in rows.rows["datasets"]:
            raise self._unknown(name)
        return dataset_record(rows, name)

    def names(self, pattern: str = "*") -> list[str]:
        """Names of datasets that the glob `pattern` matches, sorted."""
        return matching(pattern, self._state.refresh().rows["datasets"])

    def resolve(self, text: str) -> list[tuple[DatasetRecord, int | None]]:
        """The datasets that `name`, `name@3`, a glob, or several with commas stand for, each with its snapshot.

        In the order asked, globs sorted, each once; a container stands for what it holds. Raises CatalogError
        where a part stands for none, or one dataset is asked for with two snapshots.
        """
        rows = self._state.refresh()
        datasets = rows.rows["datasets"]
        snapshots: dict[str, int | None] = {}
        for spec in parse_dataset_spec(text):
            names = matching(spec.pattern, datasets) if spec.is_glob else [spec.pattern] * (spec.pattern in datasets)
            if not names:
                raise self._unknown(spec.pattern, "no dataset matches" if spec.is_glob else "no dataset")
            for name in _leaves(rows, names):
                if snapshots.setdefault(name, spec.snapshot) != spec.snapshot:
                    raise CatalogError(f"{name} is asked for with two snapshots in {text!r:.200}", dataset=name)
        return [(dataset_record(rows, name), snapshot) for name, snapshot in snapshots.items()]

    def need_open(self, name: str) -> None:
        """CatalogError where nothing may be added to the dataset `name`, AccessError where this user may add nothing.

        A dataset that does not exist yet is open.
        """
        self.need_writable()
        rows = self._state.refresh()
        if rows.of("datasets", name):
            constraints.need_open(rows, name)

    def is_open(self, name: str) -> bool:
        """Whether something may be added to the dataset `name`; one that does not exist yet is open."""
        rows = self._state.refresh()
        if not rows.of("datasets", name):
            return True
        try:
            constraints.need_open(rows, name)
        except CatalogError:
            return False
        return True

    def alter(self, name: str, **facts: Any) -> DatasetRecord:
        """The record of a dataset with other facts: `alter(name, state="closed")`; CatalogError as for PutDataset."""
        for _ in range(_PATIENCE):
            old = self.dataset(name)
            with suppress(constraints.Conflict):
                self.record(PutDataset(name, **{**old.facts(), **facts}, after=old.seq))
                return self.dataset(name)
        raise CatalogError(f"dataset {name} changes all the time", hint="try again", dataset=name)

    def _unknown(self, name: str, what: str = "no dataset") -> CatalogError:
        names = list(self._state.rows.rows["datasets"])
        hint = did_you_mean(name, names) or ("`tagsel datasets` lists them" if names else "`tagsel ingest` makes one")
        return CatalogError(f"{what} {name!r} in {self.folder}", hint=hint, dataset=name)

    def parents(self, name: str, is_parent: IsParent = by_name) -> Lineage:
        """The tree of what `name` was made from, up to where the catalog knows."""
        self.dataset(name)
        return ancestors(self._state.rows, name, is_parent)

    def children(self, name: str, is_parent: IsParent = by_name) -> Lineage:
        """The tree of what was made from `name`."""
        self.dataset(name)
        return descendants(self._state.rows, name, is_parent)

    # --- files, sites, replicas ----------------------------------------------------------------------------

    def files(
        self, dataset: str | None = None, guids: Sequence[str] | None = None, kind: str | None = None
    ) -> list[FileRecord]:
        """Files of a dataset, of given GUIDs, of a kind, or all; sorted by dataset, kind, LFN and GUID."""
        conditions = {
            "dataset": [dataset] if dataset else None,
            "guid": _guids(guids),
            "kind": [kind] if kind else None,
        }
        rows = self.rows("files", conditions, "dataset, kind, lfn, guid")
        return [from_row(FileRecord, row) for row in rows]

    def replicas(self, guids: Sequence[str]) -> dict[str, list[Replica]]:
        """Copies of the files `guids` by GUID, sorted by site and name; a GUID without any has an empty list."""
        canonical = _guids(guids) or []
        copies: dict[str, list[Replica]] = {guid: [] for guid in canonical}
        for row in self.rows("replicas", {"guid": canonical}, "guid, site, pfn"):
            copies[row["guid"]].append(from_row(Replica, row))
        return copies

    def site_replicas(self, site: str) -> list[Replica]:
        """All copies that `site` is said to hold."""
        self.site(site)
        return [from_row(Replica, row) for row in self.rows("replicas", {"site": [site]}, "guid, pfn")]

    def site_counts(self) -> dict[str, int]:
        """How many files have a copy at each site that has any."""
        query = "SELECT site, count(DISTINCT guid) AS files FROM replicas GROUP BY site"
        return {row["site"]: row["files"] for row in self._view.read(lambda c: fetch_rows(c, query))}

    def sites(self) -> list[Site]:
        """All sites, sorted by name."""
        return self._records(Site)

    def site(self, name: str) -> Site:
        """The site `name`; CatalogError with the nearest names when there is none."""
        sites = {site.name: site for site in self.sites()}
        if name not in sites:
            raise CatalogError(f"no site {name!r}", hint=did_you_mean(name, sites), site=name)
        return sites[name]

    def located(self, files: Iterable[FileRecord]) -> dict[str, list[Replica]]:
        """Copies of files by GUID, each under the physical names that the rules of its site make: see `prefixes`."""
        lfns = {file.guid: file.lfn for file in files}
        return located(self.replicas(list(lfns)), {site.name: site for site in self.sites()}, lfns)

    def local_path(self, replica: Replica, lfn: str = "") -> Path | None:
        """The local path of a copy: its name as it is, or by its site's prefix and rules; None for a remote one.

        `lfn` is the file's, for a copy without a name. AccessError where a name would lead out of the prefix.
        """
        if "://" in replica.pfn:
            return None
        for place in places_of(self.site(replica.site), replica, lfn):
            path = place.removeprefix("file://")
            if path.startswith("/"):
                return Path(path)
        return None

    def catalogs(self) -> list[SharedCatalog]:
        """Other catalogs that this one mirrors, sorted by name."""
        return self._records(SharedCatalog)

    def rules(self, dataset: str | None = None) -> list[Rule]:
        """Wishes for complete copies, of one dataset or all, sorted by dataset and site."""
        return self._records(Rule, dataset)

    def subscriptions(self) -> list[Subscription]:
        """Wishes for copies of all datasets of a pattern, sorted."""
        return self._records(Subscription)

    def downtimes(self, site: str | None = None) -> list[Downtime]:
        """Times in which sites are not to be used, of one site or all, sorted by site and begin."""
        return self._records(Downtime, site)

    def links(self) -> list[Link]:
        """How fast files go between sites, sorted."""
        return self._records(Link)

    def site_tests(self, site: str, most: int = 20) -> list[SiteTest]:
        """The last functional tests of a site, newest first."""
        query = "SELECT * FROM site_tests WHERE site = ? ORDER BY tested DESC LIMIT ?"
        return [from_row(SiteTest, row) for row in self._view.read(lambda c: fetch_rows(c, query, [site, most]))]

    def down(self, when: datetime) -> dict[str, Downtime]:
        """The sites that are not to be used at a time, each with the downtime that says so."""
        return {d.site: d for d in self.downtimes() if d.covers(when)}

    def _records(self, kind: type[_R], owner: str | None = None) -> list[_R]:
        """The records of a light table, or those of one owner, sorted by key."""
        table = table_of(kind)
        state = self._state.refresh()
        rows = state.all(table.name) if owner is None else state.of(table.name, owner)
        return [from_row(kind, row) for row in sorted(rows, key=table.key_of)]

    def stale(self, site: str) -> list[Replica]:
        """Copies at `site` with a local path at which there is no file, or one of another size than the file has."""
        copies = self.site_replicas(site)
        lfns: dict[str, str] = {}
        sizes: dict[str, int] = {}
        for file in self.files(guids=[replica.guid for replica in copies]) if copies else []:
            lfns[file.guid] = lfns.get(file.guid) or file.lfn
            sizes[file.guid] = max(file.bytes, sizes.get(file.guid, -1))
        stale = []
        for replica in copies:
            path = self.local_path(replica, lfns.get(replica.guid, ""))
            if path is not None and not is_whole(path, sizes.get(replica.guid, -1)):
                stale.append(replica)
        return stale

    # --- what a dataset holds ------------------------------------------------------------------------------

    def bookkeeping(self, dataset: str) -> dict[str, dict[str, Any]]:
        """What each file said of its own making, by GUID."""
        self.dataset(dataset)
        rows = self.rows("bookkeeping", {"dataset": [dataset]}, "guid")
        return {row["guid"]: from_json(row["record"]) for row in rows}

    def runs(self, dataset: str) -> list[RunRecord]:
        """Runs of a dataset with their luminosity blocks and events, sorted."""
        self.dataset(dataset)
        return [from_row(RunRecord, row) for row in self.rows("runs", {"dataset": [dataset]}, "run")]

    def retractions(self, dataset: str | None = None) -> list[RetractionRecord]:
        """Files that were taken out of a dataset, or of any, in order; those that came back since included."""
        return self._records(RetractionRecord, dataset)

    # --- jobs, pins, audit ---------------------------------------------------------------------------------

    def jobs(self) -> list[JobRecord]:
        """All jobs, in the order of their last change."""
        rows = self._state.refresh().all("jobs")
        return sorted((from_row(JobRecord, row) for row in rows), key=lambda job: job.seq)

    def requests(self, job: str) -> list[JobRequest]:
        """What members of the group asked of a job, in order."""
        return requests.requests(self._state.refresh(), job)

    def pins(self, dataset: str | None = None) -> list[PinRecord]:
        """Pinned snapshots, of one dataset or all, sorted."""
        return self._records(PinRecord, dataset)

    def history(self, most: int = 20) -> list[QueryRecord]:
        """The last `most` lines of the audit, newest first."""
        rows = self._view.read(
            lambda c: fetch_rows(c, "SELECT * FROM queries ORDER BY seq DESC, part DESC LIMIT ?", [most])
        )
        return [from_row(QueryRecord, row) for row in rows]

    # --- SQL -----------------------------------------------------------------------------------------------

    def sql(
        self,
        query: str,
        tables: Mapping[str, pa.Table | DatasetParts] | None = None,
        *,
        memory: str = "1GB",
        seconds: float = 60,
    ) -> pa.Table:
        """The answer of one read-only SELECT over the catalog's tables and `tables`, as an Arrow table.

        `tables` gives TAG datasets by name, as Arrow tables or as the parts that they have. `datasets` has every
        free key as a column. Raises CatalogError for anything but one SELECT, for unknown tables, and past
        the limits.
        """
        parsed = sandbox.parse(query)
        contents = dict(tables or {})
        own_names = {name.lower() for name in contents}
        names = {name.lower() for name in parsed.tables} - own_names
        catalog_tables = [table for table in sandbox.table_names() if table in names]
        if catalog_tables:
            contents |= self.copies(catalog_tables)
        return sandbox.run(parsed, contents, memory=memory, seconds=seconds)

    def copies(self, tables: Sequence[str], *, wide: bool = True) -> dict[str, pa.Table]:
        """Arrow copies of the catalog's tables, as `sql` shows them, or without `wide` as they are kept."""
        return self._view.read(lambda connection: metadata_query.copies(connection, tables, wide=wide))

    def owned_rows(self, name: str) -> dict[str, list[Row]]:
        """Rows of a dataset by table, of all tables whose rows go when it is dropped."""
        self.dataset(name)
        rows: dict[str, list[Row]] = {}
        for table in owned_tables():
            key = TABLES[table].key
            owned = self.rows(table, {key[0]: [name]}, ", ".join(key))
            if owned:
                rows[table] = [*owned]
        return rows

    def rows(self, table: str, asked: Mapping[str, Sequence[str] | None], order: str) -> list[dict[str, Any]]:
        """Rows of a table whose columns have one of the values asked for, in the order of columns."""
        terms = {column: list(values) for column, values in asked.items() if values is not None}
        condition = " AND ".join(f'"{c}" IN (SELECT unnest(CAST(? AS VARCHAR[])))' for c in terms) or "true"
        query = f"SELECT * FROM {table} WHERE {condition} ORDER BY {order}"
        return self._view.read(lambda connection: fetch_rows(connection, query, list(terms.values())))


def is_whole(path: Path, size: int) -> bool:
    """Whether there is a file at a path, of `size` bytes; a negative size is unknown.

    >>> is_whole(Path("/"), 0)
    False
    """
    return path.is_file() and (size < 0 or path.stat().st_size == size)


def _leaves(rows: Rows, names: Sequence[str]) -> Iterator[str]:
    """Yield the datasets for which names stand: a container stands for its members."""
    for name in names:
        members = [row["member"] for row in rows.of("members", name)]
        if members:
            yield from _leaves(rows, members)
        else:
            yield name


def _guids(guids: Sequence[str] | None) -> list[str] | None:
    return None if guids is None else list(dict.fromkeys(canonical_guid(g) for g in guids))


def who() -> str:
    """The user of this process, as the kernel knows them, and its machine: user@host."""
    return f"{user_name()}@{socket.gethostname()}"
