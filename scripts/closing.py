"""The closing summary of scripts/chain: both ledgers close, the digest is one for 1 and 2 threads, the outputs hold.

python scripts/closing.py W      (in the folder that holds z.events and z.root; 1 where something is wrong)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import tagsel
from tagsel.api import Workspace

DATASETS, CUT, LUMI = "data09_900GeV.*", "EF_mu4 && @z_to_mumu", "sample/good_runs.xml"


def checks(home: Workspace) -> Iterator[tuple[bool, str]]:
    """Each thing that must hold, and what was found."""
    import uproot

    events = home.lists["z.events"]
    ledger = events.ledger
    assert ledger is not None
    rows = ledger.to_json()
    read = home[DATASETS].events
    said = " + ".join(f"{n:,} {name}" for name, n in rows.items())
    yield sum(rows.values()) == read, f"selection ledger: {read:,} TAG rows read = {said}"
    digests = {home[DATASETS].select(CUT, lumi=LUMI, threads=n).digest for n in (1, 2)}
    yield digests == {events.digest}, f"digest, 1 thread = 2 threads: {', '.join(sorted(digests))}"
    job = home.jobs.list()[0]
    delivery = job.ledger
    said = f"{delivery.delivered:,} delivered + {delivery.unreadable:,} unreadable + {delivery.failed:,} failed"
    closes = delivery.accepted == delivery.delivered + delivery.unreadable + delivery.failed == len(events)
    yield closes, f"delivery ledger: {delivery.accepted:,} accepted = {said}"
    yield home[job.output].events == delivery.delivered, f"output of job {job.id}: dataset {job.output}"
    with uproot.open("z.root") as file:
        kept = file["Events"].num_entries
    yield kept == len(events), f"skim: {kept:,} events in {Path('z.root').resolve()}"
    peak = home.lists["peak.events"]
    yield 0 < len(peak & events) == len(peak) <= len(events), f"selected again from the output: {len(peak):,} events"


def main() -> int:
    """Print every check; 1 where one failed."""
    home = tagsel.open(sys.argv[1] if len(sys.argv) > 1 else os.environ["TAGSEL_WORKSPACE"])
    assert isinstance(home, Workspace)
    failed = 0
    for holds, said in checks(home):
        print(f"  {'ok   ' if holds else 'WRONG'}  {said}")
        failed += not holds
    print(f"  all of it lies in {home.folder.parent}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
