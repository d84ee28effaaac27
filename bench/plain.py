"""A condition written once, in Python's syntax, as each rival would have it: SQL, C++, or columns of Polars or NumPy.

    NMuon >= 2 and abs(MuonPt1) > 20000 and not bit(Word, 5)

Names are columns; `a[0]` is the first of a list; the functions are those of the tables below. What a dialect cannot
say raises `Unsupported`. Invariant: the text that a rival gets is what one would write there by hand, no more.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any


class Unsupported(Exception):
    """A rival cannot say this; the message says why."""


COMPARE = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
ARITHMETIC = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}

Words = Mapping[str, Any]
SQL: Words = {"==": "=", "!=": "<>", "and": " AND ", "or": " OR ", "not": "NOT ", "name": '"{0}"', "first": 1}
CPP: Words = {"==": "==", "!=": "!=", "and": " && ", "or": " || ", "not": "!", "name": "{0}", "first": 0}

CALLS: Mapping[str, Mapping[str, str]] = {
    "sql": {
        "double": "CAST({0} AS DOUBLE)",
        "bit": "(({0} >> {1}) & 1) = 1",
        "abs": "abs({0})",
        "cos": "cos({0})",
        "cosh": "cosh({0})",
        "sqrt": "sqrt({0})",
    },
    "clickhouse": {
        "double": "toFloat64({0})",
        "bit": "bitTest({0}, {1})",
        "abs": "abs({0})",
        "cos": "cos({0})",
        "cosh": "cosh({0})",
        "sqrt": "sqrt({0})",
    },
    "cpp": {
        "double": "double({0})",
        "bit": "((({0} >> {1}) & 1) == 1)",
        "abs": "std::abs({0})",
        "cos": "std::cos({0})",
        "cosh": "std::cosh({0})",
        "sqrt": "std::sqrt({0})",
    },
}
"""What a function is called, by dialect."""


def text(condition: str, dialect: str) -> str:
    """The condition as text of a dialect: "sql" (DuckDB), "datafusion", "clickhouse" or "cpp"."""
    calls = CALLS.get(dialect, CALLS["sql"])
    words = CPP if dialect == "cpp" else SQL
    return _text(ast.parse(condition.strip(), mode="eval").body, words, calls)


def _text(node: ast.expr, words: Words, calls: Mapping[str, str]) -> str:
    """One node and what is below it."""

    def of(child: ast.expr) -> str:
        return _text(child, words, calls)

    match node:
        case ast.BoolOp(op, values):
            return "(" + words["and" if isinstance(op, ast.And) else "or"].join(map(of, values)) + ")"
        case ast.UnaryOp(ast.Not(), value):
            return f"{words['not']}({of(value)})"
        case ast.UnaryOp(ast.USub(), value):
            return f"-{of(value)}"
        case ast.Compare(left, ops, rights):
            sides = [of(left), *map(of, rights)]
            signs = [words.get(COMPARE[type(op)], COMPARE[type(op)]) for op in ops]
            pairs = [f"{a} {s} {b}" for a, s, b in zip(sides, signs, sides[1:], strict=False)]
            return pairs[0] if len(pairs) == 1 else "(" + words["and"].join(pairs) + ")"
        case ast.BinOp(left, op, right):
            return f"({of(left)} {ARITHMETIC[type(op)]} {of(right)})"
        case ast.Subscript(ast.Name(name), ast.Constant(index)):
            return f"{words['name'].format(name)}[{index + words['first']}]"
        case ast.Call(ast.Name(function), arguments):
            return calls[function].format(*map(of, arguments))
        case ast.Name(name):
            return words["name"].format(name)
        case ast.Constant(value):
            return repr(value)
    raise Unsupported(f"{ast.dump(node)} is not in the common language")


OPERATORS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def evaluate(condition: str, column: Callable[[str], Any], calls: Mapping[str, Callable[..., Any]]) -> Any:
    """The condition over columns that have Python's operators: expressions of Polars, arrays of NumPy or awkward.

    `calls` has the functions, and "at" for the k-th of a list.
    """
    return _value(ast.parse(condition.strip(), mode="eval").body, column, calls)


def _value(node: ast.expr, column: Callable[[str], Any], calls: Mapping[str, Callable[..., Any]]) -> Any:
    """One node and what is below it."""

    def of(child: ast.expr) -> Any:
        return _value(child, column, calls)

    match node:
        case ast.BoolOp(op, values):
            return reduce(operator.and_ if isinstance(op, ast.And) else operator.or_, map(of, values))
        case ast.UnaryOp(ast.Not(), value):
            return ~of(value)
        case ast.UnaryOp(ast.USub(), value):
            return -of(value)
        case ast.Compare(left, ops, rights):
            sides = [of(left), *map(of, rights)]
            pairs = [OPERATORS[type(op)](a, b) for a, op, b in zip(sides, ops, sides[1:], strict=False)]
            return reduce(operator.and_, pairs)
        case ast.BinOp(left, op, right):
            return OPERATORS[type(op)](of(left), of(right))
        case ast.Subscript(ast.Name(name), ast.Constant(index)):
            return calls["at"](column(name), index)
        case ast.Call(ast.Name(function), arguments):
            return calls[function](*map(of, arguments))
        case ast.Name(name):
            return column(name)
        case ast.Constant(value):
            return value
    raise Unsupported(f"{ast.dump(node)} is not in the common language")


def columns(*conditions: str) -> list[str]:
    """The columns that conditions name, sorted."""
    nodes = [n for c in conditions if c for n in ast.walk(ast.parse(c.strip(), mode="eval"))]
    functions = {id(n.func) for n in nodes if isinstance(n, ast.Call)}
    return sorted({n.id for n in nodes if isinstance(n, ast.Name) and id(n) not in functions})
