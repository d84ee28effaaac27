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

import numpy as np
import numpy.typing as npt

from tagsel.engine.compiled_scan import Passing
from tagsel.engine.interpreter import interpret_value
from tagsel.engine.row_groups import Unit
from tagsel.engine.scan import Mask, naming_the_event, scan, with_hint
from tagsel.errors import CutError, StoreError, TagselError
from tagsel.events import EventList, History, Ledger
from tagsel.language import Block, Bound, bind_value
from tagsel.language.tree import SEMANTICS
from tagsel.selection.cutflow import Cutflow, Step, cutflow, generated
from tagsel.selection.list_builder import Accepted, event_list, gather, listed
from tagsel.selection.partial_result import Answer, Fate, Keys, Top
from tagsel.selection.query import BoundInput, Query, named_inputs
from tagsel.selection.question import Outcome, question, unlogged
from tagsel.selection.run import Count, Prepared, Progress, Runner, accepted, finish, of_count, passed, prepare
from tagsel.selection.yields import Yield, total, totals, weights_of
from tagsel.store import watched

_NO_KEYS = np.empty(0)


def _outcome(answer: tuple[EventList, Count]) -> Outcome:
    """What the log of questions keeps of a list."""
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
    found = runner("select", prepared, top, progress) if runner else listing(prepared, top, progress)
    blocks = [ids for ids, _ in found.blocks] if top is None else best_of_all(found.blocks, top[0])
    passing = total(Yield.of(b.weight) if b.weight is not None else Yield.unweighted(len(b.event)) for b in blocks)
    counted = finish(prepared, found.fate, passing, started, top)
    history = History(lambda: provenance(prepared, counted, top, runner))
    return event_list(blocks, [b.input for b in prepared.inputs], counted.ledger, history), counted


def listing(prepared: Prepared, top: Top = None, progress: Progress = None) -> Answer:
    """The work of `select`: events; of a top list the best of each row group, with what they are ordered by."""
    query = prepared.query
    quick = _quickly(prepared, progress) if top is None else None
    if quick is not None:
        return quick
    values = bind_top(prepared.inputs, top[1]) if top else None

    def work(unit: Unit, block: Block, alive: Mask | None) -> tuple[Accepted, Keys]:
        mask = passed(prepared, unit, block, alive)
        rows = np.flatnonzero(mask)
        weights = weights_of(prepared.inputs[unit.source], block, mask)
        ids = replace(gather(unit, rows), weight=None if weights is None else weights[rows])
        if values is None or top is None:
            return ids, _NO_KEYS
        with naming_the_event(values[unit.source], block):
            value, missing = interpret_value(values[unit.source].node, block, mask)
        return best(ids, descending(value[rows], missing[rows]), top[0])

    tallies = scan(
        prepared.plan.units,
        prepared.rows,
        work,
        threads=query.threads,
        allow_losses=query.allow_losses,
        progress=progress,
    )
    return Answer(Fate.of_tallies(tallies), blocks=tuple(t.result for t in tallies if t.result is not None))


def _quickly(prepared: Prepared, progress: Progress) -> Answer | None:
    """The events by compiled steps; None where the scan row group by row group must answer.

    StoreError: a part is damaged, and losses are not allowed.
    """
    found = accepted(prepared, listing=True, progress=progress)
    if found is None:
        return None
    try:
        blocks = [_assembled(prepared, index, one) for index, one in enumerate(found)]
    except StoreError as error:
        if prepared.query.allow_losses:
            return None
        raise with_hint(error) from error
    return Answer(Fate.of_passing(found), blocks=tuple((ids, _NO_KEYS) for ids in blocks))


def _assembled(prepared: Prepared, index: int, found: Passing) -> Accepted:
    assert found.taken is not None  # a list was asked for
    return listed(index, prepared.inputs[index].input.snapshot.frame, found.taken, prepared.query.threads)


def provenance(prepared: Prepared, counted: Count, top: Top, runner: Runner | None = None) -> Mapping[str, object]:
    """What a list says of its making; JSON-ready."""
    query, inputs = prepared.query, [b.input for b in prepared.inputs]
    weighted = query if _weights_are_whole(prepared) else replace(query, weight="")
    several = len(query.cuts) > 1 or weighted.weight or top
    try:
        with unlogged():
            flow = cutflow(weighted, runner=runner) if several else _one_step(prepared, counted.ledger)
        flowing: dict[str, object] = {"cutflow": flow.to_json()}
        if not top and flow.steps[-1].sequential.n != counted.accepted:
            flowing = {"cutflow": None, "cutflow_missing": "it counts other events than were selected"}
    except TagselError as error:  # parts are gone, or a function has changed, since the events were selected
        flowing = {"cutflow": None, "cutflow_missing": error.message}
    return {
        "cut": counted.cut,
        "selection": counted.selection,
        **named_inputs(inputs),
        "lumi": [lumi.digest for lumi in query.lumi],
        "duplicates": query.policy,
        "weight": query.weight,
        "weighted": counted.weighted.to_json() if counted.weighted else None,
        "top": list(top) if top else None,
        **flowing,
        "bookkeeping": {i.pinned: totals(i.snapshot.sources) for i in inputs},
        "versions": {"tagsel": version_here(), "semantics": SEMANTICS},
    }


@cache
def version_here() -> str:
    """The version of tagsel that runs."""
    from importlib.metadata import version  # which imports much

    return version("tagsel")


def _weights_are_whole(prepared: Prepared) -> bool:
    """Whether every event has its weight: it is a column that all parts have. (Else only what passes needs one.)"""
    return all(
        b.weight is not None and b.weight.node.op in ("column", "cast") and b.weight.columns <= part.columns
        for b in prepared.inputs
        for part in b.input.snapshot.parts
    )


def _one_step(prepared: Prepared, ledger: Ledger) -> Cutflow:
    """The cutflow of a single cut without weights: the ledger says it all, without another scan."""
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


def best(ids: Accepted, keys: Keys, most: int) -> tuple[Accepted, Keys]:
    """The `most` best of some events, with their keys."""
    chosen = np.lexsort((ids.event, ids.run, keys))[:most]
    return ids.take(chosen), keys[chosen]


def best_of_all(found: Sequence[tuple[Accepted, Keys]], most: int) -> list[Accepted]:
    """The best `most` over all units, as what is kept of each."""
    if not found:
        return []
    keys = np.concatenate([k for _, k in found])
    run = np.concatenate([ids.run for ids, _ in found])
    event = np.concatenate([ids.event for ids, _ in found])
    chosen = np.zeros(len(keys), bool)
    chosen[np.lexsort((event, run, keys))[:most]] = True
    kept = np.split(chosen, np.cumsum([len(ids.event) for ids, _ in found])[:-1])
    return [ids.take(np.flatnonzero(k)) for (ids, _), k in zip(found, kept, strict=True)]
