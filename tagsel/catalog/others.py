"""Datasets of other workspaces: `datasets = ["/group/W"]` in a workspace's `tagsel.toml`.

One that only may read a group's workspace selects, maps and submits in a workspace of their own, with the group's
datasets and files. Invariant: a dataset of the workspace itself comes before one of the same name elsewhere, and
workspaces that are named are taken in their order; those that they name in turn are not followed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tagsel.base import settings
from tagsel.base.cache import memoize
from tagsel.base.documents import read_toml
from tagsel.catalog import metadata_query
from tagsel.catalog.catalog import Catalog
from tagsel.catalog.metadata_query import Facets, facets
from tagsel.catalog.records import DatasetRecord
from tagsel.catalog.sandbox import table_names
from tagsel.catalog.tables import TABLES
from tagsel.catalog.view import ctrl_c, in_memory
from tagsel.errors import CatalogError

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

T = TypeVar("T")

KEY = "datasets"
"""The key of `tagsel.toml`: a list of folders, relative ones from the workspace's own."""


def homes(folder: Path, catalog: Catalog) -> list[tuple[Path, Catalog]]:
    """The folder and catalog of a workspace, then of those that it names. CatalogError for one that is none."""
    for other in named(folder):
        need_workspace(folder, other)
    return unchecked(folder, catalog)


def unchecked(folder: Path, catalog: Catalog) -> list[tuple[Path, Catalog]]:
    """As `homes`, for a caller that goes on without a workspace that is away or closed: see `need_workspace`."""
    return [(folder, catalog), *((other, Catalog(other)) for other in named(folder))]


def need_workspace(folder: Path, other: Path) -> None:
    """CatalogError where a folder that a workspace names is no workspace, OSError where this user may not look."""
    if not (other / settings.WORKSPACE_FILE).is_file():
        path = folder / settings.WORKSPACE_FILE
        raise CatalogError(f"{path}: {KEY} names {other}, which is no workspace", path=str(path))


def named(folder: Path) -> tuple[Path, ...]:
    """The folders of the workspaces that one names."""
    path = folder / settings.WORKSPACE_FILE
    try:
        state = path.stat()
    except OSError:
        return ()
    return _named_in(folder, (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns))


@memoize("named-workspaces", entries=64)
def _named_in(folder: Path, state: tuple[int, ...]) -> tuple[Path, ...]:
    """Those named in a file, read once for each `state` of it."""
    path = folder / settings.WORKSPACE_FILE
    try:
        value = read_toml(path).get(KEY, [])
    except (OSError, ValueError) as error:
        raise CatalogError(f"{path} cannot be read: {error}", path=str(path)) from error
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        hint = f'{KEY} = ["/group/W"], above any [table]'
        raise CatalogError(f"{path}: {KEY} = {value!r:.60}, a list of folders was expected", hint=hint, path=str(path))
    folders = dict.fromkeys((folder / text).resolve() for text in texts)
    folders.pop(folder, None)
    return tuple(folders)


def home_of(folder: Path, catalog: Catalog, dataset: str) -> tuple[Path, Catalog]:
    """Where a dataset is: the workspace itself if it has it, or if none of those that it names has it."""
    for home in homes(folder, catalog):
        if dataset in home[1].names():
            return home
    return folder, catalog


def names(folder: Path, catalog: Catalog) -> list[str]:
    """The datasets of a workspace and of those that it names, sorted, each once."""
    datasets: set[str] = set()
    for _, other in homes(folder, catalog):
        datasets.update(other.names())
    return sorted(datasets)


def records(folder: Path, catalog: Catalog, where: str) -> list[tuple[DatasetRecord, Path]]:
    """The datasets for which a condition is true, by name, each with the workspace that has it.

    The condition is judged as if all were in one workspace: a free key is NULL wherever a dataset lacks it.
    """
    matching: list[DatasetRecord] | None = None
    if where.strip():
        matching = metadata_query.find(Together(folder, catalog), where)
    everything: dict[str, tuple[DatasetRecord, Path]] = {}
    for place, other in reversed(homes(folder, catalog)):
        everything |= {record.name: (record, place) for record in other.datasets()}
    if matching is None:
        return [everything[name] for name in sorted(everything)]
    # A dataset may have been dropped since the condition was judged.
    return [everything[record.name] for record in matching if record.name in everything]


