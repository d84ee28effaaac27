"""Merging the outputs of pieces, once and only once.

Invariant: exactly one good output of each piece goes into a result, in the order of the pieces; a result
exists only where no piece is missing, and its delivery ledger closes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from tagsel.base.atomic_write import atomic_write
from tagsel.base.checksum import file_sha256
from tagsel.base.fail_points import fail_point
from tagsel.errors import EventListError, JobError
from tagsel.events import DeliveryLedger
from tagsel.jobs.events import columns_of, join_events
from tagsel.jobs.executors import MODE
from tagsel.jobs.folder import OF_JOB, JobFolder, PieceState, piece_states
from tagsel.jobs.forecast import Cost
from tagsel.jobs.lumi import lumi_of
from tagsel.jobs.output import Header, read_output, verify_output
from tagsel.jobs.values import NONE, Result, add, decode, encode, keys
from tagsel.rootio import NOTE, UNITS

UNMERGED = "let process return one kind of result, with the same keys, for every batch, and submit it again"
"""What to try where outputs of pieces do not fit together."""

REMERGE = (
    "where job.json is the job's own, remove result.json: tagsel jobs resubmit merges the outputs of its pieces again"
)
"""What to try where a merged result is damaged."""

SECONDS = ("start_s", "read_s", "process_s", "wall_s")
"""What a header says of its time, and what is summed."""


@dataclass(frozen=True)
class JobResult:
    """The merged result: `kind` is numbers, hist, events or none; `path` the file of it, Parquet for events.

    `events` is the number of events in it where it is of events.
    """

    kind: str
    path: Path
    ledger: DeliveryLedger
    events: int = 0
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def value(self) -> Any:
        """A record of numbers and histograms, a histogram, an awkward array of events, or {} for none; read
        now."""
        if self.kind != "events":
            return decode(self.document["value"])
        self.verify()
        import awkward as ak
        import pyarrow.parquet as pq

        return ak.from_arrow(pq.read_table(self.path, page_checksum_verification=True))

    def need_file(self) -> None:
        """JobError where the file of the result is gone."""
        if not self.path.is_file():
            raise JobError(f"{self.path}, the result of the job, is gone", hint=REMERGE, path=str(self.path))

    def verify(self) -> None:
        """JobError where the file of events is not the one that the result was written with."""
        stated = self.document.get("file_sha256")  # results of version 1 do not say
        if stated is not None and file_sha256(self.path) != stated:
            raise JobError(
                f"{self.path} is damaged: its content does not match its checksum", hint=REMERGE, path=str(self.path)
            )

    @property
    def units(self) -> Mapping[str, str]:
        """The units of its numbers by key, of its columns by name, or of its axes by name, where they are known."""
        units = self.document.get("units", {})
        return units if isinstance(units, Mapping) else {}

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what the result says of itself, the outputs that went into it included."""
        return hashlib.sha256(json.dumps(self.document, sort_keys=True).encode()).hexdigest()


def ledger_of(folder: JobFolder, states: list[PieceState]) -> DeliveryLedger:
    """accepted = delivered + unreadable + failed; failed are the events of pieces without a good output.

    JobError where that does not close.
    """
    spec = folder.spec
    done = [s.header for s in states if s.header is not None]
    ledger = DeliveryLedger(
        accepted=spec["events"],
        delivered=sum(h.delivered for h in done),
        unreadable=spec["unmapped"] + sum(h.unreadable for h in done),
        failed=sum(s.events for s in states if s.header is None),
    )
    try:
        ledger.check()
    except EventListError as error:
        raise JobError(f"job {folder.path.name}: {error.message}", ledger=ledger.to_json()) from error
    return ledger


def merge(folder: JobFolder) -> None:
    """Merge all pieces into the job's result; JobError, naming them, where pieces are missing or failed."""
    states = piece_states(folder)
    _check_complete(folder, states)
    ledger = ledger_of(folder, states)
    outputs = [s.output for s in states if s.output is not None]
    speaking = [s for s in states if not _says_nothing(s)]
    kinds = [(s.number, s.header.kind) for s in speaking if s.header]
    _refuse_different("results of different kinds", kinds)
    kind = kinds[0][1] if kinds else "none"
    lumi = lumi_of(folder, states)
    replaced = {}
    for number, parts in folder.replaced.items():
        replaced[number] = [part["number"] for part in parts]
    document: dict[str, object] = {
        "kind": kind,
        "ledger": ledger.to_json(),
        "outputs": [p.name for p in outputs],
        "lumi": lumi.to_json() if lumi is not None else None,
        "replaced": replaced,
    }
    if kind == "events":
        document |= _merge_events(folder, outputs, document["lumi"])
    else:
        total = _total(speaking)
        document["value"] = encode(total[1], final=True) if total[1] is not None else {}
        document["units"] = _units(_given(folder), _names(total))
    folder.write(folder.cost, _cost(folder, states).to_json(), step="jobs.merge")
    folder.write(folder.result, document, step="jobs.merge")


def _check_complete(folder: JobFolder, states: list[PieceState]) -> None:
    """JobError, naming the first three, where pieces have no output."""
    missing = [state for state in states if state.output is None]
    if missing:
        reasons = "; ".join([f"piece {state.number}: {state.error or state.state}" for state in missing[:3]])
        raise JobError(
            f"job {folder.path.name}: {len(missing)} of {len(states)} pieces have no output: {reasons}",
            hint=f"tagsel jobs resubmit {folder.path.name}",
            pieces=[state.number for state in missing],
        )


