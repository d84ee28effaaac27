"""What a TAG record is: attributes, collections of objects, and the schema that holds them.

Invariant: values are immutable, and a schema written by `to_json` reads back equal with `from_json`.

Names. `Attribute.name` is what people write (`run`, `MET_pt`, `Muon.pt`); `Attribute.column` is the column
on disk (`Muon_pt`), which has another name where a twin in other letter case has that one already: Delta and DuckDB do
not tell `x` from `X`. An attribute is one of three kinds:

- *scalar*: one value an event;
- *list* (`is_list`): values of the objects of `collection`, concatenated; the length of each event's list is the
  int32 column `counter` (`nMuon`), shared by all members of the collection;
- *slot* (`slot` ≥ 1): the value of the slot-th object (1 = leading) of `collection`, stored as a scalar column
  (`LooseMuonPt2`); it is missing where `counter` is less than `slot`, whatever is stored.

An attribute of which a file had nulls has a bitmap beside it, an attribute of the role `null` (`MET_pt__null`), a bool
or, of a list, a list of bools: where it is true the value is missing, whatever is stored (NaN, 0, false or ""). That of
a counter (`nMuon__null`) marks the events whose whole list is null. A part without the bitmap has no nulls.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property

from tagsel.errors import SchemaError, did_you_mean

TYPES = ("bool", "int32", "int64", "float32", "float64", "bits32", "bits64", "string")
"""Attribute types. `bits*` are words of flags: stored as their signed pattern, read zero-extended."""

ROLES = ("value", "id", "counter", "trigger", "flag", "weight", "reference", "menu", "time", "null")
"""What an attribute is for. `trigger` and `flag` mark words of bits whose names live in a menu; `null` is a
bool that is true where another attribute has no value."""

NULL = "__null"
"""What follows the name of an attribute in that of its nulls: `MET_pt__null`."""

IDS = ("run", "lumi", "event")
"""The columns that every dataset has: int32, int32, int64."""

IDENTITIES = ("run event", "run lumi event")
"""What makes two events of data the same; the first where a dataset says nothing."""

USER = "user."
"""Users' own attributes begin with it: no format has such names."""

STAGES = ("aod", "esd", "raw")
"""Processing stages that a row may point to, by columns `<stage>_guid` (string) and `<stage>_entry` (int64)."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a TAG record.

    >>> Attribute("Muon.pt", "float32", unit="GeV", is_list=True, counter="nMuon").column
    'Muon_pt'
    """

    name: str
    type: str
    unit: str = ""
    role: str = "value"
    description: str = ""
    is_list: bool = False
    collection: str = ""  # of a list or a slot
    member: str = ""  # of a list or a slot: "pt"
    slot: int = 0  # 1-based; 0 = not a slot
    counter: str = ""  # int32 column with the collection's length
    hot: bool = True  # hot columns are mapped, cold ones compressed
    aliases: tuple[str, ...] = ()
    physical: str = ""  # name of the column on disk, where it is not `flat_name`

    def __post_init__(self) -> None:
        if self.type not in TYPES:
            raise SchemaError(f"attribute {self.name}: unknown type {self.type!r}", hint=f"one of {', '.join(TYPES)}")
        if self.role not in ROLES:
            raise SchemaError(f"attribute {self.name}: unknown role {self.role!r}", hint=f"one of {', '.join(ROLES)}")
        if self.is_list and not self.collection:
            collection, _, member = self.name.partition(".")
            object.__setattr__(self, "collection", collection)
            object.__setattr__(self, "member", member)
        if (self.is_list or self.slot) and not (self.counter and self.collection and self.member):
            raise SchemaError(f"attribute {self.name}: a list or slot needs collection, member and counter")

    @property
    def flat_name(self) -> str:
        """The attribute's name with `.` as `_`: `Muon_pt`."""
        return self.name.replace(".", "_")

    @property
    def column(self) -> str:
        """Name of the column on disk: the flat name, but for one that differs from a twin's in letter case only."""
        return self.physical or self.flat_name


