"""The text of one kernel in the making: a loop over rows, its locals, and what it finds in its table.

Constants are not in the text but in the table, so that a cut with another threshold is the same text and the
same machine code. Invariant: the text, and the layout of the table, depend on the structure of the cut and the
types of its columns alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

NO_ERROR, SHORT = -1, -2
"""What a kernel returns: no error; SHORT − n: the n-th list ends before its counter says; else the first row
where integers overflow or `% 0` is taken."""

ZEROS = {"bool": "False", "int": "int64(0)", "word": "int64(0)", "f32": "float32(0.0)", "f64": "0.0"}
CASTS = {"int": "int64({})", "word": "int64({})", "f32": "float32({})", "f64": "float64({})", "bool": "({}) != 0"}
WIDTHS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "f4", "f8")
LOADS = {"b1": "load_u1", "u8": "load_i8"} | {width: f"load_{width}" for width in WIDTHS}
"""How memory of each type is read; a 64-bit word as its signed pattern."""

CONSTANTS = {
    "int": "load_i8(constants, {})",
    "word": "load_i8(constants, {})",
    "f64": "load_f8(constants, {})",
    "f32": "float32(load_f8(constants, {}))",
}


@dataclass(frozen=True)
class Source:
    """The text of a kernel, and what its table holds, in this order:

    verdicts (uint8 a row); rows that count (uint8 a row, or 0: all); `constants` (8 bytes each); for each counter of
    `lists` the number of values in the shortest of its lists; the `columns`; the `tables`.
    """

    text: str
    constants: npt.NDArray[np.int64]
    lists: Mapping[str, list[str]]
    columns: list[str]
    tables: list[npt.NDArray[Any]]


@dataclass
class Code:
    """A kernel's statements so far; `types` are those of the columns that there are ("f4"), others are absent."""

    types: Mapping[str, str]
    lines: list[str] = field(default_factory=list)
    indent: int = 2
    locals: int = 0
    columns: list[str] = field(default_factory=list)
    lists: dict[str, list[str]] = field(default_factory=dict)
    counters: list[str] = field(default_factory=list)
    constants: list[tuple[str, Any]] = field(default_factory=list)
    tables: list[npt.NDArray[Any]] = field(default_factory=list)
    known: list[dict[Any, Any]] = field(default_factory=lambda: [{}])  # what each open block has computed

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
        """The value of a column that is there, as the kind."""
        if name not in self.columns:
            self.columns.append(name)
        loaded = f"{LOADS[self.types[name]]}(c{self.columns.index(name)}, {index})"
        return CASTS[kind].format(loaded)

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

    def finish(self, verdict: str) -> Source:
        """The whole kernel; `verdict` is the row's."""
        self.line(f"store_u1(out, i, uint8({verdict}))")
        lists = [self.counters.index(name) for name in self.lists]
        entries = ["out", "alive", "constants", *(f"m{n}" for n in lists)]
        entries += [f"c{n}" for n in range(len(self.columns))] + [f"t{n}" for n in range(len(self.tables))]
        text = [
            "def kernel(table, rows):",
            *(f"    {name} = load_u8(table, {at})" for at, name in enumerate(entries)),
            *(f"    k{at} = {CONSTANTS[kind].format(at)}" for at, (kind, _) in enumerate(self.constants)),
            *(f"    e{n} = int64(0)" for n in lists),
            "    for i in range(rows):",
            *(f"        n{n} = {self.column(name, 'i', 'int')}" for n, name in enumerate(self.counters)),
        ]
        for order, n in enumerate(lists):
            text += [
                f"        s{n} = e{n}",
                f"        if n{n} > 0:",
                f"            e{n} += n{n}",
                f"        if e{n} > int64(m{n}):",
                f"            return {SHORT - order}",
            ]
        text += ["        if alive != 0 and load_u1(alive, i) == 0:", "            store_u1(out, i, uint8(0))"]
        text += ["            continue", *self.lines, f"    return {NO_ERROR}", ""]
        return Source("\n".join(text), self._bits(), self.lists, self.columns, self.tables)

    def _bits(self) -> npt.NDArray[np.int64]:
        """The constants as 8 bytes each."""
        whole = ("int", "word")
        bits = [v if kind in whole else np.float64(v).view(np.int64) for kind, v in self.constants]
        return np.array(bits, np.int64)
