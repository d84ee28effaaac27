"""What each op of a bound tree is in the source of a kernel: one table from op to statements.

A row's verdict is worked out statement by statement: one local a node; `and` and `or` as chains of ifs, so that
a term that is not reached is not computed; aggregates as inner loops; a missing value as a second local of type
bool, which exists only where a value can be missing. Invariant: a row gets the verdict, and the error, that the
interpreter gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tagsel.engine import hoist
from tagsel.engine.loops import Emit, Loops, Place, Value, better, either, given, let
from tagsel.engine.source import CASTS, FAILED, ZEROS, Code, Source
from tagsel.language.functions import cell
from tagsel.language.traversal import trampoline
from tagsel.language.tree import LumiTable, Node, walk

FEW = 8
"""Longer lists of constants are looked up in a sorted table."""


def emit(node: Node, types: Mapping[str, str]) -> Source:
    """The kernel of a bound boolean tree; `types` are those of the columns that there are ("f4"), others are absent."""
    code = Code(types, dense=plain(node))
    return code.finish(trampoline(statements(node, Place(), code)))


PLAIN = frozenset(
    {
        "const",
        "column",
        "slot",
        "cast",
        "neg",
        "abs",
        "add",
        "sub",
        "mul",
        "div",
        "bit_and",
        "bit_or",
        "bit_xor",
        "bit_not",
        "not",
        "and",
        "or",
        "if_else",
        "cmp",
        "in",
        "truth",
        "test",
        "present",
    }
)
"""Ops that need no branch: on every row, wanted or not, they read what is there and cannot fail."""


def plain(node: Node) -> bool:
    """Whether a tree can be computed without branches, so that a loop over it runs in vectors."""
    return not node.raises and all(n.op in PLAIN and (n.op != "in" or len(n.value) <= FEW) for n in walk(node))


def statements(node: Node, place: Place, code: Code) -> Generator[Any, Any, Any]:
    """Statements for a node; a verdict is an expression, a value a Value. Yields the nodes below it."""
    if node.op in ("and", "or"):
        result = yield _chain(node, place, code)
        return result
    if node.op in LOOPS:
        result = yield LOOPS[node.op](node, place, code)
        return result
    if node.op == "call":
        for known in reversed(code.known):
            if (place, node) in known:
                return known[place, node]
        laid = yield hoist.summed(node, place, code, statements)
        if laid is not None:
            code.known[-1][place, node] = laid
            return laid
    args = []
    for arg in node.args:
        args.append((yield statements(arg, place, code)))
    result = OPS[node.op](code, node, place, *args)
    if node.op == "call":  # it is dear: `60 < mass(a, b) < 120` computes it once
        code.known[-1][place, node] = result
    return result


def _chain(node: Node, place: Place, code: Code) -> Generator[Any, Any, str]:
    """`and`, `or`: a term is computed only while it can change the verdict."""
    if plain(node):
        terms = []
        for arg in node.args:
            terms.append((yield statements(arg, place, code)))
        return code.let((" & " if node.op == "and" else " | ").join(terms))
    verdict = code.let((yield statements(node.args[0], place, code)))
    for arg in node.args[1:]:
        with code.block(f"if {verdict}" if node.op == "and" else f"if not {verdict}"):
            code.line(f"{verdict} = {yield statements(arg, place, code)}")
    return verdict


def _if_else(node: Node, place: Place, code: Code) -> Generator[Any, Any, str]:
    """One of two conditions; only the one that the first chooses is computed, but where neither can fail."""
    condition, yes, no = node.args
    test = yield statements(condition, place, code)
    if plain(node):
        a = yield statements(yes, place, code)
        b = yield statements(no, place, code)
        return code.let(f"({test} & {a}) | ((not {test}) & {b})")
    verdict = code.let("False")
    with code.block(f"if {test}"):
        code.line(f"{verdict} = {yield statements(yes, place, code)}")
    with code.block("else"):
        code.line(f"{verdict} = {yield statements(no, place, code)}")
    return verdict


def _aggregate(node: Node, place: Place, code: Code) -> Generator[Any, Any, Value]:
    """A loop over the objects of the event; it ends early only where no object's error can be lost by it."""
    over, body = node.value, node.args[0]
    if any(loop.counter not in code.types for loop in over.loops):
        return ZEROS[node.kind], "True"
    begin, step, missing = REDUCE[over.function]
    result = code.let(begin(node))
    found = code.let("False") if missing else ""
    early = f"{'' if over.function == 'any' else 'not '}{result}"
    yield hoist.lay(body, over, place, code, statements)
    loops = Loops(code, over, place, early if over.function in ("any", "all") and not body.raises else "")
    value = yield statements(body, loops.place, code)
    step(code, node, result, found, value)
    loops.close()
    if not found:
        return result, ""
    return result, code.let(f"not {found}")


