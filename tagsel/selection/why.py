"""Why an event is in the answer or not: the verdict of each cut with the values that it saw.

Invariant: the verdicts agree with the selection: an event is accepted here if and only if it is in the list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tagsel.engine.explain import explain_row
from tagsel.engine.row_groups import Columns, Unit
from tagsel.engine.scan import judge
from tagsel.errors import StoreError
from tagsel.language import Block
from tagsel.language.bounds import ALL
from tagsel.selection.eligible_rows import Filter, rows_that_count
from tagsel.selection.query import BoundInput, Query, bind_query
from tagsel.selection.question import Outcome, question
from tagsel.store import Part, lookup, watch, watched

Ints = npt.NDArray[np.int64]

VERDICTS = (
    "accepted",
    "rejected",
    "masked by good-run list",
    "duplicate",
    "part unreadable",
    "not in dataset",
)


@dataclass(frozen=True)
class CutVerdict:
    """One named cut: whether the event passes, and the values behind it as (text, value or "missing")."""

    name: str
    cut: str
    passed: bool
    values: tuple[tuple[str, object], ...]

    def to_json(self) -> dict[str, object]:
        """For `--json`."""
        values = [{"expression": text, "value": value} for text, value in self.values]
        return {"name": self.name, "cut": self.cut, "passed": self.passed, "values": values}


@dataclass(frozen=True)
class Reason:
    """One row of the event: its dataset, file and entry, its verdict, and the verdict of every cut."""

    run: int
    event: int
    verdict: str
    dataset: str = ""
    lumi: int = -1
    guid: str = ""
    entry: int = -1
    cuts: tuple[CutVerdict, ...] = ()
    detail: str = ""

    def to_json(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "run": self.run,
            "lumi": self.lumi,
            "event": self.event,
            "verdict": self.verdict,
            "dataset": self.dataset,
            "guid": self.guid,
            "entry": self.entry,
            "detail": self.detail,
            "cuts": [c.to_json() for c in self.cuts],
        }


@dataclass(frozen=True)
class Why:
    """All rows of one event; `verdict` is the selection's: accepted if any row is."""

    run: int
    event: int
    rows: tuple[Reason, ...]

    @property
    def verdict(self) -> str:
        """The best of the rows' verdicts, in the order of `VERDICTS`."""
        return min((r.verdict for r in self.rows), key=VERDICTS.index, default=VERDICTS[-1])

    def to_json(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "run": self.run,
            "event": self.event,
            "verdict": self.verdict,
            "rows": [r.to_json() for r in self.rows],
        }


def _outcome(answer: Why) -> Outcome:
    """The log entry of the reason for one event."""
    return Outcome(subject=f"{answer.run}:{answer.event} is {answer.verdict}")


@question("why", _outcome)
@watched
def why(query: Query, run: int, event: int, lumi: int = -1) -> Why:
    """The verdict on one event (of that luminosity block, where it is given), or *not in dataset*.

    A damaged part that may hold it is named.
    """
    query = replace(query, allow_losses=True)
    bound = bind_query(query)
    rows = rows_that_count(query)
    reasons: list[Reason] = []
    runs, events = np.array([run], np.int32), np.array([event], np.int64)
    for index, source in enumerate(bound):
        for part in lookup.near(source.input.snapshot.parts, run, event):
            try:
                with watch:
                    for unit, places in _by_group(index, part, lookup.find_in(part, runs, events)[1]):
                        reasons += _reasons(query, source, unit, rows, places, lumi)
            except StoreError as error:
                reasons.append(Reason(run, event, "part unreadable", source.input.pinned, detail=error.message))
    return Why(run, event, tuple(_with_originals(reasons)))


def _with_originals(reasons: Sequence[Reason]) -> Sequence[Reason]:
    """The reasons; those of duplicates say which row the selection keeps."""
    original = next((reason for reason in reasons if reason.verdict not in ("duplicate", "part unreadable")), None)
    if original is None:
        return reasons
    place = f"of {original.dataset}, file {original.guid or 'unknown'}, entry {original.entry}"
    return [replace(reason, detail=place) if reason.verdict == "duplicate" else reason for reason in reasons]


def _by_group(source: int, part: Part, rows: Ints) -> Iterator[tuple[Unit, Ints]]:
    """Rows of a part by row group: the unit, and the rows in it, rising."""
    rows, starts = np.sort(rows), np.cumsum([0, *part.groups])
    bounds = np.searchsorted(rows, starts).tolist()
    for group, (low, high) in enumerate(pairwise(bounds)):
        if low < high:
            start = int(starts[group])
            yield Unit(source, part, group, part.groups[group], ALL, part.first_row + start), rows[low:high] - start


def _reasons(
    query: Query, source: BoundInput, unit: Unit, rows: Filter, places: npt.NDArray[np.int64], lumi: int
) -> list[Reason]:
    """The reasons of the rows of the unit at `places`, which hold the event; those in `lumi` only, unless it is -1."""
    columns = Columns(unit.part, unit.group)
    at = places if lumi < 0 else places[columns["lumi"][places] == lumi]
    if not len(at):
        return []
    duplicate = rows.duplicates(unit)
    good = rows.good(unit, columns)
    guids = unit.part.read_codes(unit.group, "aod_guid") if "aod_guid" in columns else None
    block = Block(unit.rows, columns)
    reasons = []
    for row in at.tolist():
        cuts = _cut_verdicts(query, source, block, row)
        verdict = "accepted" if all(cut.passed for cut in cuts) else "rejected"
        if not (good if isinstance(good, bool) else good[row]):
            verdict = "masked by good-run list"
        if duplicate is not None and duplicate[row]:
            verdict = "duplicate"
        guid = guids[1][guids[0][row]] if guids is not None else ""
        entry = int(columns["aod_entry"][row]) if "aod_entry" in columns else -1
        run, lumi_of_row, event = (int(columns[name][row]) for name in ("run", "lumi", "event"))
        reasons.append(Reason(run, event, verdict, source.input.pinned, lumi_of_row, guid, entry, cuts))
    return reasons


def _cut_verdicts(query: Query, source: BoundInput, block: Block, row: int) -> tuple[CutVerdict, ...]:
    """The verdict of each cut on one row, with the values that it saw."""
    only_row = np.zeros(block.rows, bool)
    only_row[row] = True
    verdicts = []
    for (name, _), cut in zip(query.cuts, source.cuts, strict=True):
        passed = bool(judge(cut, block, only_row)[row])
        values = {}
        for step in explain_row(cut, block, row):
            values.update({value[0]: value for value in step.values})
        verdicts.append(CutVerdict(name or cut.text, cut.text, passed, tuple(values.values())))
    return tuple(verdicts)
