"""The fourth meaning of a bound cut: a boolean expression of DuckDB's SQL.

Invariant: over a table with the part's columns, the expression is true exactly for the rows that pass (outside
4 ulp of a threshold, where elementary functions are in play), and never NULL; what SQL cannot say raises CutError.

Missing is NULL: a column that the part lacks must be there as NULLs. NaN is guarded: DuckDB holds it equal to itself
and above every number. Objects of an aggregate are numbers `i__` in `range(counter)`; members are `list[i__ + 1]`.
What argmin and argmax choose has no expression here.
A cut that may overflow, or take `% 0`, is refused: SQL promises no order of evaluation, so it could fail on rows
that the cut never reaches.

Words of 32 bits in a signed column (as a TAG part stores them) are named by `words`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count

from tagsel.errors import CutError
from tagsel.language.functions import cell
from tagsel.language.traversal import fold
from tagsel.language.tree import BOOLEAN_OPS, JOINING_OPS, Loop, Node, walk

MOST_TERMS = 500
"""DuckDB was killed at 10,000 terms on 24 GB."""

MOST_RANGES = 500
"""Most ranges of a good-run list in one expression."""

MOST_TEXT = 1_000_000
"""Longest expression, in characters: guards repeat their operands."""

TYPES = {"bool": "BOOLEAN", "int": "BIGINT", "f32": "FLOAT", "f64": "DOUBLE", "word": "BIGINT", "str": "VARCHAR"}


def to_sql(node: Node, words: Collection[str] = ()) -> str:
    """A DuckDB expression for the bound boolean tree `node`.

    `words`: columns with 32-bit words as signed patterns, which the language reads zero-extended.
    Raises CutError "… not supported in SQL" where there is no such expression.

    >>> n, two = Node("column", value="n", kind="int"), Node("const", value=2, kind="int")
    >>> to_sql(Node("cmp", (n, two), ">=", "bool"))
    'coalesce(("n")::BIGINT >= 2, false)'
    """
    terms = sum(1 for part in walk(node) if part.op in BOOLEAN_OPS - JOINING_OPS)
    if terms > MOST_TERMS:
        raise _unsupported(node, f"{terms} terms, more than {MOST_TERMS}, are")
    text = fold(node, lambda part, args: _write(part, args, words))
    if len(text) > MOST_TEXT:
        raise _unsupported(node, f"an expression of {len(text)} characters, more than {MOST_TEXT}, is")
    return text


def _unsupported(node: Node, what: str) -> CutError:
    return CutError(f"{what} not supported in SQL", position=node.pos, length=node.length, op=node.op)


def _write(node: Node, args: Sequence[str], words: Collection[str]) -> str:
    """The SQL of a node from that of its arguments."""
    if node.op in ("column", "element", "slot", "at", "member", "outer"):
        return _stored(node, words, *args)
    return WRITERS[node.op](node, *args)


# leaves


def quote(name: str) -> str:
    """A column's name."""
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _const(node: Node) -> str:
    return literal(node.value, node.kind)


def literal(value: object, kind: str) -> str:
    """A constant, exactly: floats are read from their text as the type that they have."""
    if kind == "str":
        return _text(str(value))
    if kind == "bool":
        return "true" if value else "false"
    if kind in ("int", "word") and isinstance(value, int) and 0 <= value < 2**31:
        return str(value)
    return f"{_text(repr(value))}::{TYPES[kind]}"


def _stored(node: Node, words: Collection[str], index: str = "") -> str:
    """A column, an element, a slot, a member; words zero-extended."""
    if node.op == "column":
        name, text = node.value, quote(node.value)
    elif node.op == "element":
        name, counter, k = node.value
        text = f"CASE WHEN {quote(counter)} > {k} THEN {quote(name)}[{k + 1}] END"
    elif node.op == "at":
        name, counter = node.value
        text = f"CASE WHEN {index} >= 0 AND {index} < {quote(counter)} THEN {quote(name)}[{index} + 1] END"
    elif node.op == "slot":
        name, counter, k = node.value
        text = f"CASE WHEN {quote(counter)} > {k} THEN {quote(name)} END"
    else:
        stored, up = (node.value, 0) if node.op == "member" else node.value
        name = stored if isinstance(stored, str) else stored[0]
        held = quote(stored) if isinstance(stored, str) else f"[{', '.join(map(quote, stored))}]"
        text = f"{held}[{_MARK.format(up)} + 1]"
    if node.kind == "int":
        return f"(({text})::BIGINT & 4294967295)" if name in words else f"({text})::BIGINT"
    return f"({text})"


def _trigger(node: Node) -> str:
    cases = (
        f"WHEN {menu} THEN ({quote(column)}::BIGINT & {literal(_signed(1 << bit), 'int')}) <> 0"
        for menu, column, bit in node.value.bits
    )
    return f"(CASE {quote(node.value.menu)} {' '.join(cases)} END)"


