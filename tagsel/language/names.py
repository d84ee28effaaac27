"""Names of a cut as typed columns: attributes, list members, slots, objects, chains.

Invariant: a name is looked up once a cut, and what is unknown is an error with the nearest names.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

from tagsel.errors import CutError, did_you_mean, nearest
from tagsel.language.functions import CONSTANTS
from tagsel.language.printer import canonical
from tagsel.language.scope import Scope
from tagsel.language.tree import Node
from tagsel.language.typed import (
    FROM_COMPONENTS,
    FULL,
    KINDS,
    RANGES,
    WORDS,
    Over,
    Typed,
    fail,
    make,
    members_hint,
    settled,
    typed,
    unless_null,
)
from tagsel.language.units import UNITS, Unit, attribute_unit
from tagsel.schema import Attribute, Collection
from tagsel.schema.sourcefile import SIGNED

PDG_MASS = {"Electron": "0.51099895", "Muon": "105.6583755", "Tau": "1776.93", "Photon": "0"}
"""Masses in MeV of objects whose mass is not stored, by the end of the collection's name.

Source: Particle Data Group, Review of Particle Physics 2024."""


def name(scope: Scope, at: Node) -> Typed:
    """What a plain name means."""
    text = at.value
    attribute = scope.schema.find(text)
    if attribute is not None:
        if attribute.is_list:
            return _list(scope, at, attribute)
        if attribute.slot:
            return _slot(scope, at, attribute, attribute.slot - 1)
        return _column(scope, at, attribute)
    slots = scope.member(text)
    if slots is not None:
        return _slots(scope, at, *slots)
    if scope.collection(text) is not None or scope.scalars(text):
        return _object(scope, at, text)
    chain = scope.chain(text)
    if chain is not None:
        return typed(at, make(at, "trigger", (), chain), span=(0, 1))
    if text in CONSTANTS:
        return Typed(at, at, "literal", exact=Fraction(CONSTANTS[text]))
    raise unknown(scope, at, text)


def unknown(scope: Scope, at: Node, text: str) -> Exception:
    """The error for a name that is neither attribute, collection nor chain."""
    collection, _, member = text.partition(".")
    found = scope.collection(collection)
    if found is not None and member:
        value, _, last = member.rpartition(".")
        if value and last in found.member_names:  # Muon.pt[0].eta
            message = f"{collection}.{value} is a number, which has no {last!r}"
            return fail(at, message, f"{collection}.{last}[0]", name=text)
        hint = scope.left_out(text) or _member_hint(found, member)
        return fail(at, f"{collection} has no {member!r}", hint, name=text)
    where = "no attribute and no trigger chain" if scope.menus else "no attribute"
    no_menu = not scope.menus and scope.is_called_as_a_chain(text)
    message = f"{where} is called {text!r}{', and the dataset has no trigger menu' if no_menu else ''}"
    return fail(at, message, scope.left_out(text) or scope.hint(text), name=text)


def _member_hint(collection: Collection, member: str) -> str:
    """What to try for a member that a collection does not have: one of its own that looks like it, or all it has."""
    members = tuple(collection.member_names)
    close = nearest(member.partition(".")[0], members, cutoff=_CLOSE_MEMBER)
    if close and member not in FROM_COMPONENTS:
        return f"did you mean {' or '.join(f'{collection.name}.{name}' for name in close)}?"
    return members_hint(collection.name, members, member, bool(collection.members))


_CLOSE_MEMBER = 0.5
"""How alike a member must be: `pd` is half of `pt`, and of no other usual name."""


def indexed(scope: Scope, at: Node) -> Typed:
    """`Muon.pt[0]`, `LooseMuon.pt[0]`, `Muon[0]`."""
    text, k = at.args[0].value, at.value
    attribute = scope.schema.find(text)
    if attribute is not None and attribute.is_list:
        return _element(scope, at, attribute, k)
    slots = scope.member(text)
    if slots is not None:
        collection, attributes = slots
        if k >= len(attributes):
            raise fail(
                at,
                f"{collection.name} keeps {len(attributes)} objects: {text}[{k}] is never there",
                f"{text}[{len(attributes) - 1}] is the last",
            )
        return _slot(scope, at, attributes[k], k)
    if attribute is None and scope.collection(text) is not None:
        return replace(_object(scope, at, text), index=k, over=())
    if attribute is not None or scope.scalars(text) or scope.chain(text) is not None:
        raise fail(at, f"{text} is one value an event, not a list", text)
    raise unknown(scope, at.args[0], text)


def looked_up(scope: Scope, at: Node, index: Typed) -> Typed:
    """`Jet.pt[Muon.jetIdx[0]]`: the member at a place that is stored, or worked out."""
    text = at.args[0].value
    attribute = scope.schema.find(text)
    if attribute is None or not attribute.is_list:
        collection = scope.collection(text)
        if collection is not None and collection.members:
            member = "pt" if "pt" in collection.members else next(iter(collection.members))
            hint = f"a member: {text}.{member}[…]"
            raise fail(at, f"{text}[…] with an index that is not a number is no object", hint)
        if scope.member(text) is not None:
            raise fail(at, f"{text} is kept in slots, whose index is a number", f"{text}[0]")
        name(scope, at.args[0])
        raise fail(at, f"{text} is one value an event, not a list", text)
    place = settled(index)
    if place.kind != "int":
        raise fail(index.at, f"an index is a whole number, and this is {WORDS.get(place.kind, 'none')}")
    columns = (attribute.column, attribute.counter)
    found = _typed(at, make(at, "at", (place.node,), columns, KINDS[attribute.type]), attribute, place.over)
    null = scope.schema.nulls_of(attribute)
    if null is None:
        return found
    return unless_null(found, make(at, "at", (place.node,), (null.column, attribute.counter)))


def variable(scope: Scope, at: Node) -> Typed:
    """`m.pt` or `m` of a quantifier's variable; the node's value is (variable, collection, member)."""
    symbol, collection, member = at.value
    found = scope.collection(collection)
    if found is None:
        hint = did_you_mean(collection, scope.schema.collections)
        raise fail(at, f"no collection is called {collection!r}", hint, name=collection)
    if not member:
        part = _object(scope, at, collection)
    else:
        try:
            part = name(scope, replace(at, op="name", value=f"{collection}.{member}"))
        except CutError as error:
            hint = re.sub(rf"\b{collection}\.(\w+)(\[0\])?", rf"{symbol}.\1", error.hint).replace("one of them", "it")
            raise fail(at, error.message, hint, name=f"{collection}.{member}") from error
    if not part.over:
        raise fail(at, f"{symbol}.{member} is not a value of one object")
    return replace(_of(part, symbol), at=at)


def _of(part: Typed, variable: str) -> Typed:
    """A member, or an object, of a list as that of a variable; `numbered` makes a number of its name."""
    (over,) = part.over
    node = _member_of(part.node, variable) if variable else part.node
    return replace(part, node=node, over=(replace(over, variable=variable),))


def _member_of(node: Node, variable: str) -> Node:
    if node.op == "member":
        return replace(node, op="outer", value=(node.value, variable))
    return replace(node, args=tuple(_member_of(arg, variable) for arg in node.args)) if node.args else node


def component(scope: Scope, at: Node, part: Typed, member: str) -> Typed:
    """A member of an object: of `Muon[0]`, of an aggregate's object, of MET. An unstored mass is the PDG's."""
    text = f"{part.collection}.{member}"
    place = replace(at, op="name", value=text, pos=part.at.pos, length=part.at.length)
    attribute = scope.schema.find(text)
    if attribute is None and scope.member(text) is None:
        return _unstored(scope, place, part, member)
    if part.index >= 0:
        found = indexed(scope, replace(place, op="index", args=(place,), value=part.index))
    else:
        found = name(scope, place)
        if found.over and part.over:
            found = _of(found, part.over[0].variable)
    if member == "pt" and SIGNED in attribute_of(scope, text).description:
        node = make(part.at, "abs", (found.node,), None, found.kind)
        found = replace(found, node=node, signed=False)
    return replace(found, at=part.at)


def attribute_of(scope: Scope, text: str) -> Attribute:
    """The attribute of a member: the list's, or the leading slot's."""
    slots = scope.member(text)
    return slots[1][0] if slots is not None else scope.schema[text]


def _unstored(scope: Scope, at: Node, part: Typed, member: str) -> Typed:
    mass = next((m for kind, m in PDG_MASS.items() if part.collection.endswith(kind)), None)
    if member == "mass" and mass is not None and f"{part.collection}.pt" in scope.names:
        return _mass(at, mass, attribute_unit(attribute_of(scope, f"{part.collection}.pt").unit))
    known = scope.collection(part.collection)
    if known is not None:
        hint = members_hint(canonical(part.at), tuple(known.member_names), member, False)
    else:
        hint = f"mt(Muon[0], {part.collection}) and deltaPhi(Muon[0], {part.collection}) need pt and phi only"
    hint = scope.left_out(f"{part.collection}.{member}") or hint
    raise fail(at, f"{part.collection} has no {member!r}", hint, name=at.value)


def _mass(at: Node, mev: str, unit: Unit | None) -> Typed:
    if unit is None:
        raise fail(at, f"pt has no unit, so the mass of {at.value} is not known in it", "give pt a unit in the schema")
    exact = Fraction(mev) * UNITS["MeV"].factor(unit)
    return Typed(at, at, "literal", unit=unit, exact=exact)


def _object(scope: Scope, at: Node, name: str) -> Typed:
    """An object, or the objects of a collection."""
    found = scope.collection(name)
    members = tuple(found.member_names) if found is not None else ()
    return Typed(at, at, "object", collection=name, over=_objects(scope, found), members=members)


def _objects(scope: Scope, collection: Collection | None) -> tuple[Over, ...]:
    """What a bare collection varies over."""
    if collection is None:
        return ()
    slots = max((len(s) for s in collection.slots.values()), default=0)
    return (_over(scope, collection.name, collection.counter, slots),)


def _over(scope: Scope, collection: str, counter: str, slots: int = 0) -> Over:
    """The objects of a collection, with the nulls of its counter."""
    counted = scope.schema.by_column.get(counter)
    null = scope.schema.nulls_of(counted) if counted is not None else None
    return Over(collection, counter, slots, null=null.column if null is not None else "")


def _typed(at: Node, node: Node, attribute: Attribute, over: tuple[Over, ...] = ()) -> Typed:
    span = RANGES.get(attribute.type, FULL)
    part = typed(at, node, unit=attribute_unit(attribute.unit), over=over, span=span)
    return replace(part, signed=True) if SIGNED in attribute.description else part


def _column(scope: Scope, at: Node, a: Attribute) -> Typed:
    part = _typed(at, make(at, "column", (), a.column, KINDS[a.type]), a)
    null = scope.schema.nulls_of(a)
    return part if null is None else unless_null(part, make(at, "column", (), null.column))


def _list(scope: Scope, at: Node, a: Attribute) -> Typed:
    over = _over(scope, a.collection, a.counter)
    part = _typed(at, make(at, "member", (), a.column, KINDS[a.type]), a, (over,))
    null = scope.schema.nulls_of(a)
    return part if null is None else unless_null(part, make(at, "member", (), null.column))


def _element(scope: Scope, at: Node, a: Attribute, k: int) -> Typed:
    part = _typed(at, make(at, "element", (), (a.column, a.counter, k), KINDS[a.type]), a)
    null = scope.schema.nulls_of(a)
    return part if null is None else unless_null(part, make(at, "element", (), (null.column, a.counter, k)))


def _slot(scope: Scope, at: Node, a: Attribute, k: int) -> Typed:
    part = _typed(at, make(at, "slot", (), (a.column, a.counter, k), KINDS[a.type]), a)
    null = scope.schema.nulls_of(a)
    return part if null is None else unless_null(part, make(at, "column", (), null.column))


def _slots(scope: Scope, at: Node, collection: Collection, slots: tuple[Attribute, ...]) -> Typed:
    columns = tuple(a.column for a in slots)
    over = (_over(scope, collection.name, collection.counter, len(slots)),)
    part = _typed(at, make(at, "member", (), columns, KINDS[slots[0].type]), slots[0], over)
    nulls = [scope.schema.nulls_of(a) for a in slots]
    named = tuple(null.column for null in nulls if null is not None)  # of all slots, or of none
    return unless_null(part, make(at, "member", (), named)) if named else part
