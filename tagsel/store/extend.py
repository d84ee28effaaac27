"""Parts with more columns: each gives way to one with the same rows in the same order, and users' own attributes.

A user's attribute `user.dnn` may be missing in any row. A part's columns are complete, so it is the first slot of a
collection of its own, whose counter `user.dnn_known` (int32) is 1 where there is a value and 0 where it is missing.

Invariant: rows, their order, and every other column stay as they are; a part that has the columns is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tagsel.errors import StoreError
from tagsel.schema import USER, Attribute, Schema
from tagsel.store import log
from tagsel.store.columns import Array
from tagsel.store.conform import arrow_schema, arrow_type, same_kind
from tagsel.store.layout import NewPart, caches_of, write_part
from tagsel.store.parts import Part
from tagsel.store.snapshots import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

Values = Callable[[Part, int], Mapping[str, Array]]
"""The values of the new columns in a row group, by column: (rows,) each, words of bits signed or not."""

Replaced = tuple[str, NewPart, Schema]
"""A part's name, the part in its place, and that one's schema."""


def user_attributes(name: str, kind: str, unit: str = "", description: str = "") -> tuple[Attribute, Attribute]:
    """The counter and the slot that hold a user's attribute `name`, of the attribute type `kind`.

    >>> [a.column for a in user_attributes("dnn", "float32")]
    ['user_dnn_known', 'user_dnn']
    """
    counter = Attribute(
        f"{USER}{name}_known", "int32", role="counter", description=f"1 where {USER}{name} has a value, else 0"
    )
    collection = f"{USER}{name}".replace(".", "_")
    return counter, Attribute(
        f"{USER}{name}",
        kind,
        unit,
        description=description,
        collection=collection,
        member="value",
        slot=1,
        counter=counter.column,
    )


def concerned(snapshot: Snapshot, attributes: Sequence[Attribute]) -> list[Part]:
    """The parts that lack the attributes. StoreError: none does, or one has some of them only."""
    columns = {a.column for a in attributes}
    lacking = [p for p in snapshot.parts if not columns & p.columns]
    partly = [p for p in snapshot.parts if columns & p.columns and not columns <= p.columns]
    if lacking and not partly:
        return lacking
    names = ", ".join(a.name for a in attributes if a.slot)
    what = "has no rows" if not snapshot.parts else f"has {names} already" + (" in part" if partly else "")
    raise StoreError(
        f"dataset {snapshot.folder.name} {what}",
        hint="give it another name, or undo that with tagsel datasets restore" if snapshot.parts else "ingest first",
        names=names,
    )


def rewrite(snapshot: Snapshot, attributes: Sequence[Attribute], values: Values) -> list[Replaced]:
    """Write the parts that lack the attributes anew with them, one row group at a time; on an error none is left."""
    made: list[Replaced] = []
    try:
        for part in concerned(snapshot, attributes):
            own = tuple(a for a in snapshot.schema if a.column in part.columns)
            schema = Schema((*own, *attributes))
            new = write_part(snapshot.folder, schema, _batches(part, own, attributes, values))
            if new is None or new.rows != part.rows:
                raise StoreError(f"extending part {part.name} of {snapshot.folder} lost rows: it is not used")
            made.append((part.name, new, schema))
    except BaseException:
        discard(snapshot.folder, made)
        raise
    return made


def discard(folder: Path, made: Sequence[Replaced]) -> None:
    """Remove parts that were written and are not needed."""
    for _, new, _ in made:
        for path in (folder / new.name, *caches_of(folder / new.name)):
            path.unlink(missing_ok=True)


def _batches(
    part: Part, own: Sequence[Attribute], added: Sequence[Attribute], values: Values
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    for group in range(len(part.groups)):
        found = values(part, group)
        arrays = [part.arrow(group, a.column) for a in own]
        arrays += [pa.array(found[a.column], arrow_type(a)) for a in added]
        yield pa.RecordBatch.from_arrays(arrays, names=[a.column for a in (*own, *added)])


def check_other_engines(folder: Path, attributes: Sequence[Attribute]) -> None:
    """Refuse a column that the Delta table has with another type: of an extension that was undone. StoreError also
    where the log lacks an entry, or cannot be read."""
    import pyarrow as pa

    have = {f.name.lower(): f for f in pa.schema(log.delta_table(folder).schema().to_arrow())}
    for wanted in arrow_schema(Schema(tuple(attributes))):
        field = have.get(wanted.name.lower())
        if field is not None and not (field.name == wanted.name and same_kind(field.type, wanted.type)):
            raise StoreError(
                f"{field.name} of {folder.name} is {field.type} in an earlier snapshot: {wanted.name} cannot be "
                f"{wanted.type}",
                hint="give it another name: other engines see one type a column",
                column=wanted.name,
            )
