"""The last figures of every row, kept in `.bench`: a run of some rows renews these, and the page shows all.

Invariant: rows of another number of events or threads are forgotten, not mixed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.report import Result, Section
from bench.timing import Row


def section(document: dict[str, Any]) -> Section:
    """The section whose `asdict` is `document`."""
    return Section(**{**document, "rows": tuple(Row(**row) for row in document["rows"])})


def merged(result: Result, path: Path, order: Sequence[str]) -> Result:
    """The result with the rows that it lacks and `path` knows; sections, and rows new to them, in their order."""
    known: dict[str, Section] = {}
    if path.is_file():
        document = json.loads(path.read_text(encoding="utf-8"))
        if (document["events"], document["threads"]) == (result.events, result.threads):
            known = {d["name"]: section(d) for d in document["sections"]}
    for new in result.sections:
        rows = {row.name: row for row in known[new.name].rows} if new.name in known else {}
        rows |= {row.name: row for row in new.rows}
        known[new.name] = Section(**{**vars(new), "rows": tuple(rows.values())})
    chosen = tuple(known[name] for name in order if name in known)
    return Result(**{**vars(result), "sections": chosen})


def keep(result: Result, path: Path) -> None:
    """Write the result."""
    path.write_text(json.dumps(result.to_json(), indent=1), encoding="utf-8")
