"""What a workspace tells of its datasets: facets, versions, pins, provenance, summaries, checks, triggers, overlaps.

Invariant: as in `Workspace`, a method does what the verb of its name does; only `pin` and `unpin` change anything.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tagsel.api import named, origins
from tagsel.api.catalogs import one_dataset, pin_snapshot
from tagsel.api.inputs import DATA
from tagsel.api.many import CutLike, Progress
from tagsel.catalog import Catalog, DatasetRecord, Lineage, PinRecord, Unpin, others, reader_pins
from tagsel.catalog.facets import MOST, Facets
from tagsel.catalog.names import DatasetSpec, matching
from tagsel.catalog.versions import families
from tagsel.errors import CatalogError, StoreError, after, did_you_mean
from tagsel.selection import Input, Query
from tagsel.selection.table import Table
from tagsel.store import Table as StoreTable
from tagsel.store import pins

if TYPE_CHECKING:
    from tagsel.api.checking import Checked
    from tagsel.api.workspace import Workspace
    from tagsel.selection.chains import Chains
    from tagsel.selection.overlap import Overlaps

log = logging.getLogger("tagsel")

BY_FILE, BY_RUN = "file", "run"
_FILE_COLUMNS = ("file", "guid", "runs", "lumi_blocks", "events")
_GLOB = re.compile(r"([\w*?\[][\w.*?\[\]!-]*)?")
"""What is a name or a glob; anything else is a condition."""


def _with_recorded(kept: pins.Pins, recorded: Iterable[PinRecord]) -> dict[int, tuple[str, ...]]:
    """The pins of a dataset's own file and those that the catalog has, each once."""
    both = dict(kept)
    for pin in recorded:
        reasons = both.get(pin.snapshot, ())
        if pin.reason not in reasons:
            both[pin.snapshot] = (*reasons, pin.reason)
    return both


def _warn_lacking(path: Path, kept: pins.Pins, recorded: Iterable[PinRecord]) -> None:
    """Say in the log where the file of a dataset's pins lacks some that the catalog has."""
    lacking = pins.lacking(kept, [(pin.snapshot, pin.reason) for pin in recorded])
    if lacking:
        log.warning("%s lacks %s that the catalog has: %s", path, pins.in_words(len(lacking)), pins.REMEDY)


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
        sides = ((self.up, "<"), (self.down, ">"))
        lines = [
            f"{'  ' * depth}{mark} {_said(node)}"
            for side, mark in sides
            if side is not None
            for depth, node in side.walk()
            if depth
        ]
        return "\n".join([self.name, *lines])

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


