"""The slow oracle: what a bound cut means for one row, in plain Python.

Written from `tagsel/language/tree.py` and DESIGN §5 alone; it shares no code with the interpreter, the kernels or the
SQL. Integers are Python's (exact), float64 is Python's float, float32 is a float rounded through four bytes.
Missing is `MISSING`, which is not NaN. Elementary functions are our own by definition (their accuracy is tested
against mpmath in tests/kernels), so they are taken from the kernels' one-value form.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

from tagsel.language.tree import INT_MAX, INT_MIN, Aggregate, Node


class _Missing:
    def __repr__(self) -> str:
        return "missing"


MISSING = _Missing()

Row = Mapping[str, Any]
"""A row by column: int, float, bool, str, a list of these, or None where the block lacks the column.

Words of 32 bits are unsigned ints; words of 64 bits are unsigned, too: their signed pattern is taken here.
"""


Objects = tuple[int | None, ...]
"""The places in their lists of the objects around a node, the innermost last; None: a `let` chose none."""


class Unanswerable(Exception):
    """The row overflows, or takes % 0."""


def to_f32(x: float) -> float:
    """`x` rounded to the nearest float32, as a float."""
    try:
        return struct.unpack("<f", struct.pack("<f", x))[0]
    except OverflowError:
        return math.copysign(math.inf, x)


def signed(x: int) -> int:
    """The 64-bit pattern `x` as a signed integer."""
    x &= 2**64 - 1
    return x - 2**64 if x >= 2**63 else x


def oracle(node: Node, row: Row) -> bool:
    """Whether `row` passes; raises Unanswerable."""
    verdict = evaluate(node, row, ())
    assert isinstance(verdict, bool)
    return verdict


def evaluate(node: Node, row: Row, objects: Objects) -> Any:
    """Value, MISSING or verdict of a node; `objects` are those around it."""
    op = node.op
    if op in LEAVES:
        return LEAVES[op](node, row, objects)
    if op == "aggregate":
        return aggregate(node, row, objects)
    if op in ("let", "let_value"):
        return let(node, row, objects)
    if op == "given":
        return evaluate(node.args[0], row, objects) if evaluate(node.args[1], row, objects) else MISSING
    if op in ("either", "if_else"):
        return evaluate(node.args[1 if evaluate(node.args[0], row, objects) else 2], row, objects)
    if op == "and":
        return all(evaluate(arg, row, objects) for arg in node.args)
    if op == "or":
        return any(evaluate(arg, row, objects) for arg in node.args)
    if op == "not":
        return not evaluate(node.args[0], row, objects)
    args = [evaluate(arg, row, objects) for arg in node.args]
    if op == "at":
        return at(node, row, args[0])
    if op == "present":
        return args[0] is not MISSING
    if any(a is MISSING for a in args):
        return False if op in ATOMS else MISSING
    if op in ATOMS:
        return ATOMS[op](node, *args)
    return VALUES[op](node, *args)


# leaves


def word(node: Node, value: Any) -> Any:
    """A stored value as the language sees it."""
    if value is None:
        return MISSING
    return signed(value) if node.kind == "word" else value


def column(node: Node, row: Row, objects: Objects) -> Any:
    return word(node, row.get(node.value))


def element(node: Node, row: Row, objects: Objects) -> Any:
    name, counter, k = node.value
    values, n = row.get(name), row.get(counter)
    if values is None or n is None or k >= n:
        return MISSING
    return word(node, values[k])


def at(node: Node, row: Row, index: Any) -> Any:
    name, counter = node.value
    values, n = row.get(name), row.get(counter)
    if values is None or n is None or index is MISSING or not 0 <= index < n:
        return MISSING
    return word(node, values[index])


def slot(node: Node, row: Row, objects: Objects) -> Any:
    name, counter, k = node.value
    value, n = row.get(name), row.get(counter)
    if value is None or n is None or k >= n:
        return MISSING
    return word(node, value)


def member(node: Node, row: Row, objects: Objects) -> Any:
    return of_object(node, row, node.value, objects[-1])


def outer(node: Node, row: Row, objects: Objects) -> Any:
    stored, between = node.value
    return of_object(node, row, stored, objects[len(objects) - 1 - between])


def of_object(node: Node, row: Row, stored: Any, index: int | None) -> Any:
    """A stored member of the object at a place of its list; no place is an object that a `let` did not find."""
    if index is None:
        return MISSING
    if isinstance(stored, tuple):
        return word(node, row.get(stored[index]))
    values = row.get(stored)
    return MISSING if values is None else word(node, values[index])


def trigger(node: Node, row: Row, objects: Objects) -> Any:
    menu = row.get(node.value.menu)
    for menu_id, name, bit in node.value.bits:
        if menu is not None and menu_id == menu:
            value = row.get(name)
            return MISSING if value is None else (value >> bit) & 1 == 1
    return MISSING


def same(node: Node, row: Row, objects: Objects) -> bool:
    mark, *numbers = node.value
    a, b = (objects[len(objects) - 1 - n] for n in numbers)
    if a is None or b is None:
        return False
    return a == b if mark == "==" else a != b


LEAVES = {
    "const": lambda node, row, objects: node.value,
    "column": column,
    "element": element,
    "slot": slot,
    "member": member,
    "outer": outer,
    "chosen": outer,
    "same": same,
    "trigger": trigger,
}


# values


def whole(x: int) -> int:
    """`x`, if 64 bits hold it."""
    if not INT_MIN <= x <= INT_MAX:
        raise Unanswerable("overflow")
    return x


def number(node: Node, x: Any) -> Any:
    """A result of the node's kind."""
    if node.kind == "int":
        return whole(x)
    return to_f32(x) if node.kind == "f32" else float(x)


