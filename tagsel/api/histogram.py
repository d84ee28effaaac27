"""A histogram of an attribute of the accepted events, as the field's `hist.Hist`.

Invariant: it is filled by exactly the events that `count` counts, with their values as stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tagsel.errors import SchemaError, TagselError
from tagsel.schema import Attribute
from tagsel.selection import Query
from tagsel.selection.head import head


def histogram(query: Query, name: str, bins: tuple[int, float, float] | Sequence[float], weight: str = "") -> Any:
    """A `hist.Hist` over `bins` of the attribute `name`, weighted by the attribute `weight` where one is given."""
    try:
        import hist
    except ImportError as error:
        raise TagselError("histograms need the package hist", hint='pip install "tagsel[hist]"') from error

    attribute = _number(query, name)
    values, weights = _values(query, attribute, _number(query, weight) if weight else None)
    label = f"{attribute.name} [{attribute.unit}]" if attribute.unit else attribute.name
    filled = hist.Hist(_axis(hist, bins, attribute.column, label), storage="weight" if weight else "double")
    filled.fill(values, **({"weight": weights} if weight else {}))
    return filled


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


def _values(query: Query, attribute: Attribute, weight: Attribute | None) -> tuple[Any, Any]:
    """Values that are there, flat, and the weight of each (None without a weight)."""
    import awkward as ak

    rows = sum(i.snapshot.rows for i in query.inputs)
    names = [attribute.name, *([weight.name] if weight else [])]
    found = head(query, rows, names)
    values = found[attribute.name]
    weights = found[weight.name] if weight else None
    if attribute.is_list:
        if weights is not None:
            weights = ak.flatten(ak.broadcast_arrays(weights, values)[0])
        values = ak.flatten(values)
    there = ~ak.is_none(values)
    if weights is not None:
        there = there & ~ak.is_none(weights)
        weights = ak.to_numpy(ak.drop_none(weights[there]))
    return ak.to_numpy(ak.drop_none(values[there])), weights
