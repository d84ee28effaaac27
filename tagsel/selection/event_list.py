"""The event list of a query, with its provenance: cut, snapshots, masks, ledger, cutflow, versions.

A top list keeps the N events with the highest value of an attribute; ties go to the lower (run, event), and a missing
or NaN value is below every number.

Invariant: the same query of the same snapshots gives the same bytes, for any number of threads.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from operator import iadd

import numpy as np
import numpy.typing as npt

from tagsel.engine.bitmaps import Words, as_mask
from tagsel.engine.evaluate import Passing, fold_passing, total_fate
from tagsel.engine.interpreter import interpret_value
from tagsel.engine.row_groups import Unit
from tagsel.engine.scan import naming_the_event, with_hint
from tagsel.errors import CutError, StoreError, TagselError
from tagsel.events import EventList, History, Ledger
from tagsel.language import Block, Bound, bind_value
from tagsel.language.tree import SEMANTICS
from tagsel.selection.cutflow import Cutflow, Step, cutflow, generated
from tagsel.selection.list_builder import EventColumns, event_list, events_of_bits, events_of_group
from tagsel.selection.partial_result import Answer, Keys, Top
from tagsel.selection.query import BoundInput, Query, named_inputs
from tagsel.selection.question import Outcome, question, unlogged
from tagsel.selection.run import Count, Prepared, Progress, Runner, evaluated, finish, how_of, of_count, prepare
from tagsel.selection.yields import Yield, total, totals, weights_of
from tagsel.store import watched

_NO_KEYS = np.empty(0)


def _outcome(answer: tuple[EventList, Count]) -> Outcome:
    """The log entry of a list."""
    return of_count(answer[1])


@question("select", _outcome)
@watched
def select(
    query: Query, *, top: Top = None, zones: bool = True, progress: Progress = None, runner: Runner | None = None
) -> tuple[EventList, Count]:
    """The accepted events; with `top=(n, attribute)` only the n with the highest value of it, the rest rejected.

    Ties of a top list go to the lower (run, event); a missing or NaN value is below every number.
    """
    started = time.perf_counter()
    prepared = prepare(query, zones=zones)
    if top is not None:
        bind_top(prepared.inputs, top[1])  # its errors come before any data is read
    answer = runner("select", prepared, top, progress) if runner else listing(prepared, top, progress)
    blocks = [events for events, _ in answer.blocks]
    if top is not None:
        blocks = best_of_all(answer.blocks, top[0])
    count = finish(prepared, answer.fate, total(map(_yield_of, blocks)), started, top)
    history = History(lambda: provenance(prepared, count, top, runner))
    return event_list(blocks, [bound.input for bound in prepared.inputs], count.ledger, history), count


def _yield_of(events: EventColumns) -> Yield:
    return Yield.unweighted(len(events.event)) if events.weight is None else Yield.of(events.weight)


def listing(prepared: Prepared, top: Top = None, progress: Progress = None) -> Answer:
    """The work of `select`: the events of each row group; of a top list the best of them, with their sort keys."""
    query = prepared.query
    how = how_of(prepared, listing=True, progress=progress)
    values = bind_top(prepared.inputs, top[1]) if top else None
    passing = evaluated(prepared, how)
    if top is None and not query.weight and how.tier == "kernel":
        try:
            blocks = tuple((_events_of(prepared, of_input), _NO_KEYS) for of_input in passing)
            return Answer(total_fate(passing), blocks=blocks)
        except StoreError as error:
            if not query.allow_losses:  # else the row groups are read one by one, and those that cannot be are lost
                raise with_hint(error) from error

    def work(unit: Unit, block: Block, bits: Words) -> list[tuple[EventColumns, Keys]]:
        mask = as_mask(bits, unit.rows)
        rows = np.flatnonzero(mask)
        weights = weights_of(prepared.inputs[unit.source], block, mask)
        events = events_of_group(unit, rows)
        if weights is not None:
            events = replace(events, weight=weights[rows])
        if values is None or top is None:
            return [(events, _NO_KEYS)]
        with naming_the_event(values[unit.source], block):
            value, missing = interpret_value(values[unit.source].node, block, mask)
        return [best(events, descending(value[rows], missing[rows]), top[0])]

    by_group, passing = fold_passing(passing, work, iadd, list[tuple[EventColumns, Keys]](), how)
    return Answer(total_fate(passing), blocks=tuple(by_group))


def _events_of(prepared: Prepared, passing: Passing) -> EventColumns:
    """The events of one input, by compiled code."""
    assert passing.bitmaps is not None  # a list was asked for
    candidates = passing.candidates
    return events_of_bits(candidates.source, candidates.frame, passing.bitmaps, prepared.query.threads)


def provenance(prepared: Prepared, count: Count, top: Top, runner: Runner | None = None) -> Mapping[str, object]:
    """The provenance of a list, JSON-ready: cut, datasets, masks, cutflow, bookkeeping, versions."""
    query, inputs = prepared.query, [bound.input for bound in prepared.inputs]
    return {
        "cut": count.cut,
        "selection": count.selection,
        **named_inputs(inputs),
        "lumi": [lumi.digest for lumi in query.lumi],
        "duplicates": query.policy,
        "weight": query.weight,
        "weighted": count.weighted.to_json() if count.weighted else None,
        "top": list(top) if top else None,
        **_cutflow_of_list(prepared, count, top, runner),
        "bookkeeping": {source.pinned: totals(source.snapshot.sources) for source in inputs},
        "versions": {"tagsel": version_here(), "semantics": SEMANTICS},
    }


def _cutflow_of_list(prepared: Prepared, count: Count, top: Top, runner: Runner | None) -> dict[str, object]:
    """The cutflow that a list carries, or the reason why it has none."""
    query = prepared.query
    if not _weights_are_whole(prepared):
        query = replace(query, weight="")
    try:
        if len(query.cuts) > 1 or query.weight or top:
            with unlogged():
                flow = cutflow(query, runner=runner)
        else:
            flow = _one_step(prepared, count.ledger)
    except TagselError as error:  # parts are gone, or a function has changed, since the events were selected
        return {"cutflow": None, "cutflow_missing": error.message}
    if not top and flow.steps[-1].sequential.n != count.accepted:
        return {"cutflow": None, "cutflow_missing": "it counts other events than were selected"}
    return {"cutflow": flow.to_json()}


@cache
def version_here() -> str:
    """The version of tagsel that runs."""
    from importlib.metadata import version  # which imports much

    return version("tagsel")


def _weights_are_whole(prepared: Prepared) -> bool:
    """Whether every event has its weight: it is a column that all parts have. (Else only what passes needs one.)"""
    for bound in prepared.inputs:
        parts = bound.input.snapshot.parts
        if parts and (bound.weight is None or bound.weight.node.op not in ("column", "cast")):
            return False
        if bound.weight is not None and not all(bound.weight.columns <= part.columns for part in parts):
            return False
    return True


def _one_step(prepared: Prepared, ledger: Ledger) -> Cutflow:
    """The cutflow of a single cut without weights, from the ledger: no second scan is needed."""
    start, passing = map(Yield.unweighted, (ledger.accepted + ledger.rejected, ledger.accepted))
    ((name, _),) = prepared.query.cuts
    text = prepared.inputs[0].cut.text if prepared.inputs else "true"
    step = Step(name or text, text, passing, passing, start)
    return Cutflow((step,), start, generated(prepared.query, prepared.inputs), ledger)


def bind_top(inputs: Sequence[BoundInput], attribute: str) -> list[Bound]:
    """The attribute bound to each input; CutError where it has no order."""
    values = [bind_value(attribute, b.scope) for b in inputs]
    for bound in values:
        if bound.node.kind not in ("int", "f32", "f64", "bool"):
            raise CutError(f"{attribute!r} has no order to take the highest of", cut=attribute, hint="give a number")
    return values


def descending(values: Keys, missing: npt.NDArray[np.bool_]) -> Keys:
    """Sort keys that put the highest value first and missing or NaN last; integers stay exact."""
    keys: Keys
    if values.dtype.kind in "iub":
        keys = ~values.astype(np.int64)  # the bitwise not reverses the order of integers and cannot overflow
        worst: float = np.iinfo(np.int64).max
    else:
        keys = -values.astype(np.float64)
        worst = np.nan  # sorts last
    keys[missing] = worst
    return keys


def best(events: EventColumns, keys: Keys, most: int) -> tuple[EventColumns, Keys]:
    """The `most` best of some events, with their keys."""
    chosen = np.lexsort((events.event, events.run, keys))[:most]
    return events.take(chosen), keys[chosen]


def best_of_all(blocks: Sequence[tuple[EventColumns, Keys]], most: int) -> list[EventColumns]:
    """The best `most` events of all blocks, block by block."""
    if not blocks:
        return []
    keys = np.concatenate([keys for _, keys in blocks])
    run = np.concatenate([events.run for events, _ in blocks])
    event = np.concatenate([events.event for events, _ in blocks])
    is_best = np.zeros(len(keys), bool)
    is_best[np.lexsort((event, run, keys))[:most]] = True
    best_events, start = [], 0
    for events, _ in blocks:
        end = start + len(events.event)
        best_events.append(events.take(np.flatnonzero(is_best[start:end])))
        start = end
    return best_events
