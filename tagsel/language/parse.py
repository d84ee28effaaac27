"""From the text of a cut to its syntax tree.

Invariant: nothing but `CutError` comes out of `parse`, whatever goes in, and `parse(canonical(tree)) == tree`.

Ops of a syntax tree (`pos` and `length` are places in the text):

    number     value: Literal                     string, boolean   value: str, bool
    name       value: "Muon.pt"                   index             args: (name,); value: k
    reference  value: the name after `@`          call              args; value: the function's name
    quantifier args: (body,); value: (function, ((variables, collection), …))
    let        args: (quantifier, what follows); value: the names      given      args: (value, condition): `if`
    choice     args: (condition, value, value): `c ? a : b`
    and or     two or more args, flattened        not               one arg
    chain      n + 1 args; value: n comparisons   member, outsider  args: (x, constants…): `in`, `not in`
    neg bit_not                                   add sub mul div mod pow bit_and bit_or bit_xor shl shr
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any

from tagsel.base.cache import memoize
from tagsel.errors import CutError
from tagsel.language.functions import FOREIGN
from tagsel.language.lalr import Parser, Unexpected, tables
from tagsel.language.literals import read_number
from tagsel.language.parse_errors import complain, placed, powers
from tagsel.language.printer import canonical, compared_with_0
from tagsel.language.traversal import fold
from tagsel.language.tree import CHOICES, Node, object_names, walk
from tagsel.language.units import UNITS

MAX_TEXT = 1_000_000
"""Longest cut, in characters."""

MAX_TERMS = 20_000
"""Most conditions joined by `&&` and `||` in one cut."""

MAX_DEPTH = 200
"""Deepest nesting of parentheses, functions and operators in one cut."""

MAX_SUM = 300
"""Most terms of a sum or product without parentheses."""

BINARY = {
    "+": "add",
    "-": "sub",
    "*": "mul",
    "/": "div",
    "%": "mod",
    "**": "pow",
    "&": "bit_and",
    "|": "bit_or",
    "^": "bit_xor",
    "<<": "shl",
    ">>": "shr",
}

_SUM, _PRODUCT = frozenset({"add", "sub"}), frozenset({"mul", "div", "mod"})
FLAT = {
    **dict.fromkeys(_SUM, _SUM),
    **dict.fromkeys(_PRODUCT, _PRODUCT),
    **{op: frozenset({op}) for op in ("bit_and", "bit_or", "bit_xor")},
}
"""Operators that go on from the left without a parenthesis, and those that they may follow."""

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
    except Power as error:
        raise powers(error, text) from None
    except CutError as error:
        raise placed(error, text) from None
    except Unexpected as error:
        raise complain(error, text) from None
    return tree


SHORT = 10_000
"""Characters of a cut whose tree is remembered; trees do not change."""

_remembered = memoize("syntax-trees", entries=512)(_parsed)


def flat(op: str, args: Sequence[Node]) -> tuple[Node, ...]:
    """The args, with those of nested `op` nodes (`and` in `and`) in their place."""
    return tuple(chain.from_iterable(arg.args if arg.op == op else (arg,) for arg in args))


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
    """Refuse a tree that is nested too deeply, and `in` a collection outside of a quantifier.

    The terms of a sum or product that is written without parentheses are no levels; they have a limit of their own.
    """

    def shape(node: Node, below: Sequence[tuple[int, int]]) -> tuple[int, int]:
        """How deep a node is, and how many terms it has."""
        if node.op == "binding":
            hint = f"any(x in {node.value}: …), or a list of values: in (1, 2)"
            raise CutError("`in` a collection stands in a quantifier", position=node.pos, length=node.length, hint=hint)
        deepest, terms = 1 + max((depth for depth, _ in below), default=0), 1
        if node.op in FLAT and node.args[0].op in FLAT[node.op]:
            deepest, terms = max(below[0][0], 1 + below[1][0]), below[0][1] + 1
        if deepest > MAX_DEPTH:
            raise _too_deep(node.pos)
        if terms >= MAX_SUM:
            raise CutError(
                f"more than {MAX_SUM} terms in one sum or product",
                position=node.pos,
                hint="parentheses around parts of it: (a + b + c) + (d + e + f)",
            )
        return deepest, terms

    fold(tree, shape)


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


def _place(inner: Node, name: Any) -> int:
    """The index that a number is."""
    if inner.op != "number" or not inner.value.integer or inner.value.unit:
        raise _refuse("an index is a whole number: 0, 1, 2, …", inner, f"{name}[0] is the leading object")
    if inner.value.value >= 2**31:
        raise _refuse(f"no event has {inner.value.value} objects", inner)
    return int(inner.value.value)


def _refuse(message: str, part: Any, hint: str = "") -> CutError:
    return CutError(message, position=_start(part), length=_end(part) - _start(part), hint=hint)


def _checked_name(token: Any) -> str:
    """The name; one that starts with two underscores, anywhere, is not in the language."""
    name = str(token)
    for part in name.split("."):
        if part.startswith("__"):
            raise _refuse(f"{part} is not a name of the cut language", token, "names do not start with __")
    return name


class Power(CutError):
    """`^` where a power was meant, as in ROOT's formulas."""