def _signed(pattern: int) -> int:
    return pattern - 2**64 if pattern >= 2**63 else pattern


# values


def _exact(template: str) -> Callable[..., str]:
    """An operator on ints and floats, which must not be able to overflow."""

    def write(node: Node, *args: str) -> str:
        if node.raises:
            raise _unsupported(node, "arithmetic that may overflow, or take % 0, is")
        return template.format(*args)

    return write


def _mod(node: Node, a: str, b: str) -> str:
    """The remainder with the divisor's sign; DuckDB's has the dividend's, and fails at the least integer % -1."""
    if node.raises:
        raise _unsupported(node, "% that may be % 0 is")
    rest = f"({a} % {b})"
    return (
        f"(CASE WHEN {b} = -1 THEN 0 WHEN {rest} <> 0 AND ({rest} < 0) <> ({b} < 0) THEN {rest} + {b} ELSE {rest} END)"
    )


def _shl(node: Node, a: str, n: str) -> str:
    count = node.args[1]
    if node.raises or node.kind == "word" or count.op != "const":
        raise _unsupported(node, "<< of a word, or one that may overflow, is")
    return f"({a} * {literal(2**count.value, 'int')})"


def _shr(node: Node, a: str, n: str) -> str:
    count = node.args[1]
    if node.raises or count.op != "const":
        raise _unsupported(node, ">> by a number that is not constant is")
    steps = min(count.value, 63)
    if node.kind == "word" and count.value:
        return f"(({a} >> {steps}) & {2 ** (64 - count.value) - 1 if count.value < 64 else 0})"
    return f"({a} >> {steps})"


def _call(node: Node, *args: str) -> str:
    return f"({cell(node.value, 'sql', 'SQL').format(*args)})"


def _pick(node: Node, a: str, b: str) -> str:
    """Of two, the smaller or larger; NaN, above all numbers here, loses only where guarded."""
    if node.value == "min2":
        second = f"{b} < {a}"
    elif node.kind == "int":
        second = f"{b} > {a}"
    else:
        second = f"NOT isnan({b}) AND (isnan({a}) OR {b} > {a})"
    return f"(CASE WHEN {a} IS NULL OR {b} IS NULL THEN NULL WHEN {second} THEN {b} ELSE {a} END)"


def _cast(node: Node, a: str) -> str:
    return f"({a})::{TYPES[node.kind]}"


# aggregates


_MARK = "\x00{}\x00"
"""Stands for a variable by its number, until the loop that it belongs to is written: no text holds such a mark."""


def _aggregate(node: Node, body: str) -> str:
    """Nested lists of the values of all combinations, in order, flat; NULL where a counter is."""
    loops = node.value.loops
    names = _names(body, len(loops))
    inside = _numbered(body, names)
    text = inside
    for k in range(len(loops) - 1, -1, -1):
        first = f"{names[k - 1]} + 1, " if loops[k].after else ""
        text = f"list_transform(range({first}{_count_of(loops[k])}), lambda {names[k]}: {text})"
        text = text if k == len(loops) - 1 else f"flatten({text})"
    if len(loops) > 1:
        there = " AND ".join(f"{quote(loop.counter)} IS NOT NULL" for loop in loops)
        return AGGREGATES[node.value.function](node, f"(CASE WHEN {there} THEN {text} END)")
    return AGGREGATES[node.value.function](node, text)


def _count_of(loop: Loop) -> str:
    """How many objects there are; NULL where the counter is."""
    count = f"greatest({quote(loop.counter)}, 0)"  # greatest skips NULL
    count = f"least({count}, {loop.slots})" if loop.slots else count
    return f"(CASE WHEN {quote(loop.counter)} IS NOT NULL THEN {count} END)::BIGINT"


def _names(body: str, number: int) -> list[str]:
    """Names of variables, the outermost first, that the body does not use."""
    free = (name for k in count() if (name := f"i{k or ''}__") not in body)
    return [next(free) for _ in range(number)][::-1]


def _numbered(body: str, names: Sequence[str]) -> str:
    """The body with the marks of these variables as names, and of those further out one loop nearer."""

    def written(mark: re.Match[str]) -> str:
        up = int(mark.group(1))
        return names[-1 - up] if up < len(names) else _MARK.format(up - len(names))

    return re.sub("\x00(\\d+)\x00", written, body)


def _count(node: Node, values: str) -> str:
    return f"len(list_filter({values}, lambda v__: v__))"


def _any(node: Node, values: str) -> str:
    return f"({_count(node, values)} > 0)"


def _all(node: Node, values: str) -> str:
    return f"(len(list_filter({values}, lambda v__: NOT v__)) = 0)"


