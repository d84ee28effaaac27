"""Decisions of many trigger chains at once: how often each fired, in all or by run or luminosity block.

A chain is a bit of a word, and the menu of a row says which bit; words are unpacked once for all chains.

Invariant: an event is counted by the rules of every verb (cuts, good-run lists, duplicates), and for each chain as
fired, as present (its menu has the chain), or as absent: absent is not the same as not fired.
"""

from __future__ import annotations

import fnmatch
import operator
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tagsel.base.text_table import Table
from tagsel.engine.bitmaps import Words, as_mask
from tagsel.engine.evaluate import fold_passing, total_fate
from tagsel.engine.row_groups import Unit
from tagsel.errors import SchemaError, did_you_mean
from tagsel.language import Block
from tagsel.schema import NO_MENU, Menu
from tagsel.selection.query import Query
from tagsel.selection.question import Outcome, question
from tagsel.selection.run import Count, Prepared, Progress, evaluated, finish, how_of, of_count, prepare
from tagsel.selection.yields import Yield
from tagsel.store import watched

T = TypeVar("T")
Ints = npt.NDArray[np.int64]
Decisions = npt.NDArray[np.uint8]

BY: Mapping[str, tuple[str, ...]] = {"": (), "run": ("run",), "lumi": ("run", "lumi")}
"""What chains may be counted by, and the ids that this takes."""

ROWS = 8192
"""Rows whose decisions are unpacked at once: a byte for each row and chain, and four where they are multiplied."""


