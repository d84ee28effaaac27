"""An estimate of a count from a sample: blocks of rows all over the data, the same for the same seed.

Invariant: it is never called a count. Row groups that zones decide are counted exactly; of the others, blocks are
drawn, two from each stretch of the data, and how differently they answer makes the interval. The ledger is of the rows
that were looked at.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil, floor
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tagsel.engine.row_groups import Unit
from tagsel.engine.scan import Mask, Tally, losses, scan
from tagsel.errors import CutError
from tagsel.events import Ledger
from tagsel.language import Block
from tagsel.language.bounds import SOME
from tagsel.schema import Schema
from tagsel.selection.interval import CONFIDENCE, interval
from tagsel.selection.query import Query, canonical_cut
from tagsel.selection.question import Outcome, question
from tagsel.selection.run import Prepared, Progress, Work, passed, prepare
from tagsel.store import Part, watched

WANTED, FEWEST = 200, 20
"""Blocks that a sample has where the data are many, and at least."""
SMALLEST = 64
"""Rows of the smallest block."""


@dataclass(frozen=True, repr=False)
class Estimate:
    """An estimate of the number of events that pass, from a sample of rows.

    Attributes
    ----------
    estimate : float
        The estimated number of events.
    low : int
        Lower end of an interval that contains the true number in 95 of 100 samples.
    high : int
        Its upper end.
    ledger : Ledger
        Accounts for the sampled rows only.
    read : int
        Number of rows in the datasets.
    blocks : int
        Blocks of rows in the sample.
    of_blocks : int
        Blocks of rows in the datasets.
    seed : int
        Seed of the sample.
    cut : str
        Canonical text of the cut.
    warnings : tuple of str
        Warnings about the cut.
    losses : tuple of str
        Damaged row groups.
    work : Work
        Bytes, rows and seconds of the scan.
    """

    estimate: float
    low: int
    high: int
    ledger: Ledger
    read: int
    blocks: int
    of_blocks: int
    seed: int
    cut: str
    warnings: tuple[str, ...]
    losses: tuple[str, ...]
    work: Work

    @property
    def exact(self) -> bool:
        """Whether nothing was left to chance."""
        return self.low == self.high

    def __repr__(self) -> str:
        return f"<Estimate: {self.summary()}>"

    def summary(self) -> str:
        """In words: `about 1,200 (1,100 to 1,300 with 95 % confidence) of 120,000, from 1,200 rows`."""
        if self.exact:
            return f"exactly {self.low:,} of {self.read:,} pass, all decided by zones or looked at"
        return (
            f"about {self.estimate:,.0f} ({self.low:,} to {self.high:,} with {CONFIDENCE:.0%} confidence) of "
            f"{self.read:,} pass: an estimate, from {self.ledger.read:,} rows"
        )

    def to_json(self) -> dict[str, object]:
        """What `--json` prints."""
        return {
            "estimate": self.estimate,
            "interval": [self.low, self.high],
            "confidence": CONFIDENCE,
            "exact": self.exact,
            "read": self.read,
            "ledger_of_sample": self.ledger.to_json(),
            "blocks": self.blocks,
            "of_blocks": self.of_blocks,
            "seed": self.seed,
            "cut": self.cut,
            "warnings": list(self.warnings),
            "losses": list(self.losses),
            "work": self.work.to_json(),
        }


Offsets = dict[tuple[Path, int, str], npt.NDArray[np.int64]]
"""Where the objects of each row begin in a row group's lists, by part, row group and counter."""


