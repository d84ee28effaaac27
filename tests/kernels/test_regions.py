"""The debug build: a load or store outside of what a loop was given is an IndexError, compiled and in Python."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import numpy as np
import pytest

from tagsel.kernels.regions import Regions, owner_of

LISTING = """
import gc
import numpy as np
from tagsel.kernels import kernel_cache, listing
from tagsel.kernels.layouts import LISTED_UNIT, LISTING_JOB
from tagsel.kernels.memory import address_of

bits, events = np.full(3, 2**64 - 1, np.uint64), np.arange(192)
starts, counts = np.array([0, 64, 192]), np.zeros(2, np.int64)
unit = LISTED_UNIT.filled(
    bits=address_of(bits), events=address_of(events), first_row=0, first_segment=0, end_segment={segments}
)
job = LISTING_JOB.filled(
    units=address_of(unit), starts=address_of(starts), counts=address_of(counts), dest=0,
    constants=0, constant_count=0, rising=0, rising_count=0, events=0,
)
rows = np.zeros(listing.CHUNK, np.int32)
job_at, rows_at = address_of(job), address_of(rows)
{before}
loop = kernel_cache.function(listing.write_events) if {compiled} else listing.write_events
loop(job_at, rows_at, 0, {units})
print(counts.tolist())
"""


def listed(checked: bool, compiled: bool, *, segments: int = 2, units: int = 1, before: str = "") -> tuple[str, str]:
    """What a process prints that counts the rows of two segments, (64, 128), and the last line of its error."""
    script = LISTING.format(compiled=compiled, segments=segments, units=units, before=before)
    environment = os.environ | {"TAGSEL_DEBUG_KERNELS": "1" if checked else "0"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=300)
    return done.stdout.strip(), (done.stderr.strip().splitlines() or [""])[-1]


@pytest.mark.parametrize("compiled", [True, False])
def test_a_loop_with_right_tables_gives_the_same_answer_checked(compiled: bool) -> None:
    assert listed(True, compiled) == listed(False, compiled) == ("[64, 128]", "")


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    ("slip", "size"),
    [
        ({"units": 2}, "40"),  # a second unit, of five words
        ({"segments": 3}, "8"),  # a third segment: its start is a word behind the array
        ({"before": "del unit; gc.collect()"}, "40"),  # the units are freed before the loop reads them
    ],
)
def test_a_slip_is_an_index_error(compiled: bool, slip: dict[str, object], size: str) -> None:
    answer, error = listed(True, compiled, **slip)  # type: ignore[arg-type]
    assert answer == ""
    assert error.startswith("IndexError: ")
    assert f"{size} bytes at 0x" in error


def test_regions_that_overlap_are_one_and_neighbours_are_two() -> None:
    regions, owner = Regions(), np.zeros(1)
    for begin, size in ((100, 50), (120, 10), (140, 30), (170, 8), (300, 0)):
        regions.add(owner, begin, size)
    assert regions.table().tolist() == [2, 100, 170, 170, 178]


def test_a_region_lives_as_long_as_the_owner_of_its_memory() -> None:
    regions, array = Regions(), np.zeros(10)
    view = array[2:5].view(np.uint8)
    assert owner_of(view) is array
    regions.add(owner_of(view), 1000, view.nbytes)
    del view
    gc.collect()
    assert regions.table().tolist() == [1, 1000, 1024]
    del array
    gc.collect()
    assert regions.table().tolist() == [0]
