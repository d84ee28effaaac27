"""The columns that a file has, by the file's own names and by the plain names that schemas use.

Invariant: `types` lists the columns that can become attributes, scalars and flat lists; `odd` all others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tagsel.errors import IngestError
from tagsel.rootio import ColumnType, plain_name

MOST_LISTED = 10
"""Names that a message lists at most; the rest is counted."""


def more(names: Sequence[str]) -> str:
    """What follows the first `MOST_LISTED` of `names` in a message.

    >>> more(["x"] * 12)
    ' and 2 more'
    """
    return f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""


def can_be_flag(kind: ColumnType) -> bool:
    """Whether a column of this type can hold a trigger decision or a flag: one bool or integer an event.

    >>> can_be_flag(ColumnType("uint8")), can_be_flag(ColumnType("float32")), can_be_flag(ColumnType("bool", True))
    (True, False, False)
    """
    return not kind.is_list and (kind.base == "bool" or "int" in kind.base)


@dataclass(frozen=True)
class Columns:
    """The columns of a file: `types` by the file's own names; `prefix` is set before those, and is no part of them.

    `odd` are columns of types that no attribute has, with the type as the file spells it. `nested` are those that lie
    in structures: `Muon.pt` is also found as `Muon_pt`, where the file has no such column.
    """

    path: Path
    types: Mapping[str, ColumnType]
    prefix: str = ""
    odd: Mapping[str, str] = field(default_factory=dict)
    nested: frozenset[str] = frozenset()

    @cached_property
    def _by_plain_name(self) -> dict[str, str]:
        columns: dict[str, str] = {}
        for column in self.types:
            columns.setdefault(self.name(column), column)
        for column in self.nested & self.types.keys():
            columns.setdefault(self.flat_name(column), column)
        return columns

    def name(self, column: str) -> str:
        """The plain name of a column."""
        return plain_name(column.removeprefix(self.prefix))

    def flat_name(self, column: str) -> str:
        """The plain name of a column, where one that lies in a structure is spelled as NanoAOD spells it: `Muon_pt`."""
        name = self.name(column)
        return name.replace(".", "_") if column in self.nested else name

    def listed(self, columns: Sequence[str]) -> str:
        """Columns and their types for a message, the first `MOST_LISTED` of them.

        >>> Columns(Path("f"), {"x": ColumnType("int32")}, odd={"t": "timestamp[ns]"}).listed(["x", "t"])
        'x (int32), t (timestamp[ns])'
        """
        some = [f"{c} ({self.odd.get(c) or self.types[c]})" for c in columns[:MOST_LISTED]]
        return ", ".join(some) + more(columns)

    def scalars(self) -> Iterator[str]:
        """Columns with one value an event."""
        return (c for c, kind in self.types.items() if not kind.is_list)

    def lists(self) -> Iterator[str]:
        """Columns with a list of values an event."""
        return (c for c, kind in self.types.items() if kind.is_list)

    def first(self, names: Iterable[str], is_list: bool = False) -> str | None:
        """The first of `names` that is a column with a value (or a list) an event; None where there is none."""
        for name in names:
            column = name if name in self.types else self._by_plain_name.get(name)
            if column is not None and self.types[column].is_list == is_list:
                return column
        return None

    def can_be_reference(self, column: str) -> bool:
        """Whether a column that is called `aod_guid`, `aod_entry` or `menu` has a type that these have."""
        name, base = self.name(column), self.types[column].base
        return base == "string" if name.endswith("_guid") else "int" in base

    def check_kind(self, column: str, kind: str, name: str) -> None:
        """Refuse text made of numbers and numbers made of text."""
        base = self.types[column].base
        if (base == "string") != (kind == "string"):
            raise IngestError(
                f"{self.path}: {column} holds {base}, and the schema makes {name} of it as {kind}",
                path=str(self.path),
                column=column,
            )
