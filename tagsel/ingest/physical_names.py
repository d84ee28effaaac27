"""The names of columns on disk, where names of attributes differ in letter case only.

Delta and DuckDB take `x` and `X` for one column. The first of such twins has its own name on disk; the second is stored
as `X__2`, a third as `X__3`. Invariant: an attribute keeps its column for the life of a dataset, and a dataset without
twins has the columns that it would have without this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tagsel.ingest.makers import Lists, Maker, Same, Scalar, attributes_of
from tagsel.schema import Attribute

FIXED = ("trigger", "flag", "id", "reference", "menu")
"""Roles whose columns others name: menus, references and engines know them by their plain names."""


class ColumnNames:
    """The columns of a dataset by attribute, as more attributes join it."""

    def __init__(self, attributes: Iterable[Attribute] = ()) -> None:
        self._by_name: dict[str, str] = {}
        self._flat_names: set[str] = set()
        self._folded: set[str] = set()
        for attribute in attributes:
            self._add(attribute, attribute.column)

    def add(self, attributes: Iterable[Attribute]) -> None:
        """Give each attribute that is new its column."""
        for attribute in attributes:
            if attribute.name not in self._by_name:
                self._add(attribute, self._free(attribute))

    def of(self, attribute: Attribute) -> str:
        """The column of an attribute that was added."""
        return self._by_name[attribute.name]

    def _add(self, attribute: Attribute, column: str) -> None:
        self._by_name[attribute.name] = column
        self._flat_names.add(attribute.flat_name)
        self._folded.add(column.lower())

    def _free(self, attribute: Attribute) -> str:
        """The first name that no column has; of two attributes that are spelled alike `Schema` says so."""
        flat_name = attribute.flat_name
        column = flat_name
        if flat_name in self._flat_names or attribute.role in FIXED:
            return column
        number = 2
        while column.lower() in self._folded:
            column = f"{flat_name}__{number}"
            number += 1
        return column


def with_columns(makers: Sequence[Maker], names: ColumnNames) -> tuple[Maker, ...]:
    """The makers with the columns of their attributes as `names` has them, where these are others."""
    moved: dict[str, str] = {}
    for maker in makers:
        for attribute in maker.attributes:
            column = names.of(attribute)
            if column != attribute.column:
                moved[attribute.column] = column
    if not moved:
        return tuple(makers)
    return tuple(_moved(maker, moved) for maker in makers)


def _moved(maker: Maker, moved: Mapping[str, str]) -> Maker:
    if isinstance(maker, Lists):
        members = tuple(replace(m, attribute=_stored_as(m.attribute, moved)) for m in maker.members)
        return replace(maker, counter=_stored_as(maker.counter, moved), members=members)
    if isinstance(maker, Scalar | Same):
        return replace(maker, attribute=_stored_as(maker.attribute, moved))
    return maker  # of attributes whose roles are FIXED


def _stored_as(attribute: Attribute, moved: Mapping[str, str]) -> Attribute:
    """The attribute with its column, and that of its counter, as they are called on disk."""
    column = moved.get(attribute.column, attribute.column)
    physical = column if column != attribute.flat_name else ""
    return replace(attribute, physical=physical, counter=moved.get(attribute.counter, attribute.counter))


def apart(makers: Sequence[Maker]) -> tuple[Maker, ...]:
    """The makers of one file with a column of its own for each attribute."""
    columns = [attribute.column.lower() for attribute in attributes_of(makers)]
    if len(columns) == len(set(columns)):
        return tuple(makers)
    names = ColumnNames()
    for maker in makers:
        names.add(maker.attributes)
    return with_columns(makers, names)
