"""Facets: of the datasets that a condition leaves, which values each key has, and how many datasets and events.

Invariant: a value's `condition` put beside the one asked selects just the datasets that are counted for it; and of
each key, datasets with a value shown, with another value, and without any add up to all that are left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tagsel.base.sealed_sql import first_line
from tagsel.catalog import metaquery
from tagsel.catalog.metaquery import COLUMNS, names_in, wide_select
from tagsel.catalog.sandbox import time_limit
from tagsel.catalog.tables import TABLES
from tagsel.catalog.values import SQL_TYPES
from tagsel.catalog.view import Readable
from tagsel.catalog.viewsql import fetch_one, fetch_rows
from tagsel.errors import CatalogError, did_you_mean

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

KEYS = ("type", "stream", "year", "version", "state", "sample", "simulation")
"""Columns of a dataset that are facets where no key is named; all free keys but `DIGESTS` follow them."""

DIGESTS = frozenset({"frozen_events", "frozen_lumi", "list", "parent_contents", "result"})
"""Free keys that tagsel gives, with a value of its own for each dataset: no facets unless they are asked for."""

MOST = 20


@dataclass(frozen=True)
class Choice:
    """One value of a key: how many of the datasets left have it, their events, and the condition that chooses them."""

    value: str
    datasets: int
    events: int
    condition: str


@dataclass(frozen=True)
class Facet:
    """A key and its values, those of most datasets first; `more` values (of `more_datasets`) are not listed, and
    `without` of the datasets have none."""

    key: str
    choices: tuple[Choice, ...]
    more: int
    more_datasets: int
    without: int


@dataclass(frozen=True)
class Facets:
    """What the datasets that `where` selects can be told apart by."""

    where: str
    datasets: int
    events: int
    facets: tuple[Facet, ...]

    def __getitem__(self, key: str) -> Facet:
        known = {f.key: f for f in self.facets}
        if key not in known:
            hint = did_you_mean(key, known) or f"keys are {', '.join(known)}"
            raise CatalogError(f"no key {key!r} among these facets", hint=hint, name=key)
        return known[key]

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return asdict(self)


def facets(view: Readable, where: str = "", by: Sequence[str] = (), most: int = MOST) -> Facets:
    """The facets of the datasets for which `where` is true; of the keys `by`, else of `KEYS` and every free key but
    `DIGESTS`.

    At most `most` values of a key are listed. CatalogError for what is no condition, and for unknown keys, with the
    nearest.
    """
    import duckdb

    names = names_in(where) if where.strip() else []
    try:
        return view.read(lambda connection: _facets(connection, where, names, by, most), sealed=bool(where.strip()))
    except duckdb.Error as error:
        raise CatalogError(
            f"the condition {where!r:.200} failed: {first_line(error)}", hint=metaquery.HINT, where=where
        ) from error


def _facets(connection: DuckDBPyConnection, where: str, names: Iterable[str], by: Sequence[str], most: int) -> Facets:
    kinds = metaquery.kinds_of_keys(connection)
    keys = _keys(by, kinds)
    with time_limit(connection, metaquery.SECONDS):
        chosen = _chosen(connection, where, names)
        datasets, events = fetch_one(connection, f"SELECT count(*), coalesce(sum(events), 0) FROM {chosen}")
        columns, free = [k for k in keys if k in COLUMNS], [k for k in keys if k in kinds]
        counted = [" UNION ALL ".join(_of_column(k, chosen) for k in columns)] if columns else []
        counted += [_of_free_keys(free, kinds, chosen)] if free else []
        found = {row["key"]: row for one in counted for row in fetch_rows(connection, _TOP.format(one, int(most)))}
    made = (_facet(key, found.get(key), datasets, _is_text(key, kinds)) for key in keys)
    return Facets(where, datasets, int(events), tuple(f for f in made if f.choices or by))


_TOP = """SELECT key, count(*) AS "values", sum(datasets)::BIGINT AS datasets,
    min((-datasets, value, events::BIGINT), {1}) AS top FROM ({0}) GROUP BY key"""


def _chosen(connection: DuckDBPyConnection, where: str, names: Iterable[str]) -> str:
    """The table of the datasets that are left: with a condition a temporary one, so that it is evaluated once."""
    if not where.strip():
        return "datasets"
    wide = wide_select(connection, [n for n in names if n.lower() not in COLUMNS])
    columns = ", ".join(f'"{c}"' for c in COLUMNS)
    connection.execute(f"CREATE TEMP TABLE _chosen AS SELECT {columns} FROM ({wide}) WHERE (\n{where}\n)")
    return "_chosen"


def _keys(by: Sequence[str], kinds: Collection[str]) -> list[str]:
    """The keys asked for, each once, lower case as in conditions."""
    for key in by:
        if key.lower() not in COLUMNS and key.lower() not in kinds:
            known = [*COLUMNS, *kinds]
            hint = did_you_mean(key, known) or f"columns are {', '.join(COLUMNS)}"
            raise CatalogError(f"no dataset has a column or key {key!r}", hint=hint, name=key)
    return list(dict.fromkeys(key.lower() for key in by)) or [*KEYS, *(k for k in kinds if k not in DIGESTS)]


def _of_column(key: str, chosen: str) -> str:
    """Values of a column that a dataset has; the empty text is none."""
    return (
        f"SELECT '{key}' AS key, CAST(\"{key}\" AS VARCHAR) AS value, count(*) AS datasets, sum(events) AS events "
        f"FROM {chosen} WHERE CAST(\"{key}\" AS VARCHAR) != '' GROUP BY 2"
    )


def _of_free_keys(keys: Sequence[str], kinds: Mapping[str, frozenset[str]], chosen: str) -> str:
    """Values of free keys; whole numbers of a key that has others too are numbers like these."""
    listed = ", ".join(f"'{k}'" for k in keys)
    mixed = ", ".join(f"'{k}'" for k in keys if kinds[k] == frozenset({"int", "float"}))
    value = f"CASE WHEN lower(key) IN ({mixed}) THEN CAST(CAST(value AS DOUBLE) AS VARCHAR) ELSE value END"
    some = f"WHERE lower(key) IN ({listed})" if len(keys) < len(kinds) else ""  # a third of the time where it is all
    return (
        f"SELECT lower(key) AS key, {value if mixed else 'value'} AS value, count(*) AS datasets, "
        f"sum(events) AS events FROM meta JOIN {chosen} ON dataset = name {some} GROUP BY 1, 2"
    )


def _is_text(key: str, kinds: Mapping[str, frozenset[str]]) -> bool:
    """Whether a condition compares the key with text."""
    return (TABLES["datasets"].columns[key] if key in COLUMNS else SQL_TYPES.get(kinds[key], "VARCHAR")) == "VARCHAR"


def _facet(key: str, row: Mapping[str, Any] | None, datasets: int, text: bool) -> Facet:
    """The facet of a key from what was counted of it; None: no dataset left has the key."""
    if row is None:
        return Facet(key, (), 0, 0, datasets)
    choices = tuple(
        Choice(value, -minus, events, f"{key} = {_quoted(value) if text else value}")
        for minus, value, events in (_fields(one) for one in row["top"])
    )
    listed = sum(c.datasets for c in choices)
    return Facet(key, choices, row["values"] - len(choices), row["datasets"] - listed, datasets - row["datasets"])


def _fields(one: Mapping[str, Any] | tuple[Any, ...]) -> tuple[Any, ...]:
    """The values of a row without names, which DuckDB gives as a tuple, or by number."""
    return tuple(one.values()) if isinstance(one, Mapping) else one


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
