"""What the ingested files say of the events that were processed to make them, summed over a dataset.

Invariant: a sum over files of which one does not say is unknown, never the sum of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from tagsel.store import Source

GENERATED = ("genEventCount", "sumw", "sumw2")
"""Numbers of a simulated file: generated events, sum of their weights, sum of the squares."""


def totals(sources: Sequence[Source]) -> dict[str, object]:
    """Files, processed luminosity blocks, and the generator's sums over all files; None where a file has none."""
    records = [s.bookkeeping for s in sources]
    blocks = [r.get("processed") for r in records]
    known = {(int(run), int(lumi)) for b in blocks if isinstance(b, list) for run, lumi in b}
    return {
        "files": len(records),
        "processed_lumi_blocks": len(known) if records and all(b is not None for b in blocks) else None,
        **dict(zip(GENERATED, generated_sums(sources) or (None, None, None), strict=True)),
    }


def generated_sums(sources: Sequence[Source]) -> tuple[int, float, float] | None:
    """(events, sum of weights, sum of squared weights) over all files; None where a file does not say."""
    records = [s.bookkeeping for s in sources]
    if not records or any(r.get(key) is None for r in records for key in GENERATED):
        return None
    n, sumw, sumw2 = (sum(cast(float, r[key]) for r in records) for key in GENERATED)
    return int(n), sumw, sumw2
