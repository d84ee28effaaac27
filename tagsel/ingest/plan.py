"""From a source schema and the columns that a file has to a plan: which makers make which attributes.

Invariant: the attributes of a plan are in the dataset's order: ids, references, menu, then the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tagsel.errors import IngestError, did_you_mean
from tagsel.ingest.convert import NATURAL
from tagsel.ingest.makers import Chunk, Lists, Maker, Member, Packed, Pointer, RowNumber, Same, Scalar
from tagsel.rootio import ColumnType, plain_name
from tagsel.schema import (
    IDS,
    NO_MENU,
    Attribute,
    Menu,
    Schema,
    SourceAttribute,
    SourceCollection,
    SourceSchema,
    base_attributes,
    pack_order,
    reference_attributes,
    to_attribute,
)
from tagsel.store import arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Columns:
    """The columns of a file that can be read: types by the file's own names, found by plain names too."""

    path: Path
    types: Mapping[str, ColumnType]
    plain: Mapping[str, str]

    @classmethod
    def of(cls, path: Path, types: Mapping[str, ColumnType]) -> Columns:
        """The columns of these types."""
        plain: dict[str, str] = {}
        for column in types:
            plain.setdefault(plain_name(column), column)
        return cls(path, types, plain)

    def first(self, names: Iterable[str], is_list: bool = False) -> str | None:
        """The first of `names` that is a column with a value (or a list) an event; None where there is none."""
        for name in names:
            column = name if name in self.types else self.plain.get(name)
            if column is not None and self.types[column].is_list == is_list:
                return column
        return None


@dataclass(frozen=True)
class Plan:
    """The makers of a file's TAG records, in the order of their attributes, and its menus."""

    makers: tuple[Maker, ...]
    menus: Mapping[int, Menu]
    name: str = ""

    @property
    def schema(self) -> Schema:
        """The attributes that the plan makes."""
        return Schema(tuple(a for m in self.makers for a in m.attributes), self.name)

    @property
    def columns(self) -> list[str]:
        """The columns that the plan reads, each once."""
        return list(dict.fromkeys(c for m in self.makers for c in m.columns))

    def batch(self, chunk: Chunk) -> pa.RecordBatch:
        """The TAG records of a chunk."""
        import pyarrow as pa

        arrays = [array for m in self.makers for array in m.make(chunk)]
        return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(self.schema))


def head_makers(
    source: SourceSchema, columns: Columns, guid: str, menu: Maker | int = NO_MENU, own: bool = True
) -> list[Maker]:
    """Makers of ids, references and menu.

    Without a Token column a row's AOD is the file itself (`own`), or unknown. Raises IngestError naming the id
    that the file lacks.
    """
    found = {}
    for name in IDS:
        names = source.ids[name]
        column = None if isinstance(names, int) else columns.first(names)
        if column is None and not isinstance(names, int):
            raise IngestError(
                f"{columns.path}: no {name} number: looked for {' or '.join(names)}",
                hint=_id_hint(name, columns), path=str(columns.path), id=name,
            )  # fmt: skip
        if column is not None:
            found[name] = column
    plain = {name: plain_name(column) for name, column in found.items()}
    base = {a.name: a for a in base_attributes(source, plain)}
    makers: list[Maker] = []
    for name in IDS:
        fixed = source.ids[name]
        makers.append(Same(base[name], fixed) if isinstance(fixed, int) else Scalar(base[name], found[name]))
    makers += _references(source, columns, guid, own)
    return [*makers, menu if not isinstance(menu, int) else Same(base["menu"], menu)]


def _id_hint(name: str, columns: Columns) -> str:
    looks = did_you_mean(name, [c for c, t in columns.types.items() if not t.is_list])
    fixed = f"a schema file may name the branch, or fix it for all rows: [ids] {name} = 0"
    return f"{looks} {fixed}".strip()


def _references(source: SourceSchema, columns: Columns, guid: str, own: bool) -> list[Maker]:
    makers: list[Maker] = []
    for stage in dict.fromkeys(("aod", *source.references)):
        file, entry = reference_attributes(stage)
        token = columns.first(source.references.get(stage, ()))
        stored = columns.first([file.name]), columns.first([entry.name])
        if token is not None:
            makers.append(Pointer(file, entry, token))
        elif stored[0] and stored[1]:
            makers += [Scalar(file, stored[0]), Scalar(entry, stored[1])]
        elif stage == "aod":
            makers += [Same(file, guid), RowNumber(entry)] if own else [Same(file, ""), Same(entry, -1)]
    return makers


def body_makers(source: SourceSchema, columns: Columns, used: Sequence[Maker]) -> tuple[list[Maker], dict[int, Menu]]:
    """Makers of everything else that the schema asks for and the file has, and the menu of packed bits, if any."""
    taken = {a.column for m in used for a in m.attributes}
    read = {c for m in used for c in m.columns}
    makers: list[Maker] = []
    packed, menu = _packed(source, columns)
    for maker in (*packed, *_scalars(source, columns, read), *_collections(source, columns)):
        names = {a.column for a in maker.attributes}
        if not names & taken:
            makers.append(maker)
            taken |= names
    if source.rest:
        read |= {c for m in makers for c in m.columns}
        makers += [m for m in _rest(source, columns, read) if m.attribute.column not in taken]
    return _drop_orphans(makers), menu