@dataclass(frozen=True, slots=True)
class Collection:
    """The objects of one kind in an event: its counter, its members by name, and slots if it is made of slots.

    `members` maps a member (`pt`) to its list attribute; `slots` maps it to its slot attributes, leading first.
    Exactly one of the two is filled for any member.
    """

    name: str
    counter: str
    members: Mapping[str, Attribute]
    slots: Mapping[str, tuple[Attribute, ...]]

    @property
    def member_names(self) -> list[str]:
        """Names of all members, sorted."""
        return sorted({*self.members, *self.slots})


@dataclass(frozen=True)
class Schema:
    """An ordered set of attributes; look one up by its name, its alias, or `X_y` for `X.y` and back.

    >>> schema = Schema((Attribute("Muon.pt", "float32", is_list=True, counter="nMuon"),))
    >>> schema["Muon_pt"].name
    'Muon.pt'
    """

    attributes: tuple[Attribute, ...]
    name: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    identity: str = IDENTITIES[0]

    def __post_init__(self) -> None:
        check_identity(self.identity)
        seen: dict[str, str] = {}
        for attribute in self.attributes:
            # Delta tells the names of columns apart without regard to letter case.
            folded = attribute.column.lower()
            if folded in seen:
                raise SchemaError(_clash(seen[folded], attribute.column), hint=_CLASH_HINT, column=attribute.column)
            seen[folded] = attribute.column
        aliases: dict[str, str] = {}
        for attribute in self.attributes:
            aliases.update(dict.fromkeys(attribute.aliases, attribute.name))
        object.__setattr__(self, "aliases", aliases)

    @cached_property
    def by_name(self) -> Mapping[str, Attribute]:
        """Attributes by canonical name."""
        return {a.name: a for a in self.attributes}

    @cached_property
    def by_column(self) -> Mapping[str, Attribute]:
        """Attributes by column on disk."""
        return {a.column: a for a in self.attributes}

    @cached_property
    def by_flat_name(self) -> Mapping[str, Attribute]:
        """Attributes by name with `.` as `_`."""
        return {a.flat_name: a for a in self.attributes}

    @cached_property
    def collections(self) -> Mapping[str, Collection]:
        """Collections of objects by name, lists and slots alike."""
        lists: dict[str, dict[str, Attribute]] = {}
        slots: dict[str, dict[str, list[Attribute]]] = {}
        counters: dict[str, str] = {}
        for a in self.attributes:
            if a.role == "null":
                continue
            if a.is_list:
                lists.setdefault(a.collection, {})[a.member] = a
            elif a.slot:
                slots.setdefault(a.collection, {}).setdefault(a.member, []).append(a)
            else:
                continue
            if counters.setdefault(a.collection, a.counter) != a.counter:
                raise SchemaError(f"collection {a.collection} has two counters: {counters[a.collection]}, {a.counter}")
        ordered: dict[str, dict[str, tuple[Attribute, ...]]] = {}
        for collection, members in slots.items():
            ordered[collection] = {m: tuple(sorted(v, key=lambda a: a.slot)) for m, v in members.items()}
        return {c: Collection(c, counters[c], lists.get(c, {}), ordered.get(c, {})) for c in counters}

    def find(self, name: str) -> Attribute | None:
        """The attribute meant by `name` (canonical, alias, `X_y` for `X.y`, `X.y` for `X_y`), or None."""
        if name in self.by_name:
            return self.by_name[name]
        if name in self.aliases:
            return self.by_name[self.aliases[name]]
        return self.by_flat_name.get(name.replace(".", "_"))

    def nulls_of(self, attribute: Attribute) -> Attribute | None:
        """The bitmap that is true where `attribute` is null; None where no file had nulls of it."""
        found = self.by_name.get(f"{attribute.name}{NULL}")
        return found if found is not None and found.role == "null" else None

    def shown(self) -> tuple[Attribute, ...]:
        """The attributes that people know: all but the bitmaps of nulls."""
        return tuple(a for a in self.attributes if a.role != "null")

    def __getitem__(self, name: str) -> Attribute:
        attribute = self.find(name)
        if attribute is None:
            raise SchemaError(f"no attribute {name!r}", hint=did_you_mean(name, self.names()), name=name)
        return attribute

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.find(name) is not None

    def __iter__(self) -> Iterator[Attribute]:
        return iter(self.attributes)

    def __len__(self) -> int:
        return len(self.attributes)

    def names(self) -> list[str]:
        """Every name that people use, canonical ones first."""
        return [*(a.name for a in self.shown()), *self.aliases]

    def union(self, other: Schema) -> Schema:
        """This schema with the attributes that only `other` has after it; same name but other type is an error."""
        merged = dict(self.by_name)
        for a in other.attributes:
            mine = merged.get(a.name)
            if mine is None:
                merged[a.name] = a
            elif _kind(mine) != _kind(a):
                raise SchemaError(
                    f"attribute {a.name} is {describe_type(mine)} in the dataset and {describe_type(a)} in the input",
                    name=a.name,
                )
            elif mine.column != a.column:
                raise SchemaError(
                    f"attribute {a.name} is the column {mine.column} in the dataset and {a.column} in the input",
                    hint="ingest the file again: it was read before its twin in other letter case came in",
                    name=a.name,
                )
            elif set(a.aliases) - set(mine.aliases):
                merged[a.name] = replace(mine, aliases=tuple(dict.fromkeys((*mine.aliases, *a.aliases))))
        return Schema(tuple(merged.values()), self.name or other.name, identity=self.identity)

    def to_json(self) -> dict[str, object]:
        """A JSON-ready form that `from_json` reads back; default values are left out."""
        defaults = {f.name: f.default for f in fields(Attribute)}
        rows = []
        for attribute in self.attributes:
            values = asdict(attribute)
            rows.append({key: value for key, value in values.items() if value != defaults.get(key)})
        identity = {} if self.identity == IDENTITIES[0] else {"identity": self.identity}
        return {"name": self.name, "attributes": rows, **identity}

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> Schema:
        """The schema that `to_json` wrote."""
        rows = document["attributes"]
        assert isinstance(rows, Iterable)
        made = [Attribute(**{**row, "aliases": tuple(row.get("aliases", ()))}) for row in rows]
        return cls(tuple(made), str(document.get("name", "")), identity=str(document.get("identity", IDENTITIES[0])))