def _refuse_power(left: Node, mark: Any, right: Node) -> None:
    """Stop where `^` stands beside a decimal number, or between a number and a comparison: `x^2 > 9` means a power.

    A pattern of bits is written as one: `word ^ 0x2`.
    """
    conditions = [side.op in CONDITIONS for side in (left, right)]
    decimal = any(side.op == "number" and not side.value.pattern for side in (left, right))
    if not all(conditions) and (any(conditions) or decimal):
        raise Power("`^` is the exclusive or of bits, and a power is written **", position=_start(mark), length=1)


def _refuse_condition(left: Node, mark: Any, right: Node) -> None:
    """Stop where `&`, `|` or `^` stands beside a condition: as in C, `a > 1 & b < 2` is no boolean `and`."""
    if left.op not in CONDITIONS and right.op not in CONDITIONS:
        return
    message = f"`{mark}` is a bit operator, and a condition stands beside it"
    number, rest = right, ""
    if right.op == "chain":
        number = right.args[0]
        rest = "".join(f" {op} {canonical(a)}" for op, a in zip(right.value, right.args[1:], strict=True))
    if left.op == "not" and left.args[0].op not in CONDITIONS and number.op == "number":
        others = canonical(Node(BINARY[mark], (Node("bit_not", left.args), number)))
        fix = f"({others}){rest}" if rest else others
        fix = f"{fix} takes the bits that are not set"
        if mark == "&" and not rest:
            unset = compared_with_0(Node("bit_and", (left.args[0], number)), "==")
            fix = f"{fix}, or {canonical(unset)}"
        raise CutError(message, position=left.pos, length=_end(right) - left.pos, hint=fix)
    fixes = []
    if left.op not in CONDITIONS and right.op == "chain":
        fixes.append(f"({canonical(left)} {mark} {canonical(number)}){rest}")
    if right.op not in CONDITIONS and left.op == "chain":
        first = " ".join(f"{canonical(a)} {op}" for op, a in zip(left.value, left.args, strict=False))
        fixes.append(f"{first} ({canonical(left.args[-1])} {mark} {canonical(right)})")
    if not _is_constant(left) and not _is_constant(right):
        fixes.append(canonical(_as_boolean(left, mark, right)))
    raise _refuse(message, mark, ", or ".join(fixes) or "conditions are joined with && and ||")


def _as_boolean(left: Node, mark: Any, right: Node) -> Node:
    """What the bit operator would be between conditions."""
    both = Node("and", (left, right))
    either = Node("or", (left, right))
    return {"&": both, "|": either, "^": Node("and", (either, Node("not", (both,))))}[mark]


