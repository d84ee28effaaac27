"""The tables that loops read: every field has its name, type and meaning here, and both sides are made from it.

Python fills a table by field (`JOB.filled(units=…)`, `table["rows"] = …`); a loop opens the record at an address and
reads it by field (`unit = UNIT(units, u); unit.rows`), in machine code at the offset that NumPy's dtype gives. A field
has 8 bytes: an address (uint64, 0 for none), a whole number (int64) or a float64.

Invariant: what an address points to is held by the Python object that filled the table, for as long as a loop runs.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tagsel.kernels.memory import Word, place

Table = npt.NDArray[Any]


Field: TypeAlias = tuple[str, str]
"""A field of a table: its type as NumPy spells it, and what it says."""


def address(meaning: str) -> Field:
    """The address of something; 0 where there is none."""
    return "u8", meaning


def whole(meaning: str) -> Field:
    """A whole number."""
    return "i8", meaning


def real(meaning: str) -> Field:
    """A float64."""
    return "f8", meaning


_CODES = {"u8": "Q", "i8": "q", "f8": "d"}
"""The types of fields, as `struct` spells them."""


class Layout:
    """A record of so many `words` of 8 bytes: called with (address, index) it gives the record that lies there."""

    def __init__(self, name: str, **fields: Field) -> None:
        self.name = name
        self.fields: Mapping[str, Field] = fields
        self.words = len(fields)

    def __call__(self, address: Word, index: Word) -> Any:
        """Record number `index` of a table at `address`, whose fields are its attributes."""
        return place(address, index, self._record)[0]

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The record as NumPy has it."""
        return np.dtype([(name, kind) for name, (kind, _) in self.fields.items()])

    @cached_property
    def _struct(self) -> struct.Struct:
        return struct.Struct("=" + "".join(_CODES[kind] for kind, _ in self.fields.values()))

    @cached_property
    def _record(self) -> np.dtype[Any]:
        return np.dtype((np.record, self.dtype))

    def __repr__(self) -> str:
        return f"<layout {self.name}>"

    def word(self, field: str) -> int:
        """The place of a field in words of 8 bytes, for generated source."""
        return int(self.dtype.fields[field][1]) // 8  # type: ignore[index]  # it has fields

    def filled(self, **values: Any) -> Table:
        """A table of one record, read-only. TypeError: not every field has a value, or one has no field."""
        if values.keys() != self.fields.keys():
            wrong = ", ".join(sorted(values.keys() ^ self.fields.keys()))
            raise TypeError(f"{self.name}: fields without a value, or values without a field: {wrong}")
        return np.frombuffer(self._struct.pack(*[values[name] for name in self.fields]), self.dtype)

    def zeros(self, count: int) -> Table:
        """A table of so many records, all zeros."""
        return np.zeros(count, self.dtype)

    def followed_by(self, **parts: tuple[Layout, int]) -> np.dtype[Any]:
        """The dtype of records that go on with so many records of other layouts, under names of their own."""
        return _extended(self, tuple(parts.items()))


@lru_cache(maxsize=256)
def _extended(layout: Layout, parts: tuple[tuple[str, tuple[Layout, int]], ...]) -> np.dtype[Any]:
    fields: list[Any] = [(name, kind) for name, (kind, _) in layout.fields.items()]
    fields += [(name, part.dtype, (count,)) for name, (part, count) in parts]
    return np.dtype(fields)


def offset(dtype: np.dtype[Any], field: str) -> int:
    """Bytes before a field of a record."""
    return int(dtype.fields[field][1])  # type: ignore[index]  # it has fields


SCRATCH = Layout(
    "scratch",
    mask=address("uint8 a row of a block, (BLOCK,): 1 where the row is alive"),
    rows=address("int32, (BLOCK + 8,): the rows of a block that are alive, by their place in it"),
    momenta=address("float64, (ROOMS, ROOM, PARTS): momenta that a step lays out (`engine/hoist`)"),
)
"""A thread's own room, owned by the thread. An address for each list follows: int64, (BLOCK + 1,), where each event's
values begin."""

LIST = Layout(
    "list",
    counter=address("integers, (rows,): how many values each event has; the snapshot's column"),
    width=whole("bytes of a counter: 1, 4 or 8"),
    values=whole("how many values there are in the shortest column of the list"),
)
"""A list of values by event, in a unit."""

