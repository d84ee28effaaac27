"""Conditions of runs (magnet, beam, pile-up, …): read from CSV, kept by run and key, asked for as one wide table.

Invariant: a value keeps the type that its text shows, and a run has one value of a key: a file that gives it several,
as by luminosity block, is refused.
"""

from __future__ import annotations

import csv
from pathlib import Path

from tagsel.catalog.values import Value, parse_value
from tagsel.errors import CatalogError

BLOCK_COLUMNS = frozenset(
    {"lumi", "lumiblock", "lumi_block", "lumisection", "lumi_section", "luminosityblock", "ls", "lb"}
)
"""Names, in lower case, under which a CSV file may keep the luminosity block."""

ONE_LINE = "conditions are kept by run: give one line for each run, such as its mean"


def read_conditions(path: Path) -> list[tuple[int, dict[str, Value]]]:
    """The runs of a CSV file whose first line names the columns, one of them `run`; empty fields are left out.

    CatalogError names the file and line where a field is missing or too many, a run is no whole number, or a run has
    another value than an earlier line gave it.
    """
    rows = _rows(path)
    names = [name.strip() for name in rows[0]] if rows else []
    _check_columns(path, names)
    lines: dict[tuple[int, str], tuple[int, Value]] = {}
    runs = []
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != len(names):
            raise CatalogError(f"{path}: line {number} has {len(row)} fields, {len(names)} were expected", line=number)
        values = {name: parse_value(text.strip()) for name, text in zip(names, row, strict=True) if text.strip()}
        run = values.pop("run", None)
        if isinstance(run, bool) or not isinstance(run, int):
            raise CatalogError(f"{path}: line {number}: run is {run!r}, a whole number was expected", line=number)
        for key, value in values.items():
            line, earlier = lines.setdefault((run, key), (number, value))
            if (type(earlier), earlier) != (type(value), value):
                raise CatalogError(
                    f"{path}: line {number}: run {run} has {key} = {value}, and line {line} gave it {earlier}",
                    hint=ONE_LINE,
                    path=str(path),
                    line=number,
                    run=run,
                )
        runs.append((run, values))
    return runs


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.reader(file))
    except (OSError, ValueError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise CatalogError(f"{path} cannot be read: {why}", path=str(path)) from error


def _check_columns(path: Path, names: list[str]) -> None:
    """CatalogError where a column is named twice, none is `run`, or one is a luminosity block."""
    if names.count("run") != 1 or len(set(map(str.lower, names))) != len(names):
        raise CatalogError(
            f"{path}: line 1 names the columns {', '.join(names) or '(none)'}",
            hint="each once, and one is run: run,magnet,mu",
            path=str(path),
        )
    blocks = [name for name in names if name.lower() in BLOCK_COLUMNS]
    if blocks:
        raise CatalogError(
            f"{path}: line 1: the column {blocks[0]} is a luminosity block", hint=ONE_LINE, path=str(path)
        )
