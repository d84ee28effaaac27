"""Users' own attributes: computed for each row, or joined from a table by identity.

Data are identified by run and event, simulation by its AOD file and entry, too. Invariant: rows of the dataset are
matched + unmatched, those of the table used + unused; what could belong to several rows is an error, never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.engine.interpreter import interpret_value
from tagsel.engine.row_groups import Columns
from tagsel.engine.scan import naming_the_event
from tagsel.errors import SchemaError, StoreError
from tagsel.language import Block, Bound, bind_value
from tagsel.schema import Attribute
from tagsel.selection.query import BoundInput
from tagsel.store import Part, lookup, watched
from tagsel.store.eventindex import EventIndex, encode
from tagsel.store.extend import user_attributes

Ints = npt.NDArray[np.int64]
Column = tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]
"""Values, and where there is one."""

_TYPES = {"bool": "bool", "int": "int64", "f32": "float32", "f64": "float64", "word": "bits64", "str": "string"}
_SHOWN = 3


def stored(attributes: Sequence[Attribute], column: Column) -> dict[str, npt.NDArray[Any]]:
    """The columns of a user's attribute: its counter, and its values with a blank where there is none."""
    (counter, slot), (values, present) = attributes, column
    blank: Any = "" if values.dtype == object else values.dtype.type()
    filled = np.where(present, values, blank)
    if filled.dtype.kind == "u":
        filled = filled.view(f"i{filled.itemsize}")
    return {counter.column: present.astype(np.int32), slot.column: filled}


@dataclass(frozen=True)
class Computed:
    """An expression of the cut language, for each row of a dataset; missing where the language says so."""

    attributes: tuple[Attribute, Attribute]
    bound: Bound
    missing: list[int] = field(default_factory=list)  # rows without a value, noted as they are met

    @classmethod
    def of(cls, name: str, text: str, source: BoundInput, unit: str, description: str) -> Computed:
        """The expression bound to a dataset's schema. CutError: it means nothing. SchemaError: the unit."""
        bound = bind_value(text, source.scope)
        if unit and bound.unit and unit != bound.unit:
            raise SchemaError(f"{name} comes out in {bound.unit}: {unit} was asked for", hint=f"convert it in {text!r}")
        kind = _TYPES[bound.node.kind or "bool"]
        return cls(user_attributes(name, kind, unit or bound.unit, description or bound.text), bound)

    @watched
    def __call__(self, part: Part, group: int) -> Mapping[str, npt.NDArray[Any]]:
        """The columns in a row group. CutError: integers overflow; the event is named."""
        block = Block(part.groups[group], Columns(part, group))
        with naming_the_event(self.bound, block):
            values, missing = interpret_value(self.bound.node, block)
        self.missing.append(int(np.count_nonzero(missing)))
        return stored(self.attributes, (values, ~missing))


@dataclass(frozen=True)
class Joined:
    """A user's table, joined by identity: ids as arrays (lumi, guid and entry None where it has none), and columns."""

    run: npt.NDArray[np.int32]
    event: Ints
    lumi: npt.NDArray[np.int32] | None
    place: tuple[npt.NDArray[Any], Ints] | None  # AOD GUID, as text, and entry
    attributes: tuple[tuple[Attribute, Attribute], ...]
    columns: tuple[Column, ...]
    index: EventIndex = field(init=False, repr=False)

    def __post_init__(self) -> None:
        data = np.frombuffer(encode(self.run, self.event, bytes(16)), np.uint8)
        object.__setattr__(self, "index", EventIndex(data, bytes(16), len(self.run)))

    def __call__(self, part: Part, group: int) -> Mapping[str, npt.NDArray[Any]]:
        """The columns in a row group, missing in rows that the table does not have."""
        row, place = self.matches(part, group)
        columns: dict[str, npt.NDArray[Any]] = {}
        for attributes, (values, present) in zip(self.attributes, self.columns, strict=True):
            of_rows = np.zeros(part.groups[group], values.dtype)
            present_in_rows = np.zeros(part.groups[group], np.bool_)
            of_rows[row], present_in_rows[row] = values[place], present[place]
            columns |= stored(attributes, (of_rows, present_in_rows))
        return columns

    @watched
    def matches(self, part: Part, group: int) -> tuple[Ints, Ints]:
        """(row of the group, row of the table) of all pairs of one identity, by row."""
        ids = part.read(group, ("run", "lumi", "event", "aod_entry"))
        run, event, key = lookup.distinct(ids["run"], ids["event"])
        which, place = self.index.find(run, event)
        counts = np.bincount(which, minlength=len(run))
        first = np.cumsum(counts) - counts
        row = np.repeat(np.arange(len(key)), counts[key])
        within = np.arange(len(row)) - np.repeat(np.cumsum(counts[key]) - counts[key], counts[key])
        place = place[np.repeat(first[key], counts[key]) + within]
        same = np.ones(len(row), np.bool_)
        if self.lumi is not None:
            same &= self.lumi[place] == ids["lumi"][row]
        if self.place is not None:
            same &= self._in_place(part, group, ids.get("aod_entry"), row, place)
        return row[same], place[same]

    def _in_place(self, part: Part, group: int, entry: Any, row: Ints, place: Ints) -> npt.NDArray[np.bool_]:
        """Which pairs have one AOD file and entry."""
        assert self.place is not None
        if entry is None or "aod_guid" not in part.columns:
            return np.zeros(len(row), np.bool_)
        codes, names = part.read_codes(group, "aod_guid")
        same_file: Any = np.array(names, object)[codes[row]] == self.place[0][place]
        return np.asarray(same_file.astype(np.bool_) & (entry[row] == self.place[1][place]))

    def counted(self, parts: Sequence[Part], simulation: bool) -> tuple[int, int]:
        """How many rows of the parts are matched, and rows of the table used. StoreError: a match is ambiguous."""
        matched, used = 0, np.zeros(len(self.run), np.int64)
        twice: list[tuple[int, int]] = []
        for part in parts:
            for group, rows in enumerate(part.groups):
                row, place = self.matches(part, group)
                counts = np.bincount(row, minlength=rows)
                twice += self._named(np.unique(place[counts[row] > 1]))
                matched += int(np.count_nonzero(counts))
                used += np.bincount(place, minlength=len(used))
        if twice:
            raise self._ambiguous(twice, "of the table fit one row of the dataset")
        several = self._named(np.flatnonzero(used > 1)) if simulation else []
        if several:
            raise self._ambiguous(several, "of the dataset fit one row of the table")
        return matched, int(np.count_nonzero(used))

    def _named(self, places: Ints) -> list[tuple[int, int]]:
        return list(zip(self.run[places].tolist(), self.event[places].tolist(), strict=True))

    def _ambiguous(self, events: Sequence[tuple[int, int]], what: str) -> StoreError:
        distinct = sorted(set(events))
        examples = ", ".join(f"{run}:{event}" for run, event in distinct[:_SHOWN])
        if len(distinct) > _SHOWN:
            examples += " …"
        columns = {"lumi": self.lumi, "aod_guid and aod_entry": self.place}
        missing = " or ".join(name for name, column in columns.items() if column is None)
        return StoreError(
            f"{len(distinct):,} events are ambiguous: several rows {what} ({examples})",
            hint=f"give the table {missing}, or keep one row an event" if missing else "keep one row an event",
            ambiguous=len(distinct),
        )
