"""Kernels that write numbers, of events or of their objects, for rows that are asked for, instead of judging these.

Invariant: a number is the interpreter's as float64; where it has none, none is written, and that is noted.
"""

from __future__ import annotations

from collections.abc import Mapping

from tagsel.engine.codegen import statements
from tagsel.engine.loops import Loops, Place
from tagsel.engine.source import GONE, OUT, Code, Source
from tagsel.language.traversal import trampoline
from tagsel.language.tree import Node, scoped


def emit_value(node: Node, types: Mapping[str, str]) -> Source:
    """The kernel that writes a bound number of each row into `OUT`; rows that have none do not pass."""
    code = Code(types)
    found = trampoline(statements(node, Place(), code))
    value, missing = (found, "") if isinstance(found, str) else found
    if missing != "True":
        with code.block(f"if {_there(missing)}"):
            code.line(f"store_f8({code.out(OUT)}, i, float64({value}))")
    return code.finish(_there(missing))


def emit_objects(node: Node, types: Mapping[str, str]) -> Source | None:
    """The kernel that writes a number of each object of each row, where its list has it, into `OUT`; `GONE` is 1 for
    those that have none.

    None where the objects are in slots, or nothing of a list is read.
    """
    over, body = node.value, node.args[0]
    (loop,) = over.loops
    members = [n.value for n, around in scoped(body) if n.op == "member" and not around]
    stored = [name for name in members if isinstance(name, str) and name in types]
    if loop.slots or loop.counter not in types or not stored:
        return None
    code = Code(types)
    loops = Loops(code, over, Place())
    found = trampoline(statements(body, loops.place, code))
    value, missing = (found, "") if isinstance(found, str) else found
    at = f"{code.start(loop.counter, stored[0])} + {loops.place.index}"
    if missing != "True":
        with code.block(f"if {_there(missing)}"):
            code.line(f"store_f8({code.out(OUT)}, {at}, float64({value}))")
    if missing:
        with code.block(f"if {missing}"):
            code.line(f"store_u1({code.out(GONE)}, {at}, uint8(1))")
    loops.close()
    return code.finish("True")


def _there(missing: str) -> str:
    """When a value is there."""
    return "False" if missing == "True" else f"not {missing}" if missing else "True"
