"""What `process` may return, and how results add up: one table of kinds.

Invariant: adding is associative, and for numbers exact: sums of floats are kept as exact fractions and
rounded once at the end, so they do not depend on batches, pieces or their order. Nothing is ever pickled.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from tagsel.errors import JobError


@dataclass(frozen=True, slots=True)
class Total:
    """An exact sum of floats: `finite`, a fraction, and `special`, 0.0 or what infinities and NaN add up to.

    >>> (Total.of(0.1) + Total.of(0.2) + Total.of(-0.1)).value
    0.2
    """

    finite: Fraction
    special: float = 0.0

    @classmethod
    def of(cls, number: float) -> Total:
        """The sum of one number."""
        return cls(Fraction(number)) if math.isfinite(number) else cls(Fraction(0), number)

    def __add__(self, other: Total) -> Total:
        return Total(self.finite + other.finite, self.special + other.special)

    @property
    def value(self) -> float:
        """The sum, rounded once; infinite where it is beyond float64."""
        if self.special:
            return self.special
        try:
            return float(self.finite)
        except OverflowError:
            return math.inf if self.finite > 0 else -math.inf


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of result: whether a value is one, how it is brought into form, and how two add."""

    name: str
    accepts: Callable[[Any], bool]
    form: Callable[[Any], Any]
    add: Callable[[Any, Any], Any]


def _is_hist(value: Any) -> bool:
    library = sys.modules.get("boost_histogram")
    return library is not None and isinstance(value, library.Histogram)


def _is_events(value: Any) -> bool:
    library = sys.modules.get("awkward")
    return library is not None and isinstance(value, library.Array)


def _is_record(value: Any) -> bool:
    library = sys.modules.get("awkward")
    return isinstance(value, Mapping) or (library is not None and isinstance(value, library.Record))


def _leaf(value: Any, place: str) -> Any:
    """A number or histogram of a record in the form that adds; JobError for anything else."""
    if _is_hist(value):
        return value
    if _is_record(value):
        return _record(value, place)
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        value = value.item()
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return Total.of(value)
    raise JobError(
        f"process returned {type(value).__name__} as {place or 'its result'}",
        hint="numbers, histograms, or records of these: {'n': len(events)}",
    )


def _record(value: Any, place: str = "") -> dict[str, Any]:
    fields = value.items() if isinstance(value, Mapping) else ((f, value[f]) for f in value.fields)
    return {str(k): _leaf(v, f"{place}.{k}" if place else str(k)) for k, v in fields}


def keys(record: Mapping[str, Any]) -> list[str]:
    """The keys of a record in order, those of records in it with dots.

    >>> keys({"n": 1, "jets": {"b": 2, "all": 3}})
    ['jets.all', 'jets.b', 'n']
    """
    names = []
    for key, value in record.items():
        names += [f"{key}.{k}" for k in keys(value)] if isinstance(value, dict) and value else [key]
    return sorted(names)


def _add_leaf(a: Any, b: Any) -> Any:
    if isinstance(a, dict) and isinstance(b, dict):
        return _add_record(a, b)
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    if isinstance(a, int | Total) and isinstance(b, int | Total):
        return _total(a) + _total(b)
    if _is_hist(a) and _is_hist(b):
        return _add_hist(a, b)
    raise JobError(f"results do not add up: {type(a).__name__} in one batch, {type(b).__name__} in another")


def _total(number: int | Total) -> Total:
    return number if isinstance(number, Total) else Total(Fraction(number))


def _add_record(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    if a.keys() != b.keys():
        both_keys = " and ".join(", ".join(keys(only)) or "none" for only in (a, b))
        raise JobError(f"records of different keys do not add up: {both_keys}")
    return {k: _add_leaf(a[k], b[k]) for k in a}


def _add_hist(a: Any, b: Any) -> Any:
    try:
        return a + b
    except (TypeError, ValueError) as error:
        raise JobError(f"histograms of two batches do not add up: {error}") from error


def _add_events(a: list[Any], b: list[Any]) -> list[Any]:
    return [*a, *b]


KINDS = {
    kind.name: kind
    for kind in (
        Kind("hist", _is_hist, lambda value: value, _add_hist),
        Kind("events", _is_events, lambda value: [value], _add_events),
        Kind("numbers", _is_record, _record, _add_record),
    )
}
"""All kinds, by name. Events add up as lists of arrays, in order."""

Result = tuple[str, Any]
"""A kind's name and the value in its form; ("none", None) is the result of no event, which adds to any."""

NONE: Result = ("none", None)


def result_of(value: Any) -> Result:
    """What `process` returned, in the form that adds; JobError for what is none of the kinds."""
    for kind in KINDS.values():
        if kind.accepts(value):
            return kind.name, kind.form(value)
    raise JobError(
        f"process returned {type(value).__name__}",
        hint="a record of numbers {'n': 3}, a hist histogram, or events: return events[mask]",
    )


def add(a: Result, b: Result) -> Result:
    """The sum of two results of one kind, in this order; JobError for two kinds."""
    if a[0] == "none" or b[0] == "none":
        return b if a[0] == "none" else a
    if a[0] != b[0]:
        raise JobError(f"process returned {a[0]} for one batch and {b[0]} for another")
    return a[0], KINDS[a[0]].add(a[1], b[1])


def encode(value: Any, *, final: bool = False) -> Any:
    """A record or histogram as JSON; sums stay exact fractions unless `final`, which rounds them.

    >>> encode({"w": Total.of(0.5), "n": 2}), encode({"w": Total.of(0.5)}, final=True)
    ({'w': {'sum': ['1', '2', '0.0']}, 'n': 2}, {'w': 0.5})
    """
    if isinstance(value, dict):
        record = {k: encode(v, final=final) for k, v in value.items()}
        return {"record": record} if _tagged(value) else record
    if isinstance(value, Total):
        if not final:
            return {"sum": [str(value.finite.numerator), str(value.finite.denominator), repr(value.special)]}
        number = value.value
        return number if math.isfinite(number) else {"float": repr(number)}
    if _is_hist(value):
        import uhi.io.json

        return {"hist": json.loads(json.dumps(value, default=uhi.io.json.default))}
    return value


def _tagged(record: Mapping[str, Any]) -> bool:
    """Whether a record's own keys could be taken for one of the marks of `encode`."""
    return len(record) == 1 and next(iter(record)) in _MARKS


def decode(document: Any) -> Any:
    """What `encode` wrote."""
    if not isinstance(document, dict):
        return document
    if len(document) == 1:
        ((mark, content),) = document.items()
        if mark in _MARKS:
            return _MARKS[mark](content)
    return {k: decode(v) for k, v in document.items()}


def _decode_hist(content: Any) -> Any:
    import uhi.io.json

    try:
        from hist import Hist as Histogram
    except ImportError:
        from boost_histogram import Histogram
    return Histogram(json.loads(json.dumps(content), object_hook=uhi.io.json.object_hook))


_MARKS: Mapping[str, Callable[[Any], Any]] = {
    "sum": lambda c: Total(Fraction(int(c[0]), int(c[1])), float(c[2])),
    "float": float,
    "hist": _decode_hist,
    "record": lambda c: {k: decode(v) for k, v in c.items()},
}