def _given(folder: JobFolder) -> dict[str, str]:
    """The units that the script gives; jobs from before scripts could give any have none."""
    return dict(folder.spec.get("units", {}).get("given", {}))


def _units(units: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """The units of these names, sorted."""
    return {name: units[name] for name in sorted(names) if name in units}


def _names(result: Result) -> list[str]:
    """What of a result can have a unit: the keys of a record, the axes of a histogram."""
    kind, value = result
    if kind == "numbers":
        return keys(value)
    if kind == "hist":
        return [name for axis in value.axes if (name := str(getattr(axis, "name", "")))]
    return []


def _cost(folder: JobFolder, states: list[PieceState]) -> Cost:
    """What the outputs that count took. Of a job that was run again in part, nobody can say how long it took."""
    done = [s.header for s in states if s.header is not None]
    seconds = {}
    for name in SECONDS:
        seconds[name] = round(sum(getattr(header, name) for header in done), 3)
    if done and folder.went_through and all(h.attempt == 1 and h.wall_s for h in done):
        seconds |= _times(folder, done)
    return Cost(len(done), sum(h.delivered for h in done), sum(h.bytes_read for h in done), **seconds)


def _times(folder: JobFolder, done: list[Header]) -> dict[str, float]:
    """Seconds from submission until the first piece began, and from then until the last had ended."""
    first, last = min(h.began for h in done), max(h.began + h.wall_s for h in done)
    created = datetime.fromisoformat(folder.spec["created"]).timestamp()
    return {"wait_s": round(max(first - created, 0.0), 3), "span_s": round(last - first, 3)}


def read_cost(folder: JobFolder) -> Cost:
    """What the pieces of a job took, once it has been merged."""
    document = folder.read(folder.cost, "remove the file: then nobody knows what the job took")
    return Cost(**{name: value for name, value in document.items() if name not in ("version", OF_JOB)})


def _says_nothing(state: PieceState) -> bool:
    """Whether a piece delivered no event and says nothing of it: it merges with any others."""
    if state.output is None or state.header is None or state.header.delivered:
        return False
    kind = state.header.kind
    return kind == "none" or (kind == "numbers" and not read_output(state.output)[1][1])


def _total(states: list[PieceState]) -> Result:
    """The sum of the outputs of pieces, one in memory at a time; JobError where their records have different keys."""
    total, found = NONE, []
    for state, result in _results(states):
        found.append((state.number, ", ".join(keys(result[1])) if result[0] == "numbers" else ""))
        if found[-1][1] != found[0][1]:
            continue  # the error names all of them
        try:
            total = add(total, result)
        except JobError as error:
            raise JobError(f"piece {state.number} does not add to those before: {error.message}") from error
    _refuse_different("records of different keys", found)
    return total


def _results(states: list[PieceState]) -> Iterator[tuple[PieceState, Result]]:
    return ((s, read_output(s.output)[1]) for s in states if s.output is not None)


def _refuse_different(what: str, found: list[tuple[int, str]]) -> None:
    """JobError, naming the pieces by what they gave, where that differs."""
    pieces: dict[str, list[int]] = {}
    for number, given in found:
        pieces.setdefault(given, []).append(number)
    if len(pieces) < 2:
        return
    named = "; ".join(f"{given or 'none'} in {_numbers(those)}" for given, those in sorted(pieces.items()))
    raise JobError(f"pieces gave {what}: {named}", hint=UNMERGED, gave=pieces)


def _numbers(pieces: list[int]) -> str:
    """Numbers of pieces in words, the first few of them.

    >>> _numbers([3]), _numbers(list(range(9)))
    ('piece 3', 'pieces 0, 1, 2, 3, 4 and 4 more')
    """
    more = f" and {len(pieces) - 5} more" if len(pieces) > 5 else ""
    return f"piece{'s' if len(pieces) > 1 else ''} {', '.join(map(str, pieces[:5]))}{more}"


def _merge_events(folder: JobFolder, outputs: list[Path], lumi: object) -> dict[str, object]:
    """Join the events of all pieces in order; what the result says of them."""
    path = folder.path / "result.parquet"
    for output in outputs:
        if output.suffix == ".parquet":
            verify_output(output)
    parts = [p for p in outputs if p.suffix == ".parquet"]  # of the others each says nothing
    note = json.dumps({"job": folder.path.name, "lumi": lumi, **folder.spec["provenance"]}, sort_keys=True)
    units = _units({**folder.spec.get("units", {}).get("carried", {}), **_given(folder)}, columns_of(parts))
    metadata = {NOTE.encode(): note}
    if units:
        metadata[UNITS.encode()] = json.dumps(units)
    with atomic_write(path, MODE) as temporary:
        count = join_events(temporary, parts, metadata)
        fail_point("jobs.merge")
    return {"file": path.name, "file_sha256": file_sha256(path), "events": count, "units": units}


def read_result(folder: JobFolder) -> JobResult:
    """The merged result; JobError where the job is not done, and where the result is damaged or another job's."""
    if not folder.result.exists():
        raise JobError(f"job {folder.path.name} has no result yet", hint=f"tagsel jobs show {folder.path.name}")
    document = folder.read(folder.result, REMERGE)
    try:
        ledger = DeliveryLedger.from_json(document["ledger"])
        path = folder.path / str(document.get("file", folder.result.name))
        return JobResult(str(document["kind"]), path, ledger, int(document.get("events", 0)), document)
    except (ValueError, KeyError, TypeError) as error:
        raise JobError(
            f"{folder.result} is damaged: {type(error).__name__} {error}", hint=REMERGE, path=str(folder.result)
        ) from error
