"""What a workspace answers with many numbers from one scan: histograms, regions, sweeps; and a look at a sample.

Invariant: as in `Workspace`, a method does what the verb of its name does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tagsel.api.dataset import Cut
from tagsel.api.lists import Events
from tagsel.quality import LumiSet
from tagsel.selection import Query
from tagsel.selection.binning import Bins, SpecLike

if TYPE_CHECKING:
    from tagsel.api.workspace import Workspace
    from tagsel.selection.regions import Regions
    from tagsel.selection.sample import Estimate
    from tagsel.selection.sweep import Sweep

CutLike = str | Cut | tuple[str, str]
LumiLike = str | Path | LumiSet
Progress = Callable[[int], None] | None


class Many:
    """The part of `Workspace` that asks many questions at once."""

    if TYPE_CHECKING:
        query: Callable[..., Query]

    def hist(
        self,
        datasets: str,
        what: SpecLike,
        *cuts: CutLike,
        bins: Bins = (50, 0.0, 200.0),
        progress: Progress = None,
        **options: Any,
    ) -> Any:
        """A histogram of the events that pass all cuts: a `hist.Hist`; of several texts, in one scan, `Histograms`.

        `what` is `"MET_pt: 50, 0, 200"`, axes joined by ` x `; or an expression with its `bins`.
        """
        from tagsel.api.histogram import asked, fill

        found = fill(self.query(datasets, cuts, **options), asked(what, bins), progress)
        return found[next(iter(found))] if isinstance(what, str) else found

    def regions(
        self,
        datasets: str,
        regions: Mapping[str, str | Cut],
        *cuts: CutLike,
        overlap: bool = False,
        lists: bool = False,
        progress: Progress = None,
        **options: Any,
    ) -> Regions:
        """Many cuts in one pass: each region, by its name, a `Count` of the events that pass its cut and all `cuts`.

        `overlap` counts the events that each two share; `lists` keeps the events of each. Options as `query`.
        """
        from tagsel.selection.regions import regions as run

        query = self.query(datasets, cuts, **options)
        asked = {name: str(cut) for name, cut in regions.items()}
        found = run(query, asked, overlap=overlap, lists=lists, progress=progress)
        here = cast("Workspace", self)
        return replace(found, lists={name: Events.of(events, here) for name, events in found.lists.items()})

    def sweep(
        self, datasets: str, cut: str, values: Iterable[Any], *cuts: CutLike, progress: Progress = None, **options: Any
    ) -> Sweep:
        """The events that pass `cut` with each of `values` in the place of `{x}`, `"MET_pt > {x}"`, in one pass."""
        from tagsel.selection.sweep import sweep

        return sweep(self.query(datasets, cuts, **options), cut, [str(v) for v in values], progress=progress)

    def estimate(
        self,
        datasets: str,
        *cuts: CutLike,
        sample: float = 0.01,
        seed: int = 0,
        progress: Progress = None,
        **options: Any,
    ) -> Estimate:
        """About how many events pass all cuts, with a 95 % interval, from a `sample` of the rows: never a count."""
        from tagsel.selection.sample import estimate

        return estimate(self.query(datasets, cuts, **options), sample=sample, seed=seed, progress=progress)
