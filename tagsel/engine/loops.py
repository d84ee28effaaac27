"""Loops of a kernel: over objects and their combinations, and the objects that a `let` chooses.

Invariant: loops end early only where the caller says that no error can be lost by it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from tagsel.engine.source import ZEROS, Code
from tagsel.language.tree import Aggregate, Loop, Node

Value = tuple[str, str]
"""(expression, when it is missing: "" never, "True" always, or a local)."""


@dataclass(frozen=True)
class Place:
    """Where a node stands: of the event, or of object `index` of a loop, with the places `around` it.

    `missing`: when there is no such object ("" never): of one that a `let` looked for.
    """

    index: str = ""
    over: Loop | None = None
    around: Place | None = None
    missing: str = ""

    def up(self, steps: int) -> Place:
        """The place so many variables further out."""
        place = self
        for _ in range(steps):
            assert place.around is not None  # bind numbers variables
            place = place.around
        return place


Emit = Callable[[Node, Place, Code], Generator[Any, Any, Any]]
"""What writes the statements of any node."""


class Loops:
    """The loops of an aggregate, open; `early` says when all of them may end."""

    def __init__(self, code: Code, over: Aggregate, place: Place, early: str = "") -> None:
        self.code, self.early, self.place = code, early, place
        self.blocks: list[AbstractContextManager[None]] = []
        self.indices: list[str] = []
        for loop in over.loops:
            size, index = code.counter(loop.counter), code.new("j")
            size = f"min({size}, int64({loop.slots}))" if loop.slots else size
            first = f"{self.indices[-1]} + 1, " if loop.after else ""
            self.blocks.append(code.block(f"for {index} in range({first}{size})"))
            self.blocks[-1].__enter__()
            self.indices.append(index)
            self.place = Place(index, loop, self.place)

    def close(self) -> None:
        """End the loops, the innermost first."""
        for block in reversed(self.blocks):
            if self.early:
                with self.code.block(f"if {self.early}"):
                    self.code.line("break")
            block.__exit__(None, None, None)


def better(sign: str, best: str, found: str, value: Value) -> str:
    """When a value is there, is a number, and beats the best so far."""
    v, missing = value
    better = f"{v} == {v} and (not {found} or {v} {sign} {best})"
    return f"not {missing} and {better}" if missing else better


def let(node: Node, place: Place, code: Code, emit: Emit) -> Generator[Any, Any, Any]:
    """The best combination's places, then the rest with them."""
    over, (body, rest) = node.value, node.args
    chosen, missing = [code.let("int64(0)") for _ in over.loops], "True"
    if all(loop.counter in code.types for loop in over.loops):
        best, found = code.let(ZEROS[body.kind]), code.let("False")
        loops = Loops(code, over, place)
        value = yield emit(body, loops.place, code)
        if value[1] != "True":
            with code.block(f"if {better('<' if over.function == 'argmin' else '>', best, found, value)}"):
                code.line(f"{best} = {value[0]}")
                code.line(f"{found} = True")
                for name, index in zip(chosen, loops.indices, strict=True):
                    code.line(f"{name} = {index}")
        loops.close()
        missing = code.let(f"not {found}")
    for name, loop in zip(chosen, over.loops, strict=True):
        place = Place(name, loop, place, missing)
    result = yield emit(rest, place, code)
    return result


def either(node: Node, place: Place, code: Code, emit: Emit) -> Generator[Any, Any, Value]:
    """One of two values, of which only the one that the condition chooses is computed."""
    condition = yield emit(node.args[0], place, code)
    value, missing = code.let(ZEROS[node.kind]), code.let("False")
    for test, arg in ((f"if {condition}", node.args[1]), ("else", node.args[2])):
        with code.block(test):
            found = yield emit(arg, place, code)
            code.line(f"{value} = {found[0]}")
            code.line(f"{missing} = {found[1] or 'False'}")
    return value, missing


def given(node: Node, place: Place, code: Code, emit: Emit) -> Generator[Any, Any, Value]:
    """A value that is computed only where its condition is true."""
    condition = yield emit(node.args[1], place, code)
    value, missing = code.let(ZEROS[node.kind]), code.let("True")
    with code.block(f"if {condition}"):
        found = yield emit(node.args[0], place, code)
        code.line(f"{value} = {found[0]}")
        code.line(f"{missing} = {found[1] or 'False'}")
    return value, missing
