"""A histogram of an attribute of the accepted events, as the field's `hist.Hist`.

Invariant: it is filled by exactly the events that `count` counts, with their values as stored, row group by row
group: memory does not grow with the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tagsel.errors import SchemaError, TagselError
from tagsel.expr import Block
from tagsel.schema import Attribute
from tagsel.selection import Query, prepare
from tagsel.selection.plan import Unit
from tagsel.selection.run import passed
from tagsel.selection.scan import Mask, scan
from tagsel.selection.weights import weights_of


def histogram(query: Query, name: str, bins: tuple[int, float, float] | Sequence[float], weight: str = "") -> Any:
    """A `hist.Hist` over `bins` of the attribute `name`, weighted by the attribute `weight` where one is given."""
    try:
        import hist
    except ImportError as error:
        raise TagselError("histograms need the package hist", hint='pip install "tagsel[hist]"') from error

    attribute = _number(query, name)
    label = f"{attribute.name} [{attribute.unit}]" if attribute.unit else attribute.name

    def empty() -> Any:
        return hist.Hist(_axis(hist, bins, attribute.column, label), storage="weight" if weight else "double")

    prepared = prepare(replace(query, weight=weight))

    def work(unit: Unit, block: Block, alive: Mask | None) -> Any:
        mask = passed(prepared, unit, block, alive)
        filled = empty()
        if attribute.column in block.columns:
            weights = weights_of(prepared.inputs[unit.source], block, mask)
            values, rows = _values(block, attribute, mask)
            filled.fill(values, **({"weight": weights[rows]} if weights is not None else {}))
        return filled

    tallies = scan(prepared.plan, prepared.rows, work, threads=query.threads, allow_losses=query.allow_losses)
    return sum((t.result for t in tallies if t.result is not None), empty())


def _axis(hist: Any, bins: tuple[int, float, float] | Sequence[float], name: str, label: str) -> Any:
    """A regular axis of (number, low, high), or one of the given edges."""
    if isinstance(bins, tuple) and len(bins) == 3 and isinstance(bins[0], int):
        return hist.axis.Regular(*bins, name=name, label=label)
    return hist.axis.Variable(list(bins), name=name, label=label)


def _number(query: Query, name: str) -> Attribute:
    """The attribute `name`; SchemaError where it is none, or no number."""
    attribute = query.inputs[0].snapshot.schema[name]
    if attribute.type == "string":
        raise SchemaError(f"{attribute.name} is text, a number was expected", hint="count it with a cut for each value")
    return attribute


def _values(block: Block, attribute: Attribute, mask: Mask) -> tuple[Any, Any]:
    """Values of the events of a mask that are there, flat, and the row of each."""
    values = block.columns[attribute.column]
    if attribute.is_list:
        rows = np.repeat(np.arange(block.rows), np.maximum(block.columns[attribute.counter], 0))
        return values[mask[rows]], rows[mask[rows]]
    there = mask
    if attribute.slot and attribute.counter in block.columns:
        there = mask & (block.columns[attribute.counter] >= attribute.slot)
    rows = np.flatnonzero(there)
    return values[rows], rows
