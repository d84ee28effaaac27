"""Datasets that were dropped, as they were: what the catalog knew of one, to be put back.

Invariant: what is put back is what was dropped, row by row, but for who touched the dataset last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tagsel.catalog.changes import OWNED_TABLES, Change, Stamp
from tagsel.catalog.names import check_dataset_name
from tagsel.catalog.standing import need_dataset
from tagsel.catalog.tables import TABLES, Op, Put, Row, Rows
from tagsel.errors import CatalogError

if TYPE_CHECKING:
    from tagsel.catalog.catalog import Catalog


@dataclass(frozen=True)
class RecoverDataset(Change):
    """Put a dataset back that was dropped; `rows` are those of each table that it owned, as `owned` gave them."""

    name: str
    rows: Mapping[str, Sequence[Row]]

    def check(self, state: Rows) -> None:
        """The name is free, the rows are its own, and what a container holds is there."""
        check_dataset_name(self.name)
        if state.of("datasets", self.name):
            raise CatalogError(f"there is a dataset {self.name} again", hint="drop or rename that", dataset=self.name)
        for table, rows in self.rows.items():
            if table not in OWNED_TABLES or any(row.get(TABLES[table].key[0]) != self.name for row in rows):
                raise CatalogError(f"rows of {table} are not those of dataset {self.name}", dataset=self.name)
        for row in self.rows.get("members", ()):
            need_dataset(state, row["member"])

    def ops(self, stamp: Stamp) -> Iterator[Op]:
        """Every row as it was; that of the dataset says who put it back."""
        for table, rows in self.rows.items():
            for row in rows:
                yield Put(table, {**row, **(stamp.columns if table == "datasets" else {})})


KINDS = (RecoverDataset,)
"""Every kind of change of this module."""


def owned(catalog: Catalog, name: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of a dataset in every table, by table: what a drop takes away."""
    catalog.dataset(name)
    keys = {table: TABLES[table].key for table in OWNED_TABLES}
    found = {table: catalog.rows(table, {key[0]: [name]}, ", ".join(key)) for table, key in keys.items()}
    return {table: rows for table, rows in found.items() if rows}
