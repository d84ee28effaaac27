"""Tasks: a prepared query cut into pieces of some row groups, which are plain data that a worker can run.

A piece carries the plan: the verdicts of the zones, the rows that count (a bit a row where only some do), and the parts
that cannot be judged. It names its parts by file, size and hash; the worker opens these, compares footers and CRCs, and
opens no log and no catalog.

Invariant: the answers of all pieces, and of the row groups that need none, add up to the answer of a scan.
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
"""The function that does the work of each verb."""


@dataclass(frozen=True)
class Question:
    """The question of all pieces of one input.

    `prints` are the fingerprints of the bound cuts; a worker that binds them to other ones refuses the piece.
    """

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
    """Some row groups of an input to evaluate, by the G row groups of their parts.

    `verdict` (G,) and `steps` (steps, G) are those of the zones; `fates` (3, G) the rows that are duplicate, masked and
    alive, all 0 for row groups outside the piece; `masks` has zlib of a bit a row where only some are alive; `lost` has
    the reason why a row group cannot be judged.
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
    """The answer of a piece, by this thread alone; it raises the errors that a local run would."""
    prepared = _prepared(piece)
    question = piece.question
    return WORK[question.verb](prepared, question.top, None).of_input(piece.source)


# -- where the question is asked


@watched
def split(prepared: Prepared, verb: str, top: Top, rows: int) -> tuple[Answer, int, Iterator[Piece]]:
    """The answer of row groups that need no look at a row, their number of rows, and the pieces of the others.

    A piece has about `rows` rows. StoreError: a part cannot be judged, and losses are not allowed.
    """
    settled, done, plans = Answer(Fate()), 0, []
    for index, bound in enumerate(prepared.inputs):
        frame, verdict = bound.input.snapshot.frame, prepared.plan.verdicts[index]
        candidates = candidates_of(prepared, index)
        fates, lost = candidates.eligible, candidates.lost
        look = (fates.alive > 0) & (verdict.cut != NONE)
        all_pass = np.zeros_like(look)
        if verb == "count" and not prepared.query.weight:
            all_pass = look & (verdict.cut == ALL)
        look[list(lost)] = True
        look &= ~all_pass
        yields: tuple[Yield, ...] = ()
        if verb == "count":
            yields = (Yield.unweighted(int(fates.alive[all_pass].sum())),)
        settled += Answer(_settled(fates, ~look), yields)
        done += int(frame.rows[~look].sum())
        plans.append((_question(prepared, index, verb, top), frame, verdict, fates, lost, np.flatnonzero(look)))

    def pieces() -> Iterator[Piece]:
        for index, (question, frame, verdict, fates, lost, groups) in enumerate(plans):
            if not len(groups):
                continue
            number = (np.cumsum(frame.rows[groups]) - 1) // rows
            for some in np.split(groups, np.flatnonzero(np.diff(number)) + 1):
                with _hinting():
                    piece = _piece(prepared.inputs[index], question, frame, verdict, fates, lost, some, index)
                yield piece

    return settled, done, pieces()


def _settled(fates: Fates, groups: Mask) -> Fate:
    """The fates of the rows of some row groups."""
    return Fate(
        duplicate=int(fates.duplicate[groups].sum()),
        masked=int(fates.masked[groups].sum()),
        alive=int(fates.alive[groups].sum()),
    )


@contextmanager
def _hinting() -> Iterator[None]:
    """Add what to try to the error of a damaged part."""
    try:
        yield
    except StoreError as error:
        raise with_hint(error) from error


def _question(prepared: Prepared, index: int, verb: str, top: Top) -> Question:
    query, bound = prepared.query, prepared.inputs[index]
    tables = {}
    for expression in _expressions(bound):
        for node in walk(expression.node):
            if node.op == "in_lumi":
                tables[node.value.name] = node.value
    source = bound.input
    return Question(
        verb,
        top,
        tuple((name, cut.text) for (name, _), cut in zip(query.cuts, bound.cuts, strict=True)),
        bound.weight.text if bound.weight else "",
        tuple(tables.values()),
        tuple(expression.fingerprint for expression in _expressions(bound)),
        query.duplicates,
        query.allow_losses,
        query.remember,
        prepared.plan.tier,
        (source.dataset, source.simulation, source.sample, source.priority),
        str(source.snapshot.folder),
        replace(source.snapshot.state, parts=(), sources=(), guids=()),
    )


def _expressions(bound: BoundInput) -> list[Bound]:
    """Each cut, the whole cut, and the weight."""
    expressions = [*bound.cuts, bound.cut]
    if bound.weight:
        expressions.append(bound.weight)
    return expressions


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
    """The piece of some row groups, whose values are placed among those of all row groups of their parts."""
    parts = np.unique(frame.part_of[groups])
    every = np.flatnonzero(np.isin(frame.part_of, parts))
    at = np.searchsorted(every, groups)
    cut = np.full(len(every), NONE, np.int8)
    steps = np.full((len(verdict.steps), len(every)), NONE, np.int8)
    counts = np.zeros((3, len(every)), np.int64)
    cut[at], steps[:, at] = verdict.cut[groups], verdict.steps[:, groups]
    counts[:, at] = [n[groups] for n in (fates.duplicate, fates.masked, fates.alive)]
    masks, reasons = {}, {}
    for place, group, partly in zip(at.tolist(), groups.tolist(), fates.partly[groups].tolist(), strict=True):
        if group in lost:
            reasons[place] = lost[group]
        elif partly:
            try:
                masks[place] = zlib.compress(np.packbits(fates.mask(group)).tobytes(), 1)
            except StoreError as error:
                if not question.allow_losses:
                    raise
                reasons[place] = error.message
    records = tuple(bound.input.snapshot.state.parts[part] for part in parts.tolist())
    return Piece(question, records, cut, steps, counts, masks, reasons, source, int(frame.rows[groups].sum()))


# -- where a piece is done


@dataclass(frozen=True, eq=False)
class _Decided:
    """The rows of a piece that count, as the sender worked them out."""

    piece: Piece
    frame: Frame

    def judge(self, unit: Unit, columns: Columns) -> Judged:
        """The fates of the rows of one unit. StoreError: its part cannot be judged."""
        at = int(np.searchsorted(self.frame.first_rows, unit.first_row))
        if at in self.piece.lost:
            raise StoreError(self.piece.lost[at])
        duplicate, masked, alive = self.piece.fates[:, at].tolist()
        return Judged(duplicate, masked, alive, self._mask(at) if at in self.piece.masks else None)

    def fates(self, source: int, frame: Frame) -> Fates:
        """The fates of the rows of all row groups. StoreError: a part cannot be judged."""
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
    """The question bound again. JobError: it binds to other cuts here than at the sender."""
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
    if tuple(expression.fingerprint for expression in _expressions(bound)) != question.prints:
        raise JobError(
            "a cut does not mean the same to a worker: it runs another version of tagsel than you do",
            hint="start scheduler and workers in the environment that you are in",
        )
    return query, bound
