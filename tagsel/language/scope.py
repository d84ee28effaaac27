"""What the names of a cut may mean: attributes, objects, trigger chains, good-run lists, named cuts.

Invariant: a name means one thing in one scope; attributes come before collections, collections before chains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property

from tagsel.errors import CutError, did_you_mean
from tagsel.language.functions import FUNCTIONS
from tagsel.language.tree import LumiTable, TriggerBits
from tagsel.language.units import UNITS
from tagsel.schema import Attribute, Collection, Menu, Schema


def _no_lumi(name: str) -> LumiTable:
    raise CutError(f"no good-run list {name!r} can be read here", hint="give it with --lumi")


def _no_named(name: str) -> str:
    raise CutError(f"no named cut @{name}", name=name)


USUAL_PREFIXES = frozenset({"HLT", "L1"})
"""How the names of trigger chains begin in the files of the experiments."""


def _nothing_left_out(name: str) -> str:
    return ""


@dataclass(frozen=True, eq=False)
class Scope:
    """What a cut is bound to.

    `menus` are the dataset's trigger menus by id; `lumi` reads the good-run list that `in_lumi("…")` names; `named`
    gives the text of a cut for `@name`. Both raise a TagselError for what they do not know. `left_out` says what to try
    for the name of a column of the input files that the ingest left out; "" for any other name.
    """

    schema: Schema
    menus: Mapping[int, Menu] = field(default_factory=dict)
    lumi: Callable[[str], LumiTable] = _no_lumi
    named: Callable[[str], str] = _no_named
    left_out: Callable[[str], str] = _nothing_left_out

    @cached_property
    def menu_column(self) -> str:
        """The column that says which menu a row uses."""
        return next((a.column for a in self.schema if a.role == "menu"), "menu")

    def chain(self, name: str) -> TriggerBits | None:
        """Where a chain's decision lies in each menu that has it, or None when no menu has."""
        bits = tuple(
            (menu_id, *self.menus[menu_id].bits[name])
            for menu_id in sorted(self.menus)
            if name in self.menus[menu_id].bits
        )
        return TriggerBits(name, bits, self.menu_column) if bits else None

    def is_called_as_a_chain(self, name: str) -> bool:
        """Whether a name begins as those of trigger chains do, here or in the files of the experiments."""
        prefixes = {chain.partition("_")[0] for chain in self._chain_names()}
        prefix, mark, _ = name.partition("_")
        return bool(mark) and prefix in prefixes | USUAL_PREFIXES

    def versions(self, pattern: str) -> list[TriggerBits]:
        """The chains of any menu that match a pattern with `*` or `?`, sorted by name."""
        chains = [self.chain(n) for n in sorted(set(self._chain_names())) if fnmatchcase(n, pattern)]
        return [replace(chain, pattern=pattern) for chain in chains if chain is not None]

    def collection(self, name: str) -> Collection | None:
        """The collection of that name."""
        return self.schema.collections.get(name)

    def member(self, name: str) -> tuple[Collection, tuple[Attribute, ...]] | None:
        """Collection and slots (leading first) of `LooseMuon.pt` or `LooseMuon_pt`, where it is made of slots."""
        for mark in (".", "_"):
            collection, _, member = name.partition(mark)
            found = self.schema.collections.get(collection)
            if found and member in found.slots:
                return found, found.slots[member]
        return None

    def scalars(self, name: str) -> bool:
        """Whether `name` is an object kept as scalars: MET as MET_pt and MET_phi."""
        attribute = self.schema.find(f"{name}.pt")
        return attribute is not None and not attribute.is_list and not attribute.slot

    def hint(self, name: str) -> str:
        """What to try for a name that means nothing here: units and functions first, then what looks like it.

        Of thousands of names only those that share the most three-letter pieces are compared in full.
        """
        if name in UNITS:
            return f"a unit follows its number: 25 {name}"
        if name in FUNCTIONS:
            return f"{FUNCTIONS[name].signature} is a function"
        if name.lower() in ("and", "or", "not", "in", "if", "let", "true", "false"):
            return f"{name.lower()}, in lower case"
        if self.versions(f"{name}_v*"):
            return f'trigger("{name}_v*") takes any version'
        pieces = _pieces(name)
        scores = {n: len(pieces & _pieces(n)) / (len(n) + len(name)) for n in self.names}
        return did_you_mean(name, sorted(scores, key=lambda n: -scores[n])[:50])

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every name that a cut may use: attributes, members of collections, collections, chains; each once."""
        collections = self.schema.collections
        slots: list[str] = []
        for name, collection in collections.items():
            slots += [f"{name}.{member}" for member in collection.slots]
        return tuple(dict.fromkeys((*self.schema.names(), *slots, *collections, *self._chain_names())))

    def _chain_names(self) -> Iterator[str]:
        """The trigger chains of all menus, menu by menu."""
        for menu in self.menus.values():
            yield from menu.bits


def _pieces(name: str) -> frozenset[str]:
    folded = f" {name.lower()} "
    return frozenset(folded[i : i + 3] for i in range(len(folded) - 2))
