"""Which sections there are: a table of what a run does. Each makes rows from a `Context`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench import data as made
from bench.again import again
from bench.cold import VERBS, cold
from bench.context import Context, asked
from bench.ingesting import ARROW, NANO, ingesting
from bench.lookups import SIZES, lookups
from bench.objects import ADL, LISTS
from bench.planning import HOW, planning
from bench.planning import SIZES as PLANS
from bench.questions import TAGS
from bench.report import Section
from bench.skimming import SHARES, skimming
from bench.timing import Row
from bench.world import HOW as WORLD
from bench.world import NAMES, world


@dataclass(frozen=True)
class Part:
    """A row of `PARTS`: `core` is run without arguments; `names` are the rows that `run` can make."""

    name: str
    title: str
    names: tuple[str, ...]
    run: Callable[[Context], list[Row]]
    core: bool = True
    mean: bool = False
    apart: bool = True
    note: str = ""


def _tags(context: Context) -> list[Row]:
    return asked(context, made.tags(context.folder, context.events, context.say), TAGS)


def _lists(context: Context) -> list[Row]:
    return asked(context, made.objects(context.folder, context.events, context.say), LISTS, (*LISTS, *ADL))


def _adl(context: Context) -> list[Row]:
    rivals = tuple(e for e in context.rivals if e.kind in ("ours", "root"))
    context = Context(**{**vars(context), "rivals": rivals})
    return asked(context, made.objects(context.folder, context.events, context.say), ADL, (*LISTS, *ADL))


PARTS: tuple[Part, ...] = (
    Part(
        "cuts",
        "A new cut on TAG records",
        tuple(q.name for q in TAGS),
        _tags,
        mean=True,
        note="Events as (run, lumi, event, file, entry); nothing remembered, files in the page cache.",
    ),
    Part("lists", "A new cut on lists of objects", tuple(q.name for q in LISTS), _lists, mean=True),
    Part(
        "adl",
        "The ADL benchmark, queries 1 to 8",
        tuple(q.name for q in ADL),
        _adl,
        mean=True,
        apart=False,
        note="Histograms; beside RDataFrame and awkward on a ROOT file.",
    ),
    Part(
        "again",
        "Questions that follow each other",
        ("threshold", "refinements", "region", "regions"),
        again,
        core=False,
        note="The first time each is asked, with planning and compiling; what tagsel remembers by default it uses,"
        " except for regions. Regions are 50 counts one after another where an engine has no pass for all.",
    ),
    Part(
        "lookup",
        "Events by run and number",
        tuple(SIZES),
        lookups,
        core=False,
        note="The list of misses is part of our answer.",
    ),
    Part("planning", "Planning, no data read", tuple(PLANS), planning, core=False, note=" ".join(HOW.split())),
    Part(
        "world",
        "A catalog of an experiment's size",
        NAMES,
        world,
        core=False,
        apart=False,
        note=" ".join(WORLD.split()),
    ),
    Part(
        "ingest",
        "Ingest on one core",
        (ARROW, NANO),
        ingesting,
        core=False,
        apart=False,
        note="Checks, statistics, hashes and fsync included. Beside: the file copied by pyarrow; read by uproot.",
    ),
    Part(
        "cold",
        "A new process for each verb",
        tuple(VERBS),
        cold,
        core=False,
        note='A million events; found is their number. Beside: `python -c "import duckdb"`.',
    ),
    Part(
        "skim",
        "Skims of a ROOT file",
        tuple(SHARES),
        skimming,
        core=False,
        apart=False,
        note="MB are the compressed bytes that ours read; the others read all of the file.",
    ),
)


def run(context: Context, everything: bool = False, parts: Sequence[Part] = PARTS) -> Iterator[Section]:
    """The sections that are wanted, as they are done."""
    for part in parts:
        named = context.only.intersection((part.name, *part.names))
        if named if context.only else part.core or everything:
            inner = context if part.name not in context.only else _all_of(context)
            rows = part.run(inner)
            if rows:
                yield Section(part.name, part.title, tuple(rows), part.note, part.mean, part.apart)


def _all_of(context: Context) -> Context:
    """The same context, in which every row is wanted."""
    return Context(**{**vars(context), "only": frozenset()})