class Browsing:
    """The part of `Workspace` that says what is there."""

    if TYPE_CHECKING:
        folder: Path
        query: Callable[..., Query]
        inputs: Callable[[str], tuple[Input, ...]]

        @property
        def catalog(self) -> Catalog:
            """The catalog of datasets, files and sites."""

    def facets(self, where: str = "", *, by: Sequence[str] = (), most: int = MOST) -> Facets:
        """Of the datasets that a metadata query leaves: each key's values, with how many datasets and events have them.

        `by` names the keys, columns or free ones; at most `most` values of each are listed, and the rest counted.
        Datasets of named workspaces are among them.
        """
        condition = named.sql_text(where, self.folder, "condition")
        return others.facets_of(self.folder, self.catalog, condition, by, most)

    def latest(self, what: str = "") -> Latest:
        """The newest version of each family of datasets that a glob or a metadata query selects, older ones counted.

        Datasets of named workspaces are among them.
        """
        found = families(self._chosen(what))
        rows = tuple((f.newest.name, f.version, f.newest.events, f.newest.snapshot, len(f.older)) for f in found)
        older = {f.newest.name: tuple(r.name for r in f.older) for f in found}
        return Latest(Table(("name", "version", "events", "snapshot", "older"), rows), older)

    def _chosen(self, what: str) -> list[DatasetRecord]:
        """Records of the datasets that a glob, several with commas, or a condition selects, in any workspace."""
        text = what.strip()
        if not all(_GLOB.fullmatch(part.strip()) for part in text.split(",")):
            return self._records(named.sql_text(text, self.folder, "condition"))
        known = self._records("")
        names = [r.name for r in known]
        chosen: set[str] = set()
        for glob in (part.strip() for part in text.split(",")) if text else ["*"]:
            found = matching(glob, names)
            if not found and text:
                hint = did_you_mean(glob, names) or "a name, a glob like data18.*, or a condition: year = 2018"
                raise CatalogError(f"no dataset matches {glob!r} in {self.folder}", hint=hint, dataset=glob)
            chosen.update(found)
        return [r for r in known if r.name in chosen]

    def _records(self, where: str) -> list[DatasetRecord]:
        if not others.named(self.folder):
            return self.catalog.datasets(where)
        return [record for record, _ in others.records(self.folder, self.catalog, where)]

    def pin(self, dataset: str, reason: str) -> str:
        """Keep a snapshot, `name@3`, readable for ever, for a reason; `name` is the latest. What was pinned."""
        spec, table, catalog = self._table(dataset)
        number = table.snapshot(spec.snapshot).number
        if not reason.strip():
            raise CatalogError("a pin needs a reason", hint="--reason 'paper draft 2'", dataset=dataset)
        if reader_pins.folder_of(catalog.folder) is None:
            catalog.need_writable()
        pin_snapshot(catalog, table, spec.pattern, number, reason)
        return f"{spec.pattern}@{number}"

    def unpin(self, dataset: str, reason: str = "") -> list[str]:
        """Take back a pin of a snapshot, `name@3`, or without a reason all pins of it; the reasons taken back.

        Somebody who may only read the workspace takes back the pins that they left as a reader, and no others.
        """
        spec, table, catalog = self._table(dataset)
        if spec.snapshot is None:
            raise CatalogError(f"{dataset!r} names no snapshot", hint=f"as in {spec.pattern}@3", dataset=dataset)
        left = reader_pins.read(catalog.folder, catalog.dataset(spec.pattern))
        theirs = [pin for pin in left if pin.snapshot == spec.snapshot and reason in ("", pin.reason)]
        kept = table.pins()
        recorded = _with_recorded(kept, catalog.pins(spec.pattern))
        own = [why for why in recorded.get(spec.snapshot, ()) if reason in ("", why)]
        my_pins = [pin for pin in theirs if reader_pins.is_mine(pin)]
        if my_pins and not catalog.may_write():
            own, theirs = [], my_pins
        elif own or not theirs:
            catalog.need_writable()
            if not own:
                raise StoreError(
                    f"snapshot {spec.snapshot} is not pinned for {reason or 'anything'}",
                    hint=f"pinned: {recorded or 'none'}",
                )
            if set(own) & set(kept.get(spec.snapshot, ())):
                table.unpin(spec.snapshot, reason or None)
            with after(f"{spec.pattern}@{spec.snapshot} is not pinned any more"):
                catalog.record(*(Unpin(spec.pattern, spec.snapshot, why) for why in own))
        for pin in theirs:
            reader_pins.remove(pin)
        return [*own, *(pin.reason for pin in theirs)]

    def pins(self, dataset: str = "") -> Table:
        """Pinned snapshots, of one dataset or of all: why, when, and by whom; those that readers pinned, too.

        A pin counts where the dataset's own file or the catalog has it; a warning names a file that lacks some.
        """
        if dataset:
            names = [one_dataset(dataset).pattern]
            self.catalog.dataset(names[0])
        else:
            files = (self.folder / DATA).glob("*/_tagsel/pins.json")
            names = sorted({path.parts[-3] for path in files} | {pin.dataset for pin in self.catalog.pins()})
        said = {(p.dataset, p.snapshot, p.reason): p for p in self.catalog.pins(dataset or None)}
        rows = []
        for name in names:
            recorded = [pin for pin in said.values() if pin.dataset == name]
            kept = pins.read(self.folder / DATA / name)
            _warn_lacking(pins.path_of(self.folder / DATA / name), kept, recorded)
            for number, reasons in sorted(_with_recorded(kept, recorded).items()):
                for reason in reasons:
                    known = said.get((name, number, reason))
                    rows.append((name, number, reason, *((known.updated, known.who) if known else ("", ""))))
        left = reader_pins.read(self.folder)
        rows += [(p.dataset, p.snapshot, p.reason, p.updated, p.who) for p in left if dataset in ("", p.dataset)]
        return Table(("dataset", "snapshot", "reason", "when", "who"), tuple(rows))

    def tree(self, dataset: str, *, up: bool = True, down: bool = True) -> Tree:
        """The provenance of a dataset: what it was made from, and what was made from it."""
        name = one_dataset(dataset).pattern
        self.catalog.dataset(name)
        is_parent = partial(origins.is_parent, cast("Workspace", self))
        above = self.catalog.parents(name, is_parent) if up else None
        return Tree(name, above, self.catalog.children(name, is_parent) if down else None)

    def runs(self, dataset: str, *, by: str = BY_RUN) -> Summary:
        """Events, luminosity blocks and files of a dataset run by run, or with `by="file"` file by file; and totals."""
        from tagsel.selection.contents import contents

        spec = one_dataset(dataset)
        if by not in (BY_RUN, BY_FILE):
            raise CatalogError(f"a dataset has no summary by {by!r}", hint=f"{BY_RUN}, or {BY_FILE}")
        if members := self.catalog.dataset(spec.pattern).members:
            raise CatalogError(f"{spec.pattern} is a container", hint=f"tagsel datasets runs {members[0]}, and others")
        (source,) = self.inputs(str(spec))
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

    def check(self, datasets: str, *, deep: bool = False) -> Checked:
        """Whether datasets are whole: unknown or missing files, wrong entries, damage, duplicates, luminosity blocks.

        `deep` reads every column of every part, not ids and addresses alone.
        """
        from tagsel.api.checking import check

        return check(cast("Workspace", self), datasets, deep=deep)

    def triggers(
        self, datasets: str, pattern: str = "*", *cuts: CutLike, by: str = "", progress: Progress = None, **options: Any
    ) -> Chains:
        """How often each trigger chain and flag that a glob matches fired, and where a menu lacks it.

        `by` is "run" or "lumi"; cuts and options as `query`.
        """
        from tagsel.selection.chains import chain_counts

        return chain_counts(self.query(datasets, cuts, **options), pattern, by, progress=progress)

    def overlap(
        self,
        datasets: str,
        *cuts: CutLike,
        chains: str = "",
        regions: Mapping[str, str] | None = None,
        progress: Progress = None,
        **options: Any,
    ) -> Overlaps:
        """The events that each two datasets share; with `chains` (a glob) each two trigger chains, with `regions` cuts.

        Just events that pass all `cuts`; options as `query`.
        """
        from tagsel.selection import overlap

        query = self.query(datasets, cuts, **options)
        if chains and regions:
            raise CatalogError("chains and regions are two questions", hint="ask for one overlap at a time")
        if chains:
            return overlap.chain_overlap(query, chains, progress=progress)
        if regions:
            return overlap.region_overlap(query, regions, progress=progress)
        return overlap.dataset_overlap(query, progress=progress)

    def _table(self, dataset: str) -> tuple[DatasetSpec, StoreTable, Catalog]:
        """Which snapshot of one dataset was asked for, the dataset on disk, and the catalog that has it."""
        spec = one_dataset(dataset)
        home, catalog = others.home_of(self.folder, self.catalog, spec.pattern)
        catalog.dataset(spec.pattern)
        return spec, StoreTable.open(home / DATA / spec.pattern), catalog


def _said(node: Lineage) -> str:
    """A dataset of a tree, with its snapshot, whether it is gone, and whether it was followed above."""
    at = "" if node.snapshot is None else f"@{node.snapshot}"
    notes = [note for note, holds in (("not in this catalog", not node.known), ("as above", node.again)) if holds]
    return node.name + at + (f" ({', '.join(notes)})" if notes else "")
