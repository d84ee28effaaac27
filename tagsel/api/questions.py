"""Questions of datasets: a cut as an object, and the query that every verb asks.

Invariant: nothing is read before a query is run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagsel.api import named_cuts
from tagsel.api.home import Home
from tagsel.errors import CutError
from tagsel.quality import LumiSet, read_lumi
from tagsel.selection import Input, Query


@dataclass(frozen=True)
class Cut:
    """A cut as an object: combine with `&`, `|`, `~`; its text is the cut language.

    >>> str(Cut("nMuon >= 2") & ~Cut("MET_pt > 50"))
    '(nMuon >= 2) && (!(MET_pt > 50))'
    """

    text: str

    @classmethod
    def of(cls, function: Callable[..., Any], *, compiled: bool = True) -> Cut:
        """A Python function of arrays as a cut; see `tagsel.cut`."""
        from tagsel.language.python_function import register

        return cls(f'python("{register(function, compiled=compiled).name}")')

    def __and__(self, other: Cut) -> Cut:
        return Cut(f"({self.text}) && ({other.text})")

    def __or__(self, other: Cut) -> Cut:
        return Cut(f"({self.text}) || ({other.text})")

    def __invert__(self) -> Cut:
        return Cut(f"!({self.text})")

    def __str__(self) -> str:
        return self.text


CutLike = str | Cut | Callable[..., Any] | tuple[str, str]
"""A cut: its text, a `Cut`, a Python function of arrays, or (name, text)."""

LumiLike = str | Path | LumiSet
"""A good-run list, or the name of its file."""

Progress = Callable[[int], None] | None
"""Is called with the rows that were read since the last call."""


def named_cut(name: str, cut: CutLike) -> tuple[str, str]:
    """Name and text of a cut; a function goes by its own name where it is given none."""
    if isinstance(cut, tuple):
        own_name, text = cut
        return name or own_name, str(text)
    if callable(cut):
        return name or cut.__name__.strip("<>"), str(Cut.of(cut))
    return name, str(cut)


def query(
    home: Home,
    datasets: str,
    cuts: Sequence[CutLike],
    *,
    lumi: Sequence[LumiLike] | LumiLike = (),
    weight: str = "",
    duplicates: str = "",
    threads: int = 0,
    allow_losses: bool = False,
    remember: bool = True,
    inputs: tuple[Input, ...] = (),
) -> Query:
    """The question that `count`, `select`, `cutflow` and `why` ask; cuts are text, or (name, text).

    Without `remember` no mask of an earlier answer is used, and none is kept.
    """
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 0:
        raise CutError(f"threads = {threads!r}: a whole number was expected", hint="0 takes one for each core")
    pairs = [named_cut("", cut) for cut in cuts]
    return Query(
        inputs or home.inputs(datasets),
        tuple(named_cuts.with_name(name, text) for name, text in pairs) or (("", "true"),),
        lumi_sets(lumi),
        weight,
        duplicates,
        allow_losses,
        threads or home.setting("threads"),
        remember=remember,
        named=home.named_cut,
        home=home.folder,
    )


def lumi_sets(lumi: Sequence[LumiLike] | LumiLike) -> tuple[LumiSet, ...]:
    """The good-run lists that were given, those in files read."""
    given = (lumi,) if isinstance(lumi, str | Path | LumiSet) else lumi
    return tuple(one if isinstance(one, LumiSet) else read_lumi(Path(one)) for one in given)
