"""What a workspace answers with many numbers from one scan: histograms, regions, sweeps; and a look at a sample.

Invariant: as in `Workspace`, a method does what the verb of its name does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tagsel.api.dataset import regions_of
from tagsel.api.home import Home
from tagsel.api.questions import Cut, CutLike, Progress
from tagsel.selection import Query
from tagsel.selection.binning import Bins, SpecLike

if TYPE_CHECKING:
    from tagsel.selection.regions import Regions
    from tagsel.selection.sample import Estimate
    from tagsel.selection.sweep import Sweep


class Many:
    """The part of `Workspace` that asks many questions at once."""

    home: Home
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
        from tagsel.api.histogram import hist

        return hist(self.query(datasets, cuts, **options), what, bins, progress)

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
        query = self.query(datasets, cuts, **options)
        return regions_of(self.home, query, regions, overlap=overlap, lists=lists, progress=progress)

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
