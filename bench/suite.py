"""Which sections there are: a table of what a run does. Each makes rows from a `Context`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import data as made
from bench.apart import Apart, Here
from bench.data import Copies, Data
from bench.objects import ADL, LISTS
from bench.plain import Unsupported, columns
from bench.questions import TAGS, Question
from bench.report import Section
from bench.rivals import RIVALS, Entry
from bench.timing import OURS, Row, measure


@dataclass(frozen=True)
class Context:
    """How to run: where data lie, how many events, who takes part, which rows are wanted (all where none is named)."""

    folder: Path
    events: int
    threads: int
    repeat: int
    rivals: Sequence[Entry] = RIVALS
    only: frozenset[str] = frozenset()
    say: Callable[[str], None] = print
    start: Callable[[Entry, Data, Copies, int], Apart | Here] = field(default=Apart)

    def wants(self, name: str) -> bool:
        """Whether a row is to be run."""
        return not self.only or name in self.only

    @contextmanager
    def opened(self, data: Data, copies: Copies) -> Iterator[tuple[dict[str, Apart | Here], dict[str, str]]]:
        """The rivals that start, and why the others do not; all are ended after."""
        running: dict[str, Apart | Here] = {}
        without = {}
        try:
            for entry in self.rivals:
                try:
                    running[entry.name] = self.start(entry, data, copies, self.threads)
                except Unsupported as reason:
                    without[entry.name] = str(reason)
            yield running, without
        finally:
            for rival in running.values():
                rival.close()


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


def wanted_columns(questions: Sequence[Question]) -> list[str]:
    """Columns that rivals need for all the questions."""
    texts = [t for q in questions for t in (q.condition, q.weight, q.forms.get("awkward", ""))]
    texts += [q.forms.get("awkward value", "") for q in questions]
    return sorted({*columns(*texts)} - {"ak", "np"})


def asked(context: Context, data: Data, questions: Sequence[Question], needed: Sequence[Question] = ()) -> list[Row]:
    """The rows of questions about one dataset, whose copies have what the questions `needed` name."""
    chosen = [q for q in questions if context.wants(q.name)]
    if not chosen:
        return []
    copies = made.copies(data, wanted_columns(needed or questions), context.say)
    rows = []
    with context.opened(data, copies) as (rivals, without):
        if OURS not in rivals:
            raise Unsupported(f"tagsel itself does not start: {without[OURS]}")
        for question in chosen:
            row = measure(question, rivals, context.threads, context.repeat)
            rows.append(_with(row, without))
    return rows


def _with(row: Row, without: Mapping[str, str]) -> Row:
    """The row, with why some rivals did not start."""
    return Row(**{**vars(row), "without": {**row.without, **without}})


def _tags(context: Context) -> list[Row]:
    return asked(context, made.tags(context.folder, context.events, context.say), TAGS)


def _lists(context: Context) -> list[Row]:
    return asked(context, made.objects(context.folder, context.events, context.say), LISTS, (*LISTS, *ADL))


def _adl(context: Context) -> list[Row]:
    rivals = tuple(e for e in context.rivals if e.kind in ("ours", "root"))
    context = Context(**{**vars(context), "rivals": rivals})
    return asked(context, made.objects(context.folder, context.events, context.say), ADL, (*LISTS, *ADL))


PARTS: tuple[Part, ...] = (
    Part("cuts", "A new cut on TAG records", tuple(q.name for q in TAGS), _tags, mean=True,
         note="Events as (run, lumi, event, file, entry); nothing remembered, files in the page cache."),
    Part("lists", "A new cut on lists of objects", tuple(q.name for q in LISTS), _lists, mean=True),
    Part("adl", "The ADL benchmark, queries 1 to 8", tuple(q.name for q in ADL), _adl, mean=True, apart=False,
         note="Histograms; beside RDataFrame and awkward on a ROOT file."),
)  # fmt: skip


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
