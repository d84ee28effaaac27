"""From the text of a cut to its syntax tree.

Invariant: nothing but `CutError` comes out of `parse`, whatever goes in, and `parse(canonical(tree)) == tree`.

Ops of a syntax tree (`pos` and `length` are places in the text):

    number     value: Literal                     string, boolean   value: str, bool
    name       value: "Muon.pt"                   index             args: (name,); value: k
    reference  value: the name after `@`          call              args; value: the function's name
    quantifier args: (body,); value: (function, ((variables, collection), …))
    let        args: (quantifier, what follows); value: the names      given      args: (value, condition): `if`
    and or     two or more args, flattened        not               one arg
    chain      n + 1 args; value: n comparisons   member, outsider  args: (x, constants…): `in`, `not in`
    neg bit_not                                   add sub mul div mod pow bit_and bit_or bit_xor shl shr
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

from tagsel.errors import CutError
from tagsel.expr.complaints import complain, placed
from tagsel.expr.lalr import Parser, Unexpected, tables
from tagsel.expr.literals import read_number
from tagsel.expr.nodes import CHOICES, Node
from tagsel.expr.text import canonical
from tagsel.expr.units import UNITS
from tagsel.expr.walk import fold

MAX_TEXT = 1_000_000
"""Longest cut, in characters."""

MAX_TERMS = 20_000
"""Most conditions joined by `&&` and `||` in one cut."""

MAX_DEPTH = 200
"""Deepest nesting of parentheses, functions and operators in one cut."""

BINARY = {
    "+": "add", "-": "sub", "*": "mul", "/": "div", "%": "mod", "**": "pow",
    "&": "bit_and", "|": "bit_or", "^": "bit_xor", "<<": "shl", ">>": "shr",
}  # fmt: skip

CONDITIONS = frozenset({"and", "or", "not", "chain", "member", "outsider", "boolean"})
"""Syntax ops that are true or false by their form alone."""

_OUTLINE = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'|&&|\|\||\b(?:and|or)\b|[()\[\]]")


def parse(text: str) -> Node:
    """The syntax tree of a cut; CutError with the place, and a hint where one helps.

    >>> parse("nMuon >= 2 and HLT_mu10").op
    'and'
    """
    return _remembered(text) if len(text) <= SHORT else _parsed(text)


def _parsed(text: str) -> Node:
    try:
        _check_size(text)
        tree: Node = _language().parse(text)
        _check_shape(tree)
    except CutError as error:
        raise placed(error, text) from None
    except Unexpected as error:
        raise complain(error, text) from None
    return tree


SHORT = 10_000
"""Characters of a cut whose tree is remembered; trees do not change."""

_remembered = lru_cache(maxsize=512)(_parsed)


def flat(op: str, args: Sequence[Node]) -> tuple[Node, ...]:
    """The args, with those of nested `op` nodes (`and` in `and`) in their place."""
    return tuple(part for arg in args for part in (arg.args if arg.op == op else (arg,)))


def _check_size(text: str) -> None:
    """Refuse what would take too long, before the parser sees it."""
    if len(text) > MAX_TEXT:
        raise CutError(f"a cut of {len(text):,} characters; the limit is {MAX_TEXT:,}")
    if not text.strip():
        raise CutError("an empty cut", hint="true, which every event passes")
    depth, terms = 0, 1
    for token in _OUTLINE.finditer(text):
        mark = token.group()
        if mark in "([":
            depth += 1
            if depth > MAX_DEPTH:
                raise _too_deep(token.start())
        elif mark in ")]":
            depth -= 1
        elif mark[0] not in "\"'":
            terms += 1
    if terms > MAX_TERMS:
        raise CutError(
            f"a cut of {terms:,} terms; the limit is {MAX_TERMS:,}",
            hint="a list of runs or events is a good-run list (in_lumi) or an event list, not a cut",
        )


def _too_deep(position: int) -> CutError:
    return CutError(f"nested more than {MAX_DEPTH} levels deep", position=position, hint="split the cut in parts")


def _check_shape(tree: Node) -> None:
    def depth(node: Node, below: Sequence[int]) -> int:
        if node.op == "binding":
            hint = f"any(x in {node.value}: …), or a list of values: in (1, 2)"
            raise CutError("`in` a collection stands in a quantifier", position=node.pos, length=node.length,
                           hint=hint)  # fmt: skip
        deepest = 1 + max(below, default=0)
        if deepest > MAX_DEPTH:
            raise _too_deep(node.pos)
        return deepest

    fold(tree, depth)


@cache
def _language() -> Parser:
    """The parser, made once a process from its tables."""
    return Parser(tables(), _Builder())


def _start(part: Any) -> int:
    return part.pos if isinstance(part, Node) else part.start_pos


def _end(part: Any) -> int:
    return part.pos + part.length if isinstance(part, Node) else part.end_pos


def _node(op: str, args: Sequence[Node], value: Any, parts: Sequence[Any]) -> Node:
    """A syntax node that spans `parts`, nodes and tokens as they stand in the text."""
    start = _start(parts[0])
    return Node(op, tuple(args), value, pos=start, length=_end(parts[-1]) - start)


def _nodes(parts: Sequence[Any]) -> list[Node]:
    return [p for p in parts if isinstance(p, Node)]


def _refuse(message: str, part: Any, hint: str = "") -> CutError:
    return CutError(message, position=_start(part), length=_end(part) - _start(part), hint=hint)


def _checked_name(token: Any) -> str:
    """The name; one that starts with two underscores, anywhere, is not in the language."""
    name = str(token)
    for part in name.split("."):
        if part.startswith("__"):
            raise _refuse(f"{part} is not a name of the cut language", token, "names do not start with __")
    return name


def _refuse_condition(left: Node, mark: Any, right: Node) -> None:
    """Stop where `&`, `|` or `^` stands beside a condition: as in C, `a > 1 & b < 2` is no boolean `and`."""
    if left.op not in CONDITIONS and right.op not in CONDITIONS:
        return
    fixes = []
    if mark != "^" and left.op not in CONDITIONS and right.op == "chain":
        rest = " ".join(f"{op} {canonical(a)}" for op, a in zip(right.value, right.args[1:], strict=True))
        fixes.append(f"({canonical(left)} {mark} {canonical(right.args[0])}) {rest}")
    if mark != "^" and right.op not in CONDITIONS and left.op == "chain":
        first = " ".join(f"{canonical(a)} {op}" for op, a in zip(left.value, left.args, strict=False))
        fixes.append(f"{first} ({canonical(left.args[-1])} {mark} {canonical(right)})")
    boolean = {"&": "&&", "|": "||", "^": "!="}[mark]
    both = Node("and" if mark == "&" else "or", (left, right))
    fixes.append(canonical(both) if mark != "^" else f"({canonical(left)}) {boolean} ({canonical(right)})")
    raise _refuse(f"`{mark}` is a bit operator, and a condition stands beside it", mark, ", or ".join(fixes))


class _Builder:
    """One method per rule of the grammar: from its parts, tokens included, to a node."""

    def disjunction(self, parts: list[Any]) -> Node:
        return _node("or", flat("or", _nodes(parts)), None, parts)

    def conjunction(self, parts: list[Any]) -> Node:
        return _node("and", flat("and", _nodes(parts)), None, parts)

    def invert(self, parts: list[Any]) -> Node:
        return _node("not", _nodes(parts), None, parts)

    def bits(self, parts: list[Any]) -> Node:
        left, mark, right = parts
        _refuse_condition(left, mark, right)
        return _node(BINARY[mark], (left, right), None, parts)

    def binary(self, parts: list[Any]) -> Node:
        left, mark, right = parts
        return _node(BINARY[mark], (left, right), None, parts)

    def unary(self, parts: list[Any]) -> Node:
        mark, arg = parts
        if mark == "+" and arg.op not in CONDITIONS:
            return _node(arg.op, arg.args, arg.value, parts)
        if mark == "+":
            raise _refuse("a condition has no sign", mark)
        return _node("neg" if mark == "-" else "bit_not", (arg,), None, parts)

    def comparison(self, parts: list[Any]) -> Node:
        marks = tuple(str(mark) for mark in parts[1::2])
        if len(marks) > 1:
            kinds = {mark[0] for mark in marks}
            if len(kinds) > 1 or "!" in kinds:
                hint = " && ".join(
                    f"{canonical(a)} {mark} {canonical(b)}"
                    for a, mark, b in zip(parts[:-1:2], marks, parts[2::2], strict=True)
                )
                raise _refuse("a chain of comparisons runs one way: a < b <= c, a > b >= c or a == b == c",
                              parts[3], hint)  # fmt: skip
        return _node("chain", _nodes(parts), marks, parts)

    def membership(self, parts: list[Any]) -> Node:
        op = "member" if parts[1].type == "IN" else "outsider"
        return _node(op, _nodes(parts), None, parts)

    def binding(self, parts: list[Any]) -> Node:
        return _node("binding", parts[:1], _checked_name(parts[2]), parts)

    def index(self, parts: list[Any]) -> Node:
        inner = parts[2]
        if inner.op != "number" or not inner.value.integer or inner.value.unit:
            hint = f"{parts[0]}[0] is the leading object"
            raise _refuse("an index is a whole number: 0, 1, 2, …", inner, hint)
        if inner.value.value >= 2**31:
            raise _refuse(f"no event has {inner.value.value} objects", inner)
        name = _checked_name(parts[0]) + (_checked_name(parts[4]) if len(parts) > 4 else "")
        base = Node("name", (), name, pos=_start(parts[0]), length=_end(parts[0]) - _start(parts[0]))
        return _node("index", (base,), inner.value.value, parts)

    def name(self, parts: list[Any]) -> Node:
        return _node("name", (), _checked_name(parts[0]), parts)

    def number(self, parts: list[Any]) -> Node:
        unit = str(parts[1]) if len(parts) > 1 else ""
        if unit and unit not in UNITS:
            raise _no_unit(parts[1])
        return _node("number", (), read_number(str(parts[0]), _start(parts[0]), unit), parts)

    def string(self, parts: list[Any]) -> Node:
        return _node("string", (), str(parts[0])[1:-1], parts)

    def boolean(self, parts: list[Any]) -> Node:
        return _node("boolean", (), str(parts[0]) == "true", parts)

    def reference(self, parts: list[Any]) -> Node:
        return _node("reference", (), str(parts[0])[1:], parts)

    def given(self, parts: list[Any]) -> Node:
        return _node("given", _nodes(parts), None, parts)

    def let(self, parts: list[Any]) -> Node:
        chooser, rest = _nodes(parts)
        names = tuple(_checked_name(part) for part in parts[:-4] if getattr(part, "type", "") == "NAME")
        if chooser.op != "quantifier" or chooser.value[0] not in CHOICES:
            hint = "let m = argmax(m in Muon: m.pt); …"
            raise _refuse("let names what argmin or argmax choose", chooser, hint)
        if any("." in name for name in names) or len(set(names)) != len(names):
            raise _refuse("let takes names of objects, each its own", parts[1], "let (a, b) = …")
        chosen = [name for group, _ in chooser.value[1] for name in group]
        if len(names) != len(chosen):
            raise _refuse(f"let names {len(names)} objects, and {chooser.value[0]} chooses {len(chosen)}", parts[1],
                          f"let ({', '.join(chosen)}) = …")  # fmt: skip
        return _node("let", (chooser, rest), names, parts)

    def group(self, parts: list[Any]) -> Node:
        inner = parts[1]
        return _node(inner.op, inner.args, inner.value, parts)

    def call(self, parts: list[Any]) -> Node:
        function = _checked_name(parts[0])
        if any(getattr(p, "type", "") == "COLON" for p in parts if not isinstance(p, Node)):
            *heads, body = _nodes(parts)
            return _node("quantifier", (body,), (function, _variables(heads)), parts)
        return _node("call", _nodes(parts), function, parts)


def _no_unit(token: Any) -> CutError:
    hint = f"units are {', '.join(UNITS)}"
    if token.lower() in ("and", "or", "not", "in", "if", "let"):
        hint = f"{token.lower()}, in lower case"
    return _refuse(f"no unit {str(token)!r}", token, hint)


def _variables(heads: Sequence[Node]) -> tuple[tuple[tuple[str, ...], str], ...]:
    """`a, b in Muon, e in Electron` as (((a, b), Muon), ((e,), Electron))."""
    groups: list[tuple[tuple[str, ...], str]] = []
    names: list[str] = []
    for head in heads:
        variable = head.args[0] if head.op == "binding" else head
        if variable.op != "name" or "." in variable.value:
            raise _refuse("before the colon stand variables: `m in Muon`", head)
        names.append(variable.value)
        if head.op == "binding":
            groups.append((tuple(names), head.value))
            names = []
    if names:
        raise _refuse(f"no collection for {', '.join(names)}", heads[-1], f"{names[-1]} in Muon")
    return tuple(groups)
