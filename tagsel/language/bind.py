"""From a syntax tree and a scope to a bound cut: names are columns, types and units are settled, errors are here.

Invariant: a `Bound` reads nothing but its own tree; binding reads no data. Places in the bound tree are places in
the canonical text, `Bound.text`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tagsel.errors import CutError
from tagsel.language import arithmetic, calls, choices, globs, names, quantifiers
from tagsel.language.compare import compare, member
from tagsel.language.desugar import check_size, desugar
from tagsel.language.functions import FUNCTIONS
from tagsel.language.named import expand
from tagsel.language.parse import parse
from tagsel.language.parse_errors import placed
from tagsel.language.printer import ONE, ZERO, canonical, compared_with_0, write
from tagsel.language.python_function import PyFunction
from tagsel.language.scope import Scope
from tagsel.language.traversal import fold
from tagsel.language.tree import LOOPING_OPS, SEMANTICS, LumiTable, Node, columns_of, walk
from tagsel.language.typed import (
    WORDS,
    Typed,
    as_condition,
    fail,
    make,
    settled,
    together,
    typed,
    untruth_hint,
)
from tagsel.language.units import UNITS
from tagsel.language.warnings import guards_missing


@dataclass(frozen=True, slots=True)
class Bound:
    """A cut, or a value, bound to a schema.

    `text` is canonical, with named cuts written out; `node` is the bound tree; `columns` are all that it reads;
    `warnings` are for people; `triggers` are the chains it uses; `fingerprint` is a SHA-256, in hex, over the bound
    tree, so that equal ones give equal answers on equal data; `unit` is a value's unit, or "".
    """

    text: str
    node: Node
    columns: frozenset[str]
    warnings: tuple[str, ...]
    triggers: tuple[str, ...]
    fingerprint: str
    unit: str = ""
    syntax: Node = field(default_factory=lambda: Node(""), compare=False, repr=False)


def bind(cut: str | Node, scope: Scope) -> Bound:
    """The cut bound to a scope: a condition on events. CutError, with its place, for what cannot be meant.

    >>> from tagsel.schema import Attribute, Schema
    >>> bind("nMuon>=2", Scope(Schema((Attribute("nMuon", "int32"),)))).text
    'nMuon >= 2'
    """
    return _bound(cut, scope, as_condition)


def bind_value(expression: str | Node, scope: Scope, lists: bool = False) -> Bound:
    """The expression bound to a scope: a value an event, of any kind (a weight, an attribute to sort by).

    With `lists` it may be one value for each object of a collection, too (`Jet.pt if abs(Jet.eta) < 1`): its root is
    `objects` then, and `interpret_objects` evaluates either.
    """

    def value(result: Typed) -> Typed:
        result = result if result.kind == "condition" else settled(result)
        return quantifiers.objects(result) if lists and result.over else result

    return _bound(expression, scope, value)


def conjuncts(bound: Bound) -> list[Bound]:
    """The parts joined by the outermost `&&`, each a cut of its own; the cut itself where there is none."""
    if bound.syntax.op != "and":
        return [bound]
    return [_part(bound, syntax, node) for syntax, node in zip(bound.syntax.args, bound.node.args, strict=True)]


def _part(bound: Bound, syntax: Node, node: Node) -> Bound:
    """One conjunct, its places counted from its own start.

    Its text is cut out of the whole: the tree has its chains in pairs, so it would be written otherwise.
    """
    start, end = syntax.pos, syntax.pos + syntax.length
    if syntax.op in ("or", "choice", "given", "let"):  # stands in parentheses beside `&&`
        start, end = start + 1, end - 1
    text = bound.text[start:end]

    def moved_back(n: Node, args: Sequence[Node]) -> Node:
        pos = max(0, n.pos - start)
        return replace(n, args=tuple(args), pos=pos, length=min(n.length, len(text) - pos))

    moved = fold(node, moved_back)
    return _finished(text, replace(moved, pos=0, length=len(text)), (), "", syntax)


def _bound(cut: str | Node, scope: Scope, ask: Callable[[Typed], Typed]) -> Bound:
    """Bind the tree with its places in the canonical text; where that fails, as given, for the error's place."""
    given, tree = (cut, _parsed(cut, scope)) if isinstance(cut, str) else write(cut)
    try:
        whole = expand(tree, scope.named)
        text, rewritten = write(whole)
        try:
            return _Binder(scope).run(text, rewritten, ask)
        except CutError:
            return _Binder(scope).run(text, whole, ask)
    except CutError as error:
        raise globs.explained(_from_named(placed(error, given), tree), given, scope) from None


