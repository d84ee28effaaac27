"""The ingest report: which columns of the input files became attributes, and which were left out, by name and reason.

Every part of an ingest that takes or leaves a column may add a `ReportLine`: an opener through `TagSource.lines`, the
rest through `IngestReport.add`. Lines that several files share are kept once, with the number of files, so that the
report of ten thousand files of one kind is no longer than that of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field

MOST_NAMED = 10
"""Names that one line of the summary lists at most; `--json` has them all."""

NO_TYPE = "no attribute can hold their type"
"""Why a column of an unusual type is left out."""


@dataclass(frozen=True, slots=True)
class NullCount:
    """How many values, and how many whole lists, of a column are null.

    >>> print(NullCount(5, 2) + NullCount(1))
    6 and 2 whole lists
    """

    values: int = 0
    lists: int = 0

    def __add__(self, other: NullCount) -> NullCount:
        return NullCount(self.values + other.values, self.lists + other.lists)

    def __str__(self) -> str:
        parts = [f"{self.values:,}"] if self.values or not self.lists else []
        if self.lists:
            parts.append(f"{self.lists:,} whole lists")
        return " and ".join(parts)


@dataclass(frozen=True, slots=True)
class ReportLine:
    """One column, trigger chain, flag, tree or file of the input, and what became of it.

    `type` is the column's type as the file spells it. A column that was taken has an `attribute`; one that was left out
    has a `reason` and, where the user can change that, a `remedy`.
    """

    name: str
    kind: str = "column"
    type: str = ""
    attribute: str = ""
    reason: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.type})" if self.type else self.name


@dataclass
class IngestReport:
    """What an ingest took of its files and what it left out; `lines` counts the files to which each line applies.

    >>> report = IngestReport()
    >>> report.add([ReportLine("MET_pt", type="float", attribute="MET_pt")])
    >>> report.add([ReportLine("t", type="timestamp[ms]", reason=NO_TYPE)])
    >>> print(report)
    1 of 2 columns taken
    left out, as no attribute can hold their type: t (timestamp[ms])
    """

    profile: str = "standard"
    lines: dict[ReportLine, int] = field(default_factory=dict)
    nulls: dict[str, NullCount] = field(default_factory=dict)  # by column, over all files

    def add(self, lines: Iterable[ReportLine]) -> None:
        """Add the lines of one file."""
        for line in lines:
            self.lines[line] = self.lines.get(line, 0) + 1

    def add_nulls(self, nulls: Mapping[str, NullCount]) -> None:
        """Add the nulls of one file, by column."""
        for name, count in nulls.items():
            self.nulls[name] = self.nulls.get(name, NullCount()) + count

    def taken(self) -> list[ReportLine]:
        """Columns that became attributes, in the files' order."""
        return [line for line in self.lines if not line.reason]

    def left_out(self) -> list[ReportLine]:
        """What was left out, in the files' order."""
        return [line for line in self.lines if line.reason]

    def to_json(self) -> dict[str, object]:
        """All lines, JSON-ready: `taken` and `left_out`, each with the number of files."""
        return {
            "profile": self.profile,
            "taken": [self._row(line) for line in self.taken()],
            "left_out": [self._row(line) for line in self.left_out()],
            **({"nulls": {name: asdict(count) for name, count in self.nulls.items()}} if self.nulls else {}),
        }

    def _row(self, line: ReportLine) -> dict[str, object]:
        values = {key: value for key, value in asdict(line).items() if value}
        return {**values, "files": self.lines[line]}

    def summary(self) -> list[str]:
        """A few lines for people: how many columns were taken, and what was left out for each reason."""
        if not self.lines:
            return []
        columns = {line.name for line in self.lines if line.kind not in ("tree", "file")}
        names = {line.name for line in self.taken()}
        bits = _counted(self.taken())
        head = f"{len(names):,} of {len(columns):,} columns taken{bits}"
        return [head, *_missing(self.nulls), *_reasons(self.left_out())]

    def __str__(self) -> str:
        return "\n".join(self.summary())


def _missing(nulls: Mapping[str, NullCount]) -> Iterator[str]:
    """The columns with nulls, most of them first."""
    ordered = sorted(nulls.items(), key=lambda item: (-item[1].values - item[1].lists, item[0]))
    if ordered:
        names = ", ".join(f"{name} ({count})" for name, count in ordered[:MOST_NAMED])
        more = f" and {len(ordered) - MOST_NAMED:,} more" if len(ordered) > MOST_NAMED else ""
        yield f"missing, as the files have nulls: {names}{more}"


def _counted(taken: Iterable[ReportLine]) -> str:
    """How many of the columns are trigger chains and flags: `; trigger chains: 640, flags: 20`."""
    kinds = [line.kind for line in taken]
    counts = {"trigger chains": kinds.count("trigger"), "flags": kinds.count("flag")}
    text = ", ".join(f"{name}: {count:,}" for name, count in counts.items() if count)
    return f"; {text}" if text else ""


def _reasons(left_out: Iterable[ReportLine]) -> Iterator[str]:
    """One line a reason, with the first names."""
    by_reason: dict[tuple[str, str], list[ReportLine]] = {}
    for line in left_out:
        by_reason.setdefault((line.reason, line.remedy), []).append(line)
    for (reason, remedy), lines in by_reason.items():
        shown = [str(line) for line in lines]
        if len(lines) > MOST_NAMED and lines[0].kind not in ("tree", "file"):
            shown = _families(lines)
        names = ", ".join(shown[:MOST_NAMED])
        more = f" and {len(shown) - MOST_NAMED:,} more" if len(shown) > MOST_NAMED else ""
        advice = f"; {remedy}" if remedy else ""
        yield f"left out, as {reason}: {names}{more}{advice}"


def _families(lines: Iterable[ReportLine]) -> list[str]:
    """Columns of one prefix as one name with their number, largest first: `GenPart_* (12)`."""
    groups: dict[str, list[ReportLine]] = {}
    for line in lines:
        prefix, separator, _ = line.name.partition("." if "." in line.name else "_")
        groups.setdefault(f"{prefix}{separator}", []).append(line)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    return [f"{prefix}* ({len(group):,})" if len(group) > 1 else str(group[0]) for prefix, group in ordered]