def null_attribute(attribute: Attribute) -> Attribute:
    """The bitmap of an attribute's nulls.

    >>> null_attribute(Attribute("MET_pt", "float32")).column
    'MET_pt__null'
    """
    bitmap = Attribute(
        f"{attribute.name}{NULL}",
        "bool",
        role="null",
        description=f"True where {attribute.name} is null.",
        hot=attribute.hot,
        physical=f"{attribute.physical}{NULL}" if attribute.physical else "",
    )
    if not attribute.is_list:
        return bitmap
    member = f"{attribute.member}{NULL}"
    return replace(bitmap, is_list=True, collection=attribute.collection, member=member, counter=attribute.counter)


def check_identity(text: str) -> None:
    """SchemaError for what is no identity of events."""
    if text not in IDENTITIES:
        hint = " or ".join(f'"{one}"' for one in IDENTITIES)
        raise SchemaError(f"{text!r} is no identity of events", hint=hint, identity=text)


def _kind(attribute: Attribute) -> tuple[str, bool, str, int, str]:
    """What must be the same in a dataset and in the parts that join it."""
    return attribute.type, attribute.is_list, attribute.unit, attribute.slot, attribute.counter


_CLASH_HINT = "a source schema gives one of them another name, or leaves it out"


def _clash(one: str, other: str) -> str:
    if one == other:
        return f"two attributes share the column {one}"
    return f"the columns {one} and {other} differ in letter case only"


def describe_type(attribute: Attribute) -> str:
    """Type and unit for people: `list<float32> [GeV]`."""
    shape = f"list<{attribute.type}>" if attribute.is_list else attribute.type
    return f"{shape} [{attribute.unit}]" if attribute.unit else shape
