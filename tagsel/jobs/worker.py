"""The worker: does one piece and writes one output. `python -m tagsel.jobs.worker PIECE STEM ATTEMPT SHA256`.

The piece's file must have that SHA-256, or nothing of it is run. The worker opens the piece, the event files that the
piece names, and nothing else. The file `STEM.run` is locked while it lives and says its process id, for people. Exit
codes: 0 output written, 10 somebody must act on a failure, 11 another attempt may mend it (disk, network), others are
faults.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tagsel.aod import Batch, Reading, template
from tagsel.base import memory_limit, processes
from tagsel.base.lock_file import PATIENCE, acquire, read_holder
from tagsel.errors import AccessError, JobError, TagselError
from tagsel.jobs.events import checked_events
from tagsel.jobs.executors import MEMORY_VARIABLE
from tagsel.jobs.failures import TRIED_AGAIN, Evidence, cause_of
from tagsel.jobs.output import Header, write_output
from tagsel.jobs.piece import Piece, Recipe, read_piece
from tagsel.jobs.script import load_process
from tagsel.jobs.values import NONE, Result, add, result_of
from tagsel.quality import format_lumi

USER_EXIT, TRANSIENT_EXIT = 10, 11


class _Failure(Exception):
    """A script that failed: its error, and the events that it had in hand."""

    def __init__(self, error: BaseException, where: str) -> None:
        super().__init__(where)
        self.error = error
        self.where = where


def main(arguments: list[str]) -> int:
    """Do the piece; the exit code is returned."""
    piece_path, stem, attempt = Path(arguments[0]), Path(arguments[1]), int(arguments[2])
    sha256 = arguments[3] if len(arguments) > 3 else ""
    processes.adopt()
    os.umask(0o022)  # so that outputs are the submitter's, whatever the umask was
    with _alive(stem):
        piece, recipe, digest = read_piece(piece_path, sha256)
        blank = Header(piece.number, digest, recipe.sha256, attempt, "ok", events=piece.n_events)
        try:
            header, result = _process(piece, recipe, blank)
            _guarded(lambda: write_output(stem, header, result), "while the result was written")
        except _Failure as failure:
            traceback.print_exception(failure.error)
            error = describe(failure)
            write_output(stem, replace(blank, status="failed", error=error), NONE)
            return _exit_code(str(error["class"]))
    return 0


@contextmanager
def _alive(stem: Path) -> Iterator[None]:
    """Hold the lock that says that this attempt lives; its file stays behind only where the worker was killed."""
    path = stem.with_name(f"{stem.name}.run")
    lock = acquire(path, patience=PATIENCE, action="running a piece")
    if lock is None:
        raise JobError(f"this attempt is already run by {read_holder(path)}; waited {PATIENCE:g} s", path=str(path))
    with lock:
        yield
        lock.remove()


def _process(piece: Piece, recipe: Recipe, blank: Header) -> tuple[Header, Result]:
    """Run the script over all batches of the piece."""
    started = time.process_time()
    began = time.time() - started  # a process that starts does little but compute
    process = _guarded(lambda: load_process(recipe.script), "while the script was loaded")
    if memory := _allowed_memory():
        # After the imports: a library whose threads the kernel refuses to start may wait for them for ever.
        memory_limit.hold_to(memory)
    source = Reading(piece.files, recipe.branches, recipe.batch, layout=recipe.layout)
    addresses = _addresses(piece)
    total, read, in_script = NONE, [], 0.0
    for batch in _guarded_batches(source):
        read.append(batch.rows)
        events = _with_address(batch, addresses)
        before = time.process_time()
        total = _guarded(lambda t=total, e=events: add(t, _one(process, e)), _span(events))
        in_script += time.process_time() - before
    note = ""
    if total == NONE:
        total, note = _of_nothing(process, recipe)
    report = source.report
    header = replace(
        blank,
        kind=total[0],
        delivered=report.ledger.delivered,
        unreadable=report.ledger.unreadable,
        bytes_read=report.bytes_asked,
        bytes_total=report.bytes_total,
        problems=tuple(asdict(p) for p in report.problems),
        note=note,
        start_s=started,
        process_s=in_script,
        read_s=time.process_time() - started - in_script,
        began=round(began, 3),
        wall_s=round(time.time() - began, 3),
    )
    lumi, lost = _blocks(piece, read)
    return replace(header, lumi=lumi, lost=lost), total


def _blocks(piece: Piece, read: list[Any]) -> tuple[str, ...]:
    """The luminosity blocks of the events that were delivered, by position, and of those that could not be read."""
    import numpy as np

    is_delivered = np.zeros(piece.n_events, bool)
    for rows in read:
        is_delivered[rows] = True
    return _blocks_of(piece, is_delivered), _blocks_of(piece, ~is_delivered)


def _blocks_of(piece: Piece, mask: Any) -> str:
    """The luminosity blocks of the events of a mask (n_events,), as JSON."""
    files = tuple(file.take(mask[file.rows]) for file in piece.files)
    return format_lumi(Piece(0, files).lumi, "json")


def _one(process: Any, events: Any) -> Result:
    """The result of one batch."""
    kind, value = result_of(process(events))
    return (kind, [checked_events(events, value[0])]) if kind == "events" else (kind, value)


def _of_nothing(process: Any, recipe: Recipe) -> tuple[Result, str]:
    """The result of no event: what the script makes of an empty batch, or none at all if it cannot take
    one."""
    import awkward as ak
    import numpy as np

    try:
        empty = template(recipe.example, recipe.branches, recipe.layout)
        empty = ak.with_field(empty, ak.Array([""])[:0], "aod_guid")
        empty = ak.with_field(empty, np.empty(0, np.int64), "aod_entry")
        return _one(process, empty), ""
    except Exception as error:  # a script that cannot take an empty batch has lost no event
        return NONE, f"no event; an empty batch made the script fail: {error}"


def _guarded(work: Any, where: str) -> Any:
    try:
        return work()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a script must not end the worker unseen
        raise _Failure(error, where) from error


def _guarded_batches(source: Reading) -> Iterator[Batch]:
    """The batches of a reading; errors of reading that are not one file's are the user's (branches that
    differ)."""
    batches = iter(source)
    while True:
        batch = _guarded(lambda: next(batches, None), "while events were read")
        if batch is None:
            return
        yield batch


def _addresses(piece: Piece) -> tuple[list[str], Any, Any]:
    """GUIDs, and for each position of the piece the index of its GUID and its entry."""
    import numpy as np

    guid, entry = np.empty(piece.n_events, np.int64), np.empty(piece.n_events, np.int64)
    for i, f in enumerate(piece.files):
        guid[f.rows], entry[f.rows] = i, f.entries
    return [f.guid for f in piece.files], guid, entry


def _with_address(batch: Batch, addresses: tuple[list[str], Any, Any]) -> Any:
    """The events of a batch with `aod_guid` and `aod_entry` beside run, lumi and event."""
    import awkward as ak

    guids, guid, entry = addresses
    names = ak.Array(guids)[guid[batch.rows]]
    fields = {name: batch.events[name] for name in batch.events.fields}
    ids = {name: fields.pop(name) for name in ("run", "lumi", "event")}
    return ak.zip({**ids, "aod_guid": names, "aod_entry": entry[batch.rows], **fields}, depth_limit=1)


def _allowed_memory() -> int:
    """Bytes of memory that this worker may take; 0 where its engine sets the limit."""
    return int(os.environ.get(MEMORY_VARIABLE, "0"))


def _span(events: Any) -> str:
    """First and last event of a batch, for messages."""
    first, last = events[0], events[-1]
    return (
        f"in events {first['run']}:{first['lumi']}:{first['event']} to "
        f"{last['run']}:{last['lumi']}:{last['event']} ({len(events)} events)"
    )


def describe(failure: _Failure) -> dict[str, object]:
    """A failure as data: class and cause, and as evidence the last line of the traceback, the classes of the error, the
    events, and the traceback from the script on."""
    error = failure.error
    # An AccessError of writing aside has the disk's error as its cause.
    deepest = error.__cause__ if isinstance(error, AccessError) and error.__cause__ else error
    kinds = tuple(kind.__name__ for kind in type(deepest).__mro__ if kind not in (object, BaseException))
    lines = traceback.format_exception(error)
    last = error.message if isinstance(error, TagselError) else lines[-1].strip()
    cause = cause_of(Evidence("raised", last, kinds))
    if cause.name == "memory" and (memory := _allowed_memory()):
        last = f"{last} ({memory:,} bytes of memory are what a piece may take)"
        cause = cause_of(Evidence("raised", last, kinds))
    return {
        "class": cause.kind,
        "cause": cause.name,
        "origin": "raised",
        "message": last,
        "kinds": kinds,
        "code": _exit_code(cause.kind),
        "where": failure.where,
        "trace": "".join(lines)[-4000:],
    }


def _exit_code(kind: str) -> int:
    return TRANSIENT_EXIT if kind in TRIED_AGAIN else USER_EXIT


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    finally:
        processes.end_family(os.getpid())  # what the script started and left behind
