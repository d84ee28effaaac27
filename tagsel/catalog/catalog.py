"""The catalog of a workspace: datasets, their files, sites and replicas, runs, jobs, pins and the audit.

Invariant: what `record` returned from is in the journal, on disk; everything else here can be made again
from it.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.catalog import journal, metaquery, sandbox, turnstile
from tagsel.catalog.changes import Change, Stamp
from tagsel.catalog.lineage import ancestors, descendants
from tagsel.catalog.names import matching, parse_dataset_spec
from tagsel.catalog.paths import resolve_pfn
from tagsel.catalog.records import (
    DatasetRecord,
    FileRecord,
    JobRecord,
    Lineage,
    PinRecord,
    QueryRecord,
    Replica,
    RetractionRecord,
    RunRecord,
    Site,
    canonical_guid,
    from_row,
)
from tagsel.catalog.state import State, dataset_record
from tagsel.catalog.tables import TABLES, Put, Rows
from tagsel.catalog.view import View
from tagsel.catalog.viewsql import fetch_rows
from tagsel.errors import CatalogError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa


class Catalog:
    """The catalog in `folder`, which must exist; no file is made before the first change.

    Names, records, sites, jobs and pins are answered without DuckDB; files, replicas, runs, conditions and
    SQL with it. Safe to use from several processes and threads at once, one object a thread.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._state = State(self.folder)
        self._view = View(self.folder)

    # --- changes -------------------------------------------------------------------------------------------

    def record(self, *changes: Change) -> None:
        """Make `changes`, all or none: they are on disk in the journal when this returns.

        Raises CatalogError where one may not be made, and where the catalog stays busy or cannot be written
        (AccessError).
        """
        if not changes:
            return
        with turnstile.exclusive(self.folder):
            state = self._state.refresh()
            stamp = Stamp(self._state.end.seq + 1, datetime.now(UTC).isoformat(timespec="milliseconds"), who())
            try:
                self._rehearse(changes, state, stamp)
                entry = journal.append(self._state.journal, self._state.end, stamp, changes)
            except BaseException:
                self._state.forget()
                raise
            self._state.end = entry.end
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
        """Throw the DuckDB view and the checkpoint away and replay the journal; the number of its lines."""
        if not self._state.journal.exists():
            raise CatalogError(f"there is no journal at {self._state.journal}", path=str(self._state.journal))
        with turnstile.exclusive(self.folder):
            self._state.checkpoint.unlink(missing_ok=True)
            self._state.forget()
            lines = self._view.rebuild()
            self._state.refresh()
            self._state.save()
        return lines

    # --- datasets ------------------------------------------------------------------------------------------

    def datasets(self, where: str = "") -> list[DatasetRecord]:
        """Datasets for which `where` is true, sorted by name; all of them for "".

        `where` is an SQL boolean expression over the columns of a dataset and any free key, which is NULL
        where a dataset lacks it. Raises CatalogError for what is no such expression, and for unknown names,
        with the nearest.
        """
        if not where.strip():
            rows = self._state.refresh()
            return [dataset_record(rows, name) for name in sorted(rows.rows["datasets"])]
        return metaquery.find(self._view, where)

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

        In the order asked, globs sorted, each once. Raises CatalogError where a part stands for none, or
        one dataset is asked for with two snapshots.
        """
        rows = self._state.refresh()
        known = rows.rows["datasets"]
        wanted: dict[str, int | None] = {}
        for spec in parse_dataset_spec(text):
            names = matching(spec.pattern, known) if spec.is_glob else [spec.pattern] * (spec.pattern in known)
            if not names:
                raise self._unknown(spec.pattern, "no dataset matches" if spec.is_glob else "no dataset")
            for name in names:
                if wanted.setdefault(name, spec.snapshot) != spec.snapshot:
                    raise CatalogError(f"{name} is asked for with two snapshots in {text!r:.200}", dataset=name)
        return [(dataset_record(rows, name), snapshot) for name, snapshot in wanted.items()]

    def _unknown(self, name: str, what: str = "no dataset") -> CatalogError:
        known = list(self._state.rows.rows["datasets"])
        hint = did_you_mean(name, known) or ("`tagsel datasets` lists them" if known else "`tagsel ingest` makes one")
        return CatalogError(f"{what} {name!r} in {self.folder}", hint=hint, dataset=name)

    def parents(self, name: str) -> Lineage:
        """The tree of what `name` was made from, up to where the catalog knows."""
        self.dataset(name)
        return ancestors(self._state.rows, name)

    def children(self, name: str) -> Lineage:
        """The tree of what was made from `name`."""
        self.dataset(name)
        return descendants(self._state.rows, name)

    # --- files, sites, replicas ----------------------------------------------------------------------------

    def files(
        self, dataset: str | None = None, guids: Sequence[str] | None = None, kind: str | None = None
    ) -> list[FileRecord]:
        """Files of a dataset, of given GUIDs, of a kind, or all; sorted by dataset, kind, LFN and GUID."""
        asked = {
            "dataset": [dataset] if dataset else None,
            "guid": _guids(guids),
            "kind": [kind] if kind else None,
        }
        rows = self._rows("files", asked, "dataset, kind, lfn, guid")
        return [from_row(FileRecord, row) for row in rows]

    def replicas(self, guids: Sequence[str]) -> dict[str, list[Replica]]:
        """Copies of the files `guids` by GUID, sorted by site and name; a GUID without any has an empty list."""
        wanted = _guids(guids) or []
        found: dict[str, list[Replica]] = {guid: [] for guid in wanted}
        for row in self._rows("replicas", {"guid": wanted}, "guid, site, pfn"):
            found[row["guid"]].append(from_row(Replica, row))
        return found

    def site_replicas(self, site: str) -> list[Replica]:
        """All copies that `site` is said to hold."""
        self.site(site)
        return [from_row(Replica, row) for row in self._rows("replicas", {"site": [site]}, "guid, pfn")]

    def sites(self) -> list[Site]:
        """All sites, sorted by name."""
        rows = self._state.refresh().all("sites")
        made = [Site(r["name"], r["prefix"], json.loads(r["meta"])) for r in rows]
        return sorted(made, key=lambda site: site.name)

    def site(self, name: str) -> Site:
        """The site `name`; CatalogError with the nearest names when there is none."""
        known = {site.name: site for site in self.sites()}
        if name not in known:
            raise CatalogError(f"no site {name!r}", hint=did_you_mean(name, known), site=name)
        return known[name]

    def local_path(self, replica: Replica) -> Path | None:
        """The local path of a copy: its name as it is, or under its site's prefix; None for a remote one.

        Raises AccessError where a relative name would lead out of the prefix.
        """
        if "://" in replica.pfn:
            return None
        if replica.pfn.startswith("/"):
            return Path(replica.pfn)
        prefix = self.site(replica.site).prefix
        return resolve_pfn(prefix, replica.pfn) if prefix and "://" not in prefix else None

    def stale(self, site: str) -> list[Replica]:
        """Copies at `site` with a local path at which there is no file."""
        held = ((replica, self.local_path(replica)) for replica in self.site_replicas(site))
        return [replica for replica, path in held if path is not None and not path.is_file()]

    # --- what a dataset holds ------------------------------------------------------------------------------

    def bookkeeping(self, dataset: str) -> dict[str, dict[str, Any]]:
        """What each file said of its own making, by GUID."""
        self.dataset(dataset)
        rows = self._rows("bookkeeping", {"dataset": [dataset]}, "guid")
        return {row["guid"]: json.loads(row["record"]) for row in rows}

    def runs(self, dataset: str) -> list[RunRecord]:
        """Runs of a dataset with their luminosity blocks and events, sorted."""
        self.dataset(dataset)
        return [from_row(RunRecord, row) for row in self._rows("runs", {"dataset": [dataset]}, "run")]

    def retractions(self, dataset: str | None = None) -> list[RetractionRecord]:
        """Files that were taken out of a dataset, or of any, in order; those that came back since included."""
        state = self._state.refresh()
        rows = state.all("retractions") if dataset is None else state.of("retractions", dataset)
        made = (from_row(RetractionRecord, row) for row in rows)
        return sorted(made, key=lambda r: (r.dataset, r.snapshot))

    # --- jobs, pins, audit ---------------------------------------------------------------------------------

    def jobs(self) -> list[JobRecord]:
        """All jobs, in the order of their last change."""
        rows = self._state.refresh().all("jobs")
        return sorted((from_row(JobRecord, row) for row in rows), key=lambda job: job.seq)

    def pins(self, dataset: str | None = None) -> list[PinRecord]:
        """Pinned snapshots, of one dataset or all, sorted."""
        state = self._state.refresh()
        rows = state.all("pins") if dataset is None else state.of("pins", dataset)
        made = (from_row(PinRecord, row) for row in rows)
        return sorted(made, key=lambda pin: (pin.dataset, pin.snapshot, pin.reason))

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
        tables: Mapping[str, pa.Table | Sequence[Path | str]] | None = None,
        *,
        memory: str = "1GB",
        seconds: float = 60,
    ) -> pa.Table:
        """The answer of one read-only SELECT over the catalog's tables and `tables`, as an Arrow table.

        `tables` gives TAG datasets by name, as Arrow tables or lists of Parquet files. `datasets` has every
        free key as a column. Raises CatalogError for anything but one SELECT, for unknown tables, and past
        the limits.
        """
        parsed = sandbox.parse(query)
        given = dict(tables or {})
        taken = {name.lower() for name in given}
        wanted = [t for t in sandbox.CATALOG_TABLES if t in {n.lower() for n in parsed.tables} and t not in taken]
        if wanted:
            given |= self._view.read(lambda connection: metaquery.copies(connection, wanted))
        return sandbox.run(parsed, given, memory=memory, seconds=seconds)

    def _rows(self, table: str, asked: Mapping[str, Sequence[str] | None], order: str) -> list[dict[str, Any]]:
        terms = {column: list(values) for column, values in asked.items() if values is not None}
        condition = " AND ".join(f'"{c}" IN (SELECT unnest(CAST(? AS VARCHAR[])))' for c in terms) or "true"
        query = f"SELECT * FROM {table} WHERE {condition} ORDER BY {order}"
        return self._view.read(lambda connection: fetch_rows(connection, query, list(terms.values())))


def _guids(guids: Sequence[str] | None) -> list[str] | None:
    return None if guids is None else list(dict.fromkeys(canonical_guid(g) for g in guids))


def who() -> str:
    """Who this process acts for: user@host."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container whose user has no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
