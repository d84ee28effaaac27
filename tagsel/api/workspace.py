"""Workspace: the one object that a user opens; every verb of the command line is a method here.

Invariant: a method does what the verb of its name does, and returns a value with fields; nothing is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel import selection
from tagsel.api import catalogs, named
from tagsel.api.browsing import Browsing
from tagsel.api.dataset import Dataset, attribute_table, named_cut
from tagsel.api.grid import Grid
from tagsel.api.guard import RegisteredFiles
from tagsel.api.inputs import DATA, inputs, is_file_name
from tagsel.api.lasting import Lasting
from tagsel.api.lists import Events, load, reduced
from tagsel.api.many import CutLike, LumiLike, Many, Progress
from tagsel.base import known_workspaces, settings
from tagsel.base.local_path import local_path
from tagsel.base.memory_limit import memory_for
from tagsel.base.output_file import add_guard
from tagsel.catalog import Catalog, others
from tagsel.errors import CatalogError, CutError, JobError
from tagsel.events import EventList
from tagsel.quality import LumiSet, read_lumi
from tagsel.selection import Count, Cutflow, Input, Picked, Query, Why
from tagsel.selection.cluster import runner
from tagsel.selection.table import Table
from tagsel.store import CompactPlan, Snapshot, at_least
from tagsel.store import Table as StoreTable

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
        self.folder = local_path(folder, catalogs.LOCAL).resolve()
        if not (self.folder / settings.WORKSPACE_FILE).is_file():
            raise CatalogError(
                f"{folder} is no workspace (it has no {settings.WORKSPACE_FILE})",
                hint=f"tagsel init {folder}, or name one with -w, --workspace or TAGSEL_WORKSPACE",
                path=str(folder),
            )
        catalogs.check_format(self.folder)
        self._guard = RegisteredFiles(self.folder)
        add_guard(self._guard)
        known_workspaces.record(self.folder)

    @classmethod
    def init(cls, folder: Path | str) -> Workspace:
        """Make a workspace in a missing or empty folder; on a workspace nothing changes.

        CatalogError for a folder that holds something else.
        """
        catalogs.make_workspace(Path(folder))
        return cls(folder)

    @cached_property
    def catalog(self) -> Catalog:
        """The catalog of datasets, files and sites."""
        return catalogs.opened(self.folder)

    # -- datasets

    def __getitem__(self, name: str) -> Dataset:
        """One or several datasets: a name, `name@3`, a glob, or several with commas."""
        return Dataset(self, name, self.inputs(name))

    def __contains__(self, name: object) -> bool:
        return name in others.names(self.folder, self.catalog)

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__()})

    def _ipython_key_completions_(self) -> list[str]:
        return others.names(self.folder, self.catalog)

    def inputs(self, datasets: str) -> tuple[Input, ...]:
        """The datasets of a query, pinned to snapshots."""
        return inputs(self.folder, self.catalog, datasets)

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
        return catalogs.ingest(
            self,
            [Path(f) for f in files],
            dataset,
            schema=schema,
            profile=profile,
            site=site,
            aod=[str(a) if "://" in str(a) else Path(a) for a in aod],
            meta=dict(meta or {}),
            evolve=evolve,
            identity=identity,
            processes=processes or self.setting("processes"),
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

        return extend(self, dataset, str(what), units or {}, descriptions or {})

    def datasets(self, where: str = "") -> Table:
        """The datasets that a metadata query selects: `"type = 'TAG' and year = 2018"`, any free key too."""
        if self.catalog.may_write():
            catalogs.settle(self.folder, self.catalog)
        return catalogs.listed(self, named.sql_text(where, self.folder, "condition"))

    def show(self, dataset: str) -> dict[str, Any]:
        """All that the catalog knows of one dataset: facts, runs, files, bookkeeping, parents, snapshots, pins."""
        return catalogs.describe(self, dataset)

    def sql(self, query: str) -> Any:
        """One read-only SELECT over the catalogs and the TAG datasets (by name, in double quotes); an Arrow table.

        The table `queries` has the questions that you asked in this workspace, and changes of datasets.
        """
        return catalogs.sql(self, named.sql_text(query, self.folder))

    def schema(self, dataset: str, pattern: str = "*") -> Table:
        """Attributes of a dataset, or of an input file as ingest would see it."""
        if is_file_name(dataset):
            from tagsel.ingest import open_source

            return attribute_table(open_source(Path(dataset)).schema, pattern, dataset)
        return self[dataset].attributes(pattern)

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
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 0:
            raise CutError(f"threads = {threads!r}: a whole number was expected", hint="0 takes one for each core")
        pairs = tuple(named.with_name(*(c if isinstance(c, tuple) else named_cut("", c))) for c in cuts)
        lumis = (lumi,) if isinstance(lumi, str | Path | LumiSet) else tuple(lumi)
        return Query(
            inputs or self.inputs(datasets),
            pairs or (("", "true"),),
            tuple(x if isinstance(x, LumiSet) else read_lumi(Path(x)) for x in lumis),
            weight,
            duplicates,
            allow_losses,
            threads or self.setting("threads"),
            remember=remember,
            named=self.named_cut,
            home=self.folder,
        )

    def named_cut(self, name: str) -> str:
        """The text of the named cut `@name`."""
        return named.cut_text(name, self.folder)

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
        return Events.of(events, self), counted

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

        return pick(self, self.query(datasets, [], **options), ids if isinstance(ids, EventList) else wanted(ids))

    def why(self, datasets: str, event: str | tuple[int, int], *cuts: CutLike, **options: Any) -> Why:
        """Why one event is in the answer or not: each cut's verdict with the values that it saw."""
        from tagsel.api.picking import wanted

        run, number, *lumi = event if not isinstance(event, str) else _parsed(wanted([event]))
        return selection.why(self.query(datasets, cuts, **options), run, number, *lumi)

    # -- lists

    def read_events(self, path: Path | str) -> Events:
        """The event list in a file of any form."""
        return load(path, self)

    def events(self, operation: str, *lists: Path | str | EventList) -> Events:
        """`show` one list, or the `union`, `intersect`, `minus`, `xor` of several, left to right."""
        read = [x if isinstance(x, EventList) else self.read_events(x) for x in lists]
        return Events.of(reduced(operation, read), self)

    def lumi(self, operation: str, *files: LumiLike) -> LumiSet:
        """`show` one good-run list, or the `union`, `intersect`, `minus`, `xor` of several, left to right."""
        read = [x if isinstance(x, LumiSet) else read_lumi(Path(x)) for x in files]
        return reduced(operation, read)  # type: ignore[no-any-return]

    def pin_list(self, events: EventList) -> None:
        """Keep the snapshots that a list names readable for ever."""
        catalogs.pin(self, events)

    def not_pinned(self, events: EventList) -> dict[str, dict[str, object]]:
        """The snapshots of a list that this user may not pin, each with its commit record and parts."""
        return catalogs.not_pinned(self, events)

    # -- the AOD and jobs

    def map(self, events: EventList | Path | str, *, stage: str = "aod", refresh: bool = False) -> EventMap:
        """Files, entries and sites of a list; files and bytes touched of the total; whether it is worth it.

        With `refresh` other catalogs are asked first where the copies are now, where theirs are mirrored here.
        """
        chosen = self._list(events)
        with memory_for(f"the map of {len(chosen):,} events"):
            return catalogs.map_list(self, chosen, stage, refresh)

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
        from tagsel.aod import skim

        chosen = self._list(events)
        with memory_for(f"the skim of {len(chosen):,} events to {out}"):
            return skim(self.map(chosen), chosen, Path(out), branches, dry_run=dry_run, force=force)

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

        return dispatch.submit(self, self._list(events), Path(run), dry_run=dry_run, output=output, **options)

    def jobs(self, operation: str = "list", job: str = "", **options: Any) -> Any:
        """`list` the jobs; `show`, `diagnose`, `resubmit`, `resplit` or `kill` one, or get one to `wait` for.

        `damaged_jobs` names those that the list leaves out.
        """
        from tagsel.api import delivery

        return delivery.jobs(self, operation, job, **options)

    def damaged_jobs(self) -> dict[str, JobError]:
        """Why each job whose job.json or result.json is damaged, or whose result is gone, cannot be read, by number."""
        from tagsel.api import delivery

        return delivery.damaged_jobs(self)

    def _list(self, events: EventList | Path | str) -> EventList:
        return events if isinstance(events, EventList) else self.read_events(events)

    # -- upkeep

    def compact(self, dataset: str, *, dry_run: bool = False) -> CompactPlan | Snapshot:
        """Pack small parts of a dataset into larger ones; no digest changes."""
        return catalogs.compact(self, dataset, dry_run=dry_run)

    def gc(self, dataset: str = "", *, dry_run: bool = False, grace_s: float = 3600.0) -> list[Path]:
        """Remove files that no snapshot in use needs, and what killed submitters of jobs left; pinned ones stay.

        Without a dataset those of all, and what an ingest that was killed before its first commit left.
        """
        from tagsel.jobs import clean

        found = catalogs.gc(self, dataset, dry_run=dry_run, grace_s=grace_s)
        return [*found, *clean(self.folder / "jobs", dry_run=dry_run)]

    def restore(self, dataset: str) -> Snapshot:
        """`name@3`: a new snapshot with the content of an old one."""
        return catalogs.restore(self, dataset)

    def rebuild(self) -> int:
        """Make the catalog anew from its journal; the number of changes replayed."""
        return self.catalog.rebuild()

    def recover_catalog(self, *, dry_run: bool = False) -> Recovered:
        """Recover what damage or loss left of the journal, pins and logs of datasets, or say what would be."""
        from tagsel.api import recovering

        return recovering.recover(self, dry_run=dry_run)

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

    def setting(self, name: str) -> Any:
        """The value of one setting."""
        return settings.resolve(name, None, self.folder).value

    def table(self, dataset: str) -> StoreTable:
        """The dataset on disk. StoreError: its log lacks what the catalog knows."""
        record = self.catalog.dataset(dataset)
        table = StoreTable.open(self.folder / DATA / dataset)
        at_least(table.snapshot(), record.snapshot, record.events)
        return table

    def __repr__(self) -> str:
        return f"<Workspace {self.folder}>"


def _parsed(one: EventList) -> tuple[int, int, int]:
    """(run, event, lumi or -1) of a list of one event."""
    return int(one.run[0]), int(one.event[0]), int(one.lumi[0])
