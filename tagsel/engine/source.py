"""The text of one step's kernel in the making: a loop over rows, its locals, and what it finds in its table.

Neither constants nor names are in the text but in the table, so that a cut with another threshold, or on another
column of the same type, is the same text and the same machine code. Invariant: the text, and the layout of the table,
depend on the structure of the step and the types of its columns alone.

`kernel(table, scratch, first, count)` judges rows of a block that begins at row `first` of the unit
(`kernels/driver`): with count < 0 the first -count ones, each verdict joined to the mask (only where a step may run
dense); else the `count` rows listed in scratch, of which those that pass are kept. It gives the number kept, or
FAILED for a row where integers overflow or `% 0` is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.kernels.layouts import SCRATCH, Layout, step_table
from tagsel.kernels.native import function_source

ZEROS = {"bool": "False", "int": "int64(0)", "word": "int64(0)", "f32": "float32(0.0)", "f64": "0.0"}
FAILED = -1
"""What a kernel gives for a row without an answer."""

OUT, GONE = "=", "!"
"""Columns of a unit that a kernel writes: float64 numbers, and a uint8 for each, 1 where there is none."""

CASTS = {
    "int": "int64({})",
    "word": "int64({})",
    "f32": "float32({})",
    "f64": "float64({})",
    "bool": "({}) != 0",
    "i4": "int32({})",
}
WIDTHS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "f4", "f8")
LOADS = {"b1": "load_u1", "u8": "load_i8"} | {width: f"load_{width}" for width in WIDTHS}
"""How memory of each type is read; a 64-bit word as its signed pattern."""

CONSTANTS = {
    "int": "load_i8(constants, {})",
    "word": "load_i8(constants, {})",
    "f64": "load_f8(constants, {})",
    "f32": "float32(load_f8(constants, {}))",
    "i4": "int32(load_i8(constants, {}))",
}


@dataclass(frozen=True)
class Source:
    """The text of a kernel, the `layout` of its table, and what that holds.

    The fields of the table are `constants` (8 bytes each); c0, c1, … of the `columns`; t0, … of the `tables`; f0, … of
    the `functions`, which stand here by their sources; g0, … of the counters of `lists` (counter → its list columns).
    `dense`: it has no branches and may run on every row.
    """

    text: str
    layout: Layout
    dense: bool
    constants: npt.NDArray[np.int64]
    lists: Mapping[str, list[str]]
    columns: list[str]
    tables: list[npt.NDArray[Any]]
    functions: list[str]


@dataclass
class Code:
    """A kernel's statements so far; `types` are those of the columns that there are ("f4"), others are absent."""

    types: Mapping[str, str]
    lines: list[str] = field(default_factory=list)
    indent: int = 2
    locals: int = 0
    columns: list[str] = field(default_factory=list)
    scalars: dict[str, None] = field(default_factory=dict)  # columns of one value a row
    lists: dict[str, list[str]] = field(default_factory=dict)
    counters: list[str] = field(default_factory=list)
    constants: list[tuple[str, Any]] = field(default_factory=list)
    tables: list[npt.NDArray[Any]] = field(default_factory=list)
    known: list[dict[Any, Any]] = field(default_factory=lambda: [{}])  # what each open block has computed
    functions: list[str] = field(default_factory=list)
    rooms: int = 0  # how many lists of momenta are laid out
    dense: bool = False

    def line(self, text: str) -> None:
        """Add a statement."""
        self.lines.append("    " * self.indent + text)

    def new(self, letter: str) -> str:
        """A name that no other local has."""
        self.locals += 1
        return f"{letter}{self.locals}"

    def let(self, expression: str) -> str:
        """A new local that holds the expression."""
        name = self.new("v")
        self.line(f"{name} = {expression}")
        return name

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Statements under `head:`; there may be none."""
        self.line(f"{head}:")
        before = len(self.lines)
        self.indent += 1
        self.known.append({})
        yield
        self.known.pop()
        if len(self.lines) == before:
            self.line("pass")
        self.indent -= 1

    def column(self, name: str, index: str, kind: str) -> str:
        """The value of a column that is there, as the kind ("i4": as int32)."""
        if name not in self.columns:
            self.columns.append(name)
        if index == "i":
            self.scalars[name] = None
        loaded = f"{LOADS[self.types[name]]}(c{self.columns.index(name)}, {index})"
        return CASTS[kind].format(loaded)

    def out(self, name: str) -> str:
        """The local that holds the address of a column that is written."""
        if name not in self.columns:
            self.columns.append(name)
        return f"c{self.columns.index(name)}"

    def counter(self, name: str) -> str:
        """The local that holds a counter, read at the head of the loop."""
        if name not in self.counters:
            self.counters.append(name)
            self.column(name, "i", "int")
        return f"n{self.counters.index(name)}"

    def start(self, counter: str, values: str) -> str:
        """The local that says where the event's list in the column `values` begins."""
        local = self.counter(counter)
        members = self.lists.setdefault(counter, [])
        if values not in members:
            members.append(values)
        return f"s{local[1:]}"

    def constant(self, value: Any, kind: str) -> str:
        """The local that holds a constant of the kind."""
        if kind == "bool":
            return str(bool(value))
        self.constants.append((kind, value))
        return f"k{len(self.constants) - 1}"

    def table(self, array: npt.NDArray[Any]) -> str:
        """The local that holds the address of an array which goes with the kernel."""
        self.tables.append(np.ascontiguousarray(array))
        return f"t{len(self.tables) - 1}"

    def invoke(self, name: str, arguments: Sequence[str]) -> str:
        """A call of a function of the kernels' room, which is compiled once and called by its address."""
        source = function_source(name, len(arguments))
        if source not in self.functions:
            self.functions.append(source)
        return f"invoke_{len(arguments)}({', '.join([f'f{self.functions.index(source)}', *arguments])})"

    def finish(self, verdict: str) -> Source:
        """The whole kernel; `verdict` is the row's."""
        lists = [self.counters.index(name) for name in self.lists]
        counters = [f"n{n} = {self.column(name, 'i', 'int')}" for n, name in enumerate(self.counters)]
        layout = step_table(len(self.columns), len(self.tables), len(self.functions), len(lists))
        text = [
            "def kernel(table, scratch, first, count):",
            *(f"    {name} = load_u8(table, {layout.word(name)})" for name in layout.fields),
            *(f"    k{at} = {CONSTANTS[kind].format(at)}" for at, (kind, _) in enumerate(self.constants)),
            f"    mask, rows = load_u8(scratch, {SCRATCH.word('mask')}), load_u8(scratch, {SCRATCH.word('rows')})",
            *([f"    room = load_u8(scratch, {SCRATCH.word('momenta')})"] if self.rooms else []),
            *(f"    b{n} = load_u8(scratch, int64(g{at}))" for at, n in enumerate(lists)),
        ]
        if self.dense:
            text += ["    if count < 0:", "        for i in range(first, first - count):"]
            text += [f"            {counter}" for counter in counters]
            text += [f"    {line}" for line in self.lines]
            text += [f"            v = uint8({verdict})"]
            text += ["            store_u1(mask, i - first, load_u1(mask, i - first) & v)"]
            text += ["        return int64(0)"]
        if self.functions:
            text += self._fetching()
        text += ["    kept = int64(0)", "    for j in range(count):", "        row = load_i4(rows, j)"]
        text += ["        i = first + int64(row)", *(f"        {c}" for c in counters)]
        text += [f"        s{n} = load_i8(b{n}, int64(row))" for n in lists]
        text += [*self.lines, "        store_i4(rows, kept, row)", f"        kept += int64({verdict})"]
        text += ["    return kept", ""]
        held = self.lists, self.columns, self.tables, self.functions
        return Source("\n".join(text), layout, self.dense, self._bits(), *held)

    def _fetching(self) -> list[str]:
        """A loop ahead of one that calls functions: what that reads, here and there, is on its way before it waits."""
        lines = ["    for j in range(count):", "        i = uint64(first + int64(load_i4(rows, j)))"]
        for name in self.scalars:
            width = int(self.types[name][1:])
            lines.append(f"        prefetch(c{self.columns.index(name)} + i * uint64({width}))")
        return lines

    def _bits(self) -> npt.NDArray[np.int64]:
        """The constants as 8 bytes each."""
        whole = ("int", "word", "i4")
        bits = [v if kind in whole else np.float64(v).view(np.int64) for kind, v in self.constants]
        return np.array(bits, np.int64)
