"""Canonical text of a cut: one spelling for what means the same, with no parenthesis too many.

Invariant: `parse(canonical(tree)) == tree`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tagsel.expr.nodes import Node
from tagsel.expr.walk import fold

Written = tuple[str, int]
"""A piece of text and how tightly it binds."""

OR, AND, BIT_OR, BIT_XOR, BIT_AND, COMPARE, SHIFT, SUM, PRODUCT, UNARY, POWER, ATOM = range(1, 13)

INFIX = {
    "bit_or": ("|", BIT_OR), "bit_xor": ("^", BIT_XOR), "bit_and": ("&", BIT_AND),
    "shl": ("<<", SHIFT), "shr": (">>", SHIFT), "add": ("+", SUM), "sub": ("-", SUM),
    "mul": ("*", PRODUCT), "div": ("/", PRODUCT), "mod": ("%", PRODUCT),
}  # fmt: skip


def canonical(tree: Node) -> str:
    """The canonical text of a syntax tree.

    >>> from tagsel.expr.parse import parse
    >>> canonical(parse("(nMuon>=2) and not (HLT_mu10 or MET_pt > 1e2GeV)"))
    'nMuon >= 2 && !(HLT_mu10 || MET_pt > 100.0 GeV)'
    """
    return fold(tree, _write)[0]


def _write(node: Node, args: Sequence[Written]) -> Written:
    if node.op in INFIX:
        mark, level = INFIX[node.op]
        return f"{_inside(args[0], level)} {mark} {_inside(args[1], level + 1)}", level
    return _WRITERS[node.op](node, args)


def _inside(written: Written, least: int) -> str:
    """The text, in parentheses where it binds less tightly than its place asks."""
    text, level = written
    return text if level >= least else f"({text})"


def _joined(mark: str, level: int) -> Callable[[Node, Sequence[Written]], Written]:
    return lambda node, args: (mark.join(_inside(a, level + 1) for a in args), level)


def _prefix(mark: str) -> Callable[[Node, Sequence[Written]], Written]:
    return lambda node, args: (mark + _inside(args[0], UNARY), UNARY)


def _power(node: Node, args: Sequence[Written]) -> Written:
    return f"{_inside(args[0], ATOM)} ** {_inside(args[1], UNARY)}", POWER


def _chain(node: Node, args: Sequence[Written]) -> Written:
    first, *rest = (_inside(a, SHIFT) for a in args)
    pairs = (f" {mark} {text}" for mark, text in zip(node.value, rest, strict=True))
    return first + "".join(pairs), COMPARE


def _membership(word: str) -> Callable[[Node, Sequence[Written]], Written]:
    def write(node: Node, args: Sequence[Written]) -> Written:
        first, *rest = (_inside(a, SHIFT) for a in args)
        return f"{first} {word} ({', '.join(rest)})", COMPARE

    return write


def _quantifier(node: Node, args: Sequence[Written]) -> Written:
    function, groups = node.value
    heads = ", ".join(f"{', '.join(names)} in {collection}" for names, collection in groups)
    return f"{function}({heads}: {args[0][0]})", ATOM


def _string(node: Node, args: Sequence[Written]) -> Written:
    quote = "'" if '"' in node.value else '"'
    return f"{quote}{node.value}{quote}", ATOM


_WRITERS: Mapping[str, Callable[[Node, Sequence[Written]], Written]] = {
    "or": _joined(" || ", OR),
    "and": _joined(" && ", AND),
    "not": _prefix("!"),
    "neg": _prefix("-"),
    "bit_not": _prefix("~"),
    "pow": _power,
    "chain": _chain,
    "member": _membership("in"),
    "outsider": _membership("not in"),
    "quantifier": _quantifier,
    "call": lambda node, args: (f"{node.value}({', '.join(text for text, _ in args)})", ATOM),
    "index": lambda node, args: (f"{args[0][0]}[{node.value}]", ATOM),
    "name": lambda node, args: (node.value, ATOM),
    "reference": lambda node, args: (f"@{node.value}", ATOM),
    "string": _string,
    "boolean": lambda node, args: ("true" if node.value else "false", ATOM),
    "number": lambda node, args: (node.value.text(), ATOM),
    "variable": lambda node, args: (".".join(filter(None, (node.value[0], node.value[2]))), ATOM),
    "binding": lambda node, args: (f"{args[0][0]} in {node.value}", COMPARE),
}
