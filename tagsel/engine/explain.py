"""Why a row passes or fails: each atom of a cut with its verdict and the values that it saw.

Invariant: verdicts are the interpreter's, on a block of that one row, so they are those of the selection.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tagsel.engine.interpreter import interpret, interpret_value
from tagsel.errors import CutError
from tagsel.language.bind import Bound
from tagsel.language.parse import parse
from tagsel.language.printer import canonical
from tagsel.language.tree import BOOLEAN_OPS, Block, Node, columns_of, scoped
from tagsel.language.warnings import is_nullable

MISSING = "missing"
"""What stands for the value of something that is not there."""

TOLD = frozenset({"column", "element", "slot", "at", "trigger", "aggregate", "call", "chosen"})
"""Value ops whose value is told: what is stored, what a function gives, what is worked out of a list."""


@dataclass(frozen=True, slots=True)
class Step:
    """One atom of a cut on one row: its text, its verdict, and (text, value or "missing") of what it read."""

    text: str
    verdict: bool
    values: tuple[tuple[str, Any], ...]


def explain_row(bound: Bound, block: Block, row: int) -> list[Step]:
    """Each atom of `bound`, in order, on row `row` (0-based) of `block`; all of them, reached or not.

    An atom that has no answer on this row (it overflows) is false, and its value is what the error says.
    """
    one = only_row(bound.node, block, row)
    steps = []
    for atom in _atoms(bound.node):
        text = _text(bound, atom)
        try:
            steps.append(Step(text, bool(interpret(atom, one)[0]), _values(bound, atom, one)))
        except CutError as error:
            steps.append(Step(text, False, ((text, error.message.removesuffix(" at row 0")),)))
    return steps


def only_row(node: Node, block: Block, row: int) -> Block:
    """The block of that one row, with the columns that `node` reads."""
    lists: dict[str, str] = {}  # list column -> its counter
    for part, around in scoped(node):
        if part.op in ("element", "at"):
            lists[part.value[0]] = part.value[1]
        elif part.op in ("member", "outer", "chosen"):
            stored, up = (part.value, 0) if part.op == "member" else part.value
            if isinstance(stored, str):
                lists[stored] = around[-1 - up].counter
    columns = {}
    for name in columns_of(node):
        if name not in block.columns:
            continue
        array = block.columns[name]
        if name not in lists:
            if len(array) == block.rows:
                columns[name] = array[row : row + 1]
        elif lists[name] in block.columns:
            counts = np.maximum(block.columns[lists[name]][: row + 1].astype(np.int64), 0)
            columns[name] = array[counts[:-1].sum() : counts.sum()]
    return Block(1, columns)


def _atoms(node: Node) -> Iterator[Node]:
    """The conditions that and, or, not join, left to right; `x not in (…)` is one of them."""
    stack = [node]
    while stack:
        top = stack.pop()
        place = top.pos, top.length
        if top.op == "let":
            yield from (_around(top, atom) for atom in _atoms(top.args[1]))
        elif top.op in ("and", "or", "not") and all((a.pos, a.length) != place for a in top.args):
            stack.extend(reversed(top.args))
        else:
            yield top


def _around(let: Node, inside: Node) -> Node:
    """A part of what follows a `let`, with its objects chosen."""
    op = "let" if inside.op in BOOLEAN_OPS else "let_value"
    return replace(let, op=op, args=(let.args[0], inside), kind=inside.kind, pos=inside.pos, length=inside.length)


def _text(bound: Bound, node: Node) -> str:
    """A node's own canonical text."""
    return canonical(parse(bound.text[node.pos : node.pos + node.length]))


def _values(bound: Bound, atom: Node, one: Block) -> tuple[tuple[str, Any], ...]:
    """What an atom read, each once: what is stored, and aggregates (but not what is inside them)."""
    found: dict[str, Any] = {}
    for part in _told(atom):
        values, missing = interpret_value(part, one)
        name = part.value if part.op == "column" else _text(bound, part)
        found[name] = MISSING if missing[0] else _plain(values[0])
    return tuple(found.items())


def _told(node: Node) -> Iterator[Node]:
    """The parts of an atom whose value is told, left to right; what follows a `let` with its objects chosen."""
    stack = [node]
    while stack:
        top = stack.pop()
        if top.op in TOLD or is_nullable(top):
            yield top
        elif top.op in ("let", "let_value"):
            yield from (_around(top, part) for part in _told(top.args[1]))
        else:
            stack.extend(reversed(top.args))


def _plain(value: Any) -> Any:
    """A Python value; of a float32 the shortest number that is it."""
    if isinstance(value, np.float32):
        return float(str(value))
    return value.item() if isinstance(value, np.generic) else value