@dataclass(frozen=True, repr=False)
class Chains:
    """Trigger chains counted: C chains, B blocks (all events are one, or each run, or each luminosity block).

    `blocks` (B, 0 to 2) int64: run and luminosity block; `events` (B,) int64 all events of each; `fired`, `present`
    (B, C) int64: where the chain fired, and where the menu has it.
    """

    chains: tuple[str, ...]
    by: tuple[str, ...]
    blocks: Ints
    events: Ints
    fired: Ints
    present: Ints
    count: Count

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """The rows of `table`, one at a time."""
        for at, block in enumerate(self.blocks.tolist()):
            events = int(self.events[at])
            counts = zip(self.chains, self.fired[at].tolist(), self.present[at].tolist(), strict=True)
            for chain, fired, present in counts:
                share = round(fired / present, 6) if present else None
                yield (chain, *block, fired, present, events - present, share)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of `table`."""
        return ("chain", *self.by, "fired", "present", "absent", "share")

    def table(self) -> Table:
        """A row a chain and block: events where it fired, where the menu has it, where not; the share that fired."""
        return Table(self.columns, tuple(self.rows()))

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def to_json(self) -> dict[str, object]:
        """What `--json` prints."""
        return {"chains": self.table().to_json(), "events": self.count.accepted, "count": self.count.to_json()}


def chain_names(query: Query, pattern: str = "*") -> tuple[str, ...]:
    """Chains and flags of any menu that match the glob, or one of several with commas, sorted.

    SchemaError, with the nearest, for a glob that matches none.
    """
    names: set[str] = set()
    for source in query.inputs:
        for menu in source.snapshot.menus.values():
            names.update(menu.bits)
    chains = sorted(names)
    matches: set[str] = set()
    for part in pattern.split(","):
        glob = part.strip()
        of_glob = fnmatch.filter(chains, glob)
        if not chains:
            raise SchemaError("there is no trigger menu", hint="none of the files brought one", pattern=glob)
        if not of_glob:
            hint = did_you_mean(glob.strip("*?"), chains) or "tagsel triggers DATASET lists them all"
            raise SchemaError(f"no chain matches {glob!r}", hint=hint, pattern=glob)
        matches.update(of_glob)
    return tuple(sorted(matches))


@dataclass(frozen=True)
class Decoder:
    """Where the chosen chains are in one input: for each menu (chains, places), the places among all unpacked bits of
    `words`, and bits of each word."""

    chains: int
    words: Mapping[str, int]
    menus: Mapping[int, tuple[Ints, Ints]]

    @classmethod
    def of(cls, chains: Sequence[str], menus: Mapping[int, Menu], columns: Mapping[str, int]) -> Decoder:
        """`columns` are the words that a part has, with their bits; a chain of another word is absent."""
        words: dict[str, int] = {}  # in the order of chains, as menus have them
        first_bits: dict[str, int] = {}
        bits = 0
        for menu in menus.values():
            for word in (menu.bits[name][0] for name in chains if name in menu.bits):
                if word in columns and word not in words:
                    words[word], first_bits[word] = columns[word], bits
                    bits += columns[word]
        places = {}
        for number, menu in menus.items():
            present, of_present = [], []
            for at, name in enumerate(chains):
                if name in menu.bits and menu.bits[name][0] in words:
                    word, bit = menu.bits[name]
                    present.append(at)
                    of_present.append(first_bits[word] + bit)
            places[number] = np.array(present, np.int64), np.array(of_present, np.int64)
        return cls(len(chains), words, places)

    def decisions(self, block: Block, rows: Ints) -> Iterator[tuple[Ints, Decisions, Ints]]:
        """(rows, decisions (rows, C) uint8, the chains of their menu), a menu and at most `ROWS` rows at a time."""
        has_menu = "menu" in block.columns
        menu_of = block.columns["menu"][rows] if has_menu else np.full(len(rows), NO_MENU, np.int64)
        for menu in np.unique(menu_of).tolist():
            mine = rows[menu_of == menu]
            at, places = self.menus.get(menu, (_NONE, _NONE))
            for begin in range(0, len(mine), ROWS):
                some = mine[begin : begin + ROWS]
                yield some, self._chosen(self._bits(block, some), at, places), at

    def _chosen(self, bits: Decisions, at: Ints, places: Ints) -> Decisions:
        """Of all bits those of the chains, in their order; a chain that the menu lacks did not fire."""
        if len(places) and np.array_equal(places, np.arange(places[0], places[0] + len(places))):
            present = bits[:, places[0] : places[0] + len(places)]  # a menu in the order of names: nothing is copied
        else:
            present = np.take(bits, places, axis=1)
        if len(at) == self.chains:  # each chain once, and rising
            return present
        decisions = np.zeros((len(bits), self.chains), np.uint8)
        decisions[:, at] = present
        return decisions

    def _bits(self, block: Block, rows: Ints) -> Decisions:
        """All bits of all words, the lowest first: (rows, bits) uint8."""
        octets, at = np.empty((len(rows), sum(self.words.values()) // 8), np.uint8), 0
        for word, width in self.words.items():
            values = np.ascontiguousarray(block.columns[word][rows]).astype(f"<u{width // 8}", copy=False)
            octets[:, at : at + width // 8] = values.view(np.uint8).reshape(len(rows), width // 8)
            at += width // 8
        return np.unpackbits(octets, axis=1, bitorder="little")


_NONE = np.zeros(0, np.int64)
_BITS = 31
"""Bits of an id, of which a block's key is made: run and luminosity block are int32, and not negative."""


def decoder(prepared: Prepared, unit: Unit, chains: Sequence[str]) -> Decoder:
    """The decoder of a unit's part; one serves all parts that have the same words."""
    snapshot = prepared.inputs[unit.source].input.snapshot
    words = {}
    for attribute in snapshot.schema:
        if attribute.type.startswith("bits") and attribute.column in unit.part.columns:
            words[attribute.column] = int(attribute.type[4:])
    key = ("decoder", tuple(chains), tuple(sorted(words.items())))
    menus = snapshot.menus
    return snapshot.frame.memo.get_or_create("trigger-decoders", key, lambda: Decoder.of(chains, menus, words))


@dataclass(frozen=True, eq=False)
class _Counted:
    """The blocks of a row group: keys (B,), events (B,), fired and present (B, C)."""

    keys: Ints
    events: Ints
    fired: Ints
    present: Ints


def _outcome(answer: Chains) -> Outcome:
    """The log entry of counted chains."""
    return replace(of_count(answer.count), subject=f"{len(answer.chains)} chains")


