"""A prepared query cut into pieces, and a piece done: runs of row groups with all that is known of them, as plain data.

What planning found goes along: verdicts of the zones, which rows count (a bit a row where only some do), which part
cannot be judged. A piece names its parts by file, size and hash; who does it opens these, compares footers and CRCs,
and opens no log and no catalog. Invariant: the answers of all pieces, and what needed none, add up to that of a scan.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagsel.base.cache import memoize
from tagsel.engine.row_groups import Columns, Fate, Fates, Judged, Unit
from tagsel.engine.scan import with_hint
from tagsel.engine.zones import Verdict
from tagsel.errors import JobError, StoreError
from tagsel.language import Bound, LumiTable
from tagsel.language.bounds import ALL, NONE
from tagsel.language.tree import walk
from tagsel.selection.cutflow import flowing
from tagsel.selection.eligible_rows import Mask
from tagsel.selection.event_list import listing
from tagsel.selection.partial_result import Answer, Top
from tagsel.selection.plan import Plan
from tagsel.selection.query import BoundInput, Input, Query, bind_query
from tagsel.selection.run import Prepared, Progress, candidates_of, counting
from tagsel.selection.yields import Yield
from tagsel.store import Frame, Snapshot, watched
from tagsel.store.log import PartRecord, State

Ints = npt.NDArray[np.int64]

WORK: Mapping[str, Callable[[Prepared, Top, Progress], Answer]] = {
    "count": lambda prepared, top, progress: counting(prepared, progress),
    "select": listing,
    "cutflow": lambda prepared, top, progress: flowing(prepared, progress),
}
"""What is done with the row groups of a piece, by verb."""


@dataclass(frozen=True)
class Question:
    """What all pieces of one input ask; `prints` are the fingerprints that the bound cuts have here and must have where
    they are bound again: other ones would be another question."""

    verb: str
    top: Top
    cuts: tuple[tuple[str, str], ...]
    weight: str
    tables: tuple[LumiTable, ...]
    prints: tuple[str, ...]
    duplicates: str
    allow_losses: bool
    remember: bool
    tier: str
    input: tuple[str, bool, str, float]  # dataset, simulation, sample, priority
    folder: str
    state: State  # without parts


@dataclass(frozen=True, eq=False)
class Piece:
    """Some row groups of an input to be looked at, by the G row groups of their parts.

    `verdict` (G,) and `steps` (steps, G) are the zones'; `fates` (3, G) the rows that are duplicate, masked and alive,
    all 0 for row groups that are not asked for; `masks` has zlib of a bit a row where only some are alive; `lost` why a
    row group cannot be judged.
    """

    question: Question
    parts: tuple[PartRecord, ...]
    verdict: npt.NDArray[np.int8]
    steps: npt.NDArray[np.int8]
    fates: Ints
    masks: Mapping[int, bytes]
    lost: Mapping[int, str] = field(default_factory=dict)
    source: int = 0
    rows: int = 0


@watched
def answer(piece: Piece) -> Answer:
    """Do a piece, in this thread alone. TagselError: what the same rows would raise at home."""
    prepared = _prepared(piece)
    question = piece.question
    return WORK[question.verb](prepared, question.top, None).of_input(piece.source)


# -- where the question is asked


@watched
def split(prepared: Prepared, verb: str, top: Top, rows: int) -> tuple[Answer, int, Iterator[Piece]]:
    """What needs no look at any row, how many rows that settles, and the pieces of the rest, of about `rows` rows each.

    StoreError: a part cannot be judged, and losses are not allowed.
    """
    settled, done, asked = Answer(Fate()), 0, []
    for index, bound in enumerate(prepared.inputs):
        frame, verdict = bound.input.snapshot.frame, prepared.plan.verdicts[index]
        candidates = candidates_of(prepared, index)
        fates, lost = candidates.eligible, candidates.lost
        look = (fates.alive > 0) & (verdict.cut != NONE)
        sure = look & (verdict.cut == ALL) if verb == "count" and not prepared.query.weight else np.zeros_like(look)
        look[list(lost)] = True
        look &= ~sure
        settled += Answer(
            _settled(fates, ~look),
            (Yield.unweighted(int(fates.alive[sure].sum())),) if verb == "count" else (),
        )
        done += int(frame.rows[~look].sum())
        asked.append((_question(prepared, index, verb, top), frame, verdict, fates, lost, np.flatnonzero(look)))

    def pieces() -> Iterator[Piece]:
        for index, (question, frame, verdict, fates, lost, groups) in enumerate(asked):
            number = (np.cumsum(frame.rows[groups]) - 1) // rows
            for some in np.split(groups, np.flatnonzero(np.diff(number)) + 1) if len(groups) else ():
                with _hinting():
                    piece = _piece(prepared.inputs[index], question, frame, verdict, fates, lost, some, index)
                yield piece

    return settled, done, pieces()


def _settled(fates: Fates, groups: Mask) -> Fate:
    duplicate, masked, alive = (int(n[groups].sum()) for n in (fates.duplicate, fates.masked, fates.alive))
    return Fate(duplicate, masked, alive=alive)


@contextmanager
def _hinting() -> Iterator[None]:
    """A damaged part is said with what to try."""
    try:
        yield
    except StoreError as error:
        raise with_hint(error) from error


def _question(prepared: Prepared, index: int, verb: str, top: Top) -> Question:
    query, bound = prepared.query, prepared.inputs[index]
    tables = {n.value.name: n.value for cut in _all(bound) for n in walk(cut.node) if n.op == "in_lumi"}
    source = bound.input
    return Question(
        verb,
        top,
        tuple((name, cut.text) for (name, _), cut in zip(query.cuts, bound.cuts, strict=True)),
        bound.weight.text if bound.weight else "",
        tuple(tables.values()),
        tuple(b.fingerprint for b in _all(bound)),
        query.duplicates,
        query.allow_losses,
        query.remember,
        prepared.plan.tier,
        (source.dataset, source.simulation, source.sample, source.priority),
        str(source.snapshot.folder),
        replace(source.snapshot.state, parts=(), sources=(), guids=()),
    )


def _all(bound: BoundInput) -> list[Bound]:
    return [*bound.cuts, bound.cut, *([bound.weight] if bound.weight else [])]


@watched
def _piece(
    bound: BoundInput,
    question: Question,
    frame: Frame,
    verdict: Verdict,
    fates: Fates,
    lost: Mapping[int, str],
    groups: Ints,
    source: int,
) -> Piece:
    """The piece of some row groups, which stand among all those of their parts."""
    parts = np.unique(frame.part_of[groups])
    every = np.flatnonzero(np.isin(frame.part_of, parts))
    at = np.searchsorted(every, groups)
    cut = np.full(len(every), NONE, np.int8)
    steps = np.full((len(verdict.steps), len(every)), NONE, np.int8)
    counts = np.zeros((3, len(every)), np.int64)
    cut[at], steps[:, at] = verdict.cut[groups], verdict.steps[:, groups]
    counts[:, at] = [n[groups] for n in (fates.duplicate, fates.masked, fates.alive)]
    partly = zip(at.tolist(), groups.tolist(), fates.partly[groups].tolist(), strict=True)
    masks = {here: zlib.compress(np.packbits(fates.mask(group)).tobytes(), 1) for here, group, some in partly if some}
    missing = {here: lost[group] for here, group in zip(at.tolist(), groups.tolist(), strict=True) if group in lost}
    records = tuple(bound.input.snapshot.state.parts[part] for part in parts.tolist())
    return Piece(question, records, cut, steps, counts, masks, missing, source, int(frame.rows[groups].sum()))


# -- where a piece is done


@dataclass(frozen=True, eq=False)
class _Decided:
    """The rows of a piece that count, as they were worked out where it was sent from."""

    piece: Piece
    frame: Frame

    def judge(self, unit: Unit, columns: Columns) -> Judged:
        """What becomes of the rows of one unit. StoreError: its part cannot be judged."""
        at = int(np.searchsorted(self.frame.first_rows, unit.first_row))
        if at in self.piece.lost:
            raise StoreError(self.piece.lost[at])
        duplicate, masked, alive = self.piece.fates[:, at].tolist()
        return Judged(duplicate, masked, alive, self._mask(at) if at in self.piece.masks else None)

    def fates(self, source: int, frame: Frame) -> Fates:
        """What becomes of the rows of all row groups. StoreError: a part that cannot be judged."""
        for why in self.piece.lost.values():
            raise StoreError(why)
        duplicate, masked, alive = self.piece.fates
        return Fates(duplicate, masked, alive, self._mask)

    def _mask(self, group: int) -> Mask:
        bits = np.frombuffer(zlib.decompress(self.piece.masks[group]), np.uint8)
        return np.unpackbits(bits, count=int(self.frame.rows[group])).view(np.bool_)


def _prepared(piece: Piece) -> Prepared:
    """The piece as a prepared query of its own, of one input with the piece's parts."""
    query, bound = _bound(piece.question)
    snapshot = bound.input.snapshot.only(piece.parts)
    mine = replace(bound, input=replace(bound.input, snapshot=snapshot))
    plan = Plan((mine,), (Verdict(piece.verdict, piece.steps),), piece.question.tier, ())
    return Prepared(replace(query, inputs=(mine.input,)), (mine,), plan, _Decided(piece, snapshot.frame), ())


@memoize("questions", entries=64)
def _bound(question: Question) -> tuple[Query, BoundInput]:
    """The question bound again. JobError: it does not mean here what it means there."""
    snapshot = Snapshot(Path(question.folder), question.state)
    dataset, simulation, sample, priority = question.input
    tables = {table.name: table for table in question.tables}
    query = Query(
        (Input(dataset, snapshot, simulation, sample, priority),),
        question.cuts,
        (),
        question.weight,
        question.duplicates,
        question.allow_losses,
        1,
        question.tier,
        question.remember,
        tables=tables.__getitem__,
    )
    (bound,) = bind_query(query)
    if tuple(b.fingerprint for b in _all(bound)) != question.prints:
        raise JobError(
            "a cut does not mean the same to a worker: it runs another version of tagsel than you do",
            hint="start scheduler and workers in the environment that you are in",
        )
    return query, bound