STEPS_JOB = Layout(
    "steps job",
    units=address("the table of units, of the `Job`"),
    unit_bytes=whole("bytes of a unit, with its lists and steps"),
    lists=whole("how many lists a unit has"),
    lists_at=whole("bytes of a unit before its lists"),
    steps=whole("how many steps a unit has"),
    steps_at=whole("bytes of a unit before its steps"),
    seen=address("int64, (steps, 2): rows that reached each step and that passed it, added up; the caller's"),
)
"""What `driver` reads first."""

STEPS_UNIT = Layout(
    "steps unit",
    rows=whole("rows of the row group"),
    alive=address("uint8 a row, 0 where it does not count; 0: all count; held by the `Units`"),
    left=address("a bit a row, what remembered masks leave; 0: all; the caller's"),
    out=address("a bit a row, zeros before, where accepted rows are noted; 0: nowhere; the caller's"),
    accepted=whole("how many rows are accepted; the loop writes it"),
)
"""A row group of `driver`; its lists (LIST) and its steps (STEP) follow."""

STEP = Layout(
    "step",
    code=address("the step's machine code; 0: every row passes it here; held by the chain"),
    table=address("what its kernel reads (`engine/source`); held by the job"),
    dense=whole("1 where it may run on every row of a block"),
    judged=address("a bit a row, where the rows that it judged are noted; 0: nowhere; the caller's"),
    passed=address("a bit a row, where those that passed are noted; read where `judged` is given"),
)
"""A step of a cut in a row group of `driver`."""


@lru_cache(maxsize=256)
def step_table(columns: int, tables: int, functions: int, lists: int) -> Layout:
    """What a step's kernel reads (`engine/source`), for so many of each."""
    fields = {"constants": address("8 bytes each; of the step's source")}
    fields |= {f"c{n}": address("a column of the unit, or one that is written") for n in range(columns)}
    fields |= {f"t{n}": address("a sorted table of constants; of the step's source") for n in range(tables)}
    fields |= {f"f{n}": address("the code of a function; held by the chain") for n in range(functions)}
    fields |= {f"g{n}": whole("the word of SCRATCH that says where a list's values begin") for n in range(lists)}
    return Layout("step table", **fields)


SEVERAL_JOB = Layout(
    "several job",
    units=address("the table of units, of the `SeveralJob`"),
    unit_bytes=whole("bytes of a unit, with its lists, steps and cuts"),
    lists=whole("how many lists a unit has"),
    lists_at=whole("bytes of a unit before its lists"),
    steps=whole("how many steps a unit has"),
    steps_at=whole("bytes of a unit before its steps"),
    cuts=whole("how many cuts a unit has"),
    cuts_at=whole("bytes of a unit before its cuts"),
    first_of=address("int64, (steps + 1,): where the cuts of each step begin in `cut_of`"),
    cut_of=address("int64: the cuts that have each step, step after step"),
    counts=address("int64, (cuts,): how many rows each cut accepts, added up; the caller's"),
    room=address("uint64, (cuts + 2, WORDS): a block's bits of each cut, and two more; of the run"),
)
"""What `several` reads first."""

SEVERAL_UNIT = Layout(
    "several unit",
    rows=whole("rows of the row group"),
    alive=address("uint8 a row, 0 where it does not count; 0: all count; held by the `Units`"),
)
"""A row group of `several`; its lists (LIST), steps (SEVERAL_STEP) and cuts (CUT) follow."""

SEVERAL_STEP = Layout(
    "step of several cuts",
    code=address("the step's machine code; 0: every row passes it here; held by the chain"),
    table=address("what its kernel reads (`engine/source`); held by the job"),
    dense=whole("1 where it may run on every row of a block"),
)
"""A step in a row group of `several`."""

CUT = Layout(
    "cut",
    live=whole("1 where the cut may accept a row"),
    out=address("a bit a row in words, where its rows are noted; 0: nowhere; the caller's"),
)
"""A cut in a row group of `several`."""

FILLING_JOB = Layout(
    "filling job",
    bits=address("a bit a row in words: the rows that are filled"),
    axes=address("the table of axes, AXIS"),
    axis_count=whole("how many axes there are, 1 to 3"),
    weights=address("float64 a row; 0: every weight is 1"),
    sums=address("int64 (float64 with weights), the product of (bins + 2) of all axes: sums by bin"),
    squares=address("float64, as many: sums of squared weights; 0 without weights"),
    entries=address("int64, (4,): entries that are NaN, filled, inside the edges, missing; the loop writes them"),
    counter=address("integers a row: how many objects each event has; 0: events are filled, not objects"),
    counter_width=whole("bytes of a counter: 4 or 8"),
    rows=whole("rows of the row group"),
    gone=address("uint8 an object, 1 where a value is missing; 0: none is"),
)
"""What `filling` reads; all memory is the caller's."""

