"""Names of a cut as typed columns: attributes, list members, slots, objects, chains.

Invariant: a name is looked up once a cut, and what is unknown is an error with the nearest names.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from tagsel.errors import did_you_mean
from tagsel.expr.nodes import Node
from tagsel.expr.scope import Scope
from tagsel.expr.typed import FULL, KINDS, RANGES, Over, Typed, fail, make, typed
from tagsel.expr.units import UNITS, Unit, attribute_unit
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
            return _list(at, attribute)
        if attribute.slot:
            return _slot(at, attribute, attribute.slot - 1)
        return _column(at, attribute)
    slots = scope.member(text)
    if slots is not None:
        return _slots(at, *slots)
    if scope.collection(text) is not None or scope.scalars(text):
        return Typed(at, at, "object", collection=text, over=_objects(scope.collection(text)))
    chain = scope.chain(text)
    if chain is not None:
        return typed(at, make(at, "trigger", (), chain), span=(0, 1))
    raise unknown(scope, at, text)


def unknown(scope: Scope, at: Node, text: str) -> Exception:
    """The error for a name that is neither attribute, collection nor chain."""
    collection, _, member = text.partition(".")
    found = scope.collection(collection)
    if found is not None and member:
        members = ", ".join(found.member_names)
        return fail(at, f"{collection} has no {member!r}", scope.hint(text) or f"it has {members}", name=text)
    where = "no attribute and no trigger chain" if scope.menus else "no attribute"
    return fail(at, f"{where} is called {text!r}", scope.hint(text), name=text)


def indexed(scope: Scope, at: Node) -> Typed:
    """`Muon.pt[0]`, `LooseMuon.pt[0]`, `Muon[0]`."""
    text, k = at.args[0].value, at.value
    attribute = scope.schema.find(text)
    if attribute is not None and attribute.is_list:
        return _element(at, attribute, k)
    slots = scope.member(text)
    if slots is not None:
        collection, attributes = slots
        if k >= len(attributes):
            raise fail(at, f"{collection.name} keeps {len(attributes)} objects: {text}[{k}] is never there",
                       f"{text}[{len(attributes) - 1}] is the last")  # fmt: skip
        return _slot(at, attributes[k], k)
    if attribute is None and scope.collection(text) is not None:
        return Typed(at, at, "object", collection=text, index=k)
    if attribute is not None or scope.scalars(text) or scope.chain(text) is not None:
        raise fail(at, f"{text} is one value an event, not a list", text)
    raise unknown(scope, at.args[0], text)


def variable(scope: Scope, at: Node) -> Typed:
    """`m.pt` or `m` of a quantifier's variable; the node's value is (variable, collection, member)."""
    symbol, collection, member = at.value
    found = scope.collection(collection)
    if found is None:
        hint = did_you_mean(collection, scope.schema.collections)
        raise fail(at, f"no collection is called {collection!r}", hint, name=collection)
    if not member:
        part = Typed(at, at, "object", collection=collection, over=_objects(found))
    else:
        part = name(scope, replace(at, op="name", value=f"{collection}.{member}"))
    if not part.over:
        raise fail(at, f"{symbol}.{member} is not a value of one object")
    return replace(_of(part, symbol), at=at)


def _of(part: Typed, variable: str) -> Typed:
    """A member, or an object, of a list as that of a variable; `numbered` makes a number of its name."""
    (over,) = part.over
    node = part.node
    if variable and node.op == "member":
        node = replace(node, op="outer", value=(node.value, variable))
    return replace(part, node=node, over=(replace(over, variable=variable),))


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
        hint = f"it has {', '.join(known.member_names)}"
    else:
        hint = f"mt(Muon[0], {part.collection}) and deltaPhi(Muon[0], {part.collection}) need pt and phi only"
    raise fail(at, f"{part.collection} has no {member!r}", hint, name=at.value)


def _mass(at: Node, mev: str, unit: Unit | None) -> Typed:
    if unit is None:
        raise fail(at, f"pt has no unit, so the mass of {at.value} is not known in it", "give pt a unit in the schema")
    exact = Fraction(mev) * UNITS["MeV"].factor(unit)
    return Typed(at, at, "literal", unit=unit, exact=exact)


def _objects(collection: Collection | None) -> tuple[Over, ...]:
    """What a bare collection varies over."""
    if collection is None:
        return ()
    slots = max((len(s) for s in collection.slots.values()), default=0)
    return (Over(collection.name, collection.counter, slots),)


def _typed(at: Node, node: Node, attribute: Attribute, over: tuple[Over, ...] = ()) -> Typed:
    span = RANGES.get(attribute.type, FULL)
    part = typed(at, node, unit=attribute_unit(attribute.unit), over=over, span=span)
    return replace(part, signed=True) if SIGNED in attribute.description else part


def _column(at: Node, a: Attribute) -> Typed:
    return _typed(at, make(at, "column", (), a.column, KINDS[a.type]), a)


def _list(at: Node, a: Attribute) -> Typed:
    return _typed(at, make(at, "member", (), a.column, KINDS[a.type]), a, (Over(a.collection, a.counter),))


def _element(at: Node, a: Attribute, k: int) -> Typed:
    return _typed(at, make(at, "element", (), (a.column, a.counter, k), KINDS[a.type]), a)


def _slot(at: Node, a: Attribute, k: int) -> Typed:
    return _typed(at, make(at, "slot", (), (a.column, a.counter, k), KINDS[a.type]), a)


def _slots(at: Node, collection: Collection, slots: tuple[Attribute, ...]) -> Typed:
    columns = tuple(a.column for a in slots)
    over = (Over(collection.name, collection.counter, len(slots)),)
    return _typed(at, make(at, "member", (), columns, KINDS[slots[0].type]), slots[0], over)
