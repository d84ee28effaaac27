"""What a source schema is made of: plain data that says which branch becomes which attribute.

Invariant: nothing here knows a file; what of a source schema a given file has is decided where the file is opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import product

FORMATS = ("nanoaod", "physlite", "pool", "tree", "parquet")
"""What a source schema may be for. `tree` is any ROOT tree, flat or jagged, TTree or RNTuple."""

ENTRY = -1
"""The `ids` of a source schema say so where the entry of an event in its file is its number."""


@dataclass(frozen=True, slots=True)
class SourceAttribute:
    """One attribute and where its values come from: the first of `branches` that the file has.

    `type` "" = as the file has it. `unknown` is the file's value for "not known", kept as -1. `constant` is the value
    of every object where a collection's file has none of the branches (an unstored lepton mass). `slot` ≥ 1 marks a
    fixed slot of `collection`, whose length is the attribute `counter`.
    """

    name: str
    branches: tuple[str, ...]
    type: str = ""
    unit: str = ""
    role: str = "value"
    description: str = ""
    hot: bool = True
    aliases: tuple[str, ...] = ()
    unknown: int | None = None
    constant: float | None = None
    collection: str = ""
    member: str = ""
    slot: int = 0
    counter: str = ""


@dataclass(frozen=True, slots=True)
class SourcePattern:
    """Scalars taken under their own names: those that match a glob of `match` and none of `exclude`."""

    match: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    role: str = "value"
    hot: bool = True

    def takes(self, name: str) -> bool:
        """Whether this pattern takes the column `name`."""
        return _matches(name, self.match) and not _matches(name, self.exclude)


@dataclass(frozen=True, slots=True)
class SourceBits:
    """Booleans packed into words `<words>_0`, `<words>_1`, … of 32 bits; their names go into a menu.

    They are columns of bool or of any integer type, whose values are 0 and 1, that match a glob of `match` and none of
    `exclude`.
    """

    match: tuple[str, ...]
    words: str
    role: str
    exclude: tuple[str, ...] = ()

    def takes(self, name: str) -> bool:
        """Whether the column `name` is one of these booleans, if its type allows that."""
        return _matches(name, self.match) and not _matches(name, self.exclude)


@dataclass(frozen=True, slots=True)
class SourceCollection:
    """Lists that belong together: `<prefix><member>`; `members` are named, `take` are globs over what follows.

    With `rest` the other lists of these prefixes are taken, too.
    """

    name: str
    counter: str
    prefixes: tuple[str, ...] = ("",)
    members: tuple[SourceAttribute, ...] = ()
    take: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    rest: bool = False

    def takes(self, member: str) -> bool:
        """Whether a member that is not named is taken all the same."""
        return _matches(member, self.take) and not _matches(member, self.exclude)

    def branches_of(self, member: SourceAttribute) -> list[str]:
        """The branches that a member may be, in the order in which they are looked for."""
        return [prefix + branch for branch, prefix in product(member.branches, self.prefixes)]

    def branches(self) -> list[str]:
        """The branches that its named members may be."""
        names: list[str] = []
        for member in self.members:
            names += self.branches_of(member)
        return names


@dataclass(frozen=True, slots=True)
class SourceSchema:
    """How files of one kind become TAGs; made by `load_source_schema`.

    `ids` maps run, lumi, event to the names to look for, or to a whole number that all rows have; event may be `ENTRY`.
    `identity` is that of the dataset, "" = as usual. `references` maps a
    stage (aod, esd, raw) to names of Token columns. A file is recognised by any of the columns `recognise`. It is
    simulation when bit 0 of a column `simulation_flag` is set in the first row, or, without such a column, when it
    has one of the columns `simulation`. With `rest` its other scalars but `ignore` are taken as they are. `slim` are
    globs of the attributes that the profile slim takes; `profile` is the one that was asked for.
    """

    name: str
    format: str
    ids: Mapping[str, tuple[str, ...] | int]
    description: str = ""
    tree: str = ""
    identity: str = ""
    references: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    recognise: tuple[str, ...] = ()
    simulation: tuple[str, ...] = ()
    simulation_flag: tuple[str, ...] = ()
    rest: bool = False
    ignore: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    attributes: tuple[SourceAttribute, ...] = ()
    patterns: tuple[SourcePattern, ...] = ()
    bits: tuple[SourceBits, ...] = ()
    collections: tuple[SourceCollection, ...] = ()
    slim: tuple[str, ...] = ()
    profile: str = "standard"

    def unit_of(self, name: str) -> str:
        """The unit that the first matching glob of `units` gives to an attribute without one of its own."""
        return next((unit for glob, unit in self.units.items() if fnmatchcase(name, glob)), "")


def _matches(name: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
