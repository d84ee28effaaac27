"""A small table that prints itself: how answers of several rows look in Python.

Invariant: text, HTML and JSON say the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """A small table that prints itself: column names and rows; `names()` gives the first column."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def names(self) -> list[str]:
        """The first column."""
        return [str(row[0]) for row in self.rows]

    def to_json(self) -> list[dict[str, Any]]:
        """One object a row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def __iter__(self) -> Any:
        return iter(self.to_json())

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        lines = [self.columns, *[tuple(map(_text, row)) for row in self.rows]]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join([_aligned(line, widths) for line in lines])

    def _repr_html_(self) -> str:
        rows = [_html(self.columns, "th"), *[_html(row, "td") for row in self.rows]]
        return f"<table>{''.join(rows)}</table>"


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _aligned(cells: Iterable[str], widths: Iterable[int]) -> str:
    """A line of the table, without blanks at its end."""
    return "  ".join([cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]).rstrip()


def _html(cells: Iterable[object], tag: str) -> str:
    from html import escape

    row = [f"<{tag}>{escape(_text(cell))}</{tag}>" for cell in cells]
    return f"<tr>{''.join(row)}</tr>"
