"""Datasets and lazy selections as a physicist writes them: `ws["name"].where("…").lumi("…").events()`.

Invariant: values are immutable and nothing runs in `repr`, `dir` or `where`; only `count`, `cutflow`, `events`,
`head`, `why` and `explain` read data.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel import selection
from tagsel.api.event_lists import Events
from tagsel.api.home import Home
from tagsel.api.picking import pick, wanted
from tagsel.api.questions import Cut, CutLike, LumiLike, Progress, named_cut
from tagsel.api.questions import query as query_of
from tagsel.base.text_table import Table
from tagsel.errors import CatalogError, SchemaError, did_you_mean
from tagsel.events import EventList
from tagsel.language import bind
from tagsel.schema import Attribute, describe_type
from tagsel.selection import Count, Cutflow, Input, Picked, Plan, Query, Why, prepare
from tagsel.selection.binning import Bins, SpecLike
from tagsel.selection.dask import runner
from tagsel.selection.query import lumi_table, scope_of

if TYPE_CHECKING:
    from tagsel.selection.overlap import Overlaps
    from tagsel.selection.regions import Regions
    from tagsel.selection.sample import Estimate
    from tagsel.selection.sweep import Sweep
    from tagsel.selection.triggers import Chains


def attribute_table(attributes: Iterable[Attribute], pattern: str, name: str) -> Table:
    """Name, type, unit, role and description of the attributes whose name matches the glob.

    SchemaError, with the nearest names, where `name` has attributes and none matches.
    """
    by_name = {a.name: a for a in attributes}
    chosen = [a for n, a in by_name.items() if fnmatch.fnmatchcase(n, pattern)]
    if not chosen and by_name:
        nearest = did_you_mean(pattern.strip("*?"), by_name)
        raise SchemaError(f"no attribute of {name} matches {pattern!r}", hint=nearest)
    rows = tuple((a.name, describe_type(replace(a, unit="")), a.unit, a.role, a.description) for a in chosen)
    return Table(("name", "type", "unit", "role", "description"), rows)


@dataclass(frozen=True)
class Dataset:
    """One or several datasets at pinned snapshots; `where` starts a selection."""

    home: Home = field(repr=False)
    name: str
    inputs: tuple[Input, ...] = field(repr=False)

    @property
    def events(self) -> int:
        """Rows, duplicates included."""
        return sum(i.snapshot.rows for i in self.inputs)

    @property
    def pinned(self) -> str:
        """`name@snapshot` of every input, with commas."""
        return ",".join(i.pinned for i in self.inputs)

    def attributes(self, pattern: str = "*") -> Table:
        """Attributes whose name matches the glob: name, type, unit, role, description.

        SchemaError, with the nearest names, for a pattern that matches none.
        """
        return attribute_table(self._attributes(), pattern, self.name)

    def _attributes(self) -> Iterator[Attribute]:
        for source in self.inputs:
            yield from source.snapshot.schema.shown()

    def trigger_names(self, pattern: str = "*") -> list[str]:
        """Names of chains and flags in any menu of the dataset that match the glob, sorted."""
        names: set[str] = set()
        for source in self.inputs:
            names.update(*(menu.bits for menu in source.snapshot.menus.values()))
        return sorted(name for name in names if fnmatch.fnmatchcase(name, pattern))

    def where(self, *cuts: CutLike, **named: CutLike) -> Selection:
        """A lazy selection of the events that pass all cuts; a keyword names its cut in the cutflow.

        A cut is text, a `Cut`, or a function of arrays (`tagsel.cut`), which goes by its own name.
        """
        return Selection(self).where(*cuts, **named)

    # -- questions

    def query(
        self,
        cuts: Sequence[CutLike] = (),
        *,
        lumi: Sequence[LumiLike] | LumiLike = (),
        weight: str = "",
        duplicates: str = "",
        threads: int = 0,
        allow_losses: bool = False,
        remember: bool = True,
    ) -> Query:
        """Put a question without asking it: what `count`, `select`, `cutflow` and the others run.

        Parameters
        ----------
        cuts
            Texts, `Cut` objects, functions of arrays, or (name, text).
        lumi
            Good-run lists, or the names of their files: an event must be in all of them.
        weight
            An attribute or expression by which events are weighted.
        duplicates
            What becomes of events that stand in several rows: "error", "first" or "all".
        threads
            How many threads work; 0 takes the setting.
        allow_losses
            Go on without damaged parts, whose rows are then unreadable in the ledger.
        remember
            Use and keep masks of earlier answers.
        """
        return query_of(
            self.home,
            self.name,
            cuts,
            lumi=lumi,
            weight=weight,
            duplicates=duplicates,
            threads=threads,
            allow_losses=allow_losses,
            remember=remember,
            inputs=self.inputs,
        )

    def explain(
        self,
        *cuts: CutLike,
        lumi: Sequence[LumiLike] | LumiLike = (),
        weight: str = "",
        duplicates: str = "",
        threads: int = 0,
        allow_losses: bool = False,
        remember: bool = True,
    ) -> Plan:
        """Show the plan: row groups by verdict, columns, tier. Reads zones, no data; keywords as those of `query`."""
        query = self.query(
            cuts,
            lumi=lumi,
            weight=weight,
            duplicates=duplicates,
            threads=threads,
            allow_losses=allow_losses,
            remember=remember,
        )
        return prepare(query).plan

    def count(
        self,
        *cuts: CutLike,
        lumi: Sequence[LumiLike] | LumiLike = (),
        weight: str = "",
        duplicates: str = "",
        threads: int = 0,
        allow_losses: bool = False,
        remember: bool = True,
        client: Any = None,
        progress: Progress = None,
    ) -> Count:
        """Count the events that pass all cuts, with the ledger of every row; the keywords are those of `query`.

        `client`, a `distributed.Client` or the address of a scheduler, has a Dask cluster do the work.
        """
        query = self.query(
            cuts,
            lumi=lumi,
            weight=weight,
            duplicates=duplicates,
            threads=threads,
            allow_losses=allow_losses,
            remember=remember,
        )
        return selection.count(query, progress=progress, runner=runner(client))

    def select(
        self,
        *cuts: CutLike,
        top: tuple[int, str] | None = None,
        lumi: Sequence[LumiLike] | LumiLike = (),
        weight: str = "",
        duplicates: str = "",
        threads: int = 0,
        allow_losses: bool = False,
        remember: bool = True,
        client: Any = None,
        progress: Progress = None,
    ) -> Events:
        """Select the events that pass all cuts; with `top=(n, attribute)` the n with the highest value of it.

        The other keywords are those of `query` and `count`.
        """
        events, _ = self.select_counted(
            *cuts,
            top=top,
            lumi=lumi,
            weight=weight,
            duplicates=duplicates,
            threads=threads,
            allow_losses=allow_losses,
            remember=remember,
            client=client,
            progress=progress,
        )
        return events

    def select_counted(
        self,
        *cuts: CutLike,
        top: tuple[int, str] | None = None,
        lumi: Sequence[LumiLike] | LumiLike = (),
        weight: str = "",
        duplicates: str = "",
        threads: int = 0,
        allow_losses: bool = False,
        remember: bool = True,
        client: Any = None,
        progress: Progress = None,
    ) -> tuple[Events, Count]:
        """Select as `select` does; returns the events, and the count with its ledger and warnings."""
        query = self.query(
            cuts,
            lumi=lumi,
            weight=weight,
            duplicates=duplicates,
            threads=threads,
            allow_losses=allow_losses,
            remember=remember,
        )
        events, counted = selection.select(query, top=top, progress=progress, runner=runner(client))
        return Events.of(events, self.home), counted

    def cutflow(
        self,
        *cuts: CutLike,
        lumi: Sequence[LumiLike] | LumiLike = (),
        weight: str = "",
        duplicates: str = "",
        threads: int = 0,
        allow_losses: bool = False,
        remember: bool = True,
        client: Any = None,
        progress: Progress = None,
    ) -> Cutflow:
        """Count, for each cut, the events that pass it alone, in sequence, and all cuts but it, weighted by `weight`.

        The keywords are those of `query` and `count`.
        """
        query = self.query(
            cuts,
            lumi=lumi,
            weight=weight,
            duplicates=duplicates,
            threads=threads,
            allow_losses=allow_losses,
            remember=remember,
        )
        return selection.cutflow(query, progress=progress, runner=runner(client))

    def hist(
        self,
        what: SpecLike,
        *cuts: CutLike,
        bins: Bins = (50, 0.0, 200.0),
        lumi: Sequence[LumiLike] | LumiLike = (),
        weight: str = "",
        duplicates: str = "",
        threads: int = 0,
        allow_losses: bool = False,
        remember: bool = True,
        progress: Progress = None,
    ) -> Any:
        """Fill a `hist.Hist` with the events that pass all cuts; of several texts, in one scan, `Histograms`.

        `what` is `"MET_pt: 50, 0, 200"`, axes joined by ` x `; or an expression with its `bins`. The other keywords
        are those of `query`.
        """
        from tagsel.api.histogram import hist

        query = self.query(
            cuts,
            lumi=lumi,
            weight=weight,
            duplicates=duplicates,
            threads=threads,
            allow_losses=allow_losses,
            remember=remember,
        )
        return hist(query, what, bins, progress)

    def regions(
        self,
        regions: Mapping[str, str | Cut],
        *cuts: CutLike,
        overlap: bool = False,
        lists: bool = False,
        lumi: Sequence[LumiLike] | LumiLike = (),
        weight: str = "",
        duplicates: str = "",
        threads: int = 0,
        allow_losses: bool = False,
        remember: bool = True,
        progress: Progress = None,
    ) -> Regions:
        """Count many regions in one pass: each, by its name, a `Count` of the events that pass its cut and all `cuts`.

        `overlap` counts the events that each two share; `lists` keeps the events of each. The other keywords are those
        of `query`.
        """
        query = self.query(
            cuts,
            lumi=lumi,
            weight=weight,
            duplicates=duplicates,
            threads=threads,
            allow_losses=allow_losses,
            remember=remember,
        )
        return regions_of(self.home, query, regions, overlap=overlap, lists=lists, progress=progress)

    def sweep(
        self,
        cut: str,
        values: Iterable[Any],
        *cuts: CutLike,
        lumi: Sequence[LumiLike] | LumiLike = (),
        weight: str = "",
        duplicates: str = "",
        threads: int = 0,
        allow_losses: bool = False,
        remember: bool = True,
        progress: Progress = None,
    ) -> Sweep:
        """Count the events that pass `cut` with each of `values` in the place of `{x}`, `"MET_pt > {x}"`, in one pass.

        The keywords are those of `query`.
        """
        from tagsel.selection.sweep import sweep

        query = self.query(
            cuts,
            lumi=lumi,
            weight=weight,
            duplicates=duplicates,
            threads=threads,
            allow_losses=allow_losses,
            remember=remember,
        )
        return sweep(query, cut, [str(value) for value in values], progress=progress)

    def estimate(
        self,
        *cuts: CutLike,
        sample: float = 0.01,
        seed: int = 0,
        lumi: Sequence[LumiLike] | LumiLike = (),
        weight: str = "",
        duplicates: str = "",
        threads: int = 0,
        allow_losses: bool = False,
        remember: bool = True,
        progress: Progress = None,
    ) -> Estimate:
        """Estimate how many events pass all cuts, with a 95 % interval, from a `sample` of the rows: never a count.

        The other keywords are those of `query`.
        """
        from tagsel.selection.sample import estimate

        query = self.query(
            cuts,
            lumi=lumi,
            weight=weight,
            duplicates=duplicates,
            threads=threads,
            allow_losses=allow_losses,
            remember=remember,
        )
        return estimate(query, sample=sample, seed=seed, progress=progress)

    def triggers(
        self,
        pattern: str = "*",
        *cuts: CutLike,
        by: str = "",
        lumi: Sequence[LumiLike] | LumiLike = (),
        weight: str = "",
        duplicates: str = "",
        threads: int = 0,
        allow_losses: bool = False,
        remember: bool = True,
        progress: Progress = None,
    ) -> Chains:
        """Count how often each trigger chain and flag that a glob matches fired, and where a menu lacks it.

        `by` is "run" or "lumi"; the other keywords are those of `query`.
        """
        from tagsel.selection.triggers import chain_counts

        query = self.query(
            cuts,
            lumi=lumi,
            weight=weight,
            duplicates=duplicates,
            threads=threads,
            allow_losses=allow_losses,
            remember=remember,
        )
        return chain_counts(query, pattern, by, progress=progress)

    def overlap(
        self,
        *cuts: CutLike,
        chains: str = "",
        regions: Mapping[str, str] | None = None,
        lumi: Sequence[LumiLike] | LumiLike = (),
        weight: str = "",
        duplicates: str = "",
        threads: int = 0,
        allow_losses: bool = False,
        remember: bool = True,
        progress: Progress = None,
    ) -> Overlaps:
        """Count the events that each two datasets share; with `chains` (a glob) each two chains, with `regions` cuts.

        Just events that pass all `cuts` count. The other keywords are those of `query`.
        """
        from tagsel.selection import overlap

        if chains and regions:
            raise CatalogError("chains and regions are two questions", hint="ask for one overlap at a time")
        query = self.query(
            cuts,
            lumi=lumi,
            weight=weight,
            duplicates=duplicates,
            threads=threads,
            allow_losses=allow_losses,
            remember=remember,
        )
        if chains:
            return overlap.chain_overlap(query, chains, progress=progress)
        if regions:
            return overlap.region_overlap(query, regions, progress=progress)
        return overlap.dataset_overlap(query, progress=progress)

    def why(
        self,
        event: str | tuple[int, int],
        *cuts: CutLike,
        lumi: Sequence[LumiLike] | LumiLike = (),
        weight: str = "",
        duplicates: str = "",
        threads: int = 0,
        allow_losses: bool = False,
        remember: bool = True,
    ) -> Why:
        """Say why one event, `run:event`, is in the answer or not: each cut's verdict with the values that it saw.

        The keywords are those of `query`.
        """
        run, number, *lumi_block = event if not isinstance(event, str) else _identity(event)
        query = self.query(
            cuts,
            lumi=lumi,
            weight=weight,
            duplicates=duplicates,
            threads=threads,
            allow_losses=allow_losses,
            remember=remember,
        )
        return selection.why(query, run, number, *lumi_block)

    def pick(
        self,
        ids: str | Sequence[str] | EventList,
        *,
        duplicates: str = "",
        threads: int = 0,
        allow_losses: bool = False,
    ) -> Picked:
        """Find events by identity: `run:event` or `run:lumi:event` texts, or a list; every miss is listed."""
        if isinstance(ids, str):
            ids = [ids]
        events = ids if isinstance(ids, EventList) else wanted(ids)
        query = self.query(duplicates=duplicates, threads=threads, allow_losses=allow_losses)
        return pick(self.home, query, events)

    def __repr__(self) -> str:
        names = len({attribute.name for attribute in self._attributes()})
        return f"<Dataset {self.pinned}: {self.events:,} events, {names} attributes>"

    def _ipython_key_completions_(self) -> list[str]:
        return [attribute.name for attribute in self._attributes()]


@dataclass(frozen=True)
class Selection:
    """A question not yet asked: a dataset, named cuts, good-run lists, a weight."""

    dataset: Dataset
    cuts: tuple[tuple[str, str], ...] = ()
    lumis: tuple[str, ...] = ()
    weights: str = ""
    duplicates: str = ""

    def where(self, *cuts: CutLike, **named: CutLike) -> Selection:
        """The same with more cuts, checked against the schema now: CutError with caret and suggestion."""
        more = (*(named_cut("", c) for c in cuts), *(named_cut(n, c) for n, c in named.items()))
        for source in self.dataset.inputs:
            scope = scope_of(source.snapshot, lumi_table, self.dataset.home.named_cut)
            for _, text in more:
                bind(text, scope)
        return replace(self, cuts=self.cuts + more)

    def lumi(self, *files: str | Path) -> Selection:
        """The same, masked by good-run lists (ATLAS XML or CMS JSON, by content)."""
        return replace(self, lumis=(*self.lumis, *map(str, files)))

    def weight(self, expression: str) -> Selection:
        """The same, its cutflow weighted by an attribute or expression."""
        return replace(self, weights=expression)

    def _query(self) -> Query:
        return query_of(
            self.dataset.home,
            self.dataset.pinned,
            self.cuts,
            lumi=self.lumis,
            weight=self.weights,
            duplicates=self.duplicates,
            inputs=self.dataset.inputs,
        )

    def count(self, client: Any = None) -> Count:
        """How many events pass, with the ledger; `int()` of it is the number. `client`: a Dask cluster that counts."""
        return selection.count(self._query(), runner=runner(client))

    def cutflow(self, client: Any = None) -> Cutflow:
        """Every cut alone, in sequence and left out, weighted where a weight is set; `client`: a Dask cluster."""
        return selection.cutflow(self._query(), runner=runner(client))

    def regions(self, regions: Mapping[str, str | Cut], *, overlap: bool = False, lists: bool = False) -> Regions:
        """Many cuts after this selection in one pass: each region, by its name, a `Count` of the events that pass.

        `overlap` counts the events that each two share; `lists` keeps the events of each.
        """
        return regions_of(self.dataset.home, self._query(), regions, overlap=overlap, lists=lists)

    def sweep(self, cut: str, values: Iterable[Any]) -> Sweep:
        """The events left by `cut` with each of `values` in the place of `{x}`, `"MET_pt > {x}"`, in one pass."""
        from tagsel.selection.sweep import sweep

        return sweep(self._query(), cut, [str(value) for value in values])

    def estimate(self, sample: float = 0.01, seed: int = 0) -> Estimate:
        """About how many events pass, with a 95 % interval, from a `sample` of the rows: never a count."""
        from tagsel.selection.sample import estimate

        return estimate(self._query(), sample=sample, seed=seed)

    def events(self, client: Any = None) -> Events:
        """The accepted events: this runs the selection, on the Dask cluster of `client` where there is one."""
        events, _ = selection.select(self._query(), runner=runner(client))
        return Events.of(events, self.dataset.home)

    def why(self, run: int, event: int) -> Why:
        """The verdict of each cut on one event, with the values that it saw."""
        return selection.why(self._query(), run, event)

    def explain(self) -> Plan:
        """The plan: row groups by verdict, columns, tier. Reads zones, no data."""
        return prepare(self._query()).plan

    def head(self, n: int = 5, attributes: Sequence[str] = ("run", "lumi", "event")) -> Any:
        """The first `n` accepted events in dataset order as awkward records of the given attributes."""
        from tagsel.selection.head import head

        return head(self._query(), n, attributes)

    def hist(self, what: SpecLike, bins: Bins = (50, 0.0, 200.0)) -> Any:
        """A `hist.Hist` of the accepted events, or several in one scan, weighted where a weight is set.

        `what` is an expression with its `bins`, (number, low, high) or a list of edges; or a text like
        `"MET_pt: 50, 0, 200 x nJet: 10, 0, 10"`; or several texts, a list or a mapping of names to them: `Histograms`.
        A list attribute fills once for each object. What is missing is counted and not filled.
        """
        from tagsel.api.histogram import hist

        return hist(self._query(), what, bins)

    def __repr__(self) -> str:
        cuts = " && ".join(f"{n + ': ' if n else ''}{t}" for n, t in self.cuts) or "true"
        extra = "".join(
            (
                f", lumi {', '.join(self.lumis)}" if self.lumis else "",
                f", weight {self.weights}" if self.weights else "",
            )
        )
        return f"<Selection of {self.dataset.pinned}: {cuts}{extra}; not run>"


def regions_of(
    home: Home,
    question: Query,
    regions: Mapping[str, str | Cut],
    *,
    overlap: bool,
    lists: bool,
    progress: Progress = None,
) -> Regions:
    """The regions of a query, whose event lists know their workspace."""
    from tagsel.selection.regions import regions as run

    texts = {name: str(cut) for name, cut in regions.items()}
    answer = run(question, texts, overlap=overlap, lists=lists, progress=progress)
    return replace(answer, lists={name: Events.of(events, home) for name, events in answer.lists.items()})


def _identity(event: str) -> tuple[int, int, int]:
    """(run, event, lumi or -1) of the text of one event."""
    one = wanted([event])
    return int(one.run[0]), int(one.event[0]), int(one.lumi[0])
