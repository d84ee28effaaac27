"""How a run is done: who takes part, on what; and the rows of questions about one dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import data as made
from bench.apart import Apart, Here
from bench.data import Copies, Data
from bench.plain import Unsupported, columns
from bench.questions import Question
from bench.rivals import RIVALS, Entry
from bench.timing import OURS, Row, measure


def shown(text: str) -> None:
    """Print at once, into a file too."""
    print(text, flush=True)


@dataclass(frozen=True)
class Context:
    """How to run: where data lie, how many events, who takes part, which rows are wanted (all where none is named)."""

    folder: Path
    events: int
    threads: int
    repeat: int
    rivals: Sequence[Entry] = RIVALS
    only: frozenset[str] = frozenset()
    say: Callable[[str], None] = shown
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