def div(node: Node, a: float, b: float) -> float:
    if b == 0:
        if a == 0 or a != a:
            return math.nan
        return math.copysign(math.inf, math.copysign(1, a) * math.copysign(1, b))
    return a / b


def mul(node: Node, a: Any, b: Any) -> Any:
    return number(node, a * b)


def mod(node: Node, a: int, b: int) -> int:
    if b == 0:
        raise Unanswerable("% 0")
    return a % b


def shl(node: Node, a: int, n: int) -> int:
    return signed(a << n) if node.kind == "word" else whole(a << n)


def shr(node: Node, a: int, n: int) -> int:
    return signed((a & (2**64 - 1)) >> n) if node.kind == "word" else a >> n


def pick(node: Node, a: Any, b: Any) -> Any:
    if a != a:
        return b
    return b if (b < a if node.value == "min2" else b > a) else a


def call(node: Node, *args: float) -> float:
    import numpy as np

    from tagsel.language.functions import numpy_function

    with np.errstate(all="ignore"):
        return float(numpy_function(node.value)(*(np.float64(a) for a in args)))


def cast(node: Node, a: Any) -> Any:
    return int(a) if node.kind == "int" else float(a)


VALUES = {
    "cast": cast,
    "neg": lambda node, a: number(node, -a),
    "abs": lambda node, a: number(node, abs(a)),
    "add": lambda node, a, b: number(node, a + b),
    "sub": lambda node, a, b: number(node, a - b),
    "mul": mul,
    "div": div,
    "mod": mod,
    "bit_and": lambda node, a, b: a & b,
    "bit_or": lambda node, a, b: a | b,
    "bit_xor": lambda node, a, b: a ^ b,
    "bit_not": lambda node, a: ~a,
    "shl": shl,
    "shr": shr,
    "pick": pick,
    "call": call,
}


# verdicts


def compare(node: Node, a: Any, b: Any) -> bool:
    return {
        "<": lambda: a < b,
        "<=": lambda: a <= b,
        ">": lambda: a > b,
        ">=": lambda: a >= b,
        "==": lambda: a == b,
        "!=": lambda: a != b,
    }[node.value]()


def in_lumi(node: Node, run: int, lumi: int) -> bool:
    table = node.value
    ranges = zip(table.run.tolist(), table.first.tolist(), table.last.tolist(), strict=True)
    return any(r == run and first <= lumi <= last for r, first, last in ranges)


ATOMS = {
    "cmp": compare,
    "in": lambda node, a: any(a == v for v in node.value),
    "truth": lambda node, a: bool(a),
    "test": lambda node, a: {"isnan": math.isnan, "isinf": math.isinf, "isfinite": math.isfinite}[node.value](a),
    "in_lumi": in_lumi,
}


# aggregates


def combinations(over: Aggregate, row: Row) -> list[tuple[int, ...]] | None:
    """The places of every combination of objects, in order; None where a counter is missing."""
    found: list[tuple[int, ...]] = [()]
    for loop in over.loops:
        n = row.get(loop.counter)
        if n is None:
            return None
        n = min(max(n, 0), loop.slots) if loop.slots else max(n, 0)
        found = [(*c, k) for c in found for k in range(n) if not loop.after or k > c[-1]]
    return found


def aggregate(node: Node, row: Row, objects: Objects) -> Any:
    every = combinations(node.value, row)
    if every is None:
        return MISSING
    results = [evaluate(node.args[0], row, (*objects, *c)) for c in every]
    return REDUCE[node.value.function](node, [r for r in results if r is not MISSING])


def let(node: Node, row: Row, objects: Objects) -> Any:
    """The answer of the rest with the best combination: the first of equals, NaN and missing passed over."""
    sign = {"argmin": 1, "argmax": -1}[node.value.function]
    ranked = []
    for place, c in enumerate(combinations(node.value, row) or []):
        value = evaluate(node.args[0], row, (*objects, *c))
        if value is not MISSING and value == value:
            ranked.append((sign * value, place, c))
    chosen: Objects = min(ranked)[2] if ranked else (None,) * len(node.value.loops)
    return evaluate(node.args[1], row, (*objects, *chosen))


def total(node: Node, values: list[Any]) -> Any:
    running: Any = 0 if node.kind == "int" else 0.0
    for v in values:
        running = whole(running + v) if node.kind == "int" else running + v
    return running


def extreme(better: Any) -> Any:
    def reduce(node: Node, values: list[Any]) -> Any:
        best: Any = MISSING
        for v in values:
            if v == v and (best is MISSING or better(v, best)):
                best = v
        return best

    return reduce


REDUCE = {
    "count": lambda node, verdicts: sum(verdicts),
    "any": lambda node, verdicts: any(verdicts),
    "all": lambda node, verdicts: all(verdicts),
    "sum": total,
    "min": extreme(lambda a, b: a < b),
    "max": extreme(lambda a, b: a > b),
}
