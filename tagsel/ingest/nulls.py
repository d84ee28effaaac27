"""Nulls of Parquet and Arrow files: a null is missing, which a bitmap beside the attribute's values says.

A chain or flag that is null in a row is missing there as every other chain is: the row's menu lacks it. So the rows of
one file have as many menus as there are combinations of null columns.

Most files have none, so a file is first read as if it had none; one that has is looked through once for the columns
that hold nulls, and read again with their bitmaps. Invariant: a dataset of files without nulls has no bitmaps.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tagsel.errors import IngestError
from tagsel.ingest.arrow_columns import is_list
from tagsel.ingest.columnar import damage, open_columnar
from tagsel.ingest.convert import lists
from tagsel.ingest.makers import Chunk, Lists, Maker, Member, Nulls, Packed, Scalar
from tagsel.ingest.plan import Plan
from tagsel.ingest.readers import NullMet, ParquetReader
from tagsel.ingest.report import NullCount
from tagsel.ingest.source import BATCH_ROWS, TagSource
from tagsel.schema import Attribute, Menu
from tagsel.schema.attributes import null_attribute
from tagsel.store.conform import arrow_type

if TYPE_CHECKING:
    import pyarrow as pa

KEPT = ("value", "weight", "time", "counter", "trigger", "flag")
"""Roles of attributes that may be null; an id or a reference that is null refuses its file."""

MOST_MENUS = 256
"""Menus that the nulls of one file may make; a file that would make more is refused."""


def nulls_of(source: TagSource) -> dict[str, NullCount]:
    """The columns of a file that hold nulls, of those that it is read for, with how many."""
    assert isinstance(source.reader, ParquetReader)
    counts: dict[str, NullCount] = {}
    with open_columnar(source.path) as file, damage(source.path, file.format):
        for _, arrays in file.chunks(source.plan.columns, BATCH_ROWS):
            for name, array in arrays.items():
                counts[name] = counts.get(name, NullCount()) + _count(array)
    return {name: count for name, count in counts.items() if count != NullCount()}


def _count(array: pa.Array) -> NullCount:
    if not is_list(array.type):
        return NullCount(array.null_count)
    return NullCount(array.flatten().null_count, array.null_count)


def with_nulls(source: TagSource, columns: Collection[str]) -> TagSource:
    """The file with bitmaps for those of its columns that hold nulls; IngestError where one may not be null."""
    assert isinstance(source.reader, ParquetReader)
    slots = {
        (maker.attribute.collection, maker.attribute.member)
        for maker in source.plan.makers
        if isinstance(maker, Scalar) and maker.attribute.slot and maker.column in columns
    }
    makers = tuple(_nullable(maker, columns, slots, source) for maker in source.plan.makers)
    reader = replace(source.reader, nullable=frozenset(columns))
    source = replace(source, plan=replace(source.plan, makers=makers), reader=reader)
    bits = {bit: column for bit, column in _bit_columns(source.plan).items() if column in columns}
    return _with_menus(source, bits) if bits else source


Bit = tuple[str, int]
"""A word of bits, by its column in the dataset, and the number of a bit in it."""


def _bit_columns(plan: Plan) -> dict[Bit, str]:
    """The file's column that each bit of the menus is read from."""
    words: dict[str, str] = {}
    columns: dict[Bit, str] = {}
    for maker in plan.makers:
        if isinstance(maker, Packed):
            columns |= {(maker.words[word].column, bit): column for column, word, bit in maker.bits}
        elif isinstance(maker, NullableScalar):
            words[maker.scalar.attribute.column] = maker.scalar.column
    for menu in plan.menus.values():
        columns |= {(word, bit): words[word] for word, bit in menu.bits.values() if word in words}
    return columns


def _with_menus(source: TagSource, bits: Mapping[Bit, str]) -> TagSource:
    """The file with a menu for each row that lacks the bits whose columns, the values of `bits`, are null there."""
    plan = source.plan
    columns = tuple(dict.fromkeys(bits.values()))
    at = next(number for number, maker in enumerate(plan.makers) if maker.attributes[0].role == "menu")
    maker = MenuWithoutNulls(plan.makers[at], columns)
    keys = _menu_keys(source, maker, MOST_MENUS)
    if len(keys) > MOST_MENUS:
        raise _too_many(source, columns)
    menus = dict(plan.menus)
    ids: list[tuple[bytes, int]] = []
    for key in keys:
        own, null = maker.menu_and_nulls(key)
        if own in plan.menus:
            names = {name: bit for name, bit in plan.menus[own].bits.items() if bits.get(bit) not in null}
            menu = Menu(names, plan.menus[own].key)
            menus[menu.id] = menu
            own = menu.id
        ids.append((key, own))
    makers = (*plan.makers[:at], replace(maker, ids=tuple(ids)), *plan.makers[at + 1 :])
    return replace(source, plan=replace(plan, makers=makers, menus=menus))


