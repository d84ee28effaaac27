"""Free key-values: what a value's text means, and how values of several types share one key.

Invariant: `read_value(*write_value(v)) == v` with the same type, for every value that `write_value` takes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping

from tagsel.errors import CatalogError

Value = str | int | float | bool
"""A free key's value."""

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INT64 = 1 << 63

SQL_TYPES: Mapping[frozenset[str], str] = {
    frozenset({"bool"}): "BOOLEAN",
    frozenset({"int"}): "BIGINT",
    frozenset({"float"}): "DOUBLE",
    frozenset({"int", "float"}): "DOUBLE",
}
"""DuckDB type of a key by the kinds of its values; any other mixture is text."""


def check_key(key: str, columns: Collection[str]) -> str:
    """Return `key` if it may be a free key: a plain word that is none of the `taken` columns. CatalogError else."""
    if not _KEY.fullmatch(key) or len(key) > 64:
        raise CatalogError(
            f"{key[:80]!r} cannot be a key: a letter or '_' first, then letters, digits or '_', at most 64",
            key=key,
        )
    if key.lower() in columns:
        raise CatalogError(
            f"{key!r} is a column of every dataset, not a free key", hint=f"choose another, my_{key}", key=key
        )
    return key


def write_value(value: Value) -> tuple[str, str]:
    """(kind, text) that keep `value`; CatalogError where no text can (NaN, inf, integers beyond 64 bits)."""
    if isinstance(value, bool):
        return "bool", "true" if value else "false"
    if isinstance(value, int) and -_INT64 <= value < _INT64:
        return "int", str(value)
    if isinstance(value, float) and math.isfinite(value):
        return "float", repr(value)
    if isinstance(value, str) and "\0" not in value:
        return "text", value
    raise CatalogError(
        f"{value!r:.80} cannot be kept as a value",
        hint="text, a 64-bit integer, a finite number, true or false",
    )


def read_value(kind: str, text: str) -> Value:
    """The value that `write_value` wrote."""
    if kind == "bool":
        return text == "true"
    if kind == "int":
        return int(text)
    return float(text) if kind == "float" else text


def parse_value(text: str) -> Value:
    """What a person means by `text`: a number or truth value where the text is exactly how one is written, else text.

    `1.10` stays text, for a version it may be, and so does `007`.

    >>> [parse_value(t) for t in ("2", "0.5", "true", "1.10", "007", "v1")]
    [2, 0.5, True, '1.10', '007', 'v1']
    """
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        if str(value) == text and math.isfinite(value) and abs(value) < _INT64:
            return value
    return text


def parse_meta(text: str) -> tuple[str, Value]:
    """`key=value` as (key, value); CatalogError without an `=`.

    >>> parse_meta("trigger=2")
    ('trigger', 2)
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise CatalogError(f"{text[:80]!r} is no key=value", hint="for example trigger=2")
    return key.strip(), parse_value(value.strip())
