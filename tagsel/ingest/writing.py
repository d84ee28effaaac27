"""Input files to parts of a dataset's folder, one a file, in processes of their own where the input is large.

Invariant: a file comes out with its part or with the reason why there is none, whatever becomes of the process that
wrote it; when the writing ends, in whatever way, none of those processes lives and none left half a part.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from tagsel.cores import cores
from tagsel.errors import TagselError
from tagsel.ingest.ahead import ahead
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
        **source.bookkeeping,
    }
    record = Source(source.guid, source.lfn, source.entries, 0, keep)
    Path(folder).mkdir(parents=True, exist_ok=True)  # an ingest that failed may have just removed it
    part = write_part(Path(folder), source.schema, ahead(source.batches()), [record]) if source.entries else None
    return Written(
        str(source.path),
        source.format,
        part,
        record,
        source.schema,
        source.menus,
        source.is_simulation,
        tuple(source.warnings),
    )


def _id_names(schema: SourceSchema) -> dict[str, list[str]]:
    """Columns of the ids as a schema names them; one that is a constant has none."""
    return {name: list(columns) for name, columns in schema.ids.items() if not isinstance(columns, int)}


def write_all(
    files: Sequence[TagSource], folder: Path, schema: SourceSchema | None, processes: int, results: dict[str, Result],
    progress: Callable[[str], None] | None = None,
) -> None:  # fmt: skip
    """Write every file's part; `results` gets what each came to, also of those that were done when this is broken off.

    Processes are spawned, never forked, where the input is large. Files that a dying process took along are done
    again, each in a process of its own, so that the one that kills is told from the others.
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
    try:
        _in_processes(files, folder, schema, workers, results, take)
    except BrokenExecutor:
        for file in [f for f in files if str(f.path) not in results]:
            try:
                _in_processes([file], folder, schema, 1, results, take)
            except BrokenExecutor:
                path = str(file.path)
                take(path, Failure(path, "the process that read it died, of a lack of memory or a crash in a library"))


def _tried(source: TagSource, folder: str, schema: SourceSchema | None) -> Result:
    """The file's part, or why there is none."""
    try:
        return write_source(source, folder, schema)
    except TagselError as error:
        return Failure(str(source.path), reason_of(error))


def _in_processes(
    files: Sequence[TagSource], folder: Path, schema: SourceSchema | None, workers: int, results: dict[str, Result],
    take: Callable[[str, Result], None],
) -> None:  # fmt: skip
    """Take the results of files that `workers` processes write; BrokenExecutor when one of them dies."""
    others = set(multiprocessing.active_children())
    # Ctrl-C reaches all processes of a terminal; only ours answers it, and ends them.
    deaf = (signal.SIGINT, signal.SIG_IGN)
    spawned = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, spawned, initializer=signal.signal, initargs=deaf)
    tasks: dict[str, Future[Result]] = {}
    mine: set[BaseProcess] = set()
    try:
        for file in files:
            tasks[str(file.path)] = pool.submit(_tried, file, str(folder), schema)
        mine = set(multiprocessing.active_children()) - others
        for path, task in tasks.items():
            take(path, task.result())
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        results |= {p: t.result() for p, t in tasks.items() if p not in results and _has_result(t)}
        _remove_torn(folder, mine)


def _has_result(task: Future[Result]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _remove_torn(folder: Path, processes: Collection[BaseProcess]) -> None:
    """Remove what ended processes were writing."""
    for process in processes:
        for place in (folder, *(cache.parent for cache in caches_of(folder / "part"))):
            for path in place.glob(f"{disk.TEMPORARY}{process.pid}-*"):
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

    The same file's part has the same name, whoever writes it: another process may have brought it in meanwhile, or be
    about to, which is why nobody commits while this looks.
    """
    names = set(names) - set(there)
    if not names:
        return
    held = folder / "_tagsel"
    with disk.locked(held) if (held / "lock").exists() else nullcontext():  # else nobody has begun to make it
        if Table.exists(folder):
            names -= {part.name for part in Table.open(folder).snapshot().parts}
        for name in names:
            (folder / name).unlink(missing_ok=True)
            for cache in caches_of(folder / name):
                cache.unlink(missing_ok=True)