def _menu_keys(source: TagSource, maker: MenuWithoutNulls, most: int) -> list[bytes]:
    """The different keys of the file's rows, sorted; where there are more than `most`, some of them."""
    keys: set[bytes] = set()
    for chunk in source.reader.chunks(maker.columns, BATCH_ROWS):
        keys |= set(maker.keys(chunk)[0])
        if len(keys) > most:
            break
    return sorted(keys)


def _too_many(source: TagSource, columns: Sequence[str]) -> IngestError:
    """The error for a file whose rows would have too many menus: a chain that has values is not left out."""
    return IngestError(
        f"{', '.join(columns[:3])}{' and others' if len(columns) > 3 else ''} are null in more than {MOST_MENUS} "
        "combinations, each of which would be a trigger menu",
        hint="write the rows of each period, with its chains, to a file of their own, or leave these columns out",
        file=str(source.path),
    )


def _nullable(maker: Maker, columns: Collection[str], slots: Collection[tuple[str, str]], source: TagSource) -> Maker:
    """The maker with bitmaps, where a column of its is null."""
    has_nulls = bool(set(maker.columns) & set(columns))
    if isinstance(maker, Scalar) and maker.attribute.role in KEPT:
        attribute = maker.attribute
        in_slots = attribute.slot > 0 and (attribute.collection, attribute.member) in slots
        return NullableScalar(maker, null_attribute(attribute)) if has_nulls or in_slots else maker
    if not has_nulls:
        return maker
    if isinstance(maker, Lists):
        return NullableLists(maker, frozenset(columns))
    if isinstance(maker, Packed):
        return maker  # the menu lacks its chains where they are null
    column = next(name for name in maker.columns if name in columns)
    raise _refused(source, column, maker.attributes[0].role)


def _refused(source: TagSource, column: str, role: str) -> IngestError:
    """The error for a column that must not be null, with the first row that is."""
    try:
        for _ in source.reader.chunks([column], BATCH_ROWS):
            pass
    except NullMet as null:
        what = f"an {role}" if role == "id" else f"a {role}"
        hint = "leave these rows, or this column, out of the file"
        return IngestError(f"{null.message}, and {what} must have one", hint=hint, **null.fields)
    raise AssertionError(f"{column} has no null")


@dataclass(frozen=True, slots=True)
class NullableScalar(Maker):
    """One value an event, and where it is null."""

    scalar: Scalar
    null: Attribute

    def _attributes(self) -> tuple[Attribute, ...]:
        return (self.scalar.attribute, self.null)

    def _columns(self) -> tuple[str, ...]:
        return self.scalar.columns

    def _make(self, chunk: Chunk) -> list[pa.Array]:
        import pyarrow as pa

        null = chunk.nulls.get(self.scalar.column)
        bits = np.zeros(chunk.rows, np.bool_) if null is None else null.rows
        return [*self.scalar.make(chunk), pa.array(bits)]


