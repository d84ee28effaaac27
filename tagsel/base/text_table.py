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
        text = [self.columns, *(tuple(map(_said, row)) for row in self.rows)]
        widths = [max(len(row[i]) for row in text) for i in range(len(self.columns))]
        return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in text)

    def _repr_html_(self) -> str:
        head = _html(self.columns, "th")
        return f"<table>{head}{''.join(_html(row, 'td') for row in self.rows)}</table>"


def _said(value: object) -> str:
    return "" if value is None else str(value)


def _html(cells: Iterable[object], tag: str) -> str:
    from html import escape

    return f"<tr>{''.join(f'<{tag}>{escape(_said(c))}</{tag}>' for c in cells)}</tr>"
