"""From input files to a registered dataset: open, write parts in parallel, one commit, then the catalog.

Invariant: a file is in the dataset whole or not at all; one that fails is named and leaves nothing behind, and
the others land. What the catalog says of a dataset can be derived again from its snapshot (`register`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tagsel.catalog import Catalog
from tagsel.errors import IngestError, StoreError, TagselError
from tagsel.ingest.find import open_source
from tagsel.ingest.registration import aod_files, is_simulation, register
from tagsel.ingest.returned import remarks
from tagsel.ingest.source import TagSource
from tagsel.ingest.writing import Failure, Result, Written, discard, reason_of, unreported, write_all
from tagsel.schema import USER, Schema
from tagsel.schema.source import load_source_schema
from tagsel.schema.sourcetypes import SourceSchema
from tagsel.selection.bookkeeping import totals
from tagsel.store import Snapshot, Table, disk


@dataclass(frozen=True)
class Ingested:
    """What an ingest did: the snapshot, files that landed, were there already, or failed."""

    dataset: str
    snapshot: int
    events: int
    bytes: int
    landed: tuple[str, ...] = ()
    already: tuple[str, ...] = ()
    failed: tuple[Failure, ...] = ()
    duplicates: int = 0
    simulation: bool = False
    formats: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    bookkeeping: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """What `--json` prints."""
        return asdict(self)


@dataclass
class _Sorted:
    """Files by what became of them: `new` ones while they are being worked on, then `landed`."""

    new: list[TagSource] = field(default_factory=list)
    landed: list[Written] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    there: set[str] = field(default_factory=set)  # GUIDs of these
    failed: list[Failure] = field(default_factory=list)

    @property
    def guids(self) -> set[str]:
        """Those of the new files."""
        return {source.guid for source in self.new}


def ingest(
    files: Sequence[Path], dataset: str, folder: Path, catalog: Catalog, facts: Mapping[str, Any], *,
    schema: str = "", site: str = "", aod: Sequence[Path | str] = (), evolve: bool = False, processes: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Ingested:  # fmt: skip
    """Ingest `files` into `dataset` (its Delta table lies in `folder`), and register all in the catalog.

    `facts` are fields of `PutDataset` for a new dataset and keys to update for an old one; `aod` are AOD files that the
    rows point to, or PoolFileCatalogs of such. IngestError when every file failed; else failures are in the answer.
    """
    pointed = aod_files(aod)
    source_schema = load_source_schema(schema) if schema else None
    before = Table.open(folder).snapshot() if Table.exists(folder) else None
    sorted_ = _sort_out(files, before.source_guids if before else (), source_schema)
    with ExitStack() as rights:

        def ask() -> None:
            """Before the commit: from here until the catalog knows of it nobody closes the dataset, or moves it."""
            rights.enter_context(disk.changing(folder))
            catalog.need_open(dataset)

        _write_and_commit(sorted_, dataset, folder, source_schema, evolve, processes, progress, ask)
        landed, failed = sorted_.landed, sorted_.failed
        if failed and not landed and not sorted_.already:
            reasons = "; ".join(f.reason if f.path in f.reason else str(f) for f in failed)
            raise IngestError(f"nothing was ingested into {dataset}: {reasons}", files=[asdict(f) for f in failed])
        snapshot = Table.open(folder).snapshot()
        register(catalog, dataset, snapshot, facts, site=site, pointed=pointed)
    said = remarks(before, [w.source for w in landed], sorted_.there)
    return Ingested(
        dataset, snapshot.number, snapshot.rows, snapshot.bytes,
        tuple(w.path for w in landed), tuple(sorted_.already), tuple(failed), snapshot.duplicate_rows(),
        is_simulation(snapshot), tuple(sorted({w.format for w in landed})),
        (*dict.fromkeys(x for w in landed for x in w.warnings), *said),
        totals(snapshot.sources),
    )  # fmt: skip


def _sort_out(files: Sequence[Path], known: Iterable[str], schema: SourceSchema | None) -> _Sorted:
    """Files to ingest, files that are in the dataset already (or given twice), and files that cannot be opened."""
    found = _Sorted()
    guids = set(known)
    for path in files:
        try:
            source = open_source(path, schema)
        except TagselError as error:
            found.failed.append(Failure(str(path), reason_of(error)))
            continue
        if source.guid in guids:
            found.already.append(str(path))
            found.there.add(source.guid)
        else:
            guids.add(source.guid)
            found.new.append(source)
    return found


def _write_and_commit(
    files: _Sorted, dataset: str, folder: Path, schema: SourceSchema | None, evolve: bool, processes: int,
    progress: Callable[[str], None] | None, ask: Callable[[], None],
) -> None:  # fmt: skip
    """Write the new files, `ask`, and commit those that fit; parts of others go, also where this is broken off, or the
    answer is an error."""
    if not files.new:
        return
    there = {path.name for path in folder.glob("*.parquet")}
    results: dict[str, Result] = {}
    try:
        write_all(files.new, folder, schema, processes, results, progress)
        came_to = [results[str(source.path)] for source in files.new]
        written = [w for w in came_to if isinstance(w, Written)]
        files.failed += [f for f in came_to if isinstance(f, Failure)]
        ask()
        _commit(written, files, folder, evolve, dataset)
    finally:
        landed = {w.path for w in files.landed}
        unwanted = [w for w in results.values() if isinstance(w, Written) and w.path not in landed]
        names = {w.part.name for w in unwanted if w.part is not None}
        if len(results) < len(files.new):  # broken off: a process may have ended just before it could report
            names |= unreported(folder, there, files.guids)
        discard(names, folder, there)
        _remove_empty(folder)


def _commit(written: Sequence[Written], files: _Sorted, folder: Path, evolve: bool, dataset: str) -> None:
    """One commit of all files that fit the dataset; the others fail, named. Made again where another came first."""
    while written:
        table = Table.open(folder) if Table.exists(folder) else None
        fitting, merged, failed = _fitting(written, table.snapshot() if table else None, evolve, dataset)
        if not fitting:
            files.failed += failed
            return
        try:
            _append(table or Table.create(folder, merged), fitting, merged)
        except StoreError as error:
            if "errno" in error.fields or not Table.exists(folder):
                raise
            held = Table.open(folder).snapshot().source_guids
            lost = [w.path for w in written if w.source.guid in held]
            if table is not None and not ({"guid", "part"} & set(error.fields) and lost):
                raise
            files.already += lost
            written = [w for w in written if w.path not in lost]
            continue
        files.landed += fitting
        files.failed += failed
        return


def _append(table: Table, written: Sequence[Written], schema: Schema) -> None:
    menus = {i: m for w in written for i, m in w.menus.items()}
    parts = [w.part for w in written if w.part is not None]
    table.append(parts, schema, menus, [w.source for w in written if w.part is None], evolve=True)


def _fitting(
    written: Sequence[Written], held: Snapshot | None, evolve: bool, dataset: str
) -> tuple[list[Written], Schema, list[Failure]]:
    """Files of the dataset's kind (data or simulation) and attributes, the schema of all, and the files that differ.

    The first file says both where the dataset has none. With `evolve` attributes may differ, but for their types.
    """
    first = held is None or not held.sources
    kind = written[0].simulation if held is None or first else is_simulation(held)
    merged = base = written[0].schema if held is None or first else held.schema
    fitting: list[Written] = []
    failed: list[Failure] = []
    for w in written:
        try:
            if w.simulation != kind:
                wrong, right = ("simulation", "data") if w.simulation else ("data", "simulation")
                raise IngestError(f"is {wrong}, and {dataset} holds {right}")
            differences = _differences(w.schema, base)
            if differences and not evolve:
                said = ", ".join(differences[:6]) + (" …" if len(differences) > 6 else "")
                raise IngestError(f"its attributes differ from those of {dataset} ({said}); --evolve takes what "
                                  "lacks as missing")  # fmt: skip
            merged = merged.union(w.schema)
        except TagselError as error:
            failed.append(Failure(w.path, reason_of(error)))
        else:
            fitting.append(w)
    return fitting, merged, failed


def _differences(schema: Schema, base: Schema) -> list[str]:
    """Attributes that one schema has and the other lacks; trigger bits are the menus' business, `user.…` the user's."""
    ours = {a.name for a in base if a.role not in ("trigger", "flag") and not a.name.startswith(USER)}
    theirs = {a.name for a in schema if a.role not in ("trigger", "flag")}
    return [*(f"lacks {n}" for n in sorted(ours - theirs)), *(f"adds {n}" for n in sorted(theirs - ours))]


def _remove_empty(folder: Path) -> None:
    """Remove the folders of a dataset that never came to be, as far as they are empty."""
    own = folder / "_tagsel"
    for place in () if Table.exists(folder) else (own / "zones", own / "index", own, folder):
        with suppress(OSError):
            place.rmdir()
