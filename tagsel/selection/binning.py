"""Histogram specifications from text: `MET_pt: 50, 0, 200 GeV`, up to three axes joined by ` x `.

Invariant: a `Spec` has 1 to 3 axes with rising, finite edges; expressions are read later, when they are bound.

    MET_pt: 50, 0, 200                    50 bins of equal width from 0 to 200, in the unit of MET_pt
    MET_pt: [0, 20, 50, 100] GeV          edges, and the unit that they are in
    MET_pt: 50, 0, 200 x nJet: 10, 0, 10  two axes
    hard: MET_pt: 50, 0, 200              a histogram named `hard`
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf, isfinite, prod

import numpy as np

from tagsel.errors import CutError

MOST_AXES, MOST_BINS = 3, 1 << 24
FORM = '"MET_pt: 50, 0, 200" (bins, low, high) or "MET_pt: [0, 20, 50]" (edges); axes are joined by " x "'

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_BINS = re.compile(
    rf"\s*(?:(\d+)\s*,\s*({_NUMBER})\s*,\s*({_NUMBER})|\[([^\]]*)\])(?:\s*(?!x\s)([A-Za-z]+))?\s*(?:\bx\s+|$)"
)

Bins = tuple[int, float, float] | Sequence[float]


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: what it shows, its edges in `unit` ("": that of the values), and whether all bins are equally wide."""

    expression: str
    edges: tuple[float, ...]
    regular: bool = True
    unit: str = ""

    @property
    def bins(self) -> int:
        """The number of bins between the edges."""
        return len(self.edges) - 1

    @property
    def bins_a_unit(self) -> float:
        """Bins in a unit of the values, by which a bin can be guessed; 0 where it cannot, or bins are not equal."""
        width = self.edges[-1] - self.edges[0]
        a_unit = self.bins / width if self.regular else 0.0
        return a_unit if 0.0 < a_unit < inf and width < inf else 0.0


@dataclass(frozen=True, slots=True)
class Spec:
    """The specification of a histogram: its name and axes."""

    name: str
    axes: tuple[Axis, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Bins on each axis, those below and above the edges included."""
        return tuple(axis.bins + 2 for axis in self.axes)


def slug(text: str) -> str:
    """A name that files and Python take, made of an expression.

    >>> slug("mass(Muon[0], Muon[1])")
    'mass_Muon_0_Muon_1'
    """
    return re.sub(r"\W+", "_", text).strip("_") or "values"


def axis(expression: str, bins: Bins, unit: str = "") -> Axis:
    """The axis of `bins`, (number, low, high) or a list of edges; CutError for edges that do not rise.

    >>> axis("nJet", (2, 0, 10)).edges
    (0.0, 5.0, 10.0)
    """
    regular = isinstance(bins, tuple) and len(bins) == 3 and isinstance(bins[0], int)
    edges = [float(b) for b in bins]
    if regular:
        count, low, high = bins[0], float(bins[1]), float(bins[2])
        if not 1 <= count <= MOST_BINS:
            raise CutError(f"{expression}: {count} bins", hint=f"1 to {MOST_BINS:,}")
        edges = np.linspace(low, high, int(count) + 1).tolist() if isfinite(high - low) else []
    rising = all(a < b for a, b in pairwise(edges))
    if len(edges) < 2 or not rising or not all(map(isfinite, edges)):
        raise CutError(f"{expression}: bin edges must be two or more finite numbers that rise", hint=FORM)
    return Axis(expression, tuple(edges), regular, unit)


def has_bins(text: str) -> bool:
    """Whether a text gives its bins, or begins to: it has a `:` that is in no parenthesis."""
    return _colon(text, 0) >= 0


def read_spec(text: str) -> Spec:
    """The histogram that a text asks for; CutError, with its place, for text of another form."""
    name, rest = "", text
    first = _colon(text, 0)
    if first >= 0 and not _BINS.match(text, first + 1) and text[:first].strip().isidentifier():
        name, rest = text[:first].strip(), text[first + 1 :]
    start, axes = 0, []
    while start < len(rest):
        colon = _colon(rest, start)
        bins = _BINS.match(rest, colon + 1) if colon >= 0 else None
        if bins is None:
            at = len(text) - len(rest) + max(colon, start)
            raise CutError("bins are not given as they are read", cut=text, position=at, hint=FORM)
        axes.append(_axis(rest[start:colon].strip(), bins, text))
        start = bins.end()
    if not name:
        name = slug("_x_".join(slug(of_axis.expression) for of_axis in axes))
    return _checked(Spec(name, tuple(axes)), text)


def _axis(expression: str, bins: re.Match[str], text: str) -> Axis:
    """The axis of an expression and the bins after it."""
    count, low, high, edges, unit = bins.groups()
    if count is not None:
        return axis(expression, (int(count), float(low), float(high)), unit or "")
    try:
        return axis(expression, [float(edge) for edge in edges.split(",")], unit or "")
    except ValueError:
        raise CutError(f"[{edges}] is no list of numbers", cut=text, position=text.find(edges), hint=FORM) from None


def _checked(spec: Spec, text: str) -> Spec:
    if not 1 <= len(spec.axes) <= MOST_AXES:
        raise CutError(f"{len(spec.axes)} axes, 1 to {MOST_AXES} were expected", cut=text, hint=FORM)
    if prod(a.bins + 2 for a in spec.axes) > MOST_BINS:
        raise CutError(f"{spec.name} has more than {MOST_BINS:,} bins", cut=text, hint="fewer bins, or fewer axes")
    return spec


def _colon(text: str, start: int) -> int:
    """The place of the first `:` from `start` on that is in no parenthesis and no quotes; -1 where there is none."""
    depth, quote = 0, ""
    for at in range(start, len(text)):
        mark = text[at]
        if quote:
            quote = "" if mark == quote else quote
        elif mark in "\"'":
            quote = mark
        elif mark in "([":
            depth += 1
        elif mark in ")]":
            depth -= 1
        elif mark == ":" and depth <= 0:
            return at
    return -1


SpecLike = str | Spec | Iterable[str | Spec] | Mapping[str, str | Spec]


def read_specs(texts: SpecLike) -> tuple[Spec, ...]:
    """Several histograms: texts, or a mapping of names to texts. CutError for a name that comes twice."""
    if isinstance(texts, str | Spec):
        texts = [texts]
    pairs = texts.items() if isinstance(texts, Mapping) else [("", text) for text in texts]
    specs = []
    for name, text in pairs:
        spec = read_spec(text) if isinstance(text, str) else text
        specs.append(replace(spec, name=name) if name else spec)
    names = [spec.name for spec in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        hint = f'name one of them: "other: {specs[names.index(twice[0])].axes[0].expression}: …"'
        raise CutError(f"two histograms have the name {twice[0]}", hint=hint)
    if not specs:
        raise CutError("no histogram is asked for", hint=FORM)
    return tuple(specs)
