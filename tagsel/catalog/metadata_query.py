"""The metadata query: an SQL boolean expression over datasets' columns and free keys, as one SELECT.

`type = 'TAG' and year = 2009 and trigger = 2 and version like '1.%'`: `trigger` is a free key, NULL for
datasets that have none. DuckDB's parser gives the tree of the expression; only an expression passes,
without sub-selects.

Invariant: the SQL that is made holds the user's text only where a boolean expression can stand, and it is
checked to be one and no more.

Facets say which values each key has among the datasets that a condition leaves, and how many datasets and events. A
value's condition, put beside the one asked, selects just the datasets that are counted for it; and of each key,
datasets with a value shown, with another value, and without any add up to all that are left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from tagsel.base.sealed_sql import first_line
from tagsel.catalog.records import DatasetRecord
from tagsel.catalog.sandbox import parse, time_limit, walk
from tagsel.catalog.state import dataset_record
from tagsel.catalog.tables import TABLES, Put, Rows, light_tables
from tagsel.catalog.values import SQL_TYPES
from tagsel.catalog.view import Readable, fetch_one, fetch_rows
from tagsel.errors import CatalogError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection


COLUMNS = tuple(TABLES["datasets"].columns)

HINT = "a key whose values are text, or of several kinds, compares with text: key = '2'"

SECONDS = 10.0
"""Longest time for one condition; it runs while readers share the view."""

LONGEST = 20_000
"""Characters of a condition."""

FUNCTIONS = frozenset(
    {
        "+",
        "-",
        "*",
        "/",
        "//",
        "%",
        "**",
        "~~",
        "!~~",
        "~~*",
        "!~~*",
        "~~~",
        "^@",
        "@",
        "abs",
        "ceil",
        "ceiling",
        "contains",
        "ends_with",
        "floor",
        "glob",
        "greatest",
        "ilike_escape",
        "instr",
        "least",
        "left",
        "length",
        "like_escape",
        "lower",
        "ltrim",
        "not_ilike_escape",
        "not_like_escape",
        "position",
        "prefix",
        "regexp_full_match",
        "regexp_matches",
        "right",
        "round",
        "rtrim",
        "sign",
        "split_part",
        "starts_with",
        "strlen",
        "strpos",
        "substr",
        "substring",
        "suffix",
        "trim",
        "upper",
    }
)
"""Functions and operators of conditions. None makes a text that is longer than one of its arguments, and none reads
what is no argument. So a condition, which runs here and in no process of its own, takes little memory; `SECONDS` bounds
its time."""

_CLASSES = frozenset(
    {"CONSTANT", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "OPERATOR", "FUNCTION", "CAST", "TYPE", "BETWEEN", "CASE"}
)
"""Kinds of expressions of conditions, as DuckDB's parser calls them."""


def names_in(where: str) -> list[str]:
    """The columns and keys that the expression `where` names; CatalogError where it is no plain expression."""
    if len(where) > LONGEST:
        message = f"a condition has at most {LONGEST:,} characters, this one has {len(where):,}"
        raise CatalogError(message, hint="tagsel datasets --sql")
    parsed = parse(f"SELECT 1 WHERE\n{where}\n")  # no parentheses: none of the text's own may close them
    if {k: v for k, v in parsed.tree.items() if k != "where_clause"} != _bare():
        raise CatalogError(f"{where!r:.200} is no condition", hint=_EXAMPLE, where=where)
    names: dict[str, None] = {}
    for node in walk(parsed.tree["where_clause"]):
        kind, function = str(node.get("class", "")), str(node.get("function_name", "")).lower()
        refused = "" if kind in _CLASSES or not kind else kind
        if kind == "FUNCTION" and function not in FUNCTIONS:
            refused = f"the function {function}"
        if refused:
            raise CatalogError(
                f"{refused} is not allowed in a condition on datasets", hint="tagsel datasets --sql", where=where
            )
        if node.get("class") == "COLUMN_REF":
            names[".".join(node["column_names"])] = None
    return list(names)