AXIS = Layout(
    "axis",
    column=address("the values, one a row or one an object"),
    width=whole("bytes of a value: 4, 8 (floats), -4, -8 (integers), -1 (bool, a byte)"),
    times=real("what a value is multiplied by, first"),
    over=real("what it is divided by, then"),
    edges=address("float64, (bins + 3,): the edges, with -inf and inf at the ends"),
    bins=whole("how many bins lie between the edges"),
    equal=whole("1 where all bins are of one width"),
    low=real("the lowest edge"),
    bins_a_unit=real("bins for a difference of 1, where they are of one width"),
)
"""An axis of a histogram."""

LISTING_JOB = Layout(
    "listing job",
    units=address("the table of units, LISTED_UNIT"),
    starts=address("int64, (S + 1,): the first row of each segment in the snapshot"),
    counts=address("int64, (S,): how many events of each segment there are; written while `dest` is 0"),
    dest=address("int64, (S,): where the events of each segment begin in the list; 0: they are counted only"),
    constants=address("COLUMN_PAIR a column that is constant in a segment: int32 values, int32 column"),
    constant_count=whole("how many such columns there are"),
    rising=address("COLUMN_PAIR a column that rises with the row: int64 (value - row), int64 column"),
    rising_count=whole("how many such columns there are"),
    events=address("int64, the event numbers of the list; 0 while they are counted"),
)
"""What `listing` reads; all memory is that of the run, or the caller's columns."""

LISTED_UNIT = Layout(
    "listed unit",
    bits=address("a bit a row, accepted rows; it may be read in words"),
    events=address("int64 a row: event numbers; the snapshot's column"),
    first_row=whole("the number of its first row in the snapshot"),
    first_segment=whole("its first segment"),
    end_segment=whole("one past its last segment"),
)
"""A row group of `listing`."""

COLUMN_PAIR = Layout(
    "column pair",
    by_segment=address("(S,): what holds in each segment"),
    column=address("a value an event: the column that is written"),
)
"""A column of an event list, and what it is made of."""

FINDING_JOB = Layout(
    "finding job",
    runs=address("int32, rising: the runs of the index"),
    run_count=whole("how many runs there are"),
    first_block=address("int64, (runs + 1,): the first block of each run, and one past the last"),
    sizes=address("int64, (runs,): rows of each run"),
    first_event=address("int64, (blocks,): the first event of each block"),
    base_row=address("int64, (blocks,): the lowest row of each block"),
    steps=address("uint8, (blocks,): 1 where events are kept as distances from counting on"),
    event_words=address("uint64: the packed events"),
    event_starts=address("int64, (blocks,): the first word of each block's events"),
    event_bits=address("uint8, (blocks,): bits of an event"),
    row_words=address("uint64: the packed rows"),
    row_starts=address("int64, (blocks,): the first word of each block's rows"),
    row_bits=address("uint8, (blocks,): bits of a row"),
    wanted_runs=address("int32, (n,): the runs of the wanted events; these rise with the events"),
    wanted_events=address("int64, (n,): their event numbers"),
    answers=address("int64, (n,): what is found; the loops write it"),
)
"""What `finding` reads: the event index of a part, which holds the memory, and what is wanted."""

PATTERNS_JOB = Layout(
    "patterns job",
    cuts=whole("how many cuts there are, at most 16"),
    rows=whole("rows of the row group"),
    bits=address("addresses, (cuts + 1,), of a bit a row in words: the rows that count, then those of each cut"),
    weights=address("float32 or float64 a row; 0: every weight is 1"),
    weight_width=whole("bytes of a weight: 4 or 8"),
    counts=address("int64, (patterns,): events by pattern, added up"),
    table=address("int64, (patterns, WINDOW, 2): mantissas of weights by exponent, in two halves"),
    squares=address("int64, (patterns, 2 WINDOW, 2): those of squared weights"),
    first=whole("the biased exponent of the first slot of `table`"),
    first_squared=whole("that of the first slot of `squares`"),
)
"""What `patterns` reads; all memory is the caller's."""
