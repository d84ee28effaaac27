"""Workspace: the one object that a user opens; every verb of the command line is a method here.

Invariant: a method does what the verb of its name does, and returns a value with fields; nothing is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel import selection
from tagsel.api import cache_usage, healing, ingestion, inventory, named, pins, questions, sql, upkeep
from tagsel.api.browsing import Browsing
from tagsel.api.dataset import Dataset, attribute_table
from tagsel.api.event_lists import Events, load, reduced
from tagsel.api.grid import Grid
from tagsel.api.home import Home, make_workspace
from tagsel.api.inputs import is_file_name
from tagsel.api.lasting import Lasting
from tagsel.api.many import Many
from tagsel.api.maps import map_list
from tagsel.api.questions import CutLike, LumiLike, Progress
from tagsel.api.sites import Sites
from tagsel.api.trash import Trash
from tagsel.base import settings
from tagsel.base.text_table import Table
from tagsel.catalog import Catalog
from tagsel.errors import JobError
from tagsel.events import EventList
from tagsel.quality import LumiSet, read_lumi
from tagsel.selection import Count, Cutflow, Input, Picked, Query, Why
from tagsel.selection.dask import runner
from tagsel.store import CompactPlan, Snapshot

if TYPE_CHECKING:
    from tagsel.aod import EventMap, SkimReport
    from tagsel.api.extending import Extended
    from tagsel.api.recovering import Recovered
    from tagsel.ingest.load import Ingested


class Workspace(Browsing, Many, Grid, Lasting):
    """A folder with datasets, a catalog and jobs. Open one with `tagsel.open`, make one with `Workspace.init`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ws = Workspace.init(folder)
    ...     ws.datasets().names()
    []
    """

    def __init__(self, folder: Path | str) -> None:
        """Open the workspace in `folder`; CatalogError where there is none."""
        self.home = Home(folder)

    @classmethod
    def init(cls, folder: Path | str) -> Workspace:
        """Make a workspace in a missing or empty folder; on a workspace nothing changes.

        CatalogError for a folder that holds something else.
        """
        make_workspace(Path(folder))
        return cls(folder)

    @property
    def folder(self) -> Path:
        """The folder of the workspace."""
        return self.home.folder

    @property
    def catalog(self) -> Catalog:
        """The catalog of datasets, files and sites."""
        return self.home.catalog

    @property
    def sites(self) -> Sites:
        """The sites where copies are."""
        return Sites(self.home)

    @property
    def trash(self) -> Trash:
        """The datasets that were dropped and not yet removed."""
        return Trash(self.home)

    # -- datasets

    def __getitem__(self, name: str) -> Dataset:
        """One or several datasets: a name, `name@3`, a glob, or several with commas."""
        return Dataset(self.home, name, self.home.inputs(name))

    def __contains__(self, name: object) -> bool:
        return name in self.home

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__()})

    def _ipython_key_completions_(self) -> list[str]:
        return self.home.names()

    def ingest(
        self,
        *files: Path | str,
        dataset: str,
        schema: str = "",
        profile: str = "",
        site: str = "",
        aod: Sequence[Path | str] = (),
        meta: Mapping[str, Any] | None = None,
        evolve: bool = False,
        identity: str = "",
        processes: int = 0,
        progress: Callable[[str], None] | None = None,
        **facts: Any,
    ) -> Ingested:
        """Turn ROOT or Parquet files into TAGs of a dataset; those that are in it already are left alone.

        `aod` names files that the rows point to; `facts` are `type`, `version`, `stream`, `sample`, `parents`.
        `identity` is what makes two rows of data one event: "run event", or "run lumi event" where event numbers start
        anew in each luminosity block. `profile` says how much is taken: "slim", "standard" or "full"; where it is not
        given, the dataset's own, or "standard" for a new one.
        IngestError when no file could be ingested.
        """
        return ingestion.ingest(
            self.home,
            [Path(f) for f in files],
            dataset,
            schema=schema,
            profile=profile,
            site=site,
            aod=[str(a) if "://" in str(a) else Path(a) for a in aod],
            meta=dict(meta or {}),
            evolve=evolve,
            identity=identity,
            processes=processes or self.home.setting("processes"),
            progress=progress,
            facts=facts,
        )

    def extend(
        self,
        dataset: str,
        what: Path | str,
        *,
        units: Mapping[str, str] | None = None,
        descriptions: Mapping[str, str] | None = None,
    ) -> Extended:
        """Attributes of your own as `user.NAME`: `"NAME = EXPRESSION"`, or the columns of a Parquet file, by identity.

        `units` and `descriptions` are by NAME. One commit, undone by `restore`; rows without a match are missing.
        """
        from tagsel.api.extending import extend

        return extend(self.home, dataset, str(what), units or {}, descriptions or {})

    def datasets(self, where: str = "") -> Table:
        """The datasets that a metadata query selects: `"type = 'TAG' and year = 2018"`, any free key too."""
        if self.catalog.may_write():
            healing.settle(self.folder, self.catalog)
        return inventory.listed(self.home, named.sql_text(where, self.folder, "condition"))

    def show(self, dataset: str) -> dict[str, Any]:
        """All that the catalog knows of one dataset: facts, runs, files, bookkeeping, parents, snapshots, pins."""
        return inventory.describe(self.home, dataset)

    def sql(self, query: str) -> Any:
        """One read-only SELECT over the catalogs and the TAG datasets (by name, in double quotes); an Arrow table.

        The table `queries` has the questions that you asked in this workspace, and changes of datasets.
        """
        return sql.sql(self.home, named.sql_text(query, self.folder))

    def schema(self, dataset: str, pattern: str = "*") -> Table:
        """Attributes of a dataset, or of an input file as ingest would see it."""
        if is_file_name(dataset):
            from tagsel.ingest import open_source

            return attribute_table(open_source(Path(dataset)).schema, pattern, dataset)
        return self[dataset].attributes(pattern)

    def caches(self, clear: str = "") -> Table:
        """The caches of the workspace and of this process that have entries: name, where, entries, bytes.

        `clear` names one whose entries are removed, or "all": the table then says what was removed. No answer changes;
        what is needed again is made again. CatalogError: no cache has this name.
        """
        return cache_usage.caches(self.home, clear)

    def derive_schema(self, path: Path | str) -> str:
        """A drafted schema (TOML) for a ROOT or Parquet file, to edit and hand to `ingest`."""
        from tagsel.ingest import derive_source_schema

        return derive_source_schema(Path(path))

    # -- selection

    def query(
        self,
        datasets: str,
        cuts: Sequence[CutLike],
        *,
        lumi: Sequence[LumiLike] | LumiLike = (),
        weight: str = "",
        duplicates: str = "",
        threads: int = 0,
        allow_losses: bool = False,
        remember: bool = True,
        inputs: tuple[Input, ...] = (),
    ) -> Query:
        """The question that `count`, `select`, `cutflow` and `why` ask; cuts are text, or (name, text).

        Without `remember` no mask of an earlier answer is used, and none is kept.
        """
        return questions.query(
            self.home,
            datasets,
            cuts,
            lumi=lumi,
            weight=weight,
            duplicates=duplicates,
            threads=threads,
            allow_losses=allow_losses,
            remember=remember,
            inputs=inputs,
        )

    def count(
        self, datasets: str, *cuts: CutLike, progress: Progress = None, client: Any = None, **options: Any
    ) -> Count:
        """How many events pass all cuts, with the ledger of every row; options as `query`.

        `client`, a `distributed.Client` or the address of a scheduler, has a Dask cluster do the work.
        """
        return selection.count(self.query(datasets, cuts, **options), progress=progress, runner=runner(client))

    def select(
        self,
        datasets: str,
        *cuts: CutLike,
        top: tuple[int, str] | None = None,
        progress: Progress = None,
        client: Any = None,
        **options: Any,
    ) -> Events:
        """The events that pass all cuts; with `top=(n, attribute)` the n with the highest value of it.

        Options as `query`, `client` as `count`.
        """
        events, counted = self.select_counted(datasets, *cuts, top=top, progress=progress, client=client, **options)
        del counted
        return events

    def select_counted(
        self,
        datasets: str,
        *cuts: CutLike,
        top: tuple[int, str] | None = None,
        progress: Progress = None,
        client: Any = None,
        **options: Any,
    ) -> tuple[Events, Count]:
        """`select`, and what it took."""
        query = self.query(datasets, cuts, **options)
        events, counted = selection.select(query, top=top, progress=progress, runner=runner(client))
        return Events.of(events, self.home), counted

    def cutflow(
        self, datasets: str, *cuts: CutLike, progress: Progress = None, client: Any = None, **options: Any
    ) -> Cutflow:
        """For each cut the events that pass it alone, in sequence, and all cuts but it, weighted with `weight=`.

        Options as `query`, `client` as `count`.
        """
        return selection.cutflow(self.query(datasets, cuts, **options), progress=progress, runner=runner(client))

    def pick(self, datasets: str, ids: Sequence[str] | EventList, **options: Any) -> Picked:
        """Events by identity: `run:event` or `run:lumi:event` texts, or a list; every miss is listed."""
        from tagsel.api.picking import pick, wanted

        return pick(self.home, self.query(datasets, [], **options), ids if isinstance(ids, EventList) else wanted(ids))

    def why(self, datasets: str, event: str | tuple[int, int], *cuts: CutLike, **options: Any) -> Why:
        """Why one event is in the answer or not: each cut's verdict with the values that it saw."""
        from tagsel.api.picking import wanted

        run, number, *lumi = event if not isinstance(event, str) else _parsed(wanted([event]))
        return selection.why(self.query(datasets, cuts, **options), run, number, *lumi)

    # -- lists

    def read_events(self, path: Path | str) -> Events:
        """The event list in a file of any form."""
        return load(path, self.home)

    def events(self, operation: str, *lists: Path | str | EventList) -> Events:
        """`show` one list, or the `union`, `intersect`, `minus`, `xor` of several, left to right."""
        read = [x if isinstance(x, EventList) else self.read_events(x) for x in lists]
        return Events.of(reduced(operation, read), self.home)

    def lumi(self, operation: str, *files: LumiLike) -> LumiSet:
        """`show` one good-run list, or the `union`, `intersect`, `minus`, `xor` of several, left to right."""
        read = [x if isinstance(x, LumiSet) else read_lumi(Path(x)) for x in files]
        return reduced(operation, read)  # type: ignore[no-any-return]

    def pin_list(self, events: EventList) -> None:
        """Keep the snapshots that a list names readable for ever."""
        pins.pin_list(self.home, events)

    def not_pinned(self, events: EventList) -> dict[str, dict[str, object]]:
        """The snapshots of a list that this user may not pin, each with its commit record and parts."""
        return pins.not_pinned(self.home, events)

    # -- the AOD and jobs

    def map(self, events: EventList | Path | str, *, stage: str = "aod", refresh: bool = False) -> EventMap:
        """Files, entries and sites of a list; files and bytes touched of the total; whether it is worth it.

        With `refresh` other catalogs are asked first where the copies are now, where theirs are mirrored here.
        """
        return map_list(self.home, self._list(events), stage, refresh)

    def skim(
        self,
        events: EventList | Path | str,
        out: Path | str,
        *,
        branches: str | Sequence[str] = "*",
        dry_run: bool = False,
        force: bool = False,
    ) -> SkimReport:
        """Write the selected entries of the AOD to a ROOT or Parquet file, slimmed to the branches that match.

        A file that exists is refused (AccessError); `force` replaces one that tagsel wrote and no workspace registered.
        """
        return self._list(events).skim(out, branches, dry_run=dry_run, force=force)

    def submit(
        self,
        events: EventList | Path | str,
        run: Path | str,
        *,
        dry_run: bool = False,
        output: str = "",
        **options: Any,
    ) -> Any:
        """Run `process(events)` of a script over the events of a list: split, run, merge, register the output.

        A `WorkspaceJob`; with `dry_run` the plan as a record, and nothing is done. Options: `by`, `events_per_job`,
        `min_events`, `bytes_per_job`; `on`, an engine (`local`, `condor`, `slurm`, `dask`), its `settings`, `memory` of
        a piece, and `wait=False`, which hands the pieces to it and returns; `refresh` as for `map`.
        """
        from tagsel.api import dispatch

        return dispatch.submit(self.home, self._list(events), Path(run), dry_run=dry_run, output=output, **options)

    def jobs(self, operation: str = "list", job: str = "", **options: Any) -> Any:
        """`list` the jobs; `show`, `diagnose`, `resubmit`, `resplit` or `kill` one, or get one to `wait` for.

        `damaged_jobs` names those that the list leaves out.
        """
        from tagsel.api import delivery

        return delivery.jobs(self.home, operation, job, **options)

    def damaged_jobs(self) -> dict[str, JobError]:
        """Why each job whose job.json or result.json is damaged, or whose result is gone, cannot be read, by number."""
        from tagsel.api import delivery

        return delivery.damaged_jobs(self.home)

    def _list(self, events: EventList | Path | str) -> Events:
        if isinstance(events, EventList):
            return Events.of(events, self.home)
        return self.read_events(events)

    # -- upkeep

    def compact(self, dataset: str, *, dry_run: bool = False) -> CompactPlan | Snapshot:
        """Pack small parts of a dataset into larger ones; no digest changes."""
        return upkeep.compact(self.home, dataset, dry_run=dry_run)

    def gc(self, dataset: str = "", *, dry_run: bool = False, grace_s: float = 3600.0) -> list[Path]:
        """Remove files that no snapshot in use needs, and what killed submitters of jobs left; pinned ones stay.

        Without a dataset those of all, and what an ingest that was killed before its first commit left.
        """
        from tagsel.jobs import clean

        found = upkeep.gc(self.home, dataset, dry_run=dry_run, grace_s=grace_s)
        return [*found, *clean(self.folder / "jobs", dry_run=dry_run)]

    def restore(self, dataset: str) -> Snapshot:
        """`name@3`: a new snapshot with the content of an old one."""
        return upkeep.restore(self.home, dataset)

    def rebuild(self) -> int:
        """Make the catalog anew from its journal; the number of changes replayed."""
        return self.catalog.rebuild()

    def recover_catalog(self, *, dry_run: bool = False) -> Recovered:
        """Recover what damage or loss left of the journal, pins and logs of datasets, or say what would be."""
        from tagsel.api import recovering

        return recovering.recover(self.home, dry_run=dry_run)

    def queries(self) -> Table:
        """Named cuts and named metadata queries, those of the workspace first."""
        found = named.named(self.folder).values()
        rows = tuple((q.name, q.kind, q.text, q.description, q.path) for q in found)
        return Table(("name", "kind", "text", "description", "path"), rows)

    def config(self, **flags: Any) -> Table:
        """Every setting with its value and where it came from."""
        found = settings.all_settings({"workspace": str(self.folder), **flags}, self.folder)
        return Table(("name", "value", "origin", "help"), tuple((r.name, r.value, r.origin, r.help) for r in found))

    @staticmethod
    def completion(shell: str) -> str:
        """The script that makes `bash`, `zsh` or `fish` complete datasets, attributes, verbs and options."""
        return settings.completion(shell)

    def __repr__(self) -> str:
        return f"<Workspace {self.folder}>"


def _parsed(one: EventList) -> tuple[int, int, int]:
    """(run, event, lumi or -1) of a list of one event."""
    return int(one.run[0]), int(one.event[0]), int(one.lumi[0])
