"""Drafting a source schema from a file: what it has, as TOML that a user then edits.

The draft is a guess by names: ids by the names that formats use, lists of one prefix and one counter as a collection.
Of a file whose first rows can be looked at, these decide what names leave open: lists of one prefix that differ in
length are collections of their own, a counter that contradicts its lists is an attribute, a column that cannot be read
is left out. Invariant: a draft reads back as a source schema, and ingests the file that it was drafted from once it has
ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from tagsel.base.local_path import local_path
from tagsel.errors import IngestError, TagselError
from tagsel.ingest.columnar import columnar_format, open_columnar
from tagsel.ingest.columns import Columns, can_be_flag
from tagsel.ingest.convert import NATURAL, Place, fit, fit_id, strings
from tagsel.ingest.damage import reading
from tagsel.ingest.pool import TAG_TREES
from tagsel.ingest.readers import ParquetReader, tree_columns
from tagsel.rootio import EVENT_TREES, ColumnType, EventTree, RootFile
from tagsel.schema import IDS, STAGES, SourceSchema, parse_source_schema

FirstRows = Callable[[str], Any]
"""The first rows of a column: NumPy for numbers, awkward for lists, either or Arrow for texts; None: there are none."""

FIRST_ROWS = 10_000
"""How many rows a draft looks at."""

ID_NAMES = {
    "run": ("run", "runNumber", "runNum", "runNo", "runNr", "runId", "iRun", "nRun"),
    "lumi": (
        "lumi",
        "luminosityBlock",
        "lumiBlock",
        "lumiBlockN",
        "lumiBlockNum",
        "lumiBlockNumber",
        "lumiSection",
        "lumiSec",
        "lumiNumber",
        "luminosityBlockNumber",
        "lumiNum",
        "ls",
        "lb",
        "lbn",
        "iLumi",
    ),
    "event": (
        "event",
        "eventNumber",
        "eventNum",
        "eventNo",
        "eventNr",
        "eventId",
        "evt",
        "evtNumber",
        "evtNum",
        "evtNo",
        "evtId",
        "iEvent",
        "iEvt",
        "nEvent",
    ),
}
"""Names under which files keep run, luminosity block and event number, in any spelling of case, `_` and `.`."""

COPY_FIRST = "copy the file here first, and ingest the copy; --aod takes URLs of the AOD files that TAG rows point to"


def derive_source_schema(path: Path | str) -> str:
    """A drafted source schema, as TOML text, for a ROOT, Parquet or Arrow file.

    Ids that were not found are left as comments to fill in. Raises IngestError where the file is none of these.
    """
    path = local_path(path, COPY_FIRST)
    with reading(path):
        if columnar_format(path):
            with open_columnar(path) as file:
                reader = ParquetReader(path)
                return draft(file.columns(), "parquet", first_rows=lambda name: reader.first(file, name, FIRST_ROWS))
        with RootFile(path) as root:
            tree = _likely_tree(root)

            def first_rows(name: str) -> Any:
                return tree.arrays([name], 0, FIRST_ROWS)[name]

            return draft(tree_columns(tree), "tree", tree.name, first_rows)


def drafted_schema(columns: Columns, kind: str) -> SourceSchema:
    """The source schema that `draft` writes by names alone, for a file that no standard one is made for."""
    return parse_source_schema(draft(columns, kind), f"schema drafted from {columns.path}")


def _likely_tree(root: RootFile) -> EventTree:
    """The tree of events by its name, else the TAG, else the one with most entries."""
    for name in (*EVENT_TREES, *TAG_TREES):
        tree = root.tree(name)
        if tree is not None:
            return tree
    trees = [tree for name in root.trees() if (tree := root.tree(name)) is not None]
    if not trees:
        raise IngestError(f"{root.path}: no tree in this file", path=str(root.path))
    return max(trees, key=lambda t: t.entries)


def draft(columns: Columns, kind: str, tree: str = "", first_rows: FirstRows | None = None) -> str:
    """The TOML text of a draft; by names alone where the first rows cannot be looked at."""
    return _Draft(columns, first_rows).text(kind, tree)


_BITS = (("trigger", ("HLT_*", "L1_*")), ("flag", ("Flag_*",)))
"""Booleans that are packed into words: role, globs."""

PRESCALE = "*[Pp]resc*"
"""Names of columns that hold a chain's prescale, not its decision."""

_USED_BY_TAGSEL = [*(f"{stage}_{part}" for stage, part in product(STAGES, ("guid", "entry"))), "menu"]
"""Columns that ingest itself reads under these names."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What the first rows of a column say: the attribute type that holds them, the whole numbers of a scalar, the
    lengths of lists; each None where nobody looked."""

    kind: str
    numbers: Any = None
    lengths: Any = None


