"""The luminosity blocks of a job: processed, and missing.

Invariant: processed and missing together are the blocks of the list, and no block is in both. A block is missing where
one of its events is in a piece without an output, could not be read, or has no address.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from tagsel.errors import JobError
from tagsel.jobs.folder import JobFolder, PieceState
from tagsel.quality import LumiSet, format_lumi, parse_lumi


@dataclass(frozen=True)
class JobLumi:
    """The blocks all of whose selected events were delivered, and the other blocks of the list."""

    processed: LumiSet
    missing: LumiSet

    def to_json(self) -> dict[str, object]:
        """Both as good-run lists, in the form of CMS."""
        return {name: json.loads(format_lumi(getattr(self, name), "json")) for name in ("processed", "missing")}


def lumi_of(folder: JobFolder, states: Iterable[PieceState]) -> JobLumi | None:
    """The blocks of a job by the states of its pieces; None of a job that does not know those of its list.

    JobError where processed and missing are not those of the list.
    """
    if "lumi" not in folder.spec:
        return None  # submitted by a tagsel that did not keep them
    plans = {plan["number"]: plan for plan in folder.pieces}
    done, lost = [], [folder.spec["lost"]]
    for state in states:
        own, header = plans[state.number]["lumi"], state.header
        if header is None:
            lost.append(own)
            continue
        told = bool(header.lumi)  # not by the worker of a tagsel that did not say
        done.append(header.lumi if told else own)
        lost.append(header.lost if told else own if header.unreadable else "")
    every, missing = parse_lumi(folder.spec["lumi"].encode()), union(lost)
    lumi = JobLumi(union(done) - missing, missing)
    if lumi.processed | lumi.missing != every:
        raise JobError(
            f"job {folder.path.name}: processed and missing luminosity blocks are not those of the list: "
            f"{len(lumi.processed):,} + {len(missing):,} of {len(every):,}",
            hint="this is a fault of tagsel",
        )
    return lumi


def union(texts: Iterable[str]) -> LumiSet:
    """The union of good-run lists in JSON, each text once; "" is an empty one."""
    ranges = []
    for text in set(texts) - {""}:
        ranges += parse_lumi(text.encode()).ranges
    return LumiSet.from_ranges(ranges)