@dataclass(frozen=True)
class Slice:
    """Some consecutive rows of a row group, read as a part of two row groups: those before it, and itself."""

    part: Part
    group: int
    start: int
    rows: int
    schema: Schema
    offsets: Offsets  # shared by all slices of a sample

    @property
    def name(self) -> str:
        """The name of the part."""
        return self.part.name

    @property
    def columns(self) -> frozenset[str]:
        """The columns of the part."""
        return self.part.columns

    @property
    def groups(self) -> tuple[int, int]:
        """Rows of the part before it, and its own."""
        return sum(self.part.groups[: self.group]) + self.start, self.rows

    def read(self, group: int, columns: Iterable[str]) -> dict[str, Any]:
        """As `Part.read`, of its rows."""
        whole = self.part.read(self.group, columns)
        return {name: values[self._slice_of(name)] for name, values in whole.items()}

    def _slice_of(self, column: str) -> slice:
        """The values of its rows among those of the row group."""
        attribute = self.schema.by_column[column]
        if not attribute.is_list:
            return slice(self.start, self.start + self.rows)
        key = self.part.path, self.group, attribute.counter
        if key not in self.offsets:
            counter = self.part.read(self.group, [attribute.counter]).get(attribute.counter)
            lengths = np.zeros(self.part.groups[self.group], np.int64) if counter is None else np.maximum(counter, 0)
            self.offsets[key] = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        offsets = self.offsets[key]
        return slice(int(offsets[self.start]), int(offsets[self.start + self.rows]))

    def lumi_counts(self, group: int) -> tuple[Any, Any, Any]:
        """The luminosity blocks of the whole row group: where all or none are good, these rows are, too."""
        return self.part.lumi_counts(self.group)

    def duplicates(self, group: int) -> npt.NDArray[Any] | None:
        """As `Part.duplicates`, of its rows."""
        duplicates = self.part.duplicates(self.group)
        return None if duplicates is None else duplicates[self.start : self.start + self.rows]


def _outcome(answer: Estimate) -> Outcome:
    """The log entry of an estimate: its interval, as text."""
    return Outcome(answer.cut, answer.read, subject=f"{answer.low} to {answer.high} events")


@question("estimate", _outcome)
@watched
def estimate(query: Query, *, sample: float = 0.01, seed: int = 0, progress: Progress = None) -> Estimate:
    """About how many events the query accepts, from about `sample` (0 to 1) of the rows that zones leave open.

    CutError for a sample that is no such fraction, and for a weighted query.
    """
    _check_question(query, sample)
    started = time.perf_counter()
    prepared = prepare(replace(query, tier="interpreter"))
    open_units = [unit for unit in prepared.plan.units if unit.verdict == SOME]
    blocks = _blocks(open_units, sample)
    strata = _drawn(len(blocks), sample, seed)
    offsets: Offsets = {}
    chosen = np.concatenate([*strata, np.zeros(0, np.int64)]).astype(int)
    drawn = [_sliced(prepared, offsets, *blocks[at]) for at in chosen]
    decided = [unit for unit in prepared.plan.units if unit.verdict != SOME]
    tallies = _counted(prepared, (*drawn, *decided), progress)
    accepted = [tally.result or 0 for tally in tallies]
    ledger = _ledger(accepted, tallies)
    ledger.check(sum(tally.unit.rows for tally in tallies))
    sizes = []
    if strata:
        sizes = [len(stretch) for stretch in np.array_split(np.arange(len(blocks)), len(strata))]
    seen = [(passing, unit.rows) for passing, unit in zip(accepted, drawn, strict=False)]
    value, low, high = _extrapolated(seen, strata, sizes, sum(unit.rows for unit in open_units))
    certain = sum(accepted[len(drawn) :])
    return Estimate(
        value + certain,
        low + certain,
        high + certain,
        ledger,
        prepared.read,
        len(drawn),
        len(blocks),
        seed,
        canonical_cut(prepared.inputs),
        prepared.warnings,
        tuple(losses(tallies)),
        Work(prepared.plan, ledger.read, sum(tally.bytes for tally in tallies), time.perf_counter() - started),
    )


def _check_question(query: Query, sample: float) -> None:
    if not 0 < sample <= 1:
        raise CutError(f"a sample of {sample:g}", hint="more than 0, up to 1 (100%)")
    if query.weight:
        raise CutError("an estimate is of events, not of weights", hint="leave the weight out, or count")