@dataclass(slots=True)
class _Family:
    """Lists that become one collection: those of one prefix, or one list by itself, whose member is then `value`."""

    prefix: str
    lists: list[str]
    name: str = ""
    counter: str = ""


@dataclass
class _Draft:
    """A draft of a file's columns."""

    columns: Columns
    first_rows: FirstRows | None
    left_out: dict[str, str] = field(default_factory=dict)  # columns and why
    no_ids: dict[str, str] = field(default_factory=dict)  # ids and why the column of such a name is none
    looks: dict[str, _Look] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)  # of columns on disk, as `_fold` compares them
    collections: set[str] = field(default_factory=set)

    def text(self, kind: str, tree: str) -> str:
        """The whole text."""
        columns = self.columns
        self._look_at_all()
        ids = self._ids()
        bits = [(role, globs, self._bits(globs)) for role, globs in _BITS]
        bits = [row for row in bits if row[2]]
        taken = {*ids.values(), *self._read_by_tagsel()}
        for name in (*IDS, *_USED_BY_TAGSEL):
            self.names.add(self._fold(name))
        for role, _, chosen in bits:
            taken.update(chosen)
            self.names |= {self._fold(f"{role}_{number}") for number in range(len(chosen) // 32 + 1)}
        families = self._families()
        taken |= self._stored_counters(families, taken)
        attributes = [self._attribute(c) for c in columns.scalars() if c in self.looks and c not in taken]
        for family in families:
            self._name(family)
        lines = [*self._head(kind, tree), "", "attributes = [", *attributes, "]", *self._omissions()]
        lines += ["", "[ids]", *(self._id(name, ids.get(name)) for name in IDS)]
        for role, globs, chosen in bits:
            lines += self._bit_lines(role, globs, chosen)
        for family in families:
            lines += self._collection(family)
        return "\n".join(lines) + "\n"

    def _head(self, kind: str, tree: str) -> list[str]:
        path = self.columns.path
        lines = [f"# Drafted from {_comment(path.name)}: check units, roles and names."]
        lines += [f"name = {_text(_comment(path.stem))}", f"format = {_text(kind)}"]
        if tree:
            lines.append(f"tree = {_text(tree)}")
        return lines

    def _omissions(self) -> list[str]:
        """Comments that name the columns which are no attributes."""
        columns, lines = self.columns, []
        if columns.odd:
            lines.append(f"# No attribute can hold these: {_comment(columns.listed(list(columns.odd)))}")
        for column, reason in self.left_out.items():
            lines.append(f"# Left out: {_comment(column)}: {_comment(reason)}")
        return lines

    # -- what the first rows say

    def _look_at_all(self) -> None:
        for column, kind in self.columns.types.items():
            if self._spelling(column) is None:
                self.left_out[column] = "no schema can spell its name"
                continue
            try:
                self.looks[column] = self._look(column, kind)
            except TagselError as error:
                self.left_out[column] = error.message

    def _look(self, column: str, kind: ColumnType) -> _Look:
        natural = NATURAL[kind.base]
        if self.first_rows is None:
            return _Look(natural)
        with reading(self.columns.path):
            values = self.first_rows(column)
            if values is None:
                return _Look(natural, np.zeros(0, np.int64), np.zeros(0, np.int64))
            lengths, flat = _flat(values, kind)
            if kind.base == "string":
                strings(flat)
                return _Look(natural, lengths=lengths)
            place = Place(self.columns.path, column)
            held = natural if kind.base != "uint64" or _fits(flat, natural, place) else "bits64"
            fit(flat, held, place)  # its error says which value does not fit
        is_number = not kind.is_list and "int" in kind.base
        return _Look(held, flat if is_number else None, lengths)

    # -- ids, bits, counters

    def _ids(self) -> dict[str, str]:
        """The columns of run, luminosity block and event number that were found."""
        ids: dict[str, str] = {}
        for name in IDS:
            kind = "int64" if name == "event" else "int32"
            for column in self._candidates(name):
                problem = "" if column not in ids.values() else "it is another id"
                problem = problem or self._id_problem(column, name, kind)
                if not problem:
                    ids[name] = column
                    break
                self.no_ids.setdefault(name, problem)
        return ids

    def _candidates(self, name: str) -> list[str]:
        """Columns that may be an id: exact names first, then other spellings, in the order of `ID_NAMES`."""
        ranks: dict[str, tuple[int, int, int]] = {}
        plain = [_letters(n) for n in ID_NAMES[name]]
        for order, column in enumerate(self.columns.scalars()):
            spelled = self.columns.name(column)
            last = spelled.rpartition(".")[2]
            for exact, text in enumerate((last, spelled)):
                if _letters(text) in plain and column not in ranks:
                    ranks[column] = (plain.index(_letters(text)), exact, order)
        return sorted(ranks, key=ranks.__getitem__)

    def _id_problem(self, column: str, name: str, kind: str) -> str:
        """Why a column cannot be an id; "" where it can, as far as its first rows say."""
        look, base = self.looks.get(column), self.columns.types[column].base
        if look is None:
            return self.left_out[column]
        if base in ("string", "bool"):
            return f"{column} holds {base}"
        if self.first_rows is None:
            return ""
        numbers = self.first_rows(column) if look.numbers is None else look.numbers
        try:
            fit_id(numbers, name, kind, Place(self.columns.path, column))
        except IngestError as error:
            return error.message.removeprefix(f"{self.columns.path}: ")
        return ""

    def _bits(self, globs: Sequence[str]) -> list[str]:
        return [c for c in self.columns.scalars() if c in self.looks and self._is_bit(c, globs)]

    def _is_bit(self, column: str, globs: Sequence[str]) -> bool:
        name = self.columns.flat_name(column)
        if not can_be_flag(self.columns.types[column]) or fnmatchcase(name, PRESCALE):
            return False
        numbers = self.looks[column].numbers
        return any(fnmatchcase(name, g) for g in globs) and (numbers is None or bool(np.isin(numbers, (0, 1)).all()))

    def _bit_lines(self, role: str, globs: Sequence[str], chosen: Sequence[str]) -> list[str]:
        excluded = [PRESCALE]
        for column in self.columns.scalars():
            name = self.columns.flat_name(column)
            is_word = can_be_flag(self.columns.types[column]) and any(fnmatchcase(name, g) for g in globs)
            if is_word and column not in chosen and not fnmatchcase(name, PRESCALE):
                excluded.append(re.sub(r"([*?[])", r"[\1]", name))
        exclude = _text(PRESCALE) if len(excluded) == 1 else _texts(excluded)
        lines = ["", "[[bits]]", f"match = {_texts(globs)}", f"exclude = {exclude}"]
        return [*lines, f"words = {_text(role)}", f"role = {_text(role)}"]

    def _read_by_tagsel(self) -> set[str]:
        """Columns that ingest takes under names of its own."""
        columns = (self.columns.first([name]) for name in _USED_BY_TAGSEL)
        return {c for c in columns if c is not None and self.columns.can_be_reference(c)}

    def _stored_counters(self, families: Sequence[_Family], taken: set[str]) -> set[str]:
        """Columns that hold the lengths of lists, be it a collection's or, as uproot writes it, the branch's: these are
        no attributes of their own."""
        counters: set[str] = set()
        for family in families:
            names = [f"n{self._stem(family)}", *(f"n{self.columns.name(c)}" for c in family.lists)]
            lengths = self.looks[family.lists[0]].lengths
            for name in names:
                column = self.columns.first([name])
                if column is None or column not in self.looks or column in taken:
                    continue
                numbers = self.looks[column].numbers
                agrees = self.first_rows is None or (numbers is not None and np.array_equal(numbers, lengths))
                if agrees:
                    counters.add(column)
                    family.counter = family.counter or (name if name == names[0] else "")
        return counters

    # -- names

    def _fold(self, name: str) -> str:
        """A name as others are compared with it: where rows are at hand, names that differ in case only are avoided."""
        column = name.replace(".", "_")
        return column.lower() if self.first_rows is not None else column

    def _free(self, name: str, before: str = "", taken: set[str] | None = None) -> str:
        """`name`, or the first of `name_2`, `name_3`, … that is not `taken` (by a column on disk); it is taken then."""
        taken = self.names if taken is None else taken
        if self.first_rows is not None:
            name = _writable(name)
        chosen, number = name, 1
        while self._fold(before + chosen) in taken:
            number += 1
            chosen = f"{name}_{number}"
        taken.add(self._fold(before + chosen))
        return chosen

    def _spelling(self, column: str) -> str | None:
        """How a schema names a column: by its plain name, where no other column has the same; None: it cannot."""
        is_list = self.columns.types[column].is_list
        for name in (self.columns.name(column), column):
            spelled = bool(name) or not is_list  # "" is no member's column
            if spelled and self.columns.first([name], is_list) == column and _is_text(name):
                return name
        return None

    # -- lines

    def _id(self, name: str, column: str | None) -> str:
        if column is not None:
            return f"{name} = {_text(self._spelling(column) or column)}"
        remedy = f"fix it for all rows: {name} = 0"
        if name == "event":
            remedy = 'take the entry: event = "entry", with a run of its own for each file'
        reason = _comment(self.no_ids.get(name, "no branch looks like it"))
        return f'# {name} = "…"    # {reason}: name a branch, or {remedy}'

    def _attribute(self, column: str) -> str:
        spelling = self._spelling(column) or column
        name = self._free(spelling.replace(".", "_"))
        branch = f", branch = {_text(spelling)}" if name != spelling else ""
        return f"    {{ name = {_text(name)}{branch}, type = {_text(self.looks[column].kind)} }},"

    def _families(self) -> list[_Family]:
        """The lists of a file by prefix, and by length where that is known; a list without a prefix stands alone."""
        groups: dict[tuple[str, bytes], _Family] = {}
        for column in self.columns.lists():
            if column not in self.looks:
                continue
            prefix = _prefix(self.columns.name(column))
            lengths = self.looks[column].lengths
            key = (prefix or f"={column}", b"" if lengths is None else lengths.tobytes())
            groups.setdefault(key, _Family(prefix, [])).lists.append(column)
        largest: dict[str, _Family] = {}
        for family in groups.values():
            if len(family.lists) > len(largest.setdefault(family.prefix, family).lists):
                largest[family.prefix] = family
        families: list[_Family] = []
        for family in groups.values():
            if family is largest[family.prefix]:
                families.append(family)
            else:  # of another length than most lists of the prefix
                families += [_Family("", [column]) for column in family.lists]
        return families

    def _stem(self, family: _Family) -> str:
        stem = family.prefix or self.columns.name(family.lists[0])
        return stem.rstrip("._").removesuffix("AuxDyn").replace(".", "_")

    def _name(self, family: _Family) -> None:
        """Choose names of the collection and its counter that nothing else has."""
        family.name = self._free(self._stem(family) or "list", taken=self.collections)
        if family.counter:
            self.names.add(self._fold(family.counter))
            return
        name = f"n{family.name}"
        while self.columns.first([name]) is not None or self.columns.first([name], is_list=True) is not None:
            name = f"{name}_listed"
        family.counter = self._free(name)

    def _collection(self, family: _Family) -> list[str]:
        spellings = {c: self._spelling(c) or c for c in family.lists}
        prefix = family.prefix
        if any(not s.startswith(prefix) or s == prefix for s in spellings.values()):
            prefix = ""
        lines = ["", "[[collections]]", f"name = {_text(family.name)}", f"counter = {_text(family.counter)}"]
        lines += [f"prefix = {_text(prefix)}", "", "[collections.members]"]
        for column, spelling in spellings.items():
            branch = spelling.removeprefix(prefix)
            member = self._free(branch.replace(".", "_") if family.prefix else "value", before=f"{family.name}_")
            source = f"branch = {_text(branch)}, " if branch != member else ""
            lines.append(f"{_text(member)} = {{ {source}type = {_text(self.looks[column].kind)} }}")
        return lines


def _flat(values: Any, kind: ColumnType) -> tuple[Any, Any]:
    """The lengths of lists (None of scalars), and the values themselves."""
    import awkward as ak

    if not kind.is_list:
        return None, values
    lengths = ak.to_numpy(ak.num(values, axis=1)).astype(np.int64)
    flat = ak.flatten(values, axis=1)
    return lengths, flat if kind.base == "string" else ak.to_numpy(flat)


def _fits(values: Any, kind: str, place: Place) -> bool:
    try:
        fit(values, kind, place)
    except IngestError:
        return False
    return True


def _prefix(name: str) -> str:
    """What comes before the member: up to the last `.`, else up to the first `_`, else nothing."""
    if "." in name:
        return name[: name.rindex(".") + 1]
    stem = name.lstrip("_")
    return name[: len(name) - len(stem) + stem.index("_") + 1] if "_" in stem else ""


def _letters(name: str) -> str:
    """A name without what frameworks spell each their own way.

    >>> _letters("Lumi_Block"), _letters("Event.Number"), _letters("event_")
    ('lumiblock', 'eventnumber', 'event')
    """
    return re.sub(r"[._]", "", name).lower()


def _writable(name: str) -> str:
    """A name that a cut can write: it does not begin with a digit or `__`, and is no word of the language."""
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
    if plain.startswith("__") or not plain.strip("_"):
        plain = plain.strip("_") or "x"
    if plain[0].isdigit() or plain in _WORDS:
        plain = f"x{plain}"
    return plain


_WORDS = frozenset({"and", "or", "not", "in", "if", "let", "true", "false"})


def _is_text(name: str) -> bool:
    """Whether a name can be written as UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _comment(text: str) -> str:
    """Text on one line of a comment."""
    plain = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return plain.encode("utf-8", "replace").decode()


def _text(value: str) -> str:
    """A TOML string."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c >= " " and c != "\x7f" else f"\\u{ord(c):04X}" for c in escaped) + '"'


def _texts(values: Iterable[str]) -> str:
    return "[" + ", ".join(map(_text, values)) + "]"