_EXAMPLE = "for example type = 'TAG' and year = 2009"


@cache
def _bare() -> dict[str, object]:
    """What a SELECT is made of that has a condition and nothing else, without the condition."""
    return {k: v for k, v in parse("SELECT 1 WHERE true").tree.items() if k != "where_clause"}


def kinds_of_keys(connection: DuckDBPyConnection) -> dict[str, frozenset[str]]:
    """Every free key, lower case and sorted, with the kinds of its values."""
    rows = fetch_rows(
        connection, "SELECT lower(key) AS key, list(DISTINCT kind) AS kinds FROM meta GROUP BY 1 ORDER BY 1"
    )
    return {row["key"]: frozenset(row["kinds"]) for row in rows}


def wide_select(connection: DuckDBPyConnection, keys: Collection[str] | None = None) -> str:
    """A SELECT of all datasets with the free `keys` as columns; None takes all keys.

    A key's type is that of its values: BOOLEAN, BIGINT, DOUBLE, or VARCHAR where they are mixed. Letter
    case of keys is ignored. Raises CatalogError for a key that no dataset has.
    """
    if keys is not None and not keys:
        return "SELECT * FROM datasets"
    kinds = kinds_of_keys(connection)
    chosen = list(kinds) if keys is None else list(dict.fromkeys(k.lower() for k in keys))
    for key in chosen:
        if key not in kinds:
            names = [*COLUMNS, *kinds]
            raise CatalogError(
                f"no dataset has a column or key {key!r}",
                hint=did_you_mean(key, names) or f"columns are {', '.join(COLUMNS)}",
                name=key,
            )
    if not chosen:
        return "SELECT * FROM datasets"
    types = {k: SQL_TYPES.get(kinds[k], "VARCHAR") for k in chosen}
    picked = ", ".join(
        f"any_value(TRY_CAST(value AS {types[k]})) FILTER (WHERE lower(key) = '{k}') AS \"{k}\"" for k in chosen
    )
    listed = ", ".join(f"'{k}'" for k in chosen)
    pivot = f"SELECT dataset AS _dataset, {picked} FROM meta WHERE lower(key) IN ({listed}) GROUP BY dataset"
    return f"SELECT * EXCLUDE (_dataset) FROM datasets LEFT JOIN ({pivot}) ON name = _dataset"


def wide_conditions(connection: DuckDBPyConnection) -> str:
    """A SELECT of all runs with conditions, each key a column of the type of its values."""
    kinds = fetch_rows(connection, "SELECT key, list(DISTINCT kind) AS kinds FROM conditions GROUP BY key ORDER BY key")
    picked = ", ".join(
        f"any_value(TRY_CAST(value AS {SQL_TYPES.get(frozenset(r['kinds']), 'VARCHAR')}))"
        f" FILTER (WHERE key = '{r['key']}') AS \"{r['key']}\""
        for r in kinds
    )
    return f"SELECT run{', ' if picked else ''}{picked} FROM conditions GROUP BY run ORDER BY run"


def find(view: Readable, where: str) -> list[DatasetRecord]:
    """The datasets for which the expression `where` is true, sorted by name; CatalogError where it cannot be told."""
    import duckdb

    names = names_in(where)
    try:
        return view.read(lambda connection: _find(connection, where, names), sealed=True)
    except duckdb.Error as error:
        raise CatalogError(
            f"the condition {where!r:.200} failed: {first_line(error)}",
            hint=HINT,
            where=where,
        ) from error