@question("triggers", _outcome)
def chain_counts(query: Query, pattern: str = "*", by: str = "", *, progress: Progress = None) -> Chains:
    """How often each chain that `pattern` matches fired, among the events that pass the query; `by` is a key of `BY`.

    SchemaError for a pattern that matches none, and for what chains cannot be counted by.
    """
    if by not in BY:
        raise SchemaError(f"chains cannot be counted by {by!r}", hint="run, or lumi")
    chains = chain_names(query, pattern)

    def work(prepared: Prepared, unit: Unit, block: Block, rows: Ints) -> tuple[_Counted, ...]:
        return (_count(prepared, unit, block, rows, chains, BY[by]),)

    nothing: tuple[_Counted, ...] = ()
    count, counted = scanned(query, work, operator.add, nothing, progress=progress)
    return Chains(chains, BY[by], *_joined(counted, len(chains), len(BY[by])), count)


@watched
def scanned(
    query: Query,
    work: Callable[[Prepared, Unit, Block, Ints], T],
    add: Callable[[T, T], T],
    nothing: T,
    *,
    size: int = 0,
    progress: Progress = None,
) -> tuple[Count, T]:
    """The count of the query, and `work` of the rows that pass in each row group, added up; `size` bytes each."""
    started = time.perf_counter()
    prepared = prepare(replace(query, weight=""))
    how = how_of(prepared, listing=True, progress=progress)

    def of_unit(unit: Unit, block: Block, bits: Words) -> T:
        return work(prepared, unit, block, np.flatnonzero(as_mask(bits, unit.rows)))

    total, passing = fold_passing(evaluated(prepared, how), of_unit, add, nothing, how, size=size)
    accepted = Yield.unweighted(sum(of_input.count for of_input in passing))
    return finish(prepared, total_fate(passing), accepted, started), total


def _count(
    prepared: Prepared, unit: Unit, block: Block, rows: Ints, chains: Sequence[str], by: Sequence[str]
) -> _Counted:
    """The chains of one row group, by block."""
    key = np.zeros(len(rows), np.int64)
    for name in by:
        key = key << _BITS | block.columns[name][rows]
    keys, key_of = np.unique(key, return_inverse=True)
    where = np.zeros(unit.rows, np.int64)
    where[rows] = key_of
    fired, present = np.zeros((2, len(keys), len(chains)), np.int64)
    for some, decisions, of_menu in decoder(prepared, unit, chains).decisions(block, rows):
        order = np.argsort(where[some], kind="stable")
        here, starts = np.unique(where[some][order], return_index=True)
        ordered = decisions[order] if (np.diff(order) < 0).any() else decisions
        ends = [*starts.tolist()[1:], len(some)]
        for at, first, last in zip(here.tolist(), starts.tolist(), ends, strict=True):
            fired[at] += ordered[first:last].sum(axis=0, dtype=np.int32)
            present[at, of_menu] += last - first
    return _Counted(keys, np.bincount(key_of, minlength=len(keys)), fired, present)


def _joined(counted: Sequence[_Counted], chains: int, ids: int) -> tuple[Ints, Ints, Ints, Ints]:
    """The blocks of all row groups, each once and rising; all events are one block, of no events where none pass."""
    whole = np.zeros(0 if ids else 1, np.int64)
    counted = [_Counted(whole, whole, *np.zeros((2, len(whole), chains), np.int64)), *counted]
    keys, at = np.unique(np.concatenate([group.keys for group in counted]), return_inverse=True)

    def total(values: Sequence[Ints]) -> Ints:
        sums = np.zeros((len(keys), *values[0].shape[1:]), np.int64)
        np.add.at(sums, at, np.concatenate(values))
        return sums

    blocks = np.array([keys >> _BITS * k & (1 << _BITS) - 1 for k in reversed(range(ids))], np.int64)
    return (
        blocks.reshape(ids, len(keys)).T,
        total([group.events for group in counted]),
        total([group.fired for group in counted]),
        total([group.present for group in counted]),
    )
