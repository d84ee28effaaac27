"""The one tree of the cut language, as read (syntax) and as bound to a schema (typed).

Invariant: nodes are immutable; two cuts that mean the same bind to equal trees, wherever their text came from
(`pos` and `length`, the place in the text, do not count in a comparison).

A *bound* tree says all that the four meanings (oracle, interpreter, kernel, SQL) need: casts are explicit,
literals are converted, units are scaled, names are columns, chains are bits. Its ops are these and no others:

value ops (may be *missing*)
    const     value: int | float | bool | str. Kind f32 holds a float that a float32 can hold. Never missing
    column    value: column name. Missing where the block lacks the column
    element   value: (list column, counter column, k): object k (0-based); missing where k >= counter
    at        value: (list column, counter column); args: (index,), of kind int: the object at that place (0-based);
              missing where the index is, is negative, or is no less than the counter
    slot      value: (column, counter column, k): stored slot k (0-based); missing where k >= counter
    member    of the object of the innermost variable: the value. value: list column, or a tuple of slot columns
    outer     of the object of a variable further out. value: (what member has, how many variables lie between, from 1)
    chosen    of an object that a `let` chose. value: (what member has, how many variables lie between, from 0);
              missing where nothing was chosen
    cast      to the node's kind: bool -> int, int -> f64, f32 -> f64
    neg abs   kinds int, f32, f64
    add sub mul  kinds int, f64          mod  kind int (Python's sign)         div  kind f64 (IEEE)
    bit_and bit_or bit_xor bit_not shl shr   kinds int, word (shr of a word is logical; shl of an int may overflow)
    call      value: a function's name (a row of functions.py); arguments and result f64
    pick      value: "min2" | "max2": of two values of one kind (int, f32, f64); a NaN loses to a number
    given     the first arg where the second, a boolean op, is true; missing elsewhere. The second comes first
    either    args: (a boolean op, a, b): a where the first is true, else b; the other is not reached
    aggregate value: Aggregate; args: (body,), evaluated for each object or combination. count -> int; any, all -> bool;
              sum -> int or f64; min, max -> the body's kind. Missing where a counter is missing;
              min, max also where there is no object with a value that is neither missing nor NaN
    let_value as let, of a value
    objects   the root of a value of each object. value: Aggregate with the function "objects"; args: (value,)
    trigger   value: TriggerBits: bool; missing where the row's menu lacks the chain, or the word is missing

boolean ops (never missing: an atom with a missing operand is false)
    and or    two or more args, left to right          not
    if_else   args: three boolean ops: the second where the first is true, else the third; the other is not reached
    cmp       value: < <= > >= == !=; two args of one kind: int, f32, f64, word, bool, str (the last three == and
              != only)
    in        value: tuple of constants of the argument's kind
    truth     arg: a value op of kind bool: false where missing
    test      value: isnan | isinf | isfinite; arg f32 or f64
    present   arg: a value op: true where it is not missing
    in_lumi   value: LumiTable; args: run, lumi (int)
    same      value: (== or !=, two variables by number), of one collection: whether they are one object; false where
              a `let` did not find one of them
    let       value: Aggregate (argmin, argmax); args: (body, rest). Chooses the first combination whose value, neither
              missing nor NaN, is smallest (largest); the answer is that of the rest
    python    value: PyFunction; args: the values that it takes (bool, int, f32, f64)

Variables are numbered from the inside: 0 is the last variable of the innermost aggregate or let around a node, and
so on outwards. The combinations of an aggregate are those of its loops, the last loop running fastest. A missing
value in a numeric body is skipped by sum, min, max, argmin, argmax. Whatever has no variable in it is the event's.

Kinds: bool, int (int64), f32, f64, word (a 64-bit pattern, held as int64), str. 32-bit words are ints, zero-extended.
`raises` is true of a node that may overflow int64 or take `% 0`, itself or below; such an error counts only for
a row that is reached, left to right, with no missing operand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

SEMANTICS = 2
"""Version of the language's meaning; part of every selection hash."""

KINDS = ("bool", "int", "f32", "f64", "word", "str")
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
AGGREGATES = ("count", "any", "all", "sum", "min", "max")
CHOICES = ("argmin", "argmax")
BOOLEAN_OPS = frozenset(
    {"and", "or", "not", "if_else", "cmp", "in", "truth", "test", "present", "in_lumi", "same", "let", "python"}
)
JOINING_OPS = frozenset({"and", "or", "not", "if_else"})
"""Ops that join conditions; the other boolean ops are atoms."""
LOOPING_OPS = frozenset({"aggregate", "let", "let_value", "objects"})
"""Ops that bring variables: in their first arg, and a let in its second."""

