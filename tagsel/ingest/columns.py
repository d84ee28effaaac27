"""The columns that a file has, by the file's own names and by the plain names that schemas use.

Invariant: only columns that can become attributes are listed, scalars and flat lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tagsel.errors import IngestError
from tagsel.rootio import ColumnType, plain_name


@dataclass(frozen=True)
class Columns:
    """The columns of a file: `types` by the file's own names; `prefix` is set before those, and is no part of them."""

    path: Path
    types: Mapping[str, ColumnType]
    prefix: str = ""

    @cached_property
    def _by_plain_name(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for column in self.types:
            found.setdefault(self.name(column), column)
        return found

    def name(self, column: str) -> str:
        """The plain name of a column."""
        return plain_name(column.removeprefix(self.prefix))

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

    def check_kind(self, column: str, kind: str, name: str) -> None:
        """Refuse text made of numbers and numbers made of text."""
        base = self.types[column].base
        if (base == "string") != (kind == "string"):
            raise IngestError(
                f"{self.path}: {column} holds {base}, and the schema makes {name} of it as {kind}",
                path=str(self.path), column=column,
            )  # fmt: skip
