"""From input files to a registered dataset: open, write parts in parallel, one commit, then the catalog.

Invariant: a file is in the dataset whole or not at all; one that fails is named and leaves nothing behind, and
the others land. What the catalog says of a dataset can be derived again from its snapshot (`register`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from tagsel.base.local_path import as_given
from tagsel.catalog import Catalog, FileRecord, PutFiles
from tagsel.errors import IngestError, StoreError, TagselError
from tagsel.ingest.columnar import data_files
from tagsel.ingest.file_identity import KnownFiles, Moved, check_twins, kept_content, relocated
from tagsel.ingest.find import open_source
from tagsel.ingest.profile import profile_of
from tagsel.ingest.registration import aod_files, is_simulation, register
from tagsel.ingest.repeated import EntryNumbers, identity_of, numbered_by_entry, repeated_events
from tagsel.ingest.report import IngestReport, ReportLine
from tagsel.ingest.returned import remarks
from tagsel.ingest.source import TagSource
from tagsel.ingest.type_agreement import agree_on_types
from tagsel.ingest.writing import Failure, Result, Written, discard, reason_of, unreported, write_all
from tagsel.schema import USER, Menu, Schema
from tagsel.schema.attributes import check_identity
from tagsel.schema.source import load_source_schema
from tagsel.schema.sourcetypes import SourceSchema
from tagsel.selection.yields import totals
from tagsel.store import Snapshot, Source, Table, disk, omissions


@dataclass(frozen=True)
class Ingested:
    """What an ingest did: the snapshot, files that landed, were there already, or failed.

    `report` says what was taken of the files that landed, and what was left out.
    """

    dataset: str
    snapshot: int
    events: int
    bytes: int
    landed: tuple[str, ...] = ()
    already: tuple[str, ...] = ()
    failed: tuple[Failure, ...] = ()
    moved: tuple[Moved, ...] = ()
    duplicates: int = 0
    simulation: bool = False
    formats: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    bookkeeping: Mapping[str, object] = field(default_factory=dict)
    report: IngestReport = field(default_factory=IngestReport)

    def to_json(self) -> dict[str, object]:
        """What `--json` prints."""
        return {**asdict(replace(self, report=IngestReport())), "report": self.report.to_json()}


@dataclass
class _Sorted:
    """Files by what became of them: `new` ones while they are being worked on, then `landed`."""

    new: list[TagSource] = field(default_factory=list)
    landed: list[Written] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    there: set[str] = field(default_factory=set)  # GUIDs of these
    moved: dict[str, Moved] = field(default_factory=dict)  # by GUID
    failed: list[Failure] = field(default_factory=list)
    lines: dict[str, tuple[ReportLine, ...]] = field(default_factory=dict)  # of each new file, by path
    warnings: list[str] = field(default_factory=list)

    @property
    def guids(self) -> set[str]:
        """Those of the new files."""
        return {source.guid for source in self.new}

    def check_some_came(self, dataset: str) -> None:
        """IngestError, with all reasons, where every file failed."""
        if not self.failed or self.landed or self.already or self.moved:
            return
        reasons = "; ".join([f.reason if f.path in f.reason else str(f) for f in self.failed])
        raise IngestError(f"nothing was ingested into {dataset}: {reasons}", files=[asdict(f) for f in self.failed])


def _identity(identity: str, source_schema: SourceSchema | None, before: Snapshot | None, dataset: str) -> str:
    """The identity that the user, the schema of the source or the dataset says, in this order."""
    if identity:
        check_identity(identity)
    elif source_schema:
        identity = source_schema.identity
    return identity_of(identity, before.schema if before else None, dataset)


def ingest(
    files: Sequence[Path],
    dataset: str,
    folder: Path,
    catalog: Catalog,
    facts: Mapping[str, Any],
    *,
    schema: str = "",
    profile: str = "",
    site: str = "",
    aod: Sequence[Path | str] = (),
    evolve: bool = False,
    identity: str = "",
    processes: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Ingested:
    """Ingest `files` into `dataset` (its Delta table lies in `folder`), and register all in the catalog.

    `facts` are fields of `PutDataset` for a new dataset and keys to update for an old one; `aod` are AOD files that the
    rows point to, or PoolFileCatalogs of such. A folder among `files` stands for the files in it. `profile` "" is the
    dataset's own, or standard. IngestError when every file failed; else failures are in the answer.
    """
    pointed, away = aod_files(aod)
    source_schema = load_source_schema(schema) if schema else None
    before = _snapshot(folder)
    identity = _identity(identity, source_schema, before, dataset)
    profile = profile_of(profile, before, dataset, evolve)
    inputs = data_files(files)
    sorted_ = _sort_out(inputs.files, dataset, catalog, before, source_schema, profile)
    held = before.schema if before is not None and before.sources else None
    sorted_.new, refused = agree_on_types(sorted_.new, dataset, held, evolve)
    sorted_.failed += [Failure(str(source.path), reason) for source, reason in refused]
    if sorted_.new or not sorted_.moved:
        catalog.need_open(dataset)  # a file of a closed dataset may move: its content stays what it is
    with ExitStack() as rights:

        def ask() -> None:
            """Before the commit: from here until the catalog knows of it nobody closes the dataset, or moves it, and
            no other files come into any dataset."""
            rights.enter_context(disk.changing(folder))
            rights.enter_context(disk.taking_in(folder.parent))
            catalog.need_open(dataset)

        _write_and_commit(sorted_, dataset, folder, catalog, source_schema, evolve, identity, processes, progress, ask)
        landed, failed = sorted_.landed, sorted_.failed
        sorted_.check_some_came(dataset)
        snapshot = Table.open(folder).snapshot()
        _relocate(catalog, sorted_.moved.values())
        if landed or catalog.is_open(dataset):
            named = {w.source.guid for w in landed} | sorted_.there
            aod_files_now = [*_rewritten(catalog, landed), *pointed]
            register(catalog, dataset, snapshot, facts, site=site, pointed=aod_files_now, named=named)
    warnings = chain.from_iterable(w.warnings for w in landed)
    more_warnings = list(remarks(before, [w.source for w in landed], sorted_.there))
    if not is_simulation(snapshot):
        more_warnings += repeated_events(before, snapshot)
    return Ingested(
        dataset,
        snapshot.number,
        snapshot.rows,
        snapshot.bytes,
        tuple(w.path for w in landed),
        tuple(sorted_.already),
        tuple(failed),
        tuple(sorted_.moved.values()),
        snapshot.duplicate_rows(),
        is_simulation(snapshot),
        tuple(sorted({w.format for w in landed})),
        (*dict.fromkeys(warnings), *sorted_.warnings, *more_warnings, *away),
        totals(snapshot.sources),
        _report(profile, inputs.passed_over, sorted_),
    )


def _snapshot(folder: Path) -> Snapshot | None:
    """The newest snapshot of a dataset, None where it is not there yet."""
    return Table.open(folder).snapshot() if Table.exists(folder) else None


def _report(profile: str, passed_over: Iterable[tuple[Path, str]], files: _Sorted) -> IngestReport:
    """What was taken of the files that landed, and what was left out."""
    report = IngestReport(profile)
    report.add([ReportLine(str(path), "file", reason=reason) for path, reason in passed_over])
    for w in files.landed:
        report.add(files.lines[w.path])
        report.add_nulls(w.nulls)
    return report


def _sort_out(
    files: Sequence[Path],
    dataset: str,
    catalog: Catalog,
    before: Snapshot | None,
    schema: SourceSchema | None,
    profile: str,
) -> _Sorted:
    """Files to ingest, files that are in the dataset already (or given twice), moved ones, and those that fail.

    A file whose GUID is known counts as known only where its content is, too.
    """
    result = _Sorted()
    opened: list[TagSource] = []
    shared: dict[tuple[ReportLine, ...], tuple[ReportLine, ...]] = {}
    for path in files:
        try:
            source = open_source(path, schema, profile=profile)
        except TagselError as error:
            result.failed.append(Failure(as_given(path), reason_of(error)))
        else:
            # Files of one kind share their lines, which no process that writes a part needs.
            result.lines[str(path)] = shared.setdefault(source.lines, source.lines)
            opened.append(replace(source, lines=()))
    known_files = KnownFiles(dataset, catalog, before, [source.guid for source in opened])
    new: dict[str, TagSource] = {}
    for source in opened:
        try:
            if source.guid in new:
                check_twins(new[source.guid], source)
                result.already.append(str(source.path))
            elif before is not None and source.guid in before.source_guids:
                _sort_known(source, known_files, result)
            else:
                result.warnings += known_files.check(source)
                new[source.guid] = source
                _note_moves(source, known_files, result)
        except TagselError as error:
            result.failed.append(Failure(str(source.path), reason_of(error)))
    result.new += new.values()
    return result


def _sort_known(source: TagSource, known_files: KnownFiles, result: _Sorted) -> None:
    """A file whose GUID the dataset has: unchanged where it was, moved, a copy of it, or an error."""
    here = known_files.here(source.guid)
    assert here is not None
    known_files.check_unchanged(source, here)
    result.there.add(source.guid)
    path = str(source.path.resolve())
    if here.path != path and source.guid not in result.moved and here.is_gone():
        result.moved[source.guid] = Moved(source.guid, path, here.path)
    else:
        result.already.append(str(source.path))


def _note_moves(source: TagSource, known_files: KnownFiles, result: _Sorted) -> None:
    """Note a file that other datasets know at a place where it is no more."""
    for other in known_files.elsewhere(source.guid):
        path = str(source.path.resolve())
        if other.path != path and other.is_gone():
            result.moved[source.guid] = Moved(source.guid, path, other.path)


def _relocate(catalog: Catalog, moved: Iterable[Moved]) -> None:
    """Say in the catalog where files lie that were found elsewhere than it says, for all datasets that have them."""
    changes = [PutFiles(name, records, known=True) for name, records in relocated(catalog, moved).items()]
    if changes:
        catalog.record(*changes)


def _rewritten(catalog: Catalog, landed: Sequence[Written]) -> list[FileRecord]:
    """Files that landed and hold something else than when the catalog last heard of them: what they are now."""
    own = {}
    for w in landed:
        content = kept_content(w.source.bookkeeping, w.source.guid)
        for aod in w.source.bookkeeping["aod"]:  # type: ignore[attr-defined]
            if aod["guid"] == w.source.guid:
                path = str(w.source.bookkeeping["path"])
                own[w.source.guid] = FileRecord(aod["guid"], aod["lfn"], path, "AOD", aod["entries"], content.bytes)
    earlier = catalog.files(guids=list(own)) if own else []
    changed = {f.guid for f in earlier if f.kind != "TAG" and f.entries not in (-1, own[f.guid].entries)}
    return [record for guid, record in own.items() if guid in changed]


def _write_and_commit(
    files: _Sorted,
    dataset: str,
    folder: Path,
    catalog: Catalog,
    schema: SourceSchema | None,
    evolve: bool,
    identity: str,
    processes: int,
    progress: Callable[[str], None] | None,
    ask: Callable[[], None],
) -> None:
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
        written = _still_new(written, dataset, catalog, files)
        _commit(written, files, folder, evolve, identity, dataset)
    finally:
        landed = {w.path for w in files.landed}
        unwanted = [w for w in results.values() if isinstance(w, Written) and w.path not in landed]
        names = {w.part.name for w in unwanted if w.part is not None}
        if len(results) < len(files.new):  # broken off: a process may have ended just before it could report
            names |= unreported(folder, there, files.guids)
        discard(names, folder, there)
        _remove_empty(folder)


def _still_new(written: Sequence[Written], dataset: str, catalog: Catalog, files: _Sorted) -> list[Written]:
    """The files whose GUIDs no other dataset has for another file, as the catalog knows now; the others fail."""
    known_files = KnownFiles(dataset, catalog, None, [w.source.guid for w in written])
    new = []
    for w in written:
        try:
            known_files.check_again(w.source)
        except IngestError as error:
            files.failed.append(Failure(w.path, reason_of(error)))
        else:
            new.append(w)
    return new


def _commit(
    written: Sequence[Written], files: _Sorted, folder: Path, evolve: bool, identity: str, dataset: str
) -> None:
    """One commit of all files that fit the dataset; the others fail, named. Made again where another came first."""
    while written:
        table = Table.open(folder) if Table.exists(folder) else None
        before = table.snapshot() if table else None
        fitting, merged, failed = _fitting(written, before, evolve, dataset, folder, identity)
        merged = merged if table else replace(merged, identity=identity)
        if not fitting:
            files.failed += failed
            return
        try:
            target = table or Table.create(folder, merged)
            _append(target, _with_omissions(fitting, files, folder), merged)
        except StoreError as error:
            if "errno" in error.fields or not Table.exists(folder):
                raise
            left = _not_forestalled(written, files, folder)
            another_came_first = bool({"guid", "part"} & set(error.fields)) and len(left) < len(written)
            if table is not None and not another_came_first:
                raise
            written = left
            continue
        files.landed += fitting
        files.failed += failed
        return


def _not_forestalled(written: Sequence[Written], files: _Sorted, folder: Path) -> list[Written]:
    """The files that no other process brought in meanwhile; the others are sorted out."""
    there = {source.guid: source for source in Table.open(folder).snapshot().sources}
    left = []
    for w in written:
        if w.source.guid in there:
            _forestalled(w, there[w.source.guid], files)
        else:
            left.append(w)
    return left


def _forestalled(w: Written, there: Source, files: _Sorted) -> None:
    """A file whose GUID another process brought in meanwhile: the same file, or another one."""
    mine, other = (kept_content(s.bookkeeping, s.guid) for s in (w.source, there))
    differs = mine.differences(other)
    if differs:
        text = f"has the GUID {there.guid} of {there.lfn}, which came in meanwhile, and other content: {differs[0]}"
        files.failed.append(Failure(w.path, text))
    else:
        files.already.append(w.path)


def _with_omissions(written: Sequence[Written], files: _Sorted, folder: Path) -> list[Written]:
    """The files, each with the name of the document, written here, that lists its columns which were left out."""
    documents: dict[int, str] = {}
    named = []
    for w in written:
        lines = files.lines[w.path]
        kind = id(lines)  # files of one kind share their lines
        if kind not in documents:
            columns = [line for line in lines if line.reason and line.kind not in ("tree", "file")]
            left_out = [omissions.Omission(line.name, line.reason, line.remedy) for line in columns]
            documents[kind] = omissions.write(folder, left_out) if left_out else ""
        named.append(w.with_bookkeeping(omissions.KEY, documents[kind]) if documents[kind] else w)
    return named


def _append(table: Table, written: Sequence[Written], schema: Schema) -> None:
    menus: dict[int, Menu] = {}
    for w in written:
        menus.update(w.menus)
    parts = [w.part for w in written if w.part is not None]
    table.append(parts, schema, menus, [w.source for w in written if w.part is None], evolve=True)


def _fitting(
    written: Sequence[Written], before: Snapshot | None, evolve: bool, dataset: str, folder: Path, identity: str
) -> tuple[list[Written], Schema, list[Failure]]:
    """Files of the dataset's kind (data or simulation) and attributes, the schema of all, and the files that differ.

    The first file says both where the dataset has none. With `evolve` attributes may differ, but for their types.
    """
    if before is None or not before.sources:
        simulation, base = written[0].simulation, written[0].schema
    else:
        simulation, base = is_simulation(before), before.schema
    merged = base
    numbers = None if simulation else _entry_numbers(written, before, dataset, identity)
    fitting: list[Written] = []
    failed: list[Failure] = []
    for w in written:
        try:
            _check_kind(w, simulation, dataset)
            if not evolve:
                _check_same_attributes(w, base, dataset)
            both = merged.union(w.schema)
            if numbers is not None and w.part is not None:
                numbers.add(w.source, folder / w.part.name)
            merged = both
        except TagselError as error:
            failed.append(Failure(w.path, reason_of(error)))
        else:
            fitting.append(w)
    return fitting, merged, failed


def _entry_numbers(
    written: Sequence[Written], before: Snapshot | None, dataset: str, identity: str
) -> EntryNumbers | None:
    """What gives event numbers to files that have none; None where each file has its own."""
    sources = [w.source for w in written]
    if before is not None:
        sources += before.sources
    if not any(map(numbered_by_entry, sources)):
        return None
    return EntryNumbers(dataset, before, identity)


def _check_kind(w: Written, simulation: bool, dataset: str) -> None:
    if w.simulation != simulation:
        wrong, right = ("simulation", "data") if w.simulation else ("data", "simulation")
        raise IngestError(f"is {wrong}, and {dataset} holds {right}")


def _check_same_attributes(w: Written, base: Schema, dataset: str) -> None:
    differences = _differences(w.schema, base)
    if differences:
        names = ", ".join(differences[:6]) + (" …" if len(differences) > 6 else "")
        raise IngestError(
            f"its attributes differ from those of {dataset} ({names}); --evolve takes what lacks as missing"
        )


def _differences(schema: Schema, base: Schema) -> list[str]:
    """Attributes that one schema has and the other lacks; trigger bits are the menus' business, `user.…` the user's."""
    others = ("trigger", "flag", "null")
    ours = {a.name for a in base if a.role not in others and not a.name.startswith(USER)}
    theirs = {a.name for a in schema if a.role not in others}
    return [*(f"lacks {n}" for n in sorted(ours - theirs)), *(f"adds {n}" for n in sorted(theirs - ours))]


def _remove_empty(folder: Path) -> None:
    """Remove the folders of a dataset that never came to be, as far as they are empty."""
    own = folder / "_tagsel"
    for place in () if Table.exists(folder) else (own / "zones", own / "index", own, folder):
        with suppress(OSError):
            place.rmdir()