def _let(node: Node, place: Place, code: Code) -> Generator[Any, Any, Any]:
    yield hoist.lay(node.args[0], node.value, place, code, statements)
    return (yield let(node, place, code, statements))


LOOPS: Mapping[str, Emit] = {
    "aggregate": _aggregate,
    "let": _let,
    "let_value": _let,
    "given": lambda node, place, code: given(node, place, code, statements),
    "either": lambda node, place, code: either(node, place, code, statements),
    "if_else": _if_else,
}
"""Ops that say where their args are computed."""


def _unless(missing: str) -> str:
    return f"not {missing}" if missing else "True"


def _sum_step(code: Code, node: Node, result: str, found: str, value: Value) -> None:
    if value[1] == "True":
        return
    with code.block(f"if {_unless(value[1])}"):
        if node.kind == "int" and node.raises:
            code.line(f"{result}, w{result} = exact_add({result}, {value[0]})")
            with code.block(f"if w{result}"):
                code.line(f"return {FAILED}")
        else:
            code.line(f"{result} += {value[0]}")


def _extreme_step(sign: str) -> Callable[[Code, Node, str, str, Value], None]:
    def step(code: Code, node: Node, result: str, found: str, value: Value) -> None:
        if value[1] == "True":
            return
        with code.block(f"if {better(sign, result, found, value)}"):
            code.line(f"{result} = {value[0]}")
            code.line(f"{found} = True")

    return step


def _count_step(code: Code, node: Node, result: str, found: str, value: Any) -> None:
    code.line(f"{result} += int64({value})")


REDUCE: Mapping[str, tuple[Callable[[Node], str], Callable[..., None], bool]] = {
    "count": (lambda node: "int64(0)", _count_step, False),
    "any": (lambda node: "False", lambda code, node, r, f, v: code.line(f"{r} = {r} or {v}"), False),
    "all": (lambda node: "True", lambda code, node, r, f, v: code.line(f"{r} = {r} and {v}"), False),
    "sum": (lambda node: ZEROS[node.kind], _sum_step, False),
    "min": (lambda node: ZEROS[node.kind], _extreme_step("<"), True),
    "max": (lambda node: ZEROS[node.kind], _extreme_step(">"), True),
}
"""Every aggregate: (where it begins, what an object does, whether it is missing of nothing)."""


# values


def _either(code: Code, *missing: str) -> str:
    """When one of several is missing."""
    some = list(dict.fromkeys(m for m in missing if m))
    if "True" in some:
        return "True"
    return code.let(" | ".join(some)) if len(some) > 1 else "".join(some)


def _guarded(code: Code, kind: str, missing: str, expression: str) -> Value:
    """An expression that may be computed only where it is not missing."""
    value = code.let(ZEROS[kind])
    with code.block(f"if not {missing}"):
        code.line(f"{value} = {expression}")
    return value, missing


def _const(code: Code, node: Node, place: Place) -> Value:
    return code.constant(node.value, node.kind), ""


def _column(code: Code, node: Node, place: Place) -> Value:
    if node.value not in code.types:
        return ZEROS[node.kind], "True"
    return code.let(code.column(node.value, "i", node.kind)), ""


def _slot(code: Code, node: Node, place: Place) -> Value:
    column, counter, k = node.value
    if column not in code.types or counter not in code.types:
        return ZEROS[node.kind], "True"
    missing = code.let(f"{code.counter(counter)} <= {k}")
    return code.let(code.column(column, "i", node.kind)), missing


def _element(code: Code, node: Node, place: Place) -> Value:
    column, counter, k = node.value
    if column not in code.types or counter not in code.types:
        return ZEROS[node.kind], "True"
    missing = code.let(f"{code.counter(counter)} <= {k}")
    index = f"{code.start(counter, column)} + {k}"
    return _guarded(code, node.kind, missing, code.column(column, index, node.kind))


