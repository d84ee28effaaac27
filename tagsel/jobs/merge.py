"""Merging the outputs of pieces, once and only once.

Invariant: exactly one good output of each piece goes into a result, in the order of the pieces; a result
exists only where no piece is missing, and its delivery ledger closes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from tagsel.aside import aside
from tagsel.errors import EventListError, JobError
from tagsel.events import DeliveryLedger
from tagsel.faults import step
from tagsel.jobs.events import join_events
from tagsel.jobs.folder import JobFolder, PieceState, piece_states
from tagsel.jobs.forecast import Cost
from tagsel.jobs.lumi import lumi_of
from tagsel.jobs.output import Header, read_output
from tagsel.jobs.values import NONE, Result, add, decode, encode, keys
from tagsel.rootio import NOTE

UNMERGED = "let process return one kind of result, with the same keys, for every batch, and submit it again"
"""What to try where outputs of pieces do not fit together."""

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
        import awkward as ak
        import pyarrow.parquet as pq

        return ak.from_arrow(pq.read_table(self.path, page_checksum_verification=True))

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
    missing = [s for s in states if s.output is None]
    if missing:
        named = "; ".join(f"piece {s.number}: {s.error or s.state}" for s in missing[:3])
        raise JobError(
            f"job {folder.path.name}: {len(missing)} of {len(states)} pieces have no output: {named}",
            hint=f"tagsel jobs resubmit {folder.path.name}",
            pieces=[s.number for s in missing],
        )
    ledger = ledger_of(folder, states)
    outputs = [s.output for s in states if s.output is not None]
    speaking = [s for s in states if not _says_nothing(s)]
    _refuse_different("results of different kinds", [(s.number, s.header.kind) for s in speaking if s.header])
    kind = next((s.header.kind for s in speaking if s.header), "none")
    lumi = lumi_of(folder, states)
    document: dict[str, object] = {
        "kind": kind,
        "ledger": ledger.to_json(),
        "outputs": [p.name for p in outputs],
        "lumi": lumi.to_json() if lumi is not None else None,
        "replaced": {number: [p["number"] for p in parts] for number, parts in folder.replaced.items()},
    }
    if kind == "events":
        document |= _merge_events(folder, outputs, document["lumi"])
    else:
        total = _total(speaking)
        document["value"] = encode(total[1], final=True) if total[1] is not None else {}
    with aside(folder.cost) as temporary:
        temporary.write_text(json.dumps(_cost(folder, states).to_json(), sort_keys=True) + "\n", "utf-8")
    with aside(folder.result) as temporary:
        temporary.write_text(json.dumps(document, sort_keys=True, indent=1) + "\n", "utf-8")
        step("jobs.merge")


def _cost(folder: JobFolder, states: list[PieceState]) -> Cost:
    """What the outputs that count took. Of a job that was run again in part, nobody can say how long it took."""
    done = [s.header for s in states if s.header is not None]
    seconds = {name: round(sum(getattr(h, name) for h in done), 3) for name in SECONDS}
    if done and folder.went_through and all(h.attempt == 1 and h.wall_s for h in done):
        seconds |= _times(folder, done)
    return Cost(len(done), sum(h.delivered for h in done), sum(h.bytes_read for h in done), **seconds)


def _times(folder: JobFolder, done: list[Header]) -> dict[str, float]:
    """Seconds from submission until the first piece began, and from then until the last had ended."""
    first, last = min(h.began for h in done), max(h.began + h.wall_s for h in done)
    made = datetime.fromisoformat(folder.spec["created"]).timestamp()
    return {"wait_s": round(max(first - made, 0.0), 3), "span_s": round(last - first, 3)}


def read_cost(folder: JobFolder) -> Cost:
    """What the pieces of a job took, once it has been merged."""
    return Cost(**json.loads(folder.cost.read_text("utf-8")))


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
    parts = [p for p in outputs if p.suffix == ".parquet"]  # of the others each says nothing
    note = json.dumps({"job": folder.path.name, "lumi": lumi, **folder.spec["provenance"]}, sort_keys=True)
    with aside(path) as temporary:
        count = join_events(temporary, parts, {NOTE.encode(): note})
        step("jobs.merge")
    return {"file": path.name, "events": count}


def read_result(folder: JobFolder) -> JobResult:
    """The merged result; JobError where the job is not done."""
    try:
        document = json.loads(folder.result.read_text("utf-8"))
    except FileNotFoundError as error:
        raise JobError(
            f"job {folder.path.name} has no result yet", hint=f"tagsel jobs show {folder.path.name}"
        ) from error
    ledger = DeliveryLedger.from_json(document["ledger"])
    path = folder.path / str(document.get("file", folder.result.name))
    return JobResult(document["kind"], path, ledger, int(document.get("events", 0)), document)