def _find(connection: DuckDBPyConnection, where: str, names: Iterable[str]) -> list[DatasetRecord]:
    keys = [n for n in names if n.lower() not in COLUMNS]
    wide = wide_select(connection, keys)
    columns = ", ".join(f'"{c}"' for c in COLUMNS)
    with time_limit(connection, SECONDS):
        rows = fetch_rows(connection, f"SELECT {columns} FROM ({wide}) WHERE (\n{where}\n) ORDER BY name")
    state = Rows(light_tables())
    state.fold(Put("datasets", row) for row in rows)
    dataset_names = [[row["name"] for row in rows]]
    owned = "SELECT * FROM {} WHERE dataset IN (SELECT unnest(CAST(? AS VARCHAR[])))"
    for table in ("meta", "parents", "members"):
        state.fold(Put(table, row) for row in fetch_rows(connection, owned.format(table), dataset_names))
    return [dataset_record(state, row["name"]) for row in rows]


WIDE = {"datasets": wide_select, "conditions": wide_conditions}
"""Tables that `--sql` shows with every key as a column, lower case."""


def copies(connection: DuckDBPyConnection, tables: Iterable[str], *, wide: bool = True) -> dict[str, pa.Table]:
    """Arrow copies of the catalog's `tables`; with `wide` those of `WIDE` have every key as a column."""
    texts = {name: f"SELECT * FROM {name}" for name in tables}
    if wide:
        texts |= {name: WIDE[name](connection) for name in texts if name in WIDE}
    return {name: connection.sql(text).to_arrow_table() for name, text in texts.items()}


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
        facets = {f.key: f for f in self.facets}
        if key not in facets:
            hint = did_you_mean(key, facets) or f"keys are {', '.join(facets)}"
            raise CatalogError(f"no key {key!r} among these facets", hint=hint, name=key)
        return facets[key]

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
            f"the condition {where!r:.200} failed: {first_line(error)}", hint=HINT, where=where
        ) from error


def _facets(connection: DuckDBPyConnection, where: str, names: Iterable[str], by: Sequence[str], most: int) -> Facets:
    kinds = kinds_of_keys(connection)
    keys = _keys(by, kinds)
    with time_limit(connection, SECONDS):
        chosen = _chosen(connection, where, names)
        datasets, events = fetch_one(connection, f"SELECT count(*), coalesce(sum(events), 0) FROM {chosen}")
        columns = [key for key in keys if key in COLUMNS]
        free_keys = [key for key in keys if key in kinds]
        selects = []
        if columns:
            selects.append(" UNION ALL ".join([_of_column(key, chosen) for key in columns]))
        if free_keys:
            selects.append(_of_free_keys(free_keys, kinds, chosen))
        counts: dict[str, dict[str, Any]] = {}
        for select in selects:
            counts |= {row["key"]: row for row in fetch_rows(connection, _TOP.format(select, int(most)))}
    facets = [_facet(key, counts.get(key), datasets, _is_text(key, kinds)) for key in keys]
    if not by:
        facets = [facet for facet in facets if facet.choices]
    return Facets(where, datasets, int(events), tuple(facets))


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
            names = [*COLUMNS, *kinds]
            hint = did_you_mean(key, names) or f"columns are {', '.join(COLUMNS)}"
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
    if key in COLUMNS:
        return TABLES["datasets"].columns[key] == "VARCHAR"
    return SQL_TYPES.get(kinds[key], "VARCHAR") == "VARCHAR"


def _facet(key: str, row: Mapping[str, Any] | None, datasets: int, text: bool) -> Facet:
    """The facet of a key from its counts; None: no dataset left has the key."""
    if row is None:
        return Facet(key, (), 0, 0, datasets)
    choices = []
    for top in row["top"]:
        minus_datasets, value, events = _fields(top)
        literal = _quoted(value) if text else value
        choices.append(Choice(value, -minus_datasets, events, f"{key} = {literal}"))
    more = row["values"] - len(choices)
    more_datasets = row["datasets"] - sum(choice.datasets for choice in choices)
    return Facet(key, tuple(choices), more, more_datasets, datasets - row["datasets"])


def _fields(one: Mapping[str, Any] | tuple[Any, ...]) -> tuple[Any, ...]:
    """The values of a row without names, which DuckDB gives as a tuple, or by number."""
    return tuple(one.values()) if isinstance(one, Mapping) else one


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