def _at(code: Code, node: Node, place: Place, index: Value) -> Value:
    column, counter = node.value
    if column not in code.types or counter not in code.types or index[1] == "True":
        return ZEROS[node.kind], "True"
    outside = code.let(f"({index[0]} < 0) | ({index[0]} >= {code.counter(counter)})")
    missing = _either(code, index[1], outside)
    place_in_column = f"{code.start(counter, column)} + {index[0]}"
    return _guarded(code, node.kind, missing, code.column(column, place_in_column, node.kind))


def _member(code: Code, node: Node, place: Place) -> Value:
    assert place.over is not None  # bind puts members inside aggregates only
    if isinstance(node.value, str):
        if node.value not in code.types:
            return ZEROS[node.kind], "True"
        start = code.start(place.over.counter, node.value)
        return code.let(code.column(node.value, f"{start} + {place.index}", node.kind)), ""
    there = [(k, name) for k, name in enumerate(node.value) if name in code.types]
    value, missing = code.let(ZEROS[node.kind]), code.let("True")
    for k, name in there:
        with code.block(f"if {place.index} == {k}"):
            code.line(f"{value} = {code.column(name, 'i', node.kind)}")
            code.line(f"{missing} = False")
    return value, "" if len(there) == len(node.value) else missing if there else "True"


def _outer(code: Code, node: Node, place: Place) -> Value:
    """A member of an object further out, or of one that a `let` chose, which may not be there."""
    stored, up = node.value
    where = place.up(up)
    if not where.missing:
        return _member(code, replace(node, value=stored), where)
    if where.missing == "True":
        return ZEROS[node.kind], "True"
    value, missing = code.let(ZEROS[node.kind]), code.let("True")
    with code.block(f"if not {where.missing}"):
        found = _member(code, replace(node, value=stored), where)
        code.line(f"{value} = {found[0]}")
        code.line(f"{missing} = {found[1] or 'False'}")
    return value, missing


def _trigger(code: Code, node: Node, place: Place) -> Value:
    bits = [b for b in node.value.bits if b[1] in code.types]
    if node.value.menu not in code.types or not bits:
        return "False", "True"
    menu = code.let(code.column(node.value.menu, "i", "int"))
    value, missing = code.let("False"), code.let("True")
    menus_of: dict[tuple[str, int], list[int]] = {}  # many menus have the chain at one place
    for menu_id, column, bit in bits:
        menus_of.setdefault((column, bit), []).append(menu_id)
    for (column, bit), menus in menus_of.items():
        with code.block(f"if {_among(code, menu, menus, 'int')}"):
            shifted = f"{code.column(column, 'i', 'word')} >> {code.constant(bit, 'int')}"
            code.line(f"{value} = (({shifted}) & 1) == 1")
            code.line(f"{missing} = False")
    return value, missing


def _plain(template: str) -> Callable[..., Value]:
    """An op that always has an answer: a template over its arguments."""

    def op(code: Code, node: Node, place: Place, *args: Value) -> Value:
        return code.let(template.format(*(a[0] for a in args))), _either(code, *(a[1] for a in args))

    return op


def _exact(name: str, otherwise: str = "") -> Callable[..., Value]:
    """An op on integers that may have no answer; `otherwise` is the template for floats."""

    def op(code: Code, node: Node, place: Place, *args: Value) -> Value:
        if otherwise and (node.kind != "int" or not node.raises):
            return _plain(otherwise)(code, node, place, *args)
        missing = _either(code, *(a[1] for a in args))
        value = code.let(ZEROS["int"])
        code.line(f"{value}, w{value} = {_named(name, node)}({', '.join(a[0] for a in args)})")
        if node.raises and missing != "True":
            with code.block(f"if w{value} and not {missing}" if missing else f"if w{value}"):
                code.line(f"return {FAILED}")
        return value, missing

    return op


def _named(name: str, node: Node) -> str:
    return f"exact_{name}".replace("shift_", "shift_word_" if node.kind == "word" else "shift_")


def _cast(code: Code, node: Node, place: Place, a: Value) -> Value:
    return code.let(CASTS[node.kind].format(a[0])), a[1]


def _call(code: Code, node: Node, place: Place, *args: Value) -> Value:
    name = cell(node.value, "kernel", "kernels")
    missing = _either(code, *(a[1] for a in args))
    expression = code.invoke(name, [a[0] for a in args])
    if missing == "True":
        return ZEROS[node.kind], missing
    return _guarded(code, node.kind, missing, expression) if missing else (code.let(expression), "")


