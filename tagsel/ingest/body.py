"""The attributes of a file beyond ids and references: what a source schema asks for and the file has.

Invariant: what the file lacks is left out, never filled; an attribute that is there already is not made twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

from tagsel.ingest.columns import Columns, can_be_flag
from tagsel.ingest.convert import NATURAL
from tagsel.ingest.makers import Lists, Maker, Member, Packed, Scalar, columns_of, stored_names
from tagsel.ingest.profile import slimmed, widened
from tagsel.schema import (
    Attribute,
    Menu,
    SourceAttribute,
    SourceCollection,
    SourceSchema,
    pack_order,
    to_attribute,
)


def body_makers(source: SourceSchema, columns: Columns, used: Sequence[Maker]) -> tuple[list[Maker], dict[int, Menu]]:
    """Makers of everything else that the schema asks for and the file has, and the menu of packed bits, if any."""
    if source.profile == "full":
        source = widened(source, columns)
    taken = stored_names(used)
    packed, menu = _packed(source, columns)
    read = {*columns_of(used), *columns_of(packed)}
    makers: list[Maker] = []
    for maker in (*packed, *_scalars(source, columns, read), *_collections(source, columns)):
        names = stored_names([maker])
        if not names & taken:
            makers.append(maker)
            taken |= names
    if source.profile == "slim":
        makers = slimmed(makers, source.slim)
        return _with_stored_counters(_drop_orphans(makers), columns), menu
    if source.rest:
        read.update(columns_of(makers))
        makers += [m for m in _rest(source, columns, read) if m.attribute.column not in taken]
    return _with_stored_counters(_drop_orphans(makers), columns), menu


def _with_stored_counters(makers: list[Maker], columns: Columns) -> list[Maker]:
    """Lists beside the file's own counters of them, where these are no attributes of their own."""
    read = set(columns_of(makers))
    completed: list[Maker] = []
    for maker in makers:
        if isinstance(maker, Lists):
            maker = replace(maker, stored=tuple(_stored_counters(maker, columns, read)))
        completed.append(maker)
    return completed


def _stored_counters(maker: Lists, columns: Columns, read: set[str]) -> Iterator[str]:
    """`nMuon` of a collection and, as uproot writes them, `nMuon_pt` of its lists."""
    names = [maker.counter.column]
    names += [f"n{columns.name(member.column)}" for member in maker.members if member.column]
    for name in dict.fromkeys(names):
        column = columns.first([name])
        if column is not None and column not in read and columns.types[column].base not in ("bool", "string"):
            yield column


def _drop_orphans(makers: list[Maker]) -> list[Maker]:
    """Slots whose counter the file lacks become plain scalars: nothing says which of them are filled."""
    names = stored_names(makers)
    adopted: list[Maker] = []
    for maker in makers:
        if isinstance(maker, Scalar) and maker.attribute.slot and maker.attribute.counter not in names:
            scalar = replace(maker.attribute, slot=0, counter="", collection="", member="")
            maker = replace(maker, attribute=scalar)
        adopted.append(maker)
    return adopted


def _packed(source: SourceSchema, columns: Columns) -> tuple[list[Maker], dict[int, Menu]]:
    """Words of bits, and the one menu that names them."""
    makers: list[Maker] = []
    names: dict[str, tuple[str, int]] = {}
    booleans = [c for c, kind in columns.types.items() if can_be_flag(kind)]
    for row in source.bits:
        chosen = {}
        for column in booleans:
            name = columns.flat_name(column)
            if row.takes(name):
                chosen[name] = column
        order = pack_order([n for n in chosen if n not in names], prefix=row.words)
        words = list(dict.fromkeys(word for word, _ in order.values()))
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
    branches = set(chain.from_iterable(row.branches for row in source.attributes))
    for column in columns.scalars():
        name = columns.flat_name(column)
        if name in branches or columns.name(column) in branches or column in read:
            continue
        pattern = next((p for p in source.patterns if p.takes(name)), None)
        if pattern is not None:
            row = SourceAttribute(name.replace(".", "_"), (column,), role=pattern.role, hot=pattern.hot)
            yield _scalar(source, columns, row, column)


def _scalar(source: SourceSchema, columns: Columns, row: SourceAttribute, column: str) -> Scalar:
    kind = row.type or NATURAL[columns.types[column].base]
    columns.check_kind(column, kind, row.name)
    attribute = to_attribute(row, kind, source.unit_of(row.name), columns.name(column))
    return Scalar(attribute, column, row.unknown)


def _rest(source: SourceSchema, columns: Columns, read: set[str]) -> Iterator[Scalar]:
    for column in columns.scalars():
        name = columns.name(column)
        if column not in read and name not in source.ignore:
            hot = columns.types[column].base != "string"
            yield _scalar(source, columns, SourceAttribute(name.replace(".", "_"), (column,), hot=hot), column)


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
        column = columns.first(collection.branches_of(row), is_list=True)
        if column is not None or row.constant is not None:
            used.add(column)
            yield _member(source, columns, collection, row, column or "")
    if not collection.take and not collection.rest:
        return
    for column in columns.lists():
        name = columns.name(column)
        if not name.startswith(collection.prefixes):
            name = columns.flat_name(column)
        prefix = next((p for p in collection.prefixes if name.startswith(p)), None)
        if column not in used and prefix is not None:
            member = name[len(prefix) :]
            is_asked = collection.takes(member)
            if not is_asked and not collection.rest:
                continue
            row = SourceAttribute(member.replace(".", "_"), (column,), hot=is_asked)
            yield _member(source, columns, collection, row, column)


def _member(
    source: SourceSchema, columns: Columns, collection: SourceCollection, row: SourceAttribute, column: str
) -> Member:
    name = f"{collection.name}.{row.name}"
    kind = row.type or (NATURAL[columns.types[column].base] if column else "float32")
    if column:
        columns.check_kind(column, kind, name)
    alias = columns.name(column) if column else ""
    attribute = Attribute(
        name,
        kind,
        unit=row.unit or source.unit_of(name),
        role=row.role,
        description=row.description,
        is_list=True,
        counter=collection.counter,
        hot=row.hot,
        aliases=tuple(a for a in (*row.aliases, alias) if a and a != name.replace(".", "_")),
    )
    return Member(attribute, column, row.constant, row.unknown)