def _counted(prepared: Prepared, units: Sequence[Unit], progress: Progress) -> list[Tally[int]]:
    """How many rows of each unit pass."""

    def work(unit: Unit, block: Block, alive: Mask | None) -> int:
        return int(np.count_nonzero(passed(prepared, unit, block, alive)))

    query = prepared.query
    return scan(
        units,
        prepared.rows,
        work,
        threads=query.threads,
        allow_losses=query.allow_losses,
        progress=progress,
    )


def _blocks(units: Sequence[Unit], sample: float) -> list[tuple[Unit, int, int]]:
    """Row groups cut into blocks of about equal size: (row group, first row, rows)."""
    size = max(SMALLEST, sample * sum(unit.rows for unit in units) / WANTED)
    blocks = []
    for unit in units:
        ends = np.linspace(0, unit.rows, max(1, round(unit.rows / size)) + 1).astype(int).tolist()
        blocks += [(unit, start, end - start) for start, end in pairwise(ends) if end > start]
    return blocks


def _drawn(blocks: int, sample: float, seed: int) -> list[npt.NDArray[np.int64]]:
    """Two blocks of each stretch of the data; all blocks where that is not fewer."""
    wanted = max(FEWEST, round(sample * blocks))
    if wanted >= blocks:
        return [np.arange(blocks)] if blocks else []
    random = np.random.default_rng(seed)
    pieces = np.array_split(np.arange(blocks), wanted // 2)
    return [np.sort(random.choice(piece, 2, replace=False)) for piece in pieces]


def _sliced(prepared: Prepared, offsets: Offsets, unit: Unit, start: int, rows: int) -> Unit:
    schema = prepared.inputs[unit.source].input.snapshot.schema
    piece = Slice(unit.part, unit.group, start, rows, schema, offsets)  # it has all of a part that a scan needs
    return replace(unit, part=cast(Part, piece), group=1, rows=rows, first_row=unit.first_row + start)


def _ledger(accepted: Sequence[int], tallies: Sequence[Tally[int]]) -> Ledger:
    """The ledger of the rows that were looked at."""
    passing = sum(accepted)
    return Ledger(
        accepted=passing,
        rejected=sum(tally.alive for tally in tallies) - passing,
        masked=sum(tally.masked for tally in tallies),
        duplicate=sum(tally.duplicate for tally in tallies),
        unreadable=sum(tally.unreadable for tally in tallies),
    )


def _extrapolated(
    seen: Sequence[tuple[int, int]],
    strata: Sequence[Sequence[int] | npt.NDArray[np.int64]],
    sizes: Sequence[int],
    rows: int,
) -> tuple[float, int, int]:
    """Events among `rows` rows, and limits, from (events, rows) of the blocks of each stretch of `sizes` blocks.

    The ratio of events to rows over all stretches; its variance by the differences of the two blocks of each, and the
    degrees of freedom by Satterthwaite's rule, so that an answer that hangs on few stretches is known to be unsure.
    """
    events, looked = sum(passing for passing, _ in seen), sum(rows_of_block for _, rows_of_block in seen)
    if looked == rows:
        return float(events), events, events
    pairs = np.array(seen, np.float64).reshape(len(strata), 2, 2)
    weight = np.array(sizes, np.float64)
    top, bottom = (weight * pairs.mean(axis=1).T).sum(axis=1)
    fraction = float(top / bottom)
    residual = pairs[:, :, 0] - fraction * pairs[:, :, 1]
    part = weight**2 * (1 - 2 / weight) * (residual[:, 0] - residual[:, 1]) ** 2 / 4
    variance = float(part.sum()) / bottom**2
    freedom = float(part.sum() ** 2 / (part**2).sum()) if part.any() else float(len(strata))
    low, high = interval(fraction, variance, looked, len(seen), freedom)
    return fraction * rows, max(events, floor(low * rows)), min(events + rows - looked, ceil(high * rows))
