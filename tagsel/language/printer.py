"""Canonical text of a cut: one spelling for what means the same, with no parenthesis too many.

Invariant: `parse(canonical(tree)) == tree`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from tagsel.language.literals import Literal
from tagsel.language.tree import Node

Part = str | tuple[Node, int]
"""A piece of text, or a node and how tightly it must bind where it stands."""

LET, GIVEN, CHOICE, OR, AND, BIT_OR, BIT_XOR, BIT_AND, COMPARE, SHIFT, SUM, PRODUCT, UNARY, POWER, ATOM = range(15)

_INFIX = {
    "bit_or": ("|", BIT_OR),
    "bit_xor": ("^", BIT_XOR),
    "bit_and": ("&", BIT_AND),
    "shl": ("<<", SHIFT),
    "shr": (">>", SHIFT),
    "add": ("+", SUM),
    "sub": ("-", SUM),
    "mul": ("*", PRODUCT),
    "div": ("/", PRODUCT),
    "mod": ("%", PRODUCT),
}

_LEVELS = {
    "let": LET,
    "given": GIVEN,
    "choice": CHOICE,
    "or": OR,
    "and": AND,
    "chain": COMPARE,
    "member": COMPARE,
    "outsider": COMPARE,
    "binding": COMPARE,
    "not": UNARY,
    "neg": UNARY,
    "bit_not": UNARY,
    "pow": POWER,
} | {op: level for op, (_, level) in _INFIX.items()}
"""How tightly each op binds; what is not here is an atom."""


def canonical(tree: Node) -> str:
    """The canonical text of a syntax tree.

    >>> from tagsel.language.parse import parse
    >>> canonical(parse("(nMuon>=2) and not (HLT_mu10 or MET_pt > 1e2GeV)"))
    'nMuon >= 2 && !(HLT_mu10 || MET_pt > 100.0 GeV)'
    """
    return write(tree)[0]


ZERO, ONE = (Node("number", value=Literal(value, True)) for value in (0, 1))
"""Whole numbers as a cut has them."""


def compared_with_0(at: Node, mark: str) -> Node:
    """`at == 0`, or with another mark, as a syntax tree."""
    return Node("chain", (at, ZERO), (mark,))


def write(tree: Node) -> tuple[str, Node]:
    """The canonical text, and the tree with its places in that text; parentheses belong to what they enclose."""
    pieces: list[str] = []
    done: list[Node] = []
    at = 0
    todo: list[tuple[Node, int] | Part] = [(tree, LET)]
    while todo:
        part = todo.pop()
        if isinstance(part, str):
            pieces.append(part)
            at += len(part)
        elif part[1] >= 0:
            node, least = part
            inner = [*_parts(node)]
            if _LEVELS.get(node.op, ATOM) < least:
                inner = ["(", *inner, ")"]
            todo.append((node, -1 - at))
            todo.extend(reversed(inner))
        else:
            node, start = part[0], -1 - part[1]
            count = len(node.args)
            args = tuple(done[len(done) - count :])
            del done[len(done) - count :]
            done.append(Node(node.op, args, node.value, pos=start, length=at - start))
    return "".join(pieces), done[0]


def _parts(node: Node) -> Iterable[Part]:
    if node.op in _INFIX:
        mark, level = _INFIX[node.op]
        return (node.args[0], level), f" {mark} ", (node.args[1], level + 1)
    return _WRITERS[node.op](node)


def _joined(items: Iterable[Part], mark: str) -> list[Part]:
    parts: list[Part] = []
    for item in items:
        parts += (mark, item) if parts else (item,)
    return parts


def _chain(node: Node) -> list[Part]:
    parts: list[Part] = [(node.args[0], SHIFT)]
    for mark, arg in zip(node.value, node.args[1:], strict=True):
        parts += (f" {mark} ", (arg, SHIFT))
    return parts


def _membership(word: str) -> Callable[[Node], Iterable[Part]]:
    return lambda node: [(node.args[0], SHIFT), f" {word} (", *_joined([(a, SHIFT) for a in node.args[1:]], ", "), ")"]


def _call(node: Node) -> list[Part]:
    return [f"{node.value}(", *_joined([(a, LET) for a in node.args], ", "), ")"]


def _quantifier(node: Node) -> list[Part]:
    function, groups = node.value
    heads = ", ".join(f"{', '.join(names)} in {collection}" for names, collection in groups)
    return [f"{function}({heads}: ", (node.args[0], LET), ")"]


def _let(node: Node) -> list[Part]:
    names = node.value[0] if len(node.value) == 1 else f"({', '.join(node.value)})"
    return [f"let {names} = ", (node.args[0], ATOM), "; ", (node.args[1], LET)]


def _string(node: Node) -> list[Part]:
    quote = "'" if '"' in node.value else '"'
    return [f"{quote}{node.value}{quote}"]


_WRITERS: Mapping[str, Callable[[Node], Iterable[Part]]] = {
    "let": _let,
    "given": lambda node: ((node.args[0], CHOICE), " if ", (node.args[1], OR)),
    "choice": lambda node: ((node.args[0], OR), " ? ", (node.args[1], CHOICE), " : ", (node.args[2], CHOICE)),
    "or": lambda node: _joined([(a, OR + 1) for a in node.args], " || "),
    "and": lambda node: _joined([(a, AND + 1) for a in node.args], " && "),
    "not": lambda node: ("!", (node.args[0], UNARY)),
    "neg": lambda node: ("-", (node.args[0], UNARY)),
    "bit_not": lambda node: ("~", (node.args[0], UNARY)),
    "pow": lambda node: ((node.args[0], ATOM), " ** ", (node.args[1], UNARY)),
    "chain": _chain,
    "member": _membership("in"),
    "outsider": _membership("not in"),
    "quantifier": _quantifier,
    "call": _call,
    "index": lambda node: ((node.args[0], ATOM), f"[{node.value}]"),
    "at": lambda node: ((node.args[0], ATOM), "[", (node.args[1], OR), "]"),
    "name": lambda node: (node.value,),
    "variable": lambda node: (".".join(filter(None, (node.value[0], node.value[2]))),),
    "reference": lambda node: (f"@{node.value}",),
    "string": _string,
    "boolean": lambda node: ("true" if node.value else "false",),
    "number": lambda node: (node.value.text(),),
    "binding": lambda node: ((node.args[0], SHIFT), f" in {node.value}"),
}
