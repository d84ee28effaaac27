"""The datasets of a workspace: by a condition, by facets, families of versions, provenance, contents, one in full.

Invariant: nothing changes what is there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from tagsel.api import named_cuts, origins
from tagsel.api.home import Home
from tagsel.api.inputs import DATA, caught_up, one_dataset
from tagsel.api.sql import ask
from tagsel.base.text_table import Table
from tagsel.catalog import DatasetRecord, Lineage, others
from tagsel.catalog.metadata_query import MOST, Facets
from tagsel.catalog.names import matching
from tagsel.catalog.versions import families
from tagsel.errors import CatalogError, did_you_mean
from tagsel.selection.contents import contents
from tagsel.selection.yields import totals
from tagsel.store import Table as StoreTable

BY_FILE, BY_RUN = "file", "run"


_FILE_COLUMNS = ("file", "guid", "runs", "lumi_blocks", "events")


_GLOB = re.compile(r"([\w*?\[][\w.*?\[\]!-]*)?")
"""What is a name or a glob; anything else is a condition."""


@dataclass(frozen=True, repr=False)
class Latest:
    """The newest version of each family of datasets: a row a family; `older` has the others by the newest's name."""

    table: Table
    older: Mapping[str, tuple[str, ...]]

    def names(self) -> list[str]:
        """The newest of each family."""
        return self.table.names()

    def __repr__(self) -> str:
        return repr(self.table)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()

    def to_json(self) -> list[dict[str, Any]]:
        """What `--json` prints."""
        return [{**row, "older": list(self.older[row["name"]])} for row in self.table.to_json()]