def _drop_orphans(makers: list[Maker]) -> list[Maker]:
    """Slots whose counter the file lacks become plain scalars: nothing says which of them are filled."""
    made = {a.column for m in makers for a in m.attributes}
    kept: list[Maker] = []
    for maker in makers:
        if isinstance(maker, Scalar) and maker.attribute.slot and maker.attribute.counter not in made:
            plain = replace(maker.attribute, slot=0, counter="", collection="", member="")
            maker = replace(maker, attribute=plain)
        kept.append(maker)
    return kept


def _packed(source: SourceSchema, columns: Columns) -> tuple[list[Maker], dict[int, Menu]]:
    """Words of bits, and the one menu that names them."""
    from fnmatch import fnmatchcase

    makers: list[Maker] = []
    names: dict[str, tuple[str, int]] = {}
    booleans = [c for c, t in columns.types.items() if t == ColumnType("bool")]
    for row in source.bits:
        chosen = {plain_name(c): c for c in booleans if any(fnmatchcase(plain_name(c), g) for g in row.match)}
        order = pack_order([n for n in chosen if n not in names], prefix=row.words)
        words = tuple(dict.fromkeys(word for word, _ in order.values()))
        attributes = tuple(Attribute(w, "bits32", role=row.role, description=f"{row.role} bits") for w in words)
        bits = tuple((chosen[n], words.index(word), bit) for n, (word, bit) in order.items())
        names |= order
        if bits:
            makers.append(Packed(attributes, bits))
    if not names:
        return makers, {}
    menu = Menu(names)
    return makers, {menu.id: menu}


def _scalars(source: SourceSchema, columns: Columns, read: set[str]) -> Iterator[Maker]:
    for row in source.attributes:
        column = columns.first(row.branches)
        if column is not None:
            yield _scalar(source, columns, row, column)
    named = {b for row in source.attributes for b in row.branches}
    for column, kind in columns.types.items():
        name = plain_name(column)
        if kind.is_list or name in named or column in read:
            continue
        pattern = next((p for p in source.patterns if p.takes(name)), None)
        if pattern is not None:
            row = SourceAttribute(name.replace(".", "_"), (column,), role=pattern.role, hot=pattern.hot)
            yield _scalar(source, columns, row, column)


def _scalar(source: SourceSchema, columns: Columns, row: SourceAttribute, column: str) -> Scalar:
    kind = row.type or NATURAL[columns.types[column].base]
    _check_kind(columns, column, kind, row.name)
    return Scalar(to_attribute(row, kind, source.unit_of(row.name), plain_name(column)), column, row.unknown)


def _rest(source: SourceSchema, columns: Columns, read: set[str]) -> Iterator[Scalar]:
    for column, kind in columns.types.items():
        if column not in read and not kind.is_list:
            name = plain_name(column)
            row = SourceAttribute(name.replace(".", "_"), (column,), hot=kind.base != "string")
            yield _scalar(source, columns, row, column)


def _collections(source: SourceSchema, columns: Columns) -> Iterator[Maker]:
    for collection in source.collections:
        members = list(_members(source, columns, collection))
        if any(m.column for m in members):
            text = f"Number of objects in {collection.name}."
            counter = Attribute(collection.counter, "int32", role="counter", description=text)
            yield Lists(counter, tuple(members))


def _members(source: SourceSchema, columns: Columns, collection: SourceCollection) -> Iterator[Member]:
    used = set()
    for row in collection.members:
        column = columns.first((p + b for b in row.branches for p in collection.prefixes), is_list=True)
        if column is not None or row.constant is not None:
            used.add(column)
            yield _member(source, columns, collection, row, column or "")
    if not collection.take:
        return
    for column, kind in columns.types.items():
        name = plain_name(column)
        prefix = next((p for p in collection.prefixes if name.startswith(p)), None)
        if kind.is_list and column not in used and prefix is not None and collection.takes(name[len(prefix) :]):
            row = SourceAttribute(name[len(prefix) :].replace(".", "_"), (column,))
            yield _member(source, columns, collection, row, column)


def _member(
    source: SourceSchema, columns: Columns, collection: SourceCollection, row: SourceAttribute, column: str
) -> Member:
    name = f"{collection.name}.{row.name}"
    kind = row.type or (NATURAL[columns.types[column].base] if column else "float32")
    if column:
        _check_kind(columns, column, kind, name)
    alias = plain_name(column) if column else ""
    attribute = Attribute(
        name, kind, unit=row.unit or source.unit_of(name), role=row.role, description=row.description, is_list=True,
        counter=collection.counter, hot=row.hot,
        aliases=tuple(a for a in (*row.aliases, alias) if a and a != name.replace(".", "_")),
    )  # fmt: skip
    return Member(attribute, column, row.constant, row.unknown)


def _check_kind(columns: Columns, column: str, kind: str, name: str) -> None:
    base = columns.types[column].base
    if (base == "string") != (kind == "string"):
        raise IngestError(
            f"{columns.path}: {column} holds {base}, and the schema makes {name} of it as {kind}",
            path=str(columns.path), column=column,
        )  # fmt: skip