def _is_constant(node: Node) -> bool:
    """Whether a node is a number, or compares numbers: no cut joins it with a condition."""
    return node.op == "number" or (node.op == "chain" and all(side.op == "number" for side in node.args))


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
        if mark == "^":
            _refuse_power(left, mark, right)
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
                raise _refuse(
                    "a chain of comparisons runs one way: a < b <= c, a > b >= c or a == b == c", parts[3], hint
                )
        return _node("chain", _nodes(parts), marks, parts)

    def membership(self, parts: list[Any]) -> Node:
        op = "member" if parts[1].type == "IN" else "outsider"
        return _node(op, _nodes(parts), None, parts)

    def binding(self, parts: list[Any]) -> Node:
        return _node("binding", parts[:1], _checked_name(parts[2]), parts)

    def index(self, parts: list[Any]) -> Node:
        inner = parts[2]
        name = _checked_name(parts[0]) + (_checked_name(parts[4]) if len(parts) > 4 else "")
        base = Node("name", (), name, pos=_start(parts[0]), length=_end(parts[0]) - _start(parts[0]))
        if not any(n.op in ("name", "call", "quantifier") for n in walk(inner)):
            return _node("index", (base,), _place(inner, parts[0]), parts)
        return _node("at", (base, inner), None, parts)

    def name(self, parts: list[Any]) -> Node:
        name = _checked_name(parts[0])
        if "::" in name:
            raise _refuse(f"{name} is not a name of the cut language", parts[0], _foreign_hint(name))
        return _node("name", (), name, parts)

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

    def choice(self, parts: list[Any]) -> Node:
        return _node("choice", _nodes(parts), None, parts)

    def let(self, parts: list[Any]) -> Node:
        chooser, rest = _nodes(parts)
        names = tuple(_checked_name(part) for part in parts[:-4] if getattr(part, "type", "") == "NAME")
        if chooser.op != "quantifier" or chooser.value[0] not in CHOICES:
            hint = "let m = argmax(m in Muon: m.pt); …"
            raise _refuse("let names what argmin or argmax choose", chooser, hint)
        if any("." in name for name in names) or len(set(names)) != len(names):
            raise _refuse("let takes names of objects, each its own", parts[1], "let (a, b) = …")
        chosen = object_names(chooser)
        if len(names) != len(chosen):
            raise _refuse(
                f"let names {len(names)} objects, and {chooser.value[0]} chooses {len(chosen)}",
                parts[1],
                f"let ({', '.join(chosen)}) = …",
            )
        return _node("let", (chooser, rest), names, parts)

    def group(self, parts: list[Any]) -> Node:
        inner = parts[1]
        return _node(inner.op, inner.args, inner.value, parts)

    def call(self, parts: list[Any]) -> Node:
        function = _checked_name(parts[0])
        if any(getattr(p, "type", "") == "COLON" for p in parts if not isinstance(p, Node)):
            *heads, body = _nodes(parts)
            return _node("quantifier", (body,), (function, _variables(heads)), parts)
        return _called(function, parts)


def _called(function: str, parts: list[Any]) -> Node:
    """A call; one in the words of ROOT or C++ becomes ours: `TMath::Abs(x)` is `abs(x)`."""
    args = _nodes(parts)
    if function == "TMath::Pi" and not args:
        return _node("name", (), "pi", parts)
    if function.removeprefix("std::") in ("min", "max") and len(args) == 2:
        return _node("call", args, f"{function.removeprefix('std::')}2", parts)
    ours = FOREIGN.get(function, function)
    if "::" in ours:
        raise _refuse(f"{function} is not a function of the cut language", parts[0], _foreign_hint(function))
    return _node("call", args, ours, parts)


_CONSTANTS = {"TMath::Pi": "pi", "TMath::TwoPi": "2 * pi", "TMath::PiOver2": "pi / 2", "TMath::E": "exp(1)"}


def _foreign_hint(name: str) -> str:
    """What to write for a name of ROOT or C++ that is no function of ours."""
    return _CONSTANTS.get(name, "docs/reference/cut-functions.md lists all functions")


_UNITS_BY_LOWER_CASE = {symbol.lower(): symbol for symbol in UNITS}
"""`gev` is meant to be GeV."""


def _no_unit(token: Any) -> CutError:
    hint = f"units are {', '.join(UNITS)}"
    if token != token.lower() and token.lower() in ("and", "or", "not", "in", "if", "let"):
        hint = f"{token.lower()}, in lower case"
    elif token.lower() in _UNITS_BY_LOWER_CASE:
        hint = f"did you mean {_UNITS_BY_LOWER_CASE[token.lower()]}?"
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
