"""Momenta of combinations in kernels: of each object once an event, however many combinations it is in.

Before the loops of triples and larger ones start, what is summed (a momentum) is worked out for every object and laid
into `room`; a mass in the loops adds it up from there. Invariant: the same operations in the same order as the function
itself, so the same bits; an event of more than `ROOM` objects computes them anew for each combination.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

from tagsel.engine.loops import Emit, Place
from tagsel.engine.source import Code
from tagsel.engine.sums import objects_of
from tagsel.kernels.blocks import PARTS, ROOM, ROOMS
from tagsel.kernels.physics import SUMS
from tagsel.language.functions import FUNCTIONS, cell
from tagsel.language.tree import LOOPING_OPS, Aggregate, Loop, Node, walk_all

PAYS = 3
"""Variables of one list from which on its objects stand in more combinations than there are."""

_MOMENTUM = (("energy", (0, 1, 3)), ("px", (0, 2)), ("py", (0, 2)), ("pz", (0, 1)))
_TRANSVERSE = (("px", (0, 1)), ("py", (0, 1)))
SUMMED = {"mass": _MOMENTUM, "sum_eta": _MOMENTUM, "rapidity": _MOMENTUM, "sum_pt": _TRANSVERSE}
"""What is summed over objects by each function of `physics.SUMS`: functions, and which of the components they take."""


def lay(body: Node, over: Aggregate, place: Place, code: Code, emit: Emit) -> Generator[Any, Any, None]:
    """What goes before the loops of `over`: momenta of the objects that calls in `body` sum, where that pays."""
    often = [loop for loop in over.loops if _times(loop, over) >= PAYS]
    for call in _calls(body) if often else ():
        for up, args in objects_of(call) or ():
            if up >= len(over.loops) or over.loops[-1 - up] not in often:
                continue
            loop = over.loops[-1 - up]
            new = _laid(code, _key(call, loop, args)) is None
            if new and code.rooms < ROOMS and _there(loop, args, code):
                yield _fill(call, loop, args, place, code, emit)


def summed(node: Node, place: Place, code: Code, emit: Emit) -> Generator[Any, Any, tuple[str, str] | None]:
    """The value of a call whose objects' momenta are laid out; None where they are not."""
    objects = objects_of(node)
    if objects is None:
        return None
    places = []
    for up, args in objects:
        where = place.up(up)
        laid = None if where.over is None or where.missing else _laid(code, _key(node, where.over, args))
        if laid is None:
            return None
        places.append((where.index, *laid))
    value = code.let("0.0")
    kernel = FUNCTIONS[node.value].kernel
    with code.block("if " + " and ".join(dict.fromkeys(f"{size} <= {ROOM}" for _, _, size in places))):
        sums = []
        for part in range(len(SUMMED[kernel])):
            terms = [f"load_f8(room, {first} + {PARTS} * {index} + {part})" for index, first, _ in places]
            sums.append(" + ".join(terms))
        code.line(f"{value} = {code.invoke(SUMS[kernel][1].__name__, sums)}")
    with code.block("else"):
        components = []
        for arg in node.args:
            components.append((yield emit(arg, place, code))[0])
        code.line(f"{value} = {code.invoke(cell(node.value, 'kernel', 'kernels'), components)}")
    return value, ""


def _fill(
    call: Node, loop: Loop, args: tuple[Node, ...], place: Place, code: Code, emit: Emit
) -> Generator[Any, Any, None]:
    """The loop that lays out what is summed of each object of a list."""
    first = ROOM * PARTS * code.rooms
    code.rooms += 1
    size = code.counter(loop.counter)
    size = code.let(f"min({size}, int64({loop.slots}))" if loop.slots else size)
    index = code.new("j")
    with code.block(f"for {index} in range(min({size}, {ROOM}))"):
        components = []
        for arg in args:
            components.append((yield emit(arg, Place(index, loop, place), code))[0])
        for part, (name, takes) in enumerate(SUMMED[FUNCTIONS[call.value].kernel]):
            momentum = code.invoke(name, [components[k] for k in takes])
            code.line(f"store_f8(room, {first} + {PARTS} * {index} + {part}, {momentum})")
    code.known[-1][_key(call, loop, args)] = first, size


def _calls(node: Node) -> Iterator[Node]:
    """The calls in a body; not those in loops of its own, which number variables otherwise."""
    if node.op == "call":
        yield node
    for arg in () if node.op in LOOPING_OPS else node.args:
        yield from _calls(arg)


def _same(loop: Loop, other: Loop) -> bool:
    return (loop.counter, loop.slots) == (other.counter, other.slots)


def _key(call: Node, loop: Loop, args: tuple[Node, ...]) -> tuple[Any, ...]:
    return "laid", SUMMED[FUNCTIONS[call.value].kernel], loop.counter, loop.slots, args


def _times(loop: Loop, over: Aggregate) -> int:
    """How many loops run over the list of this one."""
    return sum(_same(loop, other) for other in over.loops)


def _laid(code: Code, key: tuple[Any, ...]) -> tuple[int, str] | None:
    """Where momenta are laid out, and the local that holds how many objects there are."""
    return next((known[key] for known in reversed(code.known) if key in known), None)


def _there(loop: Loop, args: tuple[Node, ...], code: Code) -> bool:
    """Whether a list's counter and all columns of the components are there."""
    if loop.counter not in code.types:
        return False
    for node in walk_all(args):
        if node.op == "member":
            names = [node.value] if isinstance(node.value, str) else node.value
            if not all(name in code.types for name in names):
                return False
    return True