def _pick(code: Code, node: Node, place: Place, a: Value, b: Value) -> Value:
    sign = "<" if node.value == "min2" else ">"
    template = f"{{1}} if ({{1}} {sign} {{0}} or {{0}} != {{0}}) else {{0}}"
    return _plain(template)(code, node, place, a, b)


# verdicts


def _atom(code: Code, expression: str, *missing: str) -> str:
    """A verdict that is false where something is missing."""
    gone = _either(code, *missing)
    if gone == "True":
        return "False"
    return code.let(f"(not {gone}) & ({expression})" if gone else expression)


def _cmp(code: Code, node: Node, place: Place, a: Value, b: Value) -> str:
    return _atom(code, _narrow(code, node) or f"{a[0]} {node.value} {b[0]}", a[1], b[1])


def _narrow(code: Code, node: Node) -> str:
    """The comparison of a stored number of 32 bits or fewer with a constant that fits as well: twice the lanes."""
    left, right = node.args
    name = left.value if left.op == "column" else left.value[0] if left.op == "slot" else ""
    if left.kind != "int" or right.op != "const" or code.types.get(name) not in NARROW or abs(right.value) >= 2**31:
        return ""
    return f"{code.column(name, 'i', 'i4')} {node.value} {code.constant(right.value, 'i4')}"


NARROW = ("i1", "i2", "i4", "u1", "u2")
"""Stored types whose every value an int32 holds."""


def _in(code: Code, node: Node, place: Place, a: Value) -> str:
    return _atom(code, _among(code, a[0], node.value, node.args[0].kind), a[1])


def _among(code: Code, value: str, constants: Sequence[Any], kind: str) -> str:
    """Whether a value is one of some constants of a kind, as an expression."""
    if len(constants) <= FEW:
        return " | ".join(f"({value} == {code.constant(constant, kind)})" for constant in constants)
    floats = kind in ("f32", "f64")
    values = np.unique(np.array(constants, np.float64 if floats else np.int64))
    table, size = code.table(values), code.constant(values.size, "int")
    return f"contains_{'f8' if floats else 'i8'}({table}, {size}, {value})"


def _same(code: Code, node: Node, place: Place) -> str:
    mark, *numbers = node.value
    a, b = (place.up(up) for up in numbers)
    return _atom(code, f"{a.index} {mark} {b.index}", a.missing, b.missing)


def _in_lumi(code: Code, node: Node, place: Place, run: Value, lumi: Value) -> str:
    ranges: LumiTable = node.value
    tables = ", ".join(code.table(part.astype(np.int64)) for part in (ranges.run, ranges.first, ranges.last))
    size = code.constant(len(ranges.run), "int")
    return _atom(code, f"within({tables}, {size}, {run[0]}, {lumi[0]})", run[1], lumi[1])


TESTS = {"isnan": "{0} != {0}", "isinf": "abs({0}) == INF", "isfinite": "abs({0}) < INF"}

OPS: Mapping[str, Callable[..., Any]] = {
    "const": _const,
    "column": _column,
    "element": _element,
    "slot": _slot,
    "at": _at,
    "member": _member,
    "outer": _outer,
    "chosen": _outer,
    "trigger": _trigger,
    "cast": _cast,
    "neg": _exact("negative", "-{0}"),
    "abs": _exact("absolute", "abs({0})"),
    "add": _exact("add", "{0} + {1}"),
    "sub": _exact("subtract", "{0} - {1}"),
    "mul": _exact("multiply", "{0} * {1}"),
    "mod": _exact("modulo"),
    "div": _plain("{0} / {1}"),
    "bit_and": _plain("{0} & {1}"),
    "bit_or": _plain("{0} | {1}"),
    "bit_xor": _plain("{0} ^ {1}"),
    "bit_not": _plain("~{0}"),
    "shl": _exact("shift_left"),
    "shr": _exact("shift_right"),
    "call": _call,
    "pick": _pick,
    "not": lambda code, node, place, a: code.let(f"not {a}"),
    "cmp": _cmp,
    "in": _in,
    "in_lumi": _in_lumi,
    "same": _same,
    "truth": lambda code, node, place, a: _atom(code, a[0], a[1]),
    "test": lambda code, node, place, a: _atom(code, TESTS[node.value].format(a[0]), a[1]),
    "present": lambda code, node, place, a: code.let(f"not {a[1]}" if a[1] else "True"),
}
"""Every op but `and`, `or`, and those of `LOOPS`."""
