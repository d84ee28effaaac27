"""The highest N events by an attribute: exact, streaming, the same for any number of threads.

Invariant: ties go to the lower (run, event); a missing or NaN value is below every number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.errors import CutError
from tagsel.language import Bound, bind_value
from tagsel.selection.gather import Accepted
from tagsel.selection.query import BoundInput

Keys = npt.NDArray[Any]


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
