"""What the rows of a part must be: the types of its schema, ids in range, lists as long as counted.

Invariant: what passes can be stored without changing any value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from tagsel.errors import IngestError, StoreError
from tagsel.schema import IDS, Attribute, Schema
from tagsel.store.zones import Kind

if TYPE_CHECKING:
    import pyarrow as pa

_ARROW = {
    "bool": "bool_",
    "int32": "int32",
    "int64": "int64",
    "float32": "float32",
    "float64": "float64",
    "bits32": "int32",
    "bits64": "int64",
    "string": "string",
}


def arrow_type(attribute: Attribute) -> pa.DataType:
    """The Arrow type of an attribute's column; items of lists are never null."""
    import pyarrow as pa

    item = getattr(pa, _ARROW[attribute.type])()
    return pa.list_(pa.field("element", item, nullable=False)) if attribute.is_list else item


def arrow_schema(schema: Schema) -> pa.Schema:
    """The Arrow schema of the rows of `schema`: one required field an attribute, in order."""
    import pyarrow as pa

    return pa.schema([pa.field(a.column, arrow_type(a), nullable=False) for a in schema])


def kinds_of(schema: Schema) -> dict[str, Kind]:
    """Type and listness of each column of `schema`."""
    return {a.column: (a.type, a.is_list) for a in schema}


def conforming(batches: Iterable[pa.RecordBatch], schema: Schema) -> Iterator[pa.Table]:
    """Each batch as a table in the part's own types, its ids and lists checked."""
    import pyarrow as pa

    target = arrow_schema(schema)
    row = 0
    for batch in batches:
        if set(batch.schema.names) != set(target.names) or batch.num_columns != len(target):
            _refuse_columns(batch.schema.names, target.names)
        columns = [_conform(batch.column(f.name), f, row) for f in target]
        table = pa.Table.from_arrays(columns, schema=target)
        _check_lists(table, schema, row)
        row += batch.num_rows
        yield table


def _refuse_columns(columns: list[str], expected: list[str]) -> None:
    missing = sorted(set(expected) - set(columns))
    extra = sorted(set(columns) - set(expected))
    raise StoreError(
        f"a batch does not have the columns of its schema: missing {missing}, not in the schema {extra}",
        missing=missing,
        extra=extra,
    )


def _conform(array: pa.Array, field: pa.Field, row: int) -> pa.Array:
    """`array` in `field`'s type where only the spelling differs, ids range-checked; else an error."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if array.null_count:
        raise StoreError(
            f"column {field.name} has {array.null_count} nulls in the batch at row {row}",
            hint="a part's columns are complete; leave a column out where it is missing",
            column=field.name,
        )
    if field.name in IDS and pa.types.is_integer(array.type):
        _check_id(array, field, row)
    elif not same_kind(array.type, field.type):
        raise StoreError(
            f"column {field.name} is {array.type} in the batch at row {row} and {field.type} in the schema",
            column=field.name,
        )
    return array if array.type == field.type else pc.cast(array, field.type)


def same_kind(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether only spelling differs: the name or nullability of list items, how strings are kept."""
    import pyarrow as pa

    if pa.types.is_list(wanted):
        is_list = pa.types.is_list(given) or pa.types.is_large_list(given)
        return bool(is_list and given.value_type == wanted.value_type)
    if pa.types.is_dictionary(given):
        given = given.value_type
    return bool(given == wanted or (pa.types.is_string(wanted) and pa.types.is_large_string(given)))


def _check_id(array: pa.Array, field: pa.Field, row: int) -> None:
    """Refuse an id outside 0 … the largest of its type, naming the row (0-based) and the value."""
    values = array.to_numpy(zero_copy_only=False)
    top = np.iinfo(field.type.to_pandas_dtype()).max
    bad = np.flatnonzero((values < 0) | (values > values.dtype.type(min(top, np.iinfo(values.dtype).max))))
    if len(bad):
        value = int(values[bad[0]])
        raise IngestError(
            f"{field.name} is {value} in row {row + int(bad[0])}: ids lie between 0 and {top}",
            column=field.name,
            row=row + int(bad[0]),
            value=value,
        )


def _check_lists(table: pa.Table, schema: Schema, row: int) -> None:
    """Refuse a list whose length is not its counter, and null items."""
    import pyarrow.compute as pc

    for a in (a for a in schema if a.is_list):
        if a.counter not in table.column_names:
            raise StoreError(f"list {a.name} has no counter column {a.counter}", column=a.column)
        lists = table.column(a.column)
        lengths = pc.list_value_length(lists).to_numpy()
        bad = np.flatnonzero(lengths != table.column(a.counter).to_numpy())
        if len(bad):
            at = int(bad[0])
            raise IngestError(
                f"{a.name} has {lengths[at]} values in row {row + at}, its counter {a.counter} says "
                f"{table.column(a.counter)[at].as_py()}",
                column=a.column,
                row=row + at,
            )
        if pc.list_flatten(lists).null_count:
            raise StoreError(f"list {a.name} holds null items", column=a.column)
