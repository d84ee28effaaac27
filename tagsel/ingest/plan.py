"""From a source schema and the columns that a file has to a plan: which makers make which attributes.

Invariant: the attributes of a plan are in the dataset's order: ids, references, menu, then the rest; each has a column
of its own, whatever the case of its letters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tagsel.errors import IngestError, did_you_mean
from tagsel.ingest.columns import Columns
from tagsel.ingest.makers import Chunk, Maker, Pointer, RowNumber, Same, Scalar, attributes_of, columns_of
from tagsel.ingest.physical_names import apart
from tagsel.schema import IDS, NO_MENU, STAGES, Menu, Schema, SourceSchema, base_attributes, reference_attributes
from tagsel.schema.sourcetypes import ENTRY
from tagsel.store import arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Plan:
    """The makers of a file's TAG records, in the order of their attributes, and its menus."""

    makers: tuple[Maker, ...]
    menus: Mapping[int, Menu]
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "makers", apart(self.makers))

    @property
    def schema(self) -> Schema:
        """The attributes that the plan makes."""
        return Schema(tuple(attributes_of(self.makers)), self.name)

    @property
    def columns(self) -> list[str]:
        """The columns that the plan reads, each once."""
        return columns_of(self.makers)

    def batch(self, chunk: Chunk) -> pa.RecordBatch:
        """The TAG records of a chunk."""
        import pyarrow as pa

        arrays: list[pa.Array] = []
        for maker in self.makers:
            arrays.extend(maker.make(chunk))
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
                hint=_id_hint(name, columns),
                path=str(columns.path),
                id=name,
            )
        if column is not None:
            found[name] = column
    base = {a.name: a for a in base_attributes(source)}
    makers: list[Maker] = []
    for name in IDS:
        fixed = source.ids[name]
        if fixed == ENTRY:
            makers.append(RowNumber(base[name]))
        else:
            makers.append(Same(base[name], fixed) if isinstance(fixed, int) else Scalar(base[name], found[name]))
    makers += _references(source, columns, guid, own)
    return [*makers, menu if not isinstance(menu, int) else Same(base["menu"], menu)]


def _id_hint(name: str, columns: Columns) -> str:
    looks = did_you_mean(name, columns.scalars())
    fixed = f"a schema file may name the branch, or fix it for all rows: [ids] {name} = 1"
    if name == "event":
        fixed = 'a schema file may name the branch, or take the entry: [ids] event = "entry", and a run for each file'
    return f"{looks} {fixed}".strip()


def _references(source: SourceSchema, columns: Columns, guid: str, own: bool) -> list[Maker]:
    makers: list[Maker] = []
    for stage in STAGES:
        file, entry = reference_attributes(stage)
        token = columns.first(source.references.get(stage, ()))
        stored = [columns.first([name]) for name in (file.name, entry.name)]
        stored = [c if c is not None and columns.can_be_reference(c) else None for c in stored]
        if token is not None:
            makers.append(Pointer(file, entry, token))
        elif stored[0] and stored[1]:
            makers += [Scalar(file, stored[0]), Scalar(entry, stored[1])]
        elif stage == "aod":
            makers += [Same(file, guid), RowNumber(entry)] if own else [Same(file, ""), Same(entry, -1)]
    return makers


def says_simulation(source: SourceSchema, columns: Columns, first_rows: FirstRows) -> bool:
    """Whether a file holds simulated events: bit 0 of a flag in its first row, else a column that only
    simulation has.
    """
    flag = columns.first(source.simulation_flag)
    if flag is not None:
        values = first_rows.arrays([flag], 0, 1)[flag]
        if len(values):
            return bool(int(values[0]) & 1)
    names = source.simulation
    return columns.first(names) is not None or columns.first(names, is_list=True) is not None


class FirstRows(Protocol):
    """Whatever can read its first rows: a tree, a Parquet file."""

    def arrays(self, columns: Sequence[str], start: int, stop: int) -> dict[str, Any]:
        """Rows [start, stop) of columns."""
