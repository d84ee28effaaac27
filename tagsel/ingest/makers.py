"""Makers: each turns some columns of a file into some columns of TAG records.

A maker names the `attributes` that it makes and the `columns` that it reads; `make` gets a chunk of rows and gives
one Arrow array an attribute. Invariant: makers are plain data, so a plan travels to another process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tagsel.errors import IngestError
from tagsel.ingest.convert import Place, fit, fit_id, lists, strings
from tagsel.rootio import parse_token
from tagsel.schema import NO_MENU, Attribute
from tagsel.store.conform import arrow_type

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Nulls:
    """Where a column of a chunk is null: `rows`, (rows,) bool; `items`, (values of its lists,) bool."""

    rows: npt.NDArray[np.bool_]
    items: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows [start, start + rows) of a file: NumPy for scalars, awkward for lists, either for strings.

    `nulls` are those of the columns that may be null, in whose arrays NaN, 0, false, "" or no objects stand for them.
    """

    path: Path
    start: int
    rows: int
    arrays: Mapping[str, Any]
    nulls: Mapping[str, Nulls] = field(default_factory=dict)

    def place(self, column: str, counts: Any = None) -> Place:
        """Where a column's values come from, for messages."""
        return Place(self.path, column, self.start, counts)


class Maker(ABC):
    """What all makers have in common."""

    __slots__ = ()

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """The attributes that are made, in order."""
        return self._attributes()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        return self._columns()

    def make(self, chunk: Chunk) -> list[pa.Array]:
        """One Arrow array of `chunk.rows` rows for each attribute; IngestError where a value cannot be kept."""
        return self._make(chunk)

    def uses(self) -> list[tuple[str, str, str]]:
        """Each column that is read, what it becomes, and whether that is a column, a trigger chain or a flag."""
        return [(column, self.attributes[0].name, "column") for column in self.columns]

    @abstractmethod
    def _attributes(self) -> tuple[Attribute, ...]: ...

    def _columns(self) -> tuple[str, ...]:
        return ()

    @abstractmethod
    def _make(self, chunk: Chunk) -> list[pa.Array]: ...


def attributes_of(makers: Iterable[Maker]) -> list[Attribute]:
    """The attributes that several makers make, in order."""
    return list(chain.from_iterable(maker.attributes for maker in makers))


def stored_names(makers: Iterable[Maker]) -> set[str]:
    """The names on disk of the attributes that several makers make."""
    return {attribute.column for attribute in attributes_of(makers)}


def columns_of(makers: Iterable[Maker]) -> list[str]:
    """The columns that several makers read, each once."""
    columns = chain.from_iterable(maker.columns for maker in makers)
    return list(dict.fromkeys(columns))


def makers_of(makers: Iterable[Maker], names: Collection[str]) -> tuple[Maker, ...]:
    """Those of several makers that make an attribute of these names."""
    chosen = []
    for maker in makers:
        if any(attribute.name in names for attribute in maker.attributes):
            chosen.append(maker)
    return tuple(chosen)


@dataclass(frozen=True, slots=True)
class Scalar(Maker):
    """One value an event, from one column."""

    attribute: Attribute
    column: str
    unknown: int | None = None

    def _attributes(self) -> tuple[Attribute, ...]:
        return (self.attribute,)

    def _columns(self) -> tuple[str, ...]:
        return (self.column,)

    def _make(self, chunk: Chunk) -> list[pa.Array]:
        import pyarrow as pa
        import pyarrow.compute as pc

        values = chunk.arrays[self.column]
        if self.attribute.type == "string":
            texts = strings(values)
            # GUIDs compare equal however a file spells them.
            return [pc.utf8_upper(texts) if self.attribute.role == "reference" else texts]
        place = chunk.place(self.column)
        if self.attribute.role == "id":
            fitted = fit_id(values, self.attribute.name, self.attribute.type, place)
        else:
            fitted = fit(values, self.attribute.type, place, self.unknown)
        return [pa.array(fitted, type=arrow_type(self.attribute))]


@dataclass(frozen=True, slots=True)
class Same(Maker):
    """The same value in every row: an id that a schema fixes, the file's GUID, its one menu."""

    attribute: Attribute
    value: int | str

    def _attributes(self) -> tuple[Attribute, ...]:
        return (self.attribute,)

    def _make(self, chunk: Chunk) -> list[pa.Array]:
        import pyarrow as pa

        return [pa.repeat(pa.scalar(self.value, type=arrow_type(self.attribute)), chunk.rows)]


