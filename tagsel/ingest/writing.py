"""Input files to parts of a dataset's folder, one a file, in processes of their own where the input is large.

Invariant: a file comes out with its part or with the reason why there is none, whatever becomes of the process that
wrote it; when the writing ends, in whatever way, none of those processes lives and none left half a part.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tagsel.base.atomic_write import TEMPORARY
from tagsel.base.cpus import cores
from tagsel.base.workers import WorkerDied, Workers
from tagsel.errors import TagselError
from tagsel.ingest.ahead import ahead
from tagsel.ingest.file_identity import KEY, IdHash, content_of
from tagsel.ingest.nulls import nulls_of, with_nulls
from tagsel.ingest.profile import KEY as PROFILE
from tagsel.ingest.profile import STANDARD
from tagsel.ingest.readers import NullMet
from tagsel.ingest.report import NullCount
from tagsel.ingest.source import TagSource
from tagsel.schema import Menu, Schema
from tagsel.schema.sourcetypes import SourceSchema
from tagsel.store import NewPart, Source, Table, disk, write_part
from tagsel.store.layout import caches_of

PARALLEL_FROM = 64_000_000
"""Bytes of input above which a second process pays for its start of about a second."""


@dataclass(frozen=True)
class Written:
    """What one input file came to: its part in the dataset's folder, schema, menus, and AOD files that it names."""

    path: str
    format: str
    part: NewPart | None
    source: Source
    schema: Schema
    menus: Mapping[int, Menu]
    simulation: bool
    warnings: tuple[str, ...]
    nulls: Mapping[str, NullCount] = field(default_factory=dict)  # by column

    def with_bookkeeping(self, key: str, value: str) -> Written:
        """The same with one more entry in the bookkeeping of its file."""
        source = replace(self.source, bookkeeping={**self.source.bookkeeping, key: value})
        part = None if self.part is None else replace(self.part, sources=(source,))
        return replace(self, source=source, part=part)


@dataclass(frozen=True)
class Failure:
    """One input file that could not be ingested, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


Result = Written | Failure


def reason_of(error: TagselError) -> str:
    """Why a file failed, and what to try."""
    return f"{error.message} (try: {error.hint})" if error.hint else error.message


def write_source(source: TagSource, folder: str, schema: SourceSchema | None) -> Written:
    """Turn one opened input file into a part in `folder`; runs in a process of its own for large inputs."""
    path = str(source.path.resolve())
    keep = {
        "path": path,
        "format": source.format,
        "simulation": source.is_simulation,
        "aod": [{**asdict(f), "path": path if f.guid == source.guid else ""} for f in source.aod],
        **({"layout": {"tree": schema.tree, "ids": _id_names(schema)}} if schema else {}),
        **({PROFILE: source.profile} if source.profile != STANDARD else {}),
        **source.bookkeeping,
    }
    record = Source(source.guid, source.lfn, source.entries, 0, keep)
    Path(folder).mkdir(parents=True, exist_ok=True)  # an ingest that failed may have just removed it
    source, part, ids, nulls = _write(source, Path(folder), record)
    record = replace(record, bookkeeping={**keep, KEY: asdict(content_of(source, ids))})
    if part is not None:
        part = replace(part, sources=(record,))
    return Written(
        str(source.path),
        source.format,
        part,
        record,
        source.schema,
        source.menus,
        source.is_simulation,
        tuple(source.warnings),
        nulls,
    )


def _write(
    source: TagSource, folder: Path, record: Source
) -> tuple[TagSource, NewPart | None, IdHash, Mapping[str, NullCount]]:
    """The file as it was written, with bitmaps where it has nulls, its part, its ids, and how many nulls it has."""
    ids = IdHash()
    if not source.entries:
        return source, None, ids, {}
    try:
        part = write_part(folder, source.schema, ids.through(ahead(source.batches())), [record])
        return source, part, ids, {}
    except NullMet:
        nulls = nulls_of(source)
    source, ids = with_nulls(source, nulls), IdHash()
    part = write_part(folder, source.schema, ids.through(ahead(source.batches())), [record])
    return source, part, ids, nulls


def _id_names(schema: SourceSchema) -> dict[str, list[str]]:
    """Columns of the ids as a schema names them; one that is a constant has none."""
    return {name: list(columns) for name, columns in schema.ids.items() if not isinstance(columns, int)}


def write_all(
    files: Sequence[TagSource],
    folder: Path,
    schema: SourceSchema | None,
    processes: int,
    results: dict[str, Result],
    progress: Callable[[str], None] | None = None,
) -> None:
    """Write every file's part; `results` gets what each came to, also of those that were done when this is broken off.

    Where the input is large, worker processes write (`tagsel.base.workers`). A file whose process died is done again in
    a new one, so that a file that kills is told from one that was unlucky.
    """

    def take(path: str, result: Result) -> None:
        results[path] = result
        if progress is not None:
            progress(path)

    size = sum(f.path.stat().st_size for f in files)
    workers = min(len(files), processes or cores())
    if workers < 2 or (size < PARALLEL_FROM and not processes):
        for file in files:
            take(str(file.path), _tried(file, str(folder), schema))
        return
    _in_processes(files, folder, schema, workers, results, take)


def _tried(source: TagSource, folder: str, schema: SourceSchema | None) -> Result:
    """The file's part, or why there is none."""
    try:
        return write_source(source, folder, schema)
    except TagselError as error:
        return Failure(str(source.path), reason_of(error))


