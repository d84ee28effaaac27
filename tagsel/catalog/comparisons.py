"""Comparisons in a user's SQL as the cut language has them: one with NaN is false, but for `!=`, which is true.

DuckDB takes NaN as equal to itself and greater than all numbers, so that `x > 10000` would take every NaN. The tree of
the query is rewritten where an operand may be NaN. Invariant: no other answer changes, nor the name of a column.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

Node = dict[str, Any]

MOST_NESTED = 6
"""How deep comparisons may stand in operands of comparisons: each level writes its operands two or three times."""

IS_NAN = r"(typeof(\1) IN ('FLOAT', 'DOUBLE') AND isnan(TRY_CAST(\1 AS DOUBLE)))"
"""What `is_nan(x)` is for a value of any type. DuckDB knows the type before a query runs: other types cost nothing.

TRY_CAST lets every type be bound. A macro with an overload for each type would not do: DuckDB finds several that match
an aggregate.
"""

FORMS = {
    "COMPARE_GREATERTHAN": ("a > b AND (NOT is_nan(a) OR b IS NULL)", "a"),
    "COMPARE_GREATERTHANOREQUALTO": ("a >= b AND (NOT is_nan(a) OR b IS NULL)", "a"),
    "COMPARE_LESSTHAN": ("a < b AND (NOT is_nan(b) OR a IS NULL)", "b"),
    "COMPARE_LESSTHANOREQUALTO": ("a <= b AND (NOT is_nan(b) OR a IS NULL)", "b"),
    "COMPARE_EQUAL": ("a = b AND (NOT is_nan(a) OR b IS NULL)", "ab"),
    "COMPARE_NOTEQUAL": ("a != b OR (is_nan(a) AND is_nan(b))", "ab"),
    "COMPARE_BETWEEN": (
        "a BETWEEN b AND c AND (NOT is_nan(a) OR b IS NULL) AND (NOT is_nan(c) OR a IS NULL)",
        "c",
    ),
}
"""What each comparison becomes where all of the operands named may be NaN; a missing operand stays missing.

Only the upper bound of BETWEEN decides: NaN is above every other bound, and nothing but NaN is above a lower one.
"""

Ask = Callable[[str, str], str]
"""Ask DuckDB's parser: a query with one parameter, and the parameter."""


def ieee(query: str, ask: Ask) -> str:
    """The query with its comparisons as IEEE has them; itself where none can differ. RecursionError: too deep."""
    document = json.loads(ask("SELECT json_serialize_sql(?)", query))
    keep_headers(document, _may_differ, ask)
    if not _rewrite(document, ask):
        return query
    return ask("SELECT json_deserialize_sql(?::JSON)", json.dumps(document))


def keep_headers(document: Node, changes: Callable[[Node], bool], ask: Ask) -> None:
    """Name each column of an answer as DuckDB would, where a node that `changes` would change its name."""
    for node in list(_walk(document)):
        for item in node.get("select_list", ()):
            if item.get("alias") or item.get("class") == "COLUMN_REF" or _has_many_columns(item):
                continue
            if any(map(changes, _walk(item))):
                item["alias"] = _text(item, ask)


def _has_many_columns(item: Node) -> bool:
    """Whether an item of a SELECT is `*`, or holds COLUMNS(…): DuckDB names each of its columns by itself."""
    if item.get("class") == "STAR":
        return True
    return any(node.get("class") == "STAR" and node.get("columns") for node in _walk(item))


def _rewrite(document: Node, ask: Ask) -> bool:
    """Rewrite every comparison of a tree that NaN may enter, inner ones first; whether there is one."""
    chosen = [node for node in _walk(document) if _may_differ(node)]
    for node in reversed(chosen):
        if _depth(node) > MOST_NESTED:
            raise RecursionError
        operands = _operands(node)
        new = copy.deepcopy(_template(node["type"], ask))
        for place in list(_walk(new)):
            name = place.get("column_names")
            if place.get("class") == "COLUMN_REF" and name and name[0] in operands:
                operand = copy.deepcopy(operands[name[0]])
                place.clear()
                place.update(operand)
        new["alias"] = node.get("alias", "")
        node.clear()
        node.update(new)
    return bool(chosen)


def _operands(node: Node) -> dict[str, Node]:
    if node["type"] == "COMPARE_BETWEEN":
        return {"a": node["input"], "b": node["lower"], "c": node["upper"]}
    return {"a": node["left"], "b": node["right"]}


def _may_differ(node: Node) -> bool:
    """Whether a node is a comparison in which NaN may decide: an operand that does so is more than a literal."""
    if node.get("class") not in ("COMPARISON", "BETWEEN") or node.get("type") not in FORMS:
        return False
    operands = _operands(node)
    return all(operands[name].get("class") != "CONSTANT" for name in FORMS[node["type"]][1])


def _depth(node: Node) -> int:
    """How deep comparisons stand in each other below a node that is not rewritten yet."""
    deepest, stack = 0, [(node, 0)]
    while stack:
        inner, level = stack.pop()
        level += inner.get("class") in ("COMPARISON", "BETWEEN")
        deepest = max(deepest, level)
        stack += [(below, level) for below in _children(inner)]
    return deepest


def _children(node: Node) -> Iterator[Node]:
    for value in node.values():
        if isinstance(value, dict):
            yield value
        elif isinstance(value, list):
            yield from (item for item in value if isinstance(item, dict))


def _walk(tree: Node) -> Iterator[Node]:
    """Every node, an outer one before the inner ones."""
    stack = [tree]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(_children(node))


def _text(expression: Node, ask: Ask) -> str:
    """An expression as DuckDB writes it, which is what it calls a column without a name."""
    alone = json.loads(ask("SELECT json_serialize_sql(?)", "SELECT 1"))
    alone["statements"][0]["node"]["select_list"] = [expression]
    return ask("SELECT json_deserialize_sql(?::JSON)", json.dumps(alone)).removeprefix("SELECT ")


@cache
def _template(kind: str, ask: Ask) -> Node:
    form = re.sub(r"is_nan\((\w)\)", IS_NAN, FORMS[kind][0])
    document = json.loads(ask("SELECT json_serialize_sql(?)", "SELECT " + form))
    node: Node = document["statements"][0]["node"]["select_list"][0]
    return node