@dataclass(frozen=True, slots=True)
class RowNumber(Maker):
    """The row's own number: the entry of an event in the file that is its own AOD."""

    attribute: Attribute

    def _attributes(self) -> tuple[Attribute, ...]:
        return (self.attribute,)

    def _make(self, chunk: Chunk) -> list[pa.Array]:
        import pyarrow as pa

        return [pa.array(np.arange(chunk.start, chunk.start + chunk.rows, dtype=np.int64))]


@dataclass(frozen=True, slots=True)
class Pointer(Maker):
    """GUID and entry out of a column of POOL Tokens; an empty Token points nowhere: "" and -1."""

    guid: Attribute
    entry: Attribute
    column: str

    def _attributes(self) -> tuple[Attribute, ...]:
        return (self.guid, self.entry)

    def _columns(self) -> tuple[str, ...]:
        return (self.column,)

    def _make(self, chunk: Chunk) -> list[pa.Array]:
        import pyarrow as pa

        guids, entries = read_tokens(strings(chunk.arrays[self.column]).to_pylist(), chunk, self.column)
        return [pa.array(guids, type=pa.string()), pa.array(entries, type=pa.int64())]


def read_tokens(texts: list[str], chunk: Chunk, column: str) -> tuple[list[str], list[int]]:
    """GUIDs and entries of Tokens; a malformed one is an IngestError that names its row."""
    guids, entries = [], []
    for index, text in enumerate(texts):
        try:
            token = parse_token(text) if text else None
        except Exception as error:
            row = chunk.start + index
            raise IngestError(
                f"{chunk.path}: {column}, row {row}: {error}", path=str(chunk.path), column=column, row=row
            ) from error
        guids.append(token.guid if token else "")
        entries.append(token.entry if token else -1)
    return guids, entries


@dataclass(frozen=True, slots=True)
class Member:
    """One list of a collection: from `column`, or `constant` for every object where `column` is ""."""

    attribute: Attribute
    column: str
    constant: float | None = None
    unknown: int | None = None


@dataclass(frozen=True, slots=True)
class Lists(Maker):
    """The lists of a collection and their counter, which is computed; lists of unequal length are an error.

    `stored` are columns in which the file itself keeps that counter: one that says otherwise is an error.
    """

    counter: Attribute
    members: tuple[Member, ...]
    stored: tuple[str, ...] = ()

    def _attributes(self) -> tuple[Attribute, ...]:
        return (self.counter, *(m.attribute for m in self.members))

    def _columns(self) -> tuple[str, ...]:
        return (*(m.column for m in self.members if m.column), *self.stored)

    def uses(self) -> list[tuple[str, str, str]]:
        """The members' columns with their attributes, and the stored counters with the collection's."""
        members = [(m.column, m.attribute.name, "column") for m in self.members if m.column]
        return [*members, *((column, self.counter.name, "column") for column in self.stored)]

    def _make(self, chunk: Chunk) -> list[pa.Array]:
        import awkward as ak
        import pyarrow as pa

        first = self.columns[0]
        counts = ak.to_numpy(ak.num(chunk.arrays[first], axis=1)).astype(np.int64)
        arrays = [pa.array(counts, type=pa.int32())]
        for member in self.members:
            kind = arrow_type(member.attribute)
            if member.column:
                flat = self._flat(member, chunk, counts)
            else:
                flat = np.full(int(counts.sum()), member.constant, dtype=kind.value_type.to_pandas_dtype())
            arrays.append(lists(flat, counts, kind))
        self._check_stored(chunk, counts)
        return arrays

    def _check_stored(self, chunk: Chunk, counts: Any) -> None:
        for column in self.stored:
            values = chunk.arrays[column]
            if not np.array_equal(values, counts):
                row = int(np.argmax(values != counts))
                raise IngestError(
                    f"{chunk.path}: {column}, row {chunk.start + row}: {values[row]}, where {self.columns[0]} has "
                    f"{counts[row]} values",
                    hint="a source schema may call the collection's counter, or this column, by another name",
                    path=str(chunk.path),
                    column=column,
                    row=chunk.start + row,
                    value=values[row].item(),
                )

    def _flat(self, member: Member, chunk: Chunk, counts: Any) -> Any:
        import awkward as ak

        values = chunk.arrays[member.column]
        lengths = ak.to_numpy(ak.num(values, axis=1))
        if not np.array_equal(lengths, counts):
            row = int(np.argmax(lengths != counts))
            raise IngestError(
                f"{chunk.path}: row {chunk.start + row}: {member.column} has {lengths[row]} values where "
                f"{self.columns[0]} has {counts[row]}; lists of {member.attribute.collection} have one length",
                hint="tagsel schema derive drafts a schema that makes collections of their own of such lists",
                path=str(chunk.path),
                column=member.column,
                row=chunk.start + row,
            )
        flat = ak.flatten(values, axis=1)
        if member.attribute.type == "string":
            return strings(flat)
        place = chunk.place(member.column, counts)
        return fit(ak.to_numpy(flat), member.attribute.type, place, member.unknown)