@dataclass(frozen=True, slots=True)
class MenuWithoutNulls(Maker):
    """The menu of each row: what `menu` makes, without the chains and flags whose columns are null in the row.

    A row's *key* is its own menu's id and, bit by bit, which of `null_columns` are null.
    `ids` has the menu id of each key.
    """

    menu: Maker
    null_columns: tuple[str, ...]
    ids: tuple[tuple[bytes, int], ...] = ()

    def _attributes(self) -> tuple[Attribute, ...]:
        return self.menu.attributes

    def _columns(self) -> tuple[str, ...]:
        return (*self.menu.columns, *self.null_columns)

    def keys(self, chunk: Chunk) -> tuple[list[bytes], Any]:
        """The different keys of a chunk's rows, and the place of each row's among them."""
        (menu,) = self.menu.make(chunk)
        null = np.empty((chunk.rows, len(self.null_columns)), np.bool_)
        for number, column in enumerate(self.null_columns):
            null[:, number] = chunk.nulls[column].rows
        own = menu.to_numpy().astype("<i8").view(np.uint8).reshape(chunk.rows, 8)
        rows = np.concatenate([own, np.packbits(null, axis=1)], axis=1)
        keys, places = np.unique(rows, axis=0, return_inverse=True)
        return [key.tobytes() for key in keys], places.reshape(-1)

    def menu_and_nulls(self, key: bytes) -> tuple[int, set[str]]:
        """The row's own menu, and the columns that are null, as a key says."""
        null = np.unpackbits(np.frombuffer(key[8:], np.uint8), count=len(self.null_columns))
        return int.from_bytes(key[:8], "little", signed=True), {self.null_columns[n] for n in np.flatnonzero(null)}

    def _make(self, chunk: Chunk) -> list[pa.Array]:
        import pyarrow as pa

        keys, places = self.keys(chunk)
        ids = dict(self.ids)
        return [pa.array(np.array([ids[key] for key in keys], np.int64)[places])]


@dataclass(frozen=True, slots=True)
class NullableLists(Maker):
    """The lists of a collection, some of which are null or hold nulls.

    An event of which every list is null has no objects that are known: its counter is null. Where some of the lists are
    there, the values of the others are null, one for each object.
    """

    lists: Lists
    nullable: frozenset[str]  # columns

    @property
    def _null_members(self) -> list[Member]:
        return [member for member in self.lists.members if member.column in self.nullable]

    def _attributes(self) -> tuple[Attribute, ...]:
        nulls = (null_attribute(member.attribute) for member in self._null_members)
        return (*self.lists.attributes, null_attribute(self.lists.counter), *nulls)

    def _columns(self) -> tuple[str, ...]:
        return self.lists.columns

    def _make(self, chunk: Chunk) -> list[pa.Array]:
        import pyarrow as pa

        counts, unknown = self._counts(chunk)
        arrays = dict(chunk.arrays)
        bits: list[pa.Array] = []
        for member in self._null_members:
            values, null = _filled(chunk.arrays[member.column], chunk.nulls.get(member.column), counts)
            arrays[member.column] = values
            bits.append(lists(null, counts, arrow_type(null_attribute(member.attribute))))
        made = self.lists.make(replace(chunk, arrays=arrays))
        return [*made, pa.array(unknown), *bits]

    def _counts(self, chunk: Chunk) -> tuple[Any, Any]:
        """How many objects each event has, as the lists say that are there; and the events that have none such."""
        import awkward as ak

        counts = np.zeros(chunk.rows, np.int64)
        unknown = np.ones(chunk.rows, np.bool_)
        for member in self.lists.members:
            if not member.column:
                continue
            lengths = ak.to_numpy(ak.num(chunk.arrays[member.column], axis=1)).astype(np.int64)
            null = chunk.nulls.get(member.column)
            there = np.ones(chunk.rows, np.bool_) if null is None else ~null.rows
            first = there & unknown
            counts[first] = lengths[first]
            unknown &= ~there
        return counts, unknown


def _filled(values: Any, null: Nulls | None, counts: Any) -> tuple[Any, Any]:
    """Lists with a value for each object where the whole list is null, and the bitmap of all their values."""
    import awkward as ak

    if null is None:
        return values, np.zeros(int(ak.sum(ak.num(values, axis=1))), np.bool_)
    lengths = ak.to_numpy(ak.num(values, axis=1)).astype(np.int64)
    absent = null.rows & (counts > 0)
    if not absent.any():
        return values, null.items
    full = np.where(absent, counts, lengths)
    stored = ~np.repeat(absent, full)
    places = np.where(stored, np.cumsum(stored) - 1, -1)  # -1: the last value, which is a filler
    bits = np.ones(len(places), np.bool_)
    bits[stored] = null.items
    flat = ak.flatten(values, axis=1)
    if "string" in str(ak.type(flat)):
        return ak.unflatten(ak.concatenate([flat, [""]])[places], full), bits
    numbers = np.ma.getdata(ak.to_numpy(flat))
    filler = np.array([np.nan if numbers.dtype.kind == "f" else 0]).astype(numbers.dtype)
    return ak.unflatten(np.concatenate([numbers, filler])[places], full), bits