def _in_processes(
    files: Sequence[TagSource],
    folder: Path,
    schema: SourceSchema | None,
    workers: int,
    results: dict[str, Result],
    take: Callable[[str, Result], None],
) -> None:
    """Take the results of files that `workers` processes write."""
    with Workers() as processes, ThreadPoolExecutor(workers, "tagsel-ingest") as threads:
        tasks: dict[str, Future[Result]] = {}
        try:
            for file in files:
                tasks[str(file.path)] = threads.submit(_in_a_process, processes, file, str(folder), schema)
            for path, task in tasks.items():
                take(path, task.result())
        finally:
            processes.stop()
            threads.shutdown(cancel_futures=True)
            results |= {p: t.result() for p, t in tasks.items() if p not in results and _has_result(t)}
            _remove_torn(folder, processes.pids)


def _in_a_process(processes: Workers, file: TagSource, folder: str, schema: SourceSchema | None) -> Result:
    """What a file comes to in a worker process, and in a second, new one where the first dies."""
    try:
        return processes.call(_tried, file, folder, schema)
    except WorkerDied:
        pass
    try:
        return processes.call(_tried, file, folder, schema, fresh=True)
    except WorkerDied as death:
        reason = f"the process that read it died twice, of a lack of memory or a crash in a library: it {death}"
        return Failure(str(file.path), reason)


def _has_result(task: Future[Result]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _remove_torn(folder: Path, pids: Collection[int]) -> None:
    """Remove what ended processes were writing."""
    for pid in pids:
        for place in (folder, *(cache.parent for cache in caches_of(folder / "part"))):
            for path in place.glob(f"{TEMPORARY}{pid}-*"):
                path.unlink(missing_ok=True)


def unreported(folder: Path, there: Collection[str], guids: Collection[str]) -> set[str]:
    """Names of whole parts that are not among those in `there` and hold one of these files, by their footers."""
    import pyarrow.parquet as pq

    names = set()
    for path in folder.glob("*.parquet"):
        if path.name not in there:
            footer = pq.read_metadata(path).metadata or {}
            names |= {path.name} if set(json.loads(footer.get(b"tagsel.sources", b"[]"))) & set(guids) else set()
    return names


def discard(names: Collection[str], folder: Path, there: Collection[str]) -> None:
    """Remove parts that are not needed; not those in `there` (names), nor what a snapshot holds.

    The same file's part has the same name in every process: another one may have committed it meanwhile, or be about
    to, so the lock keeps all commits off while this looks.
    """
    names = set(names) - set(there)
    if not names:
        return
    own = folder / "_tagsel"
    with disk.locked(own) if (own / "lock").exists() else nullcontext():  # else nobody has begun to make it
        if Table.exists(folder):
            names -= {part.name for part in Table.open(folder).snapshot().parts}
        for name in names:
            (folder / name).unlink(missing_ok=True)
            for cache in caches_of(folder / name):
                cache.unlink(missing_ok=True)