def _parsed(cut: str, scope: Scope) -> Node:
    try:
        return parse(cut)
    except CutError as error:
        raise globs.explained(error, cut, scope) from None


def _from_named(error: CutError, tree: Node) -> CutError:
    """The error, saying so where its place is an `@name`."""
    for n in walk(tree):
        if n.op == "reference" and n.pos == error.position and f"@{n.value}" not in error.message:
            hint = error.hint
            if "name" in error.fields:  # another name cannot be written into a cut of that name
                hint = f"@{n.value} is a cut for datasets that have {error.fields['name']}"
            named = CutError(f"in @{n.value}: {error.message}", hint=hint, position=n.pos, length=n.length)
            return placed(named, error.cut)
    return error


class _Binder:
    """Binds one cut, `tree`; keeps its warnings."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.tree = Node("")
        self.warnings: dict[str, None] = {}

    def run(self, text: str, tree: Node, ask: Callable[[Typed], Typed]) -> Bound:
        """The syntax tree, bound; `text` is canonical."""
        plain = self.tree = desugar(tree)
        result = fold(plain, self.combine)
        result = ask(result)
        if result.over:
            raise _a_list(result)
        check_size(result.node)
        node = quantifiers.numbered(result.node)
        warnings = (*self.warnings, *guards_missing(node))
        unit = result.unit.name if result.unit is not None else ""
        return _finished(text, node, warnings, unit, plain)

    def warn(self, at: Node, message: str) -> None:
        """Keep a warning, once."""
        self.warnings[message] = None

    def combine(self, at: Node, args: Sequence[Typed]) -> Typed:
        """The meaning of a syntax node, from the meanings of its args."""
        rule = _RULES.get(at.op)
        if rule is None:
            raise fail(at, f"{at.op} has no meaning here")
        return rule(self, at, args)


def _finished(text: str, node: Node, warnings: tuple[str, ...], unit: str, syntax: Node) -> Bound:
    triggers = sorted({n.value.asked for n in walk(node) if n.op == "trigger"})
    return Bound(text, node, columns_of(node), warnings, tuple(triggers), fingerprint(node), unit, syntax)


def _a_list(result: Typed) -> CutError:
    over = result.over[0]
    text = canonical(result.at)
    if result.kind == "condition":
        return fail(
            result.at,
            f"this is true or false for each object of {over.collection}, and an event is needed",
            f"any({text}), or count({text}) >= 1",
        )
    return fail(
        result.at,
        f"this is a list, one value for each object of {over.collection}",
        f"max({text}), or {over.collection}.…[0] for the leading one",
    )


def fingerprint(node: Node) -> str:
    """SHA-256, in hex, over a bound tree: ops, kinds, values, versions of its functions, and of the language.

    >>> fingerprint(Node("const", value=1, kind="int")) == fingerprint(Node("const", value=1.0, kind="f64"))
    False
    """
    digest = hashlib.sha256(f"tagsel cut {SEMANTICS}\n".encode())
    for n in walk(node):
        row = [n.op, n.kind, len(n.args), _plain_value(n)]
        digest.update(json.dumps(row, separators=(",", ":"), ensure_ascii=True).encode() + b"\n")
    return digest.hexdigest()


def _plain_value(node: Node) -> Any:
    """A node's value as JSON can hold it: floats in hexadecimal, tables by their digest."""
    value = node.value
    if node.op == "call":
        return [value, FUNCTIONS[value].version]
    if node.op in LOOPING_OPS:
        more = [[loop.collection, loop.counter, loop.slots, loop.after] for loop in value.more]
        return [value.function, value.collection, value.counter, value.slots, *more]
    if node.op == "trigger":
        return [value.name, value.menu, *value.bits]
    if isinstance(value, LumiTable | PyFunction):
        return value.digest
    if isinstance(value, tuple):
        return [v.hex() if isinstance(v, float) else v for v in value]
    return value.hex() if isinstance(value, float) else value


Rule = Callable[[_Binder, Node, Sequence[Typed]], Typed]


def _joined(binder: _Binder, at: Node, args: Sequence[Typed]) -> Typed:
    parts = [as_condition(a) for a in args]
    return typed(at, make(at, at.op, [p.node for p in parts]), over=together(at, parts))


