"""How answers are shown: for people on a terminal, plainly in a pipe, as CSV, or as one JSON document.

Invariant: data goes to standard output, all else to standard error; no escape byte, box or truncation in a pipe.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal


def document(value: Any) -> None:
    """One JSON document on standard output; numbers that JSON cannot say are the words NaN, Infinity, -Infinity."""
    text = json.dumps(value, default=_plain)
    if "NaN" in text or "Infinity" in text:
        text = json.dumps(json.loads(text, parse_constant=str))
    print(text)


def _plain(value: Any) -> Any:
    """NumPy numbers and arrays, paths and tables as JSON can say them."""
    for method in ("to_json", "tolist"):
        if hasattr(value, method):
            return getattr(value, method)()
    return str(value)


PLAIN = ("year", "run", "first", "last", "lumi", "event", "entry", "menu", "snapshot", "bit")
"""Columns of numbers that name something rather than count it: no separators, for people either."""

UNBROKEN = ("guid", "digest")
"""Columns of names that people copy: a narrow terminal does not break them."""


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, as_csv: bool = False) -> None:
    """A table: rich on a terminal, tab-separated without a header in a pipe, CSV with one where asked for."""
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)  # None is an empty field
        return
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join("" if v is None else _raw(v) for v in row))
        return
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, header_style="bold", pad_edge=False)
    cells = [list(row) for row in rows]
    for k, name in enumerate(columns):
        numbers = bool(cells) and all(isinstance(row[k], int | float) or row[k] is None for row in cells)
        justify: Literal["left", "right"] = "right" if numbers else "left"
        shown.add_column(name, justify=justify, overflow="fold", no_wrap=name in UNBROKEN)
    for row in cells:
        shown.add_row(*(_pretty(v, name in PLAIN) for name, v in zip(columns, row, strict=True)))
    Console().print(shown)


def _raw(value: Any) -> str:
    return str(value).replace("\t", " ").replace("\n", " ")


def _pretty(value: Any, plain: bool = False) -> str:
    """Numbers with separators for people, but for those that are `plain` names."""
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value).lower()
    if isinstance(value, int):
        return str(value) if plain else f"{value:,}"
    return f"{value:,.6g}" if isinstance(value, float) else str(value).replace("[", r"\[")


def facts(values: Mapping[str, Any]) -> None:
    """Names and values, one a line."""
    width = max((len(k) for k in values), default=0)
    for name, value in values.items():
        text = json.dumps(value, default=_plain) if isinstance(value, dict | list | tuple) else value
        print(f"{name:<{width}}  {'' if text is None else text}")


def say(text: str, out: str | None = None) -> None:
    """A line of the answer: on standard output, unless a list goes there."""
    note(text) if out == "-" else print(text)


def note(text: str) -> None:
    """Something to know, on standard error."""
    print(text, file=sys.stderr)


def warn(messages: Iterable[str]) -> None:
    """Warnings, on standard error."""
    for message in messages:
        note(f"warning: {message}")


def suggest(command: str) -> None:
    """The next command, for a person at a terminal."""
    if sys.stderr.isatty():
        note(f"next: {command}")


def ledger(counts: Mapping[str, int]) -> str:
    """A ledger as one line for people.

    >>> ledger({"accepted": 17, "rejected": 23, "masked": 0})
    '17 accepted + 23 rejected + 0 masked'
    """
    return " + ".join(f"{n:,} {name}" for name, n in counts.items())


def work(done: Mapping[str, Any]) -> str:
    """What a selection took, as one line for people."""
    groups = done["row_groups"]
    seen, skipped, whole = groups["some"], groups["none"], groups["all"]
    return (
        f"{done['seconds'] * 1e3:,.1f} ms, {done['events_per_s'] / 1e6:,.2f} M events/s, {done['gb_per_s']:.2f} GB/s; "
        f"{done['parts']} parts, row groups: {seen} read, {whole} taken whole, {skipped} skipped; {done['tier']}"
    )


@contextmanager
def progress(label: str, total: int, unit: str = "events") -> Iterator[Callable[[int], None] | None]:
    """A bar on standard error, on a terminal only and after a second; gives what to call with each advance."""
    if total <= 0:
        yield None
        return
    with counting(label, unit) as tell:
        if tell is None:
            yield None
            return
        done = 0

        def advance(n: int) -> None:
            nonlocal done
            done += n
            tell(done, total)

        yield advance


@contextmanager
def counting(label: str, unit: str) -> Iterator[Callable[[int, int], None] | None]:
    """As `progress`, where the total is learnt on the way: gives what to call with what is done and the total."""
    if not sys.stderr.isatty():
        yield None
        return
    import time

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn(label),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} " + unit),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task(label)
    begun = time.monotonic()
    shown = False

    def tell(done: int, total: int) -> None:
        nonlocal shown
        bar.update(task, completed=min(done, total), total=total)
        if not shown and time.monotonic() - begun > 1:
            shown = True
            bar.start()

    try:
        yield tell
    finally:
        if shown:
            bar.stop()
