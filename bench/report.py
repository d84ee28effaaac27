"""What was measured as tables for people, in the terminal and in docs/understand/benchmark.md, and as JSON.

Ratios are a rival's time over ours: 4 means that ours took a quarter of it.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.timing import OURS, Row

LIBRARIES = (
    "tagsel",
    "numpy",
    "numba",
    "pyarrow",
    "duckdb",
    "polars",
    "datafusion",
    "chdb",
    "ROOT",
    "uproot",
    "awkward",
)
APART = {"Polars in RAM": "Polars with the columns in RAM", "RDataFrame": "RDataFrame", "uproot": "uproot"}
"""Rivals that are not part of "best": one reads no files, the others read ROOT files."""


@dataclass(frozen=True)
class Section:
    """Rows that belong together; `note` says how they were made. `mean` asks for geometric means."""

    name: str
    title: str
    rows: tuple[Row, ...]
    note: str = ""
    mean: bool = False
    apart: bool = True  # whether the rivals of `APART` stand apart here


@dataclass(frozen=True)
class Result:
    """A run."""

    events: int
    threads: int
    repeat: int
    machine: str
    versions: dict[str, str]
    sections: tuple[Section, ...]

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)


def machine_name() -> str:
    """Processor, cores, memory, system."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    model = next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), platform.processor())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model or platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}"


def versions() -> dict[str, str]:
    """Versions of what takes part; Python's too."""
    found = {"Python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


# -- ratios


def best(row: Row, apart: bool = True) -> tuple[str, float]:
    """The fastest rival and its time over ours; ("", 0) where there is none."""
    others = {n: t for n, t in row.seconds.items() if n != OURS and not (apart and n in APART)}
    if not row.ours or not others:
        return "", 0.0
    name = min(others, key=others.__getitem__)
    return name, others[name] / row.ours


def ratios(section: Section) -> dict[str, dict[str, float]]:
    """By row: "best", and each rival that stands apart."""
    found = {}
    for row in section.rows:
        if row.ours:
            apart = {n: row.seconds[n] / row.ours for n in APART if section.apart and n in row.seconds}
            _, ratio = best(row, section.apart)
            found[row.name] = {**({"best": ratio} if ratio else {}), **apart}
    return found


def mean(values: Iterable[float]) -> float:
    """Geometric mean; 0 of nothing."""
    logs = [math.log(v) for v in values if v > 0]
    return math.exp(sum(logs) / len(logs)) if logs else 0.0


def summary(section: Section) -> Iterator[str]:
    """Geometric means and the worst, in words."""
    found = ratios(section)
    against = {n: r["best"] for n, r in found.items() if "best" in r}
    if against:
        worst = min(against, key=against.__getitem__)
        middle = mean(against.values())
        yield f"best rival over tagsel: geometric mean {middle:.2f}, worst {against[worst]:.2f} ({worst})"
    for name, said in APART.items():
        those = [r[name] for r in found.values() if name in r]
        if those:
            yield f"{said} over tagsel: geometric mean {mean(those):.2f}"
    near = [row.ours / row.machine for row in section.rows if row.ours and row.machine]
    if near:
        yield f"tagsel over np.max of the same bytes: geometric mean {mean(near):.1f}"


# -- tables


def heading(result: Result) -> str:
    """What was run where."""
    libraries = ", ".join(f"{n} {v}" for n, v in result.versions.items())
    return (
        f"{result.events:,} events, {result.threads} threads, medians of up to {result.repeat} warm runs in turns\n"
        f"{result.machine}\n{libraries}"
    )


def cells(section: Section) -> list[list[str]]:
    """The table of a section: a header, then a line a row. Milliseconds."""
    names = list(dict.fromkeys(n for row in section.rows for n in (*row.seconds, *row.without) if n != OURS))
    extra = ["MB", "GB/s"] if any(row.bytes for row in section.rows) else []
    extra += ["× np.max"] if any(row.machine for row in section.rows) else []
    first = ["first call"] if any(row.first for row in section.rows) else []
    table = [["", "found", "tagsel", *first, *names, "best/tagsel", *extra]]
    for row in section.rows:
        name, ratio = best(row, section.apart)
        line = [row.name, f"{row.found:,}", _ms(row, OURS)]
        line += [f"{row.first[OURS] * 1e3:.0f}" if OURS in row.first else "-"] if first else []
        line += [*(_ms(row, n) for n in names), f"{ratio:.2f}" if name else "-"]
        if extra and row.bytes and row.ours:
            rate = row.bytes / row.ours / 1e9
            line += [
                f"{row.bytes / 1e6:.1f}",
                f"{rate:.2f}",
                *([f"{row.ours / row.machine:.1f}"] if row.machine else []),
            ]
        table.append([*line, *[""] * (len(table[0]) - len(line))])
    return table


def _ms(row: Row, name: str) -> str:
    if name not in row.seconds:
        return "-"
    value = row.seconds[name] * 1e3
    return f"{value:.1f}" if value >= 1 else f"{value:.3f}"


def reasons(section: Section) -> Iterator[str]:
    """Why there is a "-": each reason once, with the rows it holds for."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in section.rows:
        for name, why in row.without.items():
            found.setdefault((name, why), []).append(row.name)
    for (name, why), rows in found.items():
        yield f"{name}: {why} ({', '.join(rows) if len(rows) < len(section.rows) else 'all'})"


def as_text(section: Section) -> str:
    """For a terminal."""
    table = cells(section)
    widths = [max(len(line[k]) for line in table) for k in range(len(table[0]))]
    lines = [
        "  ".join(c.ljust(w) if k == 0 else c.rjust(w) for k, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in table
    ]
    tail = [*(summary(section) if section.mean else ()), *(f"- is {why}" for why in reasons(section))]
    return "\n".join([f"== {section.title} (ms)", *([section.note] if section.note else []), *lines, *tail, ""])


def as_markdown(section: Section) -> str:
    """For the documentation."""
    header, *lines = cells(section)
    what = {row.name: row.what for row in section.rows}
    lines = [[f"**{line[0]}** {what[line[0]]}".strip(), *line[1:]] for line in lines]
    rule = ["---", *["--:"] * (len(header) - 1)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *lines))
    tail = [f"- {said}" for said in (*(summary(section) if section.mean else ()), *reasons(section))]
    return "\n\n".join([f"### {section.title}", *([section.note] if section.note else []), table, "\n".join(tail)])


def page(result: Result, frame: str) -> str:
    """docs/understand/benchmark.md: `frame` with the heading and all tables in place of its two marks."""
    tables = "\n\n".join(as_markdown(s).strip() for s in result.sections)
    return frame.replace("{heading}", heading(result).replace("\n", "\n\n")).replace("{tables}", tables)
