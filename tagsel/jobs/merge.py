"""Merging the outputs of pieces, once and only once.

Invariant: exactly one good output of each piece goes into a result, in the order of the pieces; a result
exists only where no piece is missing, and its delivery ledger closes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

from tagsel.aside import aside
from tagsel.errors import EventListError, JobError
from tagsel.events import DeliveryLedger
from tagsel.faults import step
from tagsel.jobs.events import join_events
from tagsel.jobs.folder import JobFolder, PieceState, piece_states
from tagsel.jobs.output import read_output
from tagsel.jobs.values import NONE, add, decode, encode
from tagsel.rootio import NOTE


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
    kinds = {s.header.kind for s in states if s.header is not None} - {"none"}
    if len(kinds) > 1:
        raise JobError(f"pieces gave results of different kinds: {', '.join(sorted(kinds))}")
    kind = kinds.pop() if kinds else "none"
    document: dict[str, object] = {
        "kind": kind,
        "ledger": ledger.to_json(),
        "outputs": [p.name for p in outputs],
    }
    if kind == "events":
        document |= _merge_events(folder, outputs)
    else:
        total = reduce(add, (read_output(p)[1] for p in outputs), NONE)
        document["value"] = encode(total[1], final=True) if total[1] is not None else {}
    with aside(folder.result) as temporary:
        temporary.write_text(json.dumps(document, sort_keys=True, indent=1) + "\n", "utf-8")
        step("jobs.merge")


def _merge_events(folder: JobFolder, outputs: list[Path]) -> dict[str, object]:
    """Join the events of all pieces in order; what the result says of them."""
    path = folder.path / "result.parquet"
    parts = [p for p in outputs if p.suffix == ".parquet"]
    note = json.dumps({"job": folder.path.name, **folder.spec["provenance"]}, sort_keys=True)
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