@dataclass(frozen=True, repr=False)
class Tree:
    """Where a dataset comes from (`up`) and what was made from it (`down`); None for a side that was not asked for."""

    name: str
    up: Lineage | None
    down: Lineage | None

    def text(self) -> str:
        """The tree in lines: ancestors are marked `<`, descendants `>`, and set in by their distance."""
        lines = [self.name]
        for side, mark in ((self.up, "<"), (self.down, ">")):
            if side is None:
                continue
            for depth, node in side.walk():
                if depth:
                    lines.append(f"{'  ' * depth}{mark} {_said(node)}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return self.text()

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints: nested, `links` are parents above and children below."""
        sides = {"up": self.up, "down": self.down}
        return {"name": self.name, **{k: asdict(side) for k, side in sides.items() if side is not None}}


@dataclass(frozen=True, repr=False)
class Summary:
    """A dataset run by run, or file by file, with the totals over all."""

    dataset: str
    table: Table
    total: Mapping[str, int]

    def __repr__(self) -> str:
        return repr(self.table)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {"dataset": self.dataset, "rows": self.table.to_json(), "total": dict(self.total)}


def listed(home: Home, where: str) -> Table:
    """The datasets for which a condition is true, of named workspaces, too; a condition is logged as a question."""
    if not where.strip():
        return _listed(home, where)
    return ask(home, "datasets", where, lambda: _listed(home, where))


def _listed(home: Home, where: str) -> Table:
    if not others.named(home.folder):
        return Table(COLUMNS, tuple(_row(record) for record in home.catalog.datasets(where)))
    records = others.records(home.folder, home.catalog, where)
    return Table((*COLUMNS, "workspace"), tuple((*_row(record), str(home)) for record, home in records))


COLUMNS = ("name", "type", "version", "stream", "year", "events", "snapshot", "runs")
"""Columns of the list of datasets; where other workspaces are named, `workspace` is one more."""


def _row(r: DatasetRecord) -> tuple[Any, ...]:
    runs = ""
    if r.run_min is not None:
        runs = str(r.run_min) if r.run_min == r.run_max else f"{r.run_min}-{r.run_max}"
    return (r.name, r.type, r.version, r.stream, r.year, r.events, r.snapshot, runs)


def facets(home: Home, where: str = "", *, by: Sequence[str] = (), most: int = MOST) -> Facets:
    """Of the datasets that a metadata query leaves: each key's values, with how many datasets and events have them.

    `by` names the keys, columns or free ones; at most `most` values of each are listed, and the rest counted.
    Datasets of named workspaces are among them.
    """
    condition = named_cuts.sql_text(where, home.folder, "condition")
    return others.facets_of(home.folder, home.catalog, condition, by, most)


def latest(home: Home, what: str = "") -> Latest:
    """The newest version of each family of datasets that a glob or a metadata query selects, older ones counted.

    Datasets of named workspaces are among them.
    """
    rows = []
    older = {}
    for family in families(_chosen(home, what)):
        newest = family.newest
        rows.append((newest.name, family.version, newest.events, newest.snapshot, len(family.older)))
        older[newest.name] = tuple(record.name for record in family.older)
    return Latest(Table(("name", "version", "events", "snapshot", "older"), tuple(rows)), older)


def _chosen(home: Home, what: str) -> list[DatasetRecord]:
    """Records of the datasets that a glob, several with commas, or a condition selects, in any workspace."""
    text = what.strip()
    if not all(_GLOB.fullmatch(part.strip()) for part in text.split(",")):
        return _records(home, named_cuts.sql_text(text, home.folder, "condition"))
    known = _records(home, "")
    names = [r.name for r in known]
    chosen: set[str] = set()
    for glob in (part.strip() for part in text.split(",")) if text else ["*"]:
        found = matching(glob, names)
        if not found and text:
            hint = did_you_mean(glob, names) or "a name, a glob like data18.*, or a condition: year = 2018"
            raise CatalogError(f"no dataset matches {glob!r} in {home.folder}", hint=hint, dataset=glob)
        chosen.update(found)
    return [r for r in known if r.name in chosen]


def _records(home: Home, where: str) -> list[DatasetRecord]:
    if not others.named(home.folder):
        return home.catalog.datasets(where)
    return [record for record, _ in others.records(home.folder, home.catalog, where)]


def tree(home: Home, dataset: str, *, up: bool = True, down: bool = True) -> Tree:
    """The provenance of a dataset: what it was made from, and what was made from it."""
    name = one_dataset(dataset).pattern
    home.catalog.dataset(name)
    is_parent = partial(origins.is_parent, home)
    above = home.catalog.parents(name, is_parent) if up else None
    return Tree(name, above, home.catalog.children(name, is_parent) if down else None)


def runs(home: Home, dataset: str, *, by: str = BY_RUN) -> Summary:
    """Events, luminosity blocks and files of a dataset run by run, or with `by="file"` file by file; and totals."""
    spec = one_dataset(dataset)
    if by not in (BY_RUN, BY_FILE):
        raise CatalogError(f"a dataset has no summary by {by!r}", hint=f"{BY_RUN}, or {BY_FILE}")
    if members := home.catalog.dataset(spec.pattern).members:
        raise CatalogError(f"{spec.pattern} is a container", hint=f"tagsel datasets runs {members[0]}, and others")
    (source,) = home.inputs(str(spec))
    held = contents(source.snapshot)
    runs, files = held.by_run(), held.by_file()
    rows = tuple(tuple(asdict(r).values()) for r in (runs if by == BY_RUN else files))
    columns = ("run", "lumi_blocks", "events", "files") if by == BY_RUN else _FILE_COLUMNS
    total = {
        "runs": len(runs),
        "lumi_blocks": len(held.blocks()),
        "events": source.snapshot.rows,
        "files": len(files),
        "bytes": source.snapshot.bytes,
    }
    return Summary(source.pinned, Table(columns, rows), total)


def _said(node: Lineage) -> str:
    """A dataset of a tree, with its snapshot, whether it is gone, and whether it was followed above."""
    at = "" if node.snapshot is None else f"@{node.snapshot}"
    notes = [note for note, holds in (("not in this catalog", not node.known), ("as above", node.again)) if holds]
    return node.name + at + (f" ({', '.join(notes)})" if notes else "")


def describe(home: Home, dataset: str) -> dict[str, Any]:
    """All that is known of one dataset."""
    spec = one_dataset(dataset)
    place, catalog = others.home_of(home.folder, home.catalog, spec.pattern)
    record = catalog.dataset(spec.pattern)
    folder = place / DATA / record.name
    table = StoreTable.open(folder) if StoreTable.exists(folder) else None
    if table is not None:
        record = caught_up(catalog, record, table.snapshot())
    known: dict[str, Any] = {
        "name": record.name,
        "id": record.id,
        **record.facts(),
        "updated": record.updated,
        "who": record.who,
    }
    if table is not None:
        snapshot = table.snapshot(spec.snapshot)
        known |= {
            "snapshot": snapshot.number,
            "snapshots": table.snapshots(),
            "events": snapshot.rows,
            "bytes": snapshot.bytes,
            "bytes_per_event": round(snapshot.bytes / snapshot.rows, 1) if snapshot.rows else None,
            "duplicates": snapshot.duplicate_rows(),
            "attributes": len(snapshot.schema),
            "menus": [{"id": i, "key": m.key, "chains": len(m.bits)} for i, m in snapshot.menus.items()],
            "bookkeeping": totals(snapshot.sources),
            "pins": {number: list(reasons) for number, reasons in table.pins().items()},
        }
    known["runs"] = [
        {"run": r.run, "lumi_blocks": r.lumi_blocks, "events": r.events} for r in catalog.runs(record.name)
    ]
    known["retractions"] = [
        {
            "snapshot": r.snapshot,
            "file": r.name,
            "guid": r.guid,
            "events": r.events,
            "reason": r.reason,
            "since": r.retracted,
            "who": r.who,
            "back": r.back,
        }
        for r in catalog.retractions(record.name)
    ]
    known["tag_files"] = [
        {"guid": f.guid, "lfn": f.lfn, "pfn": f.pfn, "entries": f.entries}
        for f in catalog.files(record.name)
        if f.kind == "TAG"
    ]
    return known
