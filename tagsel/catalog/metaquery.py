"""The metadata query: an SQL boolean expression over datasets' columns and free keys, as one SELECT.

`type = 'TAG' and year = 2009 and trigger = 2 and version like '1.%'`: `trigger` is a free key, NULL for
datasets that have none. DuckDB's parser gives the tree of the expression; only an expression passes,
without sub-selects.

Invariant: the SQL that is made holds the user's text only where a boolean expression can stand, and it is
checked to be one and no more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cache
from typing import TYPE_CHECKING

from tagsel.base.sealed_sql import first_line
from tagsel.catalog.records import DatasetRecord
from tagsel.catalog.sandbox import parse, time_limit, walk
from tagsel.catalog.state import dataset_record
from tagsel.catalog.tables import TABLES, Put, Rows, light_tables
from tagsel.catalog.values import SQL_TYPES
from tagsel.catalog.view import Readable
from tagsel.catalog.viewsql import fetch_rows
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
    found = fetch_rows(
        connection, "SELECT lower(key) AS key, list(DISTINCT kind) AS kinds FROM meta GROUP BY 1 ORDER BY 1"
    )
    return {row["key"]: frozenset(row["kinds"]) for row in found}


def wide_select(connection: DuckDBPyConnection, keys: Collection[str] | None = None) -> str:
    """A SELECT of all datasets with the free `keys` as columns; None takes all keys.

    A key's type is that of its values: BOOLEAN, BIGINT, DOUBLE, or VARCHAR where they are mixed. Letter
    case of keys is ignored. Raises CatalogError for a key that no dataset has.
    """
    if keys is not None and not keys:
        return "SELECT * FROM datasets"
    kinds = kinds_of_keys(connection)
    wanted = list(kinds) if keys is None else list(dict.fromkeys(k.lower() for k in keys))
    for key in wanted:
        if key not in kinds:
            known = [*COLUMNS, *kinds]
            raise CatalogError(
                f"no dataset has a column or key {key!r}",
                hint=did_you_mean(key, known) or f"columns are {', '.join(COLUMNS)}",
                name=key,
            )
    if not wanted:
        return "SELECT * FROM datasets"
    types = {k: SQL_TYPES.get(kinds[k], "VARCHAR") for k in wanted}
    picked = ", ".join(
        f"any_value(TRY_CAST(value AS {types[k]})) FILTER (WHERE lower(key) = '{k}') AS \"{k}\"" for k in wanted
    )
    listed = ", ".join(f"'{k}'" for k in wanted)
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
        found = fetch_rows(connection, f"SELECT {columns} FROM ({wide}) WHERE (\n{where}\n) ORDER BY name")
    state = Rows(light_tables())
    state.fold(Put("datasets", row) for row in found)
    wanted = [[row["name"] for row in found]]
    owned = "SELECT * FROM {} WHERE dataset IN (SELECT unnest(CAST(? AS VARCHAR[])))"
    for table in ("meta", "parents", "members"):
        state.fold(Put(table, row) for row in fetch_rows(connection, owned.format(table), wanted))
    return [dataset_record(state, row["name"]) for row in found]


WIDE = {"datasets": wide_select, "conditions": wide_conditions}
"""Tables that `--sql` shows with every key as a column, lower case."""


def copies(connection: DuckDBPyConnection, tables: Iterable[str], *, wide: bool = True) -> dict[str, pa.Table]:
    """Arrow copies of the catalog's `tables`; with `wide` those of `WIDE` have every key as a column."""
    texts = {name: f"SELECT * FROM {name}" for name in tables}
    if wide:
        texts |= {name: WIDE[name](connection) for name in texts if name in WIDE}
    return {name: connection.sql(text).to_arrow_table() for name, text in texts.items()}
