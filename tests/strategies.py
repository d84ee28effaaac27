"""Hypothesis strategies: tables with everything that hurts, and cuts as text in the language.

All are on the one schema of `tag_schema`, and each comes from one seed. (Drawn choice by choice, half of the cuts of a
run were the same: hypothesis varies what it has.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from hypothesis import strategies as st
from object_writer import ObjectWriter
from tag_schema import LUMI, MENUS, SCHEMA, lumi

from tagsel.language.tree import Block
from tagsel.schema import Attribute

__all__ = ["DTYPES", "LUMI", "MENUS", "NUMBERS", "SCHEMA", "Case", "Table", "cuts", "lumi", "make_case"]
__all__ += ["make_table", "tables", "write_cut"]

NUMBERS: Mapping[str, tuple[Any, ...]] = {
    "bool": (False, True),
    "int32": (0, 1, 2, 3, -1, -7, 25, 2**31 - 1, -(2**31)),
    "int64": (0, 1, 2, 3, -1, -7, 25, 2**53, 2**53 + 1, 2**62, 2**63 - 1, -(2**63)),
    "bits32": (0, 1, 5, 8, 2**31, 2**32 - 1),
    "bits64": (0, 1, 5, 32, 2**63, 2**64 - 1),
    "float32": (0.0, -0.0, 1.0, 0.1, 2.5, -2.5, 25.0, 25.000002, 1e-40, 3e38, np.nan, np.inf, -np.inf),
    "float64": (0.0, -0.0, 1.0, 0.1, 2.5, -2.5, 25.0, 1e-310, 2.0**53, 1e300, np.nan, np.inf, -np.inf),
    "string": ("", "a", "b c", "it's"),
}
"""Values that hurt, by type."""

DTYPES: Mapping[str, Any] = {
    "bool": np.bool_,
    "int32": np.int32,
    "int64": np.int64,
    "bits32": np.uint32,
    "bits64": np.uint64,
    "float32": np.float32,
    "float64": np.float64,
    "string": object,
}


@dataclass(frozen=True)
class Table:
    """Rows of `SCHEMA`: all columns, flat where lists, and which of them the part lacks.

    `lengths` are the true lengths of the lists by counter.
    """

    rows: int
    columns: Mapping[str, Any]
    lengths: Mapping[str, Any]
    absent: frozenset[str]
    seed: int

    def block(self) -> Block:
        """What the interpreter and the kernel see."""
        return Block(self.rows, {n: a for n, a in self.columns.items() if n not in self.absent})

    def row(self, at: int) -> dict[str, Any]:
        """What the oracle sees: one row as plain Python values."""
        return self.plain[at]

    @cached_property
    def plain(self) -> list[dict[str, Any]]:
        """Every row, as the oracle sees it."""
        return [self._row(at) for at in range(self.rows)]

    def _row(self, at: int) -> dict[str, Any]:
        found = {}
        for attribute in SCHEMA:
            array = self.columns[attribute.column]
            if attribute.column in self.absent:
                found[attribute.column] = None
            elif attribute.is_list:
                lengths = self.lengths[attribute.counter]
                start = int(lengths[:at].sum())
                found[attribute.column] = array[start : start + lengths[at]].tolist()
            else:
                found[attribute.column] = array[at] if array.dtype == object else array[at].item()
        return found


def make_table(rows: int, seed: int) -> Table:
    """The table of a seed."""
    rng = np.random.default_rng(seed)
    style = {c: rng.choice(["wild", "small", "constant"], p=[0.3, 0.5, 0.2]) for c in SCHEMA.by_column}
    counters = {a.counter for a in SCHEMA if a.is_list}
    lengths = {c: rng.integers(0, rng.integers(1, 5), rows, endpoint=True).astype(np.int32) for c in sorted(counters)}
    columns = {}
    for a in SCHEMA:
        if a.column in counters:
            columns[a.column] = lengths[a.column]
            continue
        size = int(lengths[a.counter].sum()) if a.is_list else rows
        columns[a.column] = _values(rng, a, size, style[a.column])
    lacks = rng.random(len(SCHEMA)) < rng.choice([0.0, 0.0, 0.08, 0.3])
    absent = frozenset(a.column for a, gone in zip(SCHEMA, lacks, strict=True) if gone)
    return Table(rows, columns, lengths, absent - {"run", "lumi", "event"}, seed)


def _values(rng: np.random.Generator, a: Attribute, size: int, style: str) -> Any:
    """Values of one column: of everything that hurts, of small numbers, or one value all over."""
    if a.column in ("run", "lumi"):
        return rng.integers(0, 12, size).astype(np.int32)
    if a.column == "NTau":
        return rng.integers(-1, 5, size).astype(np.int32)
    pool = list(NUMBERS[a.type])
    if a.role == "menu":
        pool = [*MENUS, *MENUS, 0]
    elif style == "small" and a.type.startswith(("int", "float")):
        start = float(rng.normal(0, 20))
        spread = start + rng.normal(0, 3, 8)
        pool = np.rint(spread).tolist() if a.type.startswith("int") else spread.tolist()
        if a.type.startswith("float") and rng.random() < 0.5:
            pool[0] = np.nan
    chosen = rng.integers(0, len(pool), size)
    if style == "constant":
        chosen = np.full(size, rng.integers(0, len(pool)))
    made = np.empty(size, DTYPES[a.type])
    with np.errstate(all="ignore"):
        made[:] = np.array(pool, DTYPES[a.type])[chosen]
    return made


def tables(most: int = 14) -> st.SearchStrategy[Table]:
    """Tables of 0 to `most` rows."""
    return st.builds(make_table, st.integers(0, most), st.integers(0, 2**32 - 1))


def write_cut(seed: int, depth: int) -> str:
    """The cut of a seed: a condition of at most 3^depth atoms."""
    return ObjectWriter(seed).condition(depth)


@dataclass(frozen=True)
class Case:
    """A cut, and the tables to try it on."""

    cut: str
    tables: tuple[Table, ...]

    def __repr__(self) -> str:
        return f"{self.cut!r} on {[(t.rows, t.seed) for t in self.tables]}"


def make_case(seed: int) -> Case:
    """The case of a seed: a cut, and ten tables of 0 to 14 rows."""
    rng = np.random.default_rng(seed)
    rows, seeds = rng.integers(0, 14, 10, endpoint=True), rng.integers(0, 2**32, 10)
    cut = write_cut(int(rng.integers(2**63)), int(rng.integers(0, 3, endpoint=True)))
    return Case(cut, tuple(make_table(int(r), int(s)) for r, s in zip(rows, seeds, strict=True)))


def cuts(depth: int = 3) -> st.SearchStrategy[str]:
    """The text of a cut on `SCHEMA`."""
    return st.builds(write_cut, st.integers(0, 2**63), st.integers(0, depth))