def _not(binder: _Binder, at: Node, args: Sequence[Typed]) -> Typed:
    part = args[0]
    if part.kind not in ("condition", "bool", "chosen"):
        raise _not_of_a_value(binder, at, part)
    part = as_condition(part)
    return typed(at, make(at, "not", (part.node,)), over=part.over)


_ARITHMETIC = frozenset({"add", "sub", "mul", "div", "mod", "pow", "neg"})


def _parent(tree: Node, child: Node) -> Node | None:
    """The node that has `child` among its arguments."""
    for node in walk(tree):
        if any(arg is child for arg in node.args):
            return node
    return None


def _not_of_a_value(binder: _Binder, at: Node, part: Typed) -> CutError:
    """The error for `!` of a number, a text or an object; its place is what the hint replaces.

    `!` binds as in C, so `!x > 2` is `(!x) > 2`; what is meant is `!(x > 2)`. As a number, `!x` is 1 where x is 0.
    """
    what = WORDS.get(part.kind, "an object")
    message = f"{what} stands where a condition is needed"
    around = _parent(binder.tree, at)
    if around is not None and around.op in ("chain", "member", "outsider"):
        inner = replace(around, args=tuple(part.at if arg is at else arg for arg in around.args))
        return fail(around, message, canonical(Node("not", (inner,))))
    if around is not None and around.op in _ARITHMETIC and part.kind in ("int", "f32", "f64"):
        number = Node("choice", (compared_with_0(part.at, "=="), ONE, ZERO))
        return fail(at, message, f"({canonical(number)})")
    return fail(at, message, untruth_hint(part))


def _compared(binder: _Binder, at: Node, args: Sequence[Typed]) -> Typed:
    return compare(at, at.value[0], args[0], args[1], binder.warn)


def _member(binder: _Binder, at: Node, args: Sequence[Typed]) -> Typed:
    return member(at, args[0], args[1:], binder.warn)


def _outsider(binder: _Binder, at: Node, args: Sequence[Typed]) -> Typed:
    """`x not in (…)` is an atom, as `!=` is: false where x is missing."""
    inside = member(at, args[0], args[1:], binder.warn)
    there = make(at, "present", (settled(args[0]).node,))
    return typed(at, make(at, "and", (there, make(at, "not", (inside.node,)))), over=inside.over)


def _number(binder: _Binder, at: Node, args: Sequence[Typed]) -> Typed:
    literal = at.value
    unit = UNITS[literal.unit] if literal.unit else None
    return Typed(at, at, "literal", unit=unit, exact=literal.exact, integer=literal.integer)


def _const(kind: str) -> Rule:
    return lambda binder, at, args: typed(at, make(at, "const", (), at.value, kind))


def _reference(binder: _Binder, at: Node, args: Sequence[Typed]) -> Typed:
    raise fail(at, f"@{at.value} is not known here")


def _with(function: Callable[..., Typed]) -> Rule:
    return lambda binder, at, args: function(at, at.op, *args)


_RULES: Mapping[str, Rule] = {
    "and": _joined,
    "or": _joined,
    "not": _not,
    "chain": _compared,
    "member": _member,
    "outsider": _outsider,
    "number": _number,
    "string": _const("str"),
    "boolean": _const("bool"),
    "reference": _reference,
    "name": lambda binder, at, args: names.name(binder.scope, at),
    "variable": lambda binder, at, args: names.variable(binder.scope, at),
    "index": lambda binder, at, args: names.indexed(binder.scope, at),
    "at": lambda binder, at, args: names.looked_up(binder.scope, at, args[1]),
    "call": lambda binder, at, args: calls.call(binder.scope, at, args),
    "quantifier": lambda binder, at, args: quantifiers.quantifier(at, args[0]),
    "let": lambda binder, at, args: quantifiers.let(at, *args),
    "given": lambda binder, at, args: quantifiers.given(at, *args),
    "choice": lambda binder, at, args: choices.choice(at, *args),
    "neg": lambda binder, at, args: arithmetic.negate(at, args[0]),
    "bit_not": lambda binder, at, args: arithmetic.invert_bits(at, args[0]),
    "pow": lambda binder, at, args: calls.power(binder.scope, at, *args),
    **{op: _with(arithmetic.binary) for op in ("add", "sub", "mul", "div", "mod")},
    **{op: _with(arithmetic.bits) for op in ("bit_and", "bit_or", "bit_xor")},
    **{op: _with(arithmetic.shift) for op in ("shl", "shr")},
}
"""What each op of a syntax tree means."""