def _sum(node: Node, values: str) -> str:
    """From 0, left to right: list_sum promises no order."""
    if node.raises:
        raise _unsupported(node, "a sum that may overflow is")
    zero = literal(0, "int") if node.kind == "int" else literal(0.0, "f64")
    there = f"list_filter({values}, lambda v__: v__ IS NOT NULL)"
    return f"list_reduce({there}, lambda x__, y__: x__ + y__, {zero}::{TYPES[node.kind]})"


def _extreme(function: str) -> Callable[[Node, str], str]:
    def write(node: Node, values: str) -> str:
        number = "v__ IS NOT NULL" + (" AND NOT isnan(v__)" if node.kind in ("f32", "f64") else "")
        return f"{function}(list_filter({values}, lambda v__: {number}))"

    return write


_SQL_MARK = {"==": "=", "!=": "<>"}


def _choice(node: Node, *args: str) -> str:
    raise _unsupported(node, f"{node.value.function} is")


AGGREGATES: Mapping[str, Callable[[Node, str], str]] = {
    "count": _count,
    "any": _any,
    "all": _all,
    "sum": _sum,
    "min": _extreme("list_min"),
    "max": _extreme("list_max"),
}


# verdicts


def _cmp(node: Node, a: str, b: str) -> str:
    """A comparison, IEEE's for NaN: of one with itself, and above everything, in DuckDB."""
    text = f"{a} {'<>' if node.value == '!=' else '=' if node.value == '==' else node.value} {b}"
    if node.args[0].kind in ("f32", "f64"):
        left, right = ("" if p.op == "const" else f"isnan({t})" for p, t in zip(node.args, (a, b), strict=True))
        guard = right if node.value in ("<", "<=") else left
        if guard and node.value == "!=":
            text = f"{text} OR {guard} AND {b} IS NOT NULL"  # NULL OR true is true
        elif guard:
            text = f"{text} AND NOT {guard}"
    return f"coalesce({text}, false)"


def _in(node: Node, a: str) -> str:
    values = ", ".join(literal(v, node.args[0].kind) for v in node.value)
    return f"coalesce({a} IN ({values}), false)" if values else "false"


def _in_lumi(node: Node, run: str, lumi: str) -> str:
    table = node.value
    if len(table.run) > MOST_RANGES:
        raise _unsupported(node, f"in_lumi of {len(table.run)} ranges, more than {MOST_RANGES}, is")
    ranges = zip(table.run.tolist(), table.first.tolist(), table.last.tolist(), strict=True)
    found = [f"{run} = {r} AND {lumi} BETWEEN {first} AND {last}" for r, first, last in ranges]
    return f"coalesce({' OR '.join(found) or 'false'}, false)"


def _python(node: Node, *args: str) -> str:
    raise _unsupported(node, "a Python function is")


def _one_of_two(node: Node, condition: str, a: str, b: str) -> str:
    return f"(CASE WHEN {condition} THEN {a} ELSE {b} END)"


def _joined(word: str) -> Callable[..., str]:
    return lambda node, *args: "(" + f" {word} ".join(args) + ")"


WRITERS: Mapping[str, Callable[..., str]] = {
    "const": _const,
    "trigger": _trigger,
    "cast": _cast,
    "aggregate": _aggregate,
    "neg": _exact("(-{0})"),
    "abs": _exact("abs({0})"),
    "add": _exact("({0} + {1})"),
    "sub": _exact("({0} - {1})"),
    "mul": _exact("({0} * {1})"),
    "mod": _mod,
    "div": lambda node, a, b: f"({a} / {b})",
    "bit_and": _exact("({0} & {1})"),
    "bit_or": _exact("({0} | {1})"),
    "bit_xor": _exact("xor({0}, {1})"),
    "bit_not": _exact("(~{0})"),
    "shl": _shl,
    "shr": _shr,
    "call": _call,
    "pick": _pick,
    "and": _joined("AND"),
    "or": _joined("OR"),
    "not": lambda node, a: f"(NOT {a})",
    "either": _one_of_two,
    "if_else": _one_of_two,
    "given": lambda node, value, condition: f"(CASE WHEN {condition} THEN {value} END)",
    "same": lambda node: f"({_MARK.format(node.value[1])} {_SQL_MARK[node.value[0]]} {_MARK.format(node.value[2])})",
    "let": _choice,
    "let_value": _choice,
    "chosen": lambda node: "",
    "cmp": _cmp,
    "in": _in,
    "in_lumi": _in_lumi,
    "python": _python,
    "truth": lambda node, a: f"coalesce({a}, false)",
    "test": lambda node, a: f"coalesce({node.value}({a}), false)",
    "present": lambda node, a: f"({a} IS NOT NULL)",
}
"""The SQL of every op but those that read columns: (node, *SQL of the arguments) -> SQL."""
