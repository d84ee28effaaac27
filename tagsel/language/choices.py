"""`c ? a : b`: what it binds to, as a condition and as a value.

Invariant: of a and b only the one that c chooses is reached, so an overflow in the other is none.
"""

from __future__ import annotations

from dataclasses import replace

from tagsel.language.tree import Node
from tagsel.language.typed import (
    FULL,
    WORDS,
    Typed,
    alike,
    as_condition,
    as_f64,
    constant,
    fail,
    make,
    number,
    together,
    truth_hint,
    typed,
)

TRUTHS = ("condition", "bool")


def choice(at: Node, condition: Typed, yes: Typed, no: Typed) -> Typed:
    """The meaning of `condition ? yes : no`: two conditions give a condition, two numbers a number."""
    condition = as_condition(condition)
    truths = [part.kind in TRUTHS for part in (yes, no)]
    if all(truths):
        return _condition(at, condition, as_condition(yes), as_condition(no))
    if any(truths):
        other = no if truths[0] else yes
        word = WORDS.get(other.kind, "an object")
        message = f"{word} stands where a condition is needed: both sides of ? : are of one kind"
        raise fail(other.at, message, truth_hint(other) if other.kind in WORDS else "")
    return _value(at, condition, yes, no)


def _condition(at: Node, condition: Typed, yes: Typed, no: Typed) -> Typed:
    """One of two conditions, of which only the chosen one is reached."""
    node = make(at, "if_else", (condition.node, yes.node, no.node))
    return typed(at, node, over=together(at, (condition, yes, no)))


def _value(at: Node, condition: Typed, yes: Typed, no: Typed) -> Typed:
    """Whole numbers stay whole, two float32 (or one and a literal) stay float32, all else is float64."""
    over = together(at, (condition, yes, no))
    yes, no = (part if part.kind == "literal" else number(part) for part in (yes, no))
    yes, no = alike(at, yes, no)
    unit = yes.unit or no.unit
    kind = _kind(yes, no)
    yes, no = (constant(part, kind, part.unit) if part.kind == "literal" else part for part in (yes, no))
    if kind == "f64":
        yes, no = as_f64(yes), as_f64(no)
    span = FULL
    if kind == "int":
        span = min(yes.range[0], no.range[0]), max(yes.range[1], no.range[1])
    node = make(at, "either", (condition.node, yes.node, no.node), None, kind)
    return replace(typed(at, node, unit=unit, over=over), range=span)


def _kind(yes: Typed, no: Typed) -> str:
    """The kind of a number that is one of two."""
    whole = all(part.integer for part in (yes, no) if part.kind == "literal")
    kinds = {part.kind for part in (yes, no) if part.kind != "literal"}
    if len(kinds) > 1:
        return "f64"
    if not kinds:
        return "int" if whole else "f64"
    (kind,) = kinds
    return "f64" if kind == "int" and not whole else kind
