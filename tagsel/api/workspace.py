"""Workspace: the one object that a user opens; its nouns are collections, whose methods are the commands of a group.

Invariant: a method does what the command of its name does, and returns a value with fields; nothing is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.api import cache_usage, ingestion, named_cuts, sql
from tagsel.api.dataset import Dataset
from tagsel.api.datasets import Datasets
from tagsel.api.home import Home, make_workspace
from tagsel.api.lists import Lists
from tagsel.api.lumi import Lumi
from tagsel.api.queries import Queries
from tagsel.api.sites import Sites
from tagsel.api.trash import Trash
from tagsel.base import settings
from tagsel.base.text_table import Table
from tagsel.catalog import Catalog, PutConditions, read_conditions

if TYPE_CHECKING:
    from tagsel.api.catalogs import Catalogs
    from tagsel.api.jobs import Jobs
    from tagsel.api.recovering import Recovered
    from tagsel.api.transfers import Subscriptions, Transfers
    from tagsel.ingest.load import Ingested


class Workspace:
    """A folder with datasets, a catalog and jobs. Open one with `tagsel.open`, make one with `Workspace.init`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ws = Workspace.init(folder)
    ...     ws.datasets.find().names()
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

    # -- nouns

    @property
    def catalogs(self) -> Catalogs:
        """Other people's catalogs that are mirrored here."""
        from tagsel.api.catalogs import Catalogs

        return Catalogs(self.home)

    @property
    def datasets(self) -> Datasets:
        """The datasets, by their names."""
        return Datasets(self.home)

    @property
    def jobs(self) -> Jobs:
        """The jobs, by their numbers."""
        from tagsel.api.jobs import Jobs

        return Jobs(self.home)

    @property
    def lists(self) -> Lists:
        """Event lists, by the names of their files."""
        return Lists(self.home)

    @property
    def lumi(self) -> Lumi:
        """Good-run lists."""
        return Lumi()

    @property
    def queries(self) -> Queries:
        """Named cuts and metadata queries, those of the workspace first."""
        return Queries(self.folder)

    @property
    def sites(self) -> Sites:
        """The sites where copies are."""
        return Sites(self.home)

    @property
    def subscriptions(self) -> Subscriptions:
        """Requests for copies of all datasets that a glob matches."""
        from tagsel.api.transfers import Subscriptions

        return Subscriptions(self.home)

    @property
    def transfers(self) -> Transfers:
        """The copies that are asked for at sites."""
        from tagsel.api.transfers import Transfers

        return Transfers(self.home)

    @property
    def trash(self) -> Trash:
        """The datasets that were dropped and not yet removed."""
        return Trash(self.home)

    # -- datasets

    def __getitem__(self, name: str) -> Dataset:
        """One or several datasets: a name, `name@3`, a glob, or several with commas."""
        return self.datasets[name]

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
        type: str = "",  # noqa: A002 - the keyword that users expect
        version: str = "",
        stream: str = "",
        sample: str = "",
        parents: Sequence[str] = (),
        progress: Callable[[str], None] | None = None,
    ) -> Ingested:
        """Turn ROOT or Parquet files into TAGs of a dataset; those that are in it already are left alone.

        `aod` names files that the rows point to. `type`, `version`, `stream`, `sample` and `parents` are facts of the
        dataset that its name and files do not tell.
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
            facts={"type": type, "version": version, "stream": stream, "sample": sample, "parents": tuple(parents)},
        )

    def sql(self, query: str) -> Any:
        """One read-only SELECT over the catalogs and the TAG datasets (by name, in double quotes); an Arrow table.

        The table `queries` has the questions that you asked in this workspace, and changes of datasets.
        """
        return sql.sql(self.home, named_cuts.sql_text(query, self.folder))

    # -- upkeep

    def caches(self, clear: str = "") -> Table:
        """List the caches of the workspace and of this process that have entries: name, where, entries, bytes.

        `clear` names one whose entries are removed, or "all": the table then says what was removed. No answer changes;
        what is needed again is made again. CatalogError: no cache has this name.
        """
        return cache_usage.caches(self.home, clear)

    def conditions(self, file: Path | str) -> int:
        """Take over conditions of runs from a CSV file with a column `run`: they are the table `conditions` of `sql`.

        Returns how many runs it has.
        """
        conditions = read_conditions(Path(file))
        self.catalog.record(PutConditions(conditions))
        return len(conditions)

    def config(self) -> Table:
        """List every setting with its value and where it came from."""
        values = settings.all_settings({"workspace": str(self.folder)}, self.folder)
        rows = tuple((one.name, one.value, one.origin, one.help) for one in values)
        return Table(("name", "value", "origin", "help"), rows)

    def rebuild(self) -> int:
        """Make the catalog anew from its journal; returns the number of changes replayed."""
        return self.catalog.rebuild()

    def recover(self, *, dry_run: bool = False) -> Recovered:
        """Recover what damage or loss left of the journal, pins and logs of datasets, or say what would be."""
        from tagsel.api import recovering

        return recovering.recover(self.home, dry_run=dry_run)

    def __repr__(self) -> str:
        return f"<Workspace {self.folder}>"