def facets_of(folder: Path, catalog: Catalog, where: str, by: Sequence[str], most: int) -> Facets:
    """The facets of the datasets of a workspace and of those that it names, for which a condition is true."""
    if not named(folder):
        return catalog.facets(where, by, most)
    return facets(Together(folder, catalog), where, by, most)


OF_DATASETS = ("datasets", "meta", "parents", "members")
"""Tables that conditions and facets read."""


@dataclass(frozen=True)
class Together:
    """The `tables` of a workspace and of those that it names as the tables of one database in memory."""

    folder: Path
    catalog: Catalog
    tables: tuple[str, ...] = OF_DATASETS

    @ctrl_c()
    def read(self, ask: Callable[[DuckDBPyConnection], T], sealed: bool = False) -> T:
        """`ask(connection)` on the tables, as `View.read`."""
        tables = _merged(self.folder, self.catalog, self.tables)
        with in_memory(lambda connection: _fill(connection, tables), sealed) as connection:
            return ask(connection)


def _fill(connection: DuckDBPyConnection, tables: Mapping[str, pa.Table]) -> None:
    """Make tables in an empty database."""
    for name, table in tables.items():
        connection.register("_given", table)
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM _given")
        connection.unregister("_given")


def catalog_tables(folder: Path, catalog: Catalog, asked: Iterable[str]) -> dict[str, pa.Table]:
    """Tables of the catalogs of a workspace and of those that it names, for SQL; {} where it names none.

    `datasets` has a column `workspace`. What is said of a dataset, file or site is what the first workspace that has it
    says.
    """
    if not named(folder):
        return {}
    private = {name for name, table in TABLES.items() if table.private}
    names = [name for name in table_names() if name in asked and name not in private]
    tables = _merged(folder, catalog, [name for name in names if name not in metadata_query.WIDE])
    if wide := [name for name in names if name in metadata_query.WIDE]:
        together = Together(folder, catalog, (*OF_DATASETS, "conditions"))
        tables |= together.read(lambda connection: metadata_query.copies(connection, wide))
    if "datasets" in tables:
        tables["datasets"] = _with_workspace(tables["datasets"], folder, catalog)
    return tables


def _with_workspace(datasets: pa.Table, folder: Path, catalog: Catalog) -> pa.Table:
    """The table with one more column, the workspace that has each dataset, without datasets that are gone since."""
    import pyarrow as pa
    import pyarrow.compute as pc

    places: dict[str, str] = {}
    for place, other in reversed(homes(folder, catalog)):
        places |= dict.fromkeys(other.names(), str(place))
    column = pa.array([places.get(name) for name in datasets.column("name").to_pylist()], pa.string())
    return datasets.append_column("workspace", column).filter(pc.is_valid(column))


def _merged(folder: Path, catalog: Catalog, names: Sequence[str]) -> dict[str, pa.Table]:
    """Tables of a workspace and of those that it names, as the catalogs keep them."""
    if not names:
        return {}
    copies: dict[str, list[tuple[list[str], pa.Table]]] = {name: [] for name in names}
    for _, home in homes(folder, catalog):
        datasets = home.names()
        for name, table in home.copies(names, wide=False).items():
            copies[name].append((datasets, table))
    return {name: _together(tables) for name, tables in copies.items()}


def _together(tables: Sequence[tuple[list[str], pa.Table]]) -> pa.Table:
    """One table of those of several workspaces, each with its datasets: of a key that several have, rows of the first.

    A dataset that the first has is the first's, also where this table has no row of it there.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    owner = tables[0][1].column_names[0]
    earlier = pa.array([], pa.string())
    parts = []
    for datasets, table in tables:
        keys = table.column(owner).cast(pa.string())
        new = table.filter(pc.invert(pc.is_in(keys, earlier)))
        owned = pa.array(datasets, pa.string()) if owner == "dataset" else keys.unique()
        earlier = pa.concat_arrays([earlier, owned])
        parts.append(new)
    return pa.concat_tables(parts, promote_options="permissive")
