"""Arrow types as columns of values: structures are taken apart, extension types are what they store.

A structure `MET` with a field `pt` is the column `MET.pt`; a list of structures `Muon` is one list a field, `Muon.pt`.
Extension types, which awkward registers for a whole process once it has written an array, are unwrapped to their
storage. Invariant: what cannot be typed is one column of its own, without a type, and costs no other column anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tagsel.rootio import ColumnType

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class ArrowColumn:
    """A column of an Arrow schema: its name, the fields that lead to it, its type (None: no attribute can hold it), and
    the number of its first leaf, counted as Parquet counts its columns."""

    name: str
    path: tuple[str, ...]
    type: ColumnType | None
    typename: str
    leaf: int


def columns_of(schema: pa.Schema) -> list[ArrowColumn]:
    """The columns of a schema, structures taken apart, in order."""
    columns: list[ArrowColumn] = []
    leaf = 0
    for field in schema:
        leaf = _take_apart(field.type, (field.name,), False, leaf, columns)
    return columns


def _take_apart(kind: pa.DataType, path: tuple[str, ...], in_list: bool, leaf: int, columns: list[ArrowColumn]) -> int:
    """Add the columns below a field; the number of the next leaf."""
    import pyarrow as pa

    stored = storage_type(kind)
    if pa.types.is_struct(stored) and stored.num_fields:
        for field in stored:
            leaf = _take_apart(field.type, (*path, field.name), in_list, leaf, columns)
        return leaf
    if is_list(stored) and not in_list and pa.types.is_struct(storage_type(stored.value_type)):
        return _take_apart(stored.value_type, path, True, leaf, columns)
    base = column_type(stored)
    if base is not None and in_list:
        base = None if base.is_list else ColumnType(base.base, is_list=True)
    typename = f"list<{kind}>" if in_list else str(kind)
    columns.append(ArrowColumn(".".join(path), path, base, typename, leaf))
    return leaf + _leaves(stored)


def _leaves(kind: pa.DataType) -> int:
    """How many columns Parquet keeps a type in."""
    import pyarrow as pa

    stored = storage_type(kind)
    if pa.types.is_dictionary(stored):
        return 1
    if stored.num_fields:
        return sum(_leaves(stored.field(number).type) for number in range(stored.num_fields))
    return 1


def column_type(kind: pa.DataType) -> ColumnType | None:
    """What a column of this Arrow type holds, or None where that is no scalar and no flat list."""
    import pyarrow as pa

    stored = storage_type(kind)
    if pa.types.is_dictionary(stored):
        return column_type(stored.value_type)
    if is_list(stored):
        inner = column_type(stored.value_type)
        return ColumnType(inner.base, is_list=True) if inner and not inner.is_list else None
    if pa.types.is_string(stored) or pa.types.is_large_string(stored) or stored == pa.string_view():
        return ColumnType("string")
    if pa.types.is_float16(stored):
        return ColumnType("float32")
    if pa.types.is_boolean(stored) or pa.types.is_integer(stored) or stored in (pa.float32(), pa.float64()):
        return ColumnType(str(stored.to_pandas_dtype().__name__).removesuffix("_"))
    return None


def storage_type(kind: pa.DataType) -> pa.DataType:
    """The type that an extension type stores; any other type as it is."""
    import pyarrow as pa

    while isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return kind


def is_list(kind: pa.DataType) -> bool:
    """Whether a type is a list, of any size of offsets, or of a fixed number of values."""
    import pyarrow as pa

    return isinstance(kind, pa.ListType | pa.LargeListType | pa.FixedSizeListType)


def values_of(batch: pa.RecordBatch, columns: Sequence[ArrowColumn]) -> pa.RecordBatch:
    """The values of columns in the rows of a batch, by the names of the columns; see `values_at`."""
    import pyarrow as pa

    arrays = [values_at(batch.column(column.path[0]), column.path[1:]) for column in columns]
    return pa.RecordBatch.from_arrays(arrays, [column.name for column in columns])


def check_places(array: pa.Array, path: Iterable[str]) -> None:
    """Check that the lists and texts that the fields of `path` lead to lie within their values.

    Nothing beside the path is looked at: a structure may have a date with a time of day in another field, which Arrow
    calls invalid. pa.ArrowInvalid: a place is wrong.
    """
    array = _stored(array)
    array.validate()
    fields = tuple(path)
    if is_list(array.type):
        _check_offsets(array)
        check_places(array.values, fields)
    elif fields:
        check_places(array.field(fields[0]), fields[1:])
    else:
        array.validate(full=True)


def _check_offsets(array: pa.Array) -> None:
    import pyarrow as pa

    if len(array) and not isinstance(array.type, pa.FixedSizeListType):
        places = type(array).from_arrays(array.offsets, pa.nulls(len(array.values)))
        places.validate(full=True)


def values_at(array: pa.Array, path: Iterable[str]) -> pa.Array:
    """The values that the fields of `path` lead to, below an array: numbers, texts, or a large list of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = _stored(array)
    fields = tuple(path)
    if is_list(array.type):
        flat = _as_large_list(array)
        values = values_at(flat.values, fields)
        mask = flat.is_null() if flat.null_count else None
        return pa.LargeListArray.from_arrays(flat.offsets, values, mask=mask)
    if fields:
        return values_at(pc.struct_field(array, fields[0]), fields[1:])
    if isinstance(array.type, pa.DictionaryType):
        array = _decoded(array)
    if pa.types.is_float16(array.type):
        return array.cast(pa.float32())
    return array.cast(pa.string()) if array.type == pa.string_view() else array


def _stored(array: pa.Array) -> pa.Array:
    import pyarrow as pa

    while isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    return array


def _decoded(array: pa.DictionaryArray) -> pa.Array:
    """The values that the indices of a dictionary stand for."""
    import pyarrow as pa

    dictionary = _stored(array.dictionary)
    if dictionary.type == pa.string_view():
        return _taken(dictionary, array.indices)
    return pa.DictionaryArray.from_arrays(array.indices, dictionary).dictionary_decode()


def _taken(texts: pa.Array, indices: pa.Array) -> pa.Array:
    """The text views at some indices: no kernel of Arrow takes them, but one takes the 16 bytes that each view has."""
    import pyarrow as pa

    validity, views, *storage = texts.buffers()
    taken = pa.Array.from_buffers(pa.binary(16), len(texts), [validity, views], offset=texts.offset).take(indices)
    return pa.Array.from_buffers(pa.string_view(), len(taken), [*taken.buffers(), *storage], offset=taken.offset)


def _as_large_list(array: pa.Array) -> pa.Array:
    """Lists with 64-bit offsets that begin at 0, with the values of these lists alone; a null has none."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if array.null_count or isinstance(array.type, pa.FixedSizeListType):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        mask = array.is_null() if array.null_count else None
        return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), array.flatten(), mask=mask)
    places = array.offsets.cast(pa.int64())
    return pa.LargeListArray.from_arrays(pc.subtract(places, places[0]), array.flatten())