INT_MIN, INT_MAX = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a cut; what `op`, `value` and `args` mean together stands at the top of this file."""

    op: str
    args: tuple[Node, ...] = ()
    value: Any = None
    kind: str = ""  # bound trees only
    raises: bool = False  # bound trees only
    pos: int = field(default=0, compare=False)
    length: int = field(default=1, compare=False)


@dataclass(frozen=True, slots=True)
class Loop:
    """One variable's run over the objects of a collection; `after`: from the object after the variable's before it.

    An event has `max(counter, 0)` objects in a list (`slots` 0), and `min(max(counter, 0), slots)` in slots.
    """

    collection: str
    counter: str
    slots: int = 0
    after: bool = False


@dataclass(frozen=True, slots=True)
class Aggregate:
    """What an aggregate runs over: its function; collection, counter, slots of the first loop; `more` loops inside."""

    function: str
    collection: str
    counter: str
    slots: int = 0
    more: tuple[Loop, ...] = ()
    names: tuple[str, ...] = field(default=(), compare=False)  # of its variables, while they have names

    @property
    def loops(self) -> tuple[Loop, ...]:
        """All loops, the outermost first."""
        return Loop(self.collection, self.counter, self.slots), *self.more


@dataclass(frozen=True, slots=True)
class TriggerBits:
    """A chain in every menu that has it: `(menu id, word column, bit)`, sorted by id; `menu` names the menu column.

    `pattern`: the text that matched the chain, `HLT_Mu50_v*`, where a cut asked for any version.
    """

    name: str
    bits: tuple[tuple[int, str, int], ...]
    menu: str = "menu"
    pattern: str = field(default="", compare=False)

    @property
    def asked(self) -> str:
        """The chain, or the pattern, as the cut has it."""
        return self.pattern or self.name


@dataclass(frozen=True, eq=False)
class LumiTable:
    """A good-run list as the language sees it: sorted, disjoint, closed ranges of luminosity blocks by run.

    Arrays are int32 of one length; equality and hash go by `digest`.
    """

    name: str
    digest: str
    run: npt.NDArray[np.int32]
    first: npt.NDArray[np.int32]
    last: npt.NDArray[np.int32]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LumiTable) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)


@dataclass(frozen=True, slots=True)
class Block:
    """Some consecutive rows of a part, as plain arrays by column; a column that is not there is missing.

    Scalars are `(rows,)`: int32, int64, float32, float64, bool, uint32 (bits32), uint64 (bits64), object (str).
    Lists are their values, flat, `(sum of counter,)`; their lengths are the counter column.
    """

    rows: int
    columns: Mapping[str, npt.NDArray[Any]]


def walk(node: Node) -> Iterator[Node]:
    """Every node of the tree, parents before children, left to right, without recursion."""
    stack = [node]
    while stack:
        top = stack.pop()
        yield top
        stack.extend(reversed(top.args))


def scoped(node: Node) -> Iterator[tuple[Node, tuple[Loop, ...]]]:
    """Every node of a bound tree with the loops of the variables around it, the innermost last."""
    stack: list[tuple[Node, tuple[Loop, ...]]] = [(node, ())]
    while stack:
        top, around = stack.pop()
        yield top, around
        inner = (*around, *top.value.loops) if top.op in LOOPING_OPS else around
        stack.extend((arg, inner) for arg in reversed(top.args))


def free_variables(node: Node) -> int:
    """How many of the variables around a node it looks at, counted from the innermost to the outermost of them."""
    most = 0
    for n, around in scoped(node):
        if n.op in ("member", "outer", "chosen", "same"):
            up = 0 if n.op == "member" else max(n.value[1:])
            most = max(most, up + 1 - len(around))
    return most


def columns_of(node: Node) -> frozenset[str]:
    """Names of all columns that a bound tree reads."""
    found: set[str] = set()
    for n in walk(node):
        if n.op == "column":
            found.add(n.value)
        elif n.op in ("element", "slot", "at"):
            found.update(n.value[:2])
        elif n.op in ("member", "outer", "chosen"):
            stored = n.value if n.op == "member" else n.value[0]
            found.update([stored] if isinstance(stored, str) else stored)
        elif n.op in LOOPING_OPS:
            found.update(loop.counter for loop in n.value.loops)
        elif n.op == "trigger":
            found.add(n.value.menu)
            found.update(column for _, column, _ in n.value.bits)
    return frozenset(found)


def walk_all(nodes: Iterable[Node]) -> Iterator[Node]:
    """Every node of several trees."""
    for node in nodes:
        yield from walk(node)


def columns_of_all(nodes: Iterable[Node]) -> frozenset[str]:
    """The columns that any of several trees reads."""
    return frozenset[str]().union(*map(columns_of, nodes))


def object_names(quantifier: Node) -> list[str]:
    """The names of the objects of a quantifier, in order: a, b of `any(a in Muon, b in Jet: …)`."""
    names: list[str] = []
    for group, _ in quantifier.value[1]:
        names += group
    return names
