"""What moved since the last time: ratios to rivals, kept in bench/baseline.json. Seconds are not kept: machines differ.

A ratio moved where it changed by more than `TOLERANCE`, which is what a shared machine of two cores does by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.report import Result, ratios

TOLERANCE = 0.30

Ratios = Mapping[str, Mapping[str, float]]
"""By row ("Q1"), by rival ("best", "RDataFrame")."""


def of(result: Result) -> dict[str, dict[str, float]]:
    """All ratios of a run."""
    return {row: found for section in result.sections for row, found in ratios(section).items()}


def save(result: Result, path: Path) -> None:
    """Keep the ratios of a run; of rows that were not run the old ones stay."""
    old = json.loads(path.read_text(encoding="utf-8"))["ratios"] if path.is_file() else {}
    new = {row: {n: float(f"{r:.3g}") for n, r in found.items()} for row, found in of(result).items()}
    document = {"events": result.events, "threads": result.threads, "machine": result.machine, "ratios": {**old, **new}}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def moved(old: Ratios, new: Ratios, tolerance: float = TOLERANCE) -> Iterator[str]:
    """A line for each ratio that moved, worst first, and for each row that is new."""
    changes = []
    for row, found in new.items():
        for name, ratio in found.items():
            before = old.get(row, {}).get(name)
            if before:
                changes.append((ratio / before, row, name, before, ratio))
    for change, row, name, before, ratio in sorted(changes):
        if change > 1 + tolerance or change < 1 / (1 + tolerance):
            word, factor = ("slower", 1 / change) if change < 1 else ("faster", change)
            yield f"{word} ×{factor:.2f}: {row} against {name}, ratio {before:.3g} → {ratio:.3g}"
    for row in new:
        if row not in old:
            yield f"new: {row}"


def compare(result: Result, path: Path) -> list[str]:
    """What moved against the baseline in `path`."""
    if not path.is_file():
        return [f"there is no baseline at {path}: --save-baseline makes one"]
    document = json.loads(path.read_text(encoding="utf-8"))
    lines = list(moved(document["ratios"], of(result)))
    if document["events"] != result.events or document["threads"] != result.threads:
        lines.insert(0, f"the baseline was {document['events']:,} events on {document['threads']} threads")
    return lines or [f"nothing moved by more than {TOLERANCE:.0%}"]
