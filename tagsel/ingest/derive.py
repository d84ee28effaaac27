"""Drafting a source schema from a file: what it has, as TOML that a user then edits.

The draft is a guess by names: ids by the names that formats use, lists of one prefix and one counter as a collection.
Invariant: a draft reads back as a source schema, and ingests the file that it was drafted from where ids were found.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from tagsel.errors import AccessError, IngestError
from tagsel.ingest.columns import Columns
from tagsel.ingest.convert import NATURAL
from tagsel.ingest.damage import reading
from tagsel.ingest.pool import TAG_TREES
from tagsel.ingest.readers import open_parquet, parquet_columns, tree_columns
from tagsel.rootio import EVENT_TREES, ColumnType, EventTree, RootFile
from tagsel.schema import IDS, STAGES, SourceSchema, parse_source_schema

ID_NAMES = {
    "run": ("run", "RunNumber", "runNumber", "run_number", "Run", "irun", "EventInfoAuxDyn.runNumber",
            "EventInfoAux.runNumber"),
    "lumi": ("lumi", "luminosityBlock", "LumiBlockN", "lumiBlock", "lumi_block", "ls", "lumiSection", "LumiBlock",
             "EventInfoAuxDyn.lumiBlock", "EventInfoAux.lumiBlock"),
    "event": ("event", "EventNumber", "eventNumber", "event_number", "Event", "evt", "ievt",
              "EventInfoAuxDyn.eventNumber", "EventInfoAux.eventNumber"),
}  # fmt: skip
"""Names under which files keep run, luminosity block and event number."""


def derive_source_schema(path: Path | str) -> str:
    """A drafted source schema, as TOML text, for a ROOT or Parquet file.

    Ids that were not found are left as comments to fill in. Raises IngestError where the file is neither.
    """
    path = Path(path)
    with reading(path):
        if is_parquet(path):
            with open_parquet(path) as file:
                return draft(parquet_columns(path, file), "parquet")
        with RootFile(path) as root:
            tree = _likely_tree(root)
            return draft(tree_columns(tree), "tree", tree.name)


def drafted_schema(columns: Columns, kind: str) -> SourceSchema:
    """The source schema that `draft` writes, for a file that no standard one is made for."""
    return parse_source_schema(draft(columns, kind), f"schema drafted from {columns.path}")


def is_parquet(path: Path) -> bool:
    """Whether a file begins as Parquet does; AccessError where it cannot be opened."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise AccessError(f"{path}: cannot be opened: {reason}", path=str(path)) from error


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


def draft(columns: Columns, kind: str, tree: str = "") -> str:
    """The TOML text of a draft."""
    ids = {name: columns.first(ID_NAMES[name]) for name in IDS}
    families = _families(columns)
    known = [f"{stage}_{part}" for stage in STAGES for part in ("guid", "entry")] + ["menu"]
    # A list's length is no attribute of its own, be it a collection's or, as uproot writes it, the branch's.
    known += [f"n{family.name(columns)}" for family in families] + [f"n{columns.name(c)}" for c in columns.lists()]
    taken = {*ids.values(), *(columns.first([name]) for name in known)}
    bits = [row for row in _BITS if any(_is_bit(columns, c, row[1]) for c in columns.scalars())]
    taken |= {c for _, globs in bits for c in columns.scalars() if _is_bit(columns, c, globs)}
    lines = [f"# Drafted from {columns.path.name}: check units, roles and names.", f"name = {_text(columns.path.stem)}"]
    lines += [f"format = {_text(kind)}", *([f"tree = {_text(tree)}"] if tree else []), "", "attributes = ["]
    lines += [_attribute(columns, c) for c in columns.scalars() if c not in taken]
    lines += ["]"]
    if columns.odd:
        lines += [f"# No attribute can hold these: {' '.join(columns.listed(list(columns.odd)).split())}"]
    lines += ["", "[ids]", *(_id(columns, name, column) for name, column in ids.items())]
    for role, globs in bits:
        lines += ["", "[[bits]]", f"match = {json.dumps(globs)}", f"words = {_text(role)}", f"role = {_text(role)}"]
    return "\n".join([*lines, *(line for family in families for line in family.lines(columns))]) + "\n"


_BITS = (("trigger", ("HLT_*", "L1_*")), ("flag", ("Flag_*",)))
"""Booleans that are packed into words: role, globs."""


def _is_bit(columns: Columns, column: str, globs: Sequence[str]) -> bool:
    name = columns.name(column)
    return columns.types[column] == ColumnType("bool") and any(fnmatchcase(name, g) for g in globs)


def _id(columns: Columns, name: str, column: str | None) -> str:
    if column is not None:
        return f"{name} = {_text(columns.name(column))}"
    return f'# {name} = "…"    # no branch looks like it: name one, or fix it for all rows: {name} = 0'


def _attribute(columns: Columns, column: str) -> str:
    name, kind = columns.name(column), NATURAL[columns.types[column].base]
    branch = f", branch = {_text(name)}" if "." in name else ""
    return f"    {{ name = {_text(name.replace('.', '_'))}{branch}, type = {_text(kind)} }},"


@dataclass(frozen=True, slots=True)
class _Family:
    """Lists that share a prefix, or one list by itself, whose member is then `value`."""

    prefix: str
    lists: list[str]

    def name(self, columns: Columns) -> str:
        """The collection's name."""
        stem = self.prefix or columns.name(self.lists[0])
        return stem.rstrip("._").removesuffix("AuxDyn").replace(".", "_")

    def lines(self, columns: Columns) -> list[str]:
        """The TOML of the collection."""
        name = self.name(columns)
        head = ["", "[[collections]]", f"name = {_text(name)}", f"counter = {_text(f'n{name}')}"]
        head += [f"prefix = {_text(self.prefix)}", "", "[collections.members]"]
        return head + [self._member(columns, c) for c in self.lists]

    def _member(self, columns: Columns, column: str) -> str:
        branch, kind = columns.name(column).removeprefix(self.prefix), NATURAL[columns.types[column].base]
        member = branch.replace(".", "_") if self.prefix else "value"
        source = f"branch = {_text(branch)}, " if branch != member else ""
        return f"{_text(member)} = {{ {source}type = {_text(kind)} }}"


def _families(columns: Columns) -> list[_Family]:
    """The lists of a file by prefix; a list without one stands alone."""
    found: dict[str, _Family] = {}
    for column in columns.lists():
        prefix = _prefix(columns.name(column))
        found.setdefault(prefix or f"={column}", _Family(prefix, [])).lists.append(column)
    return list(found.values())


def _prefix(name: str) -> str:
    """What comes before the member: up to the last `.`, else up to the first `_`, else nothing."""
    if "." in name:
        return name[: name.rindex(".") + 1]
    return name[: name.index("_") + 1] if "_" in name[1:] else ""


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)