def in_units(makers: Sequence[Maker], units: Mapping[str, str]) -> list[Maker]:
    """The makers with the units of the columns that they read, where `units` has them."""
    changed: list[Maker] = []
    for maker in makers:
        if isinstance(maker, Scalar):
            maker = replace(maker, attribute=_in_unit(maker.attribute, maker.column, units))
        elif isinstance(maker, Lists):
            members = tuple(replace(m, attribute=_in_unit(m.attribute, m.column, units)) for m in maker.members)
            maker = replace(maker, members=members)
        changed.append(maker)
    return changed


def _in_unit(attribute: Attribute, column: str, units: Mapping[str, str]) -> Attribute:
    return replace(attribute, unit=units[column]) if column in units else attribute


@dataclass(frozen=True, slots=True)
class Packed(Maker):
    """Words of bits, each packed out of booleans: `bits` says which column goes where in `words`."""

    words: tuple[Attribute, ...]
    bits: tuple[tuple[str, int, int], ...]  # column, word, bit

    def _attributes(self) -> tuple[Attribute, ...]:
        return self.words

    def _columns(self) -> tuple[str, ...]:
        return tuple(column for column, _, _ in self.bits)

    def uses(self) -> list[tuple[str, str, str]]:
        """The columns as the chains or flags that they are, each with its word."""
        return [(column, self.words[word].name, self.words[word].role) for column, word, _ in self.bits]

    def _make(self, chunk: Chunk) -> list[pa.Array]:
        import pyarrow as pa

        packed = np.zeros((len(self.words), chunk.rows), dtype=np.uint32)
        for column, word, bit in self.bits:
            values = np.asarray(chunk.arrays[column])
            if values.dtype != np.bool_:
                is_bad = (values != 0) & (values != 1)
                hint = "a source schema may take the column as a value: attributes = [{ name = … }]"
                chunk.place(column).refuse(is_bad, values, "is neither 0 nor 1, as a flag is", hint)
            packed[word] |= values.astype(np.uint32) << np.uint32(bit)
        return [pa.array(word.view(np.int32)) for word in packed]


@dataclass(frozen=True, slots=True)
class Words(Maker):
    """Words of bits out of one list of words an event; a list that ends early has no bit set in the rest."""

    words: tuple[Attribute, ...]
    column: str

    def _attributes(self) -> tuple[Attribute, ...]:
        return self.words

    def _columns(self) -> tuple[str, ...]:
        return (self.column,)

    def _make(self, chunk: Chunk) -> list[pa.Array]:
        import awkward as ak
        import pyarrow as pa

        values = chunk.arrays[self.column]
        counts = ak.to_numpy(ak.num(values, axis=1))
        flat = ak.to_numpy(ak.flatten(values, axis=1)).astype(np.uint32)
        rows = np.repeat(np.arange(chunk.rows), counts)
        places = np.arange(len(flat)) - np.repeat(np.cumsum(counts) - counts, counts)
        # Words beyond those of the menus hold bits without a name.
        named = places < len(self.words)
        matrix = np.zeros((len(self.words), chunk.rows), dtype=np.uint32)
        matrix[places[named], rows[named]] = flat[named]
        return [pa.array(word.view(np.int32)) for word in matrix]


@dataclass(frozen=True, slots=True)
class MenuOfKey(Maker):
    """The menu id of each row by the experiment's own key (SMK); a key without a menu gives `NO_MENU`."""

    attribute: Attribute
    column: str
    ids: tuple[tuple[int, int], ...]  # key, menu id

    def _attributes(self) -> tuple[Attribute, ...]:
        return (self.attribute,)

    def _columns(self) -> tuple[str, ...]:
        return (self.column,)

    def _make(self, chunk: Chunk) -> list[pa.Array]:
        import pyarrow as pa

        keys, codes = np.unique(chunk.arrays[self.column], return_inverse=True)
        known = dict(self.ids)
        ids = np.array([known.get(int(k), NO_MENU) for k in keys], dtype=np.int64)
        return [pa.array(ids[codes] if len(ids) else np.empty(0, dtype=np.int64))]
