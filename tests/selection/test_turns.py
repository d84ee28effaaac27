"""Generated cuts asked in turns of two datasets of many parts, which evict each other's maps (row 61 of the faults).

A child asks: the pool keeps four maps, a batch of a scan has three parts, and each dataset has 44. So a question maps
nearly every part anew, and an address that outlives its map points to nothing, or to another part. The child answers
with the ledger and the identities of the accepted events; the right ones come from the slow oracle, event by event. A
cut has one to three of a dozen generated conditions (those of the backbone), each beside a comparison with a stored
value; constants differ, so that all cuts share a dozen kernels.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import oracle as slow
import pytest
from strategies import MENUS, SCHEMA, Table, lumi, make_case, make_table
from tag_parts import by_hand, dataset, numbered

from tagsel.language import Node, Scope, bind
from tagsel.language.tree import walk
from tagsel.store import layout

PARTS, CONDITIONS, QUESTIONS = 44, 12, 27
MOST_MAPS, MOST_PARTS = 4, 3
SMALL = 12
"""Nodes of a generated condition that is compiled in CI: a tenth of a second each."""

SCOPE = Scope(SCHEMA, MENUS, lumi)

CHILD = """
import json, resource, sys, threading
from pathlib import Path

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from tag_schema import lumi
from tagsel.errors import CutError
from tagsel.engine import compiled_scan
from tagsel.selection import Input, Query, count, select
from tagsel.store import Table, frame, mapping

asked = json.loads(Path(sys.argv[1]).read_text())
compiled_scan.MASKS_PAY, mapping.POOL.max_entries, frame.MOST_PARTS = 0, asked["most_maps"], asked["most_parts"]
inputs = [Input("d", Table.open(Path(folder)).snapshot()) for folder in asked["folders"]]
maps = []
map_file = mapping._new
mapping._new = lambda file, *rest: (maps.append(file[0]), map_file(file, *rest))[1]

def answer(number, which):
    cuts = (("", asked["cuts"][number]),)
    tier = ("kernel", "interpreter", "kernel")[number % 3]
    remember = number % 4 == 0
    query = Query((inputs[which],), cuts, tables=lumi, tier=tier, threads=1 + number % 2, remember=remember)
    try:
        events, listed = select(query)
        counted = count(query)
    except CutError:
        return None
    return [counted.ledger.to_json(), listed.ledger.to_json(), [list(event) for event in events]]

def ask(answers, first):
    for number in range(len(asked["cuts"])):
        for which in (first, 1 - first):
            answers[f"{number} {which}"] = answer(number, which)

one, two, three = {}, {}, {}
ask(one, 0)
threads = [threading.Thread(target=ask, args=given) for given in ((two, 0), (three, 1))]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
kept = len(mapping.POOL)
print(json.dumps({"answers": [one, two, three], "maps": len(maps), "kept": kept}))
"""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, list[Table]]]:
    """Two datasets of 44 parts of 1 to 14 rows, in row groups of 8, which share events' files.

    A third of the parts lack one set of columns, a third another one: a kernel serves the parts that lack the same.
    """
    random, made = np.random.default_rng(61), []
    lacking = (make_table(0, seed).absent for seed in itertools.count())
    absent = [frozenset[str](), *itertools.islice(filter(None, lacking), 2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "ROW_GROUP", 8)
        for name in "ab":
            sizes, seeds = random.integers(1, 15, PARTS), random.integers(2**32, size=PARTS)
            tables = []
            for at, (rows, seed) in enumerate(zip(sizes, seeds, strict=True)):
                table = replace(make_table(int(rows), int(seed)), absent=absent[at % 3])
                tables.append(numbered(table, 100 * at, repeat=at % 11 == 0))
            folder = tmp_path_factory.mktemp("turns") / name
            assert len(dataset(folder, tables).snapshot().parts) == PARTS
            made.append((folder, tables))
    return made


def conditions() -> list[str]:
    """A dozen generated conditions that are small."""
    chosen: list[str] = []
    number = 0
    while len(chosen) < CONDITIONS:
        cut = make_case(number).cut
        number += 1
        if cut not in chosen and sum(1 for _ in walk(bind(cut, SCOPE).node)) <= SMALL:
            chosen.append(cut)
    return chosen


STORED = ("x", "y", "i", "j", "MET_pt", "nMuon")
COMPARISONS = ("<", ">=", "==", "<=", ">", "!=")


def cuts_of(tables: Sequence[Table]) -> list[str]:
    """The cuts: each of one to three conditions, `(generated) && or || name < value`, the value a stored one."""
    random, generated = np.random.default_rng(13), conditions()
    stored = {name: _finite(tables, name) for name in STORED}
    cuts = []
    for number in range(QUESTIONS):
        chosen = random.choice(CONDITIONS, 1 + number % 3, replace=False).tolist()
        terms = [_condition(random, at, generated[at], stored) for at in chosen]
        cuts.append(" && ".join(terms))
    return [*cuts, "j % i == 0"]  # i is 0 in some rows: there is no answer


def _condition(random: np.random.Generator, at: int, generated: str, stored: dict[str, list[Any]]) -> str:
    """A condition, of which the threshold alone is new."""
    name, comparison = STORED[at % len(STORED)], COMPARISONS[at % 5]
    value = stored[name][int(random.integers(len(stored[name])))]
    return f"(({generated}) {'&&' if at % 4 == 3 else '||'} {name} {comparison} {value!r})"


def _finite(tables: Sequence[Table], name: str) -> list[Any]:
    """Values of a column in parts that have it."""
    columns = [table.columns[name] for table in tables if name not in table.absent]
    values = np.concatenate(columns)
    finite: list[Any] = values[np.isfinite(values)].tolist()
    return finite


Right = list[Any] | None
"""Ledger and identities of the accepted events; None where a row has no answer, and the question must say so."""


def right(node: Node, tables: Sequence[Table]) -> Right:
    """What the slow oracle accepts."""
    try:
        events, ledger = by_hand(node, tables, "first", None)
    except slow.Unanswerable:
        return None
    return [ledger, ledger, [list(event) for event in events]]


def answers_of_a_child(file: Path, cuts: Sequence[str], folders: Sequence[str]) -> dict[str, Any]:
    """What the child says of the cuts: the answers of each of its three askers, and how often it mapped a part."""
    asked = {"cuts": cuts, "folders": folders, "most_maps": MOST_MAPS, "most_parts": MOST_PARTS}
    file.write_text(json.dumps(asked))
    command = [sys.executable, "-c", CHILD, str(file)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=environment)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-2000:]}"
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_fault_61_generated_cuts_of_two_datasets_in_turns(both: list[tuple[Path, list[Table]]], tmp_path: Path) -> None:
    """By one thread, and by two that begin with different datasets; by both evaluators, with masks and without."""
    cuts = cuts_of([*both[0][1], *both[1][1]])
    folders = [str(folder) for folder, _ in both]
    report = answers_of_a_child(tmp_path / "asked.json", cuts, folders)
    truth = {}
    for number, cut in enumerate(cuts):
        node = bind(cut, SCOPE).node
        for which, (_, tables) in enumerate(both):
            truth[f"{number} {which}"] = right(node, tables)
    for answers in report["answers"]:
        wrong = {cuts[int(key.split()[0])]: key for key in truth if answers[key] != truth[key]}
        assert wrong == {}
    questions = 3 * len(truth)
    assert report["kept"] <= MOST_MAPS
    assert report["maps"] > questions * PARTS  # a question, asked of select and of count, maps 44 parts
    answered = [answer for answer in truth.values() if answer is not None]
    accepted = [ledger["accepted"] for ledger, _, _ in answered]
    assert len(answered) == len(truth) - len(both)
    assert sum(0 < n < 300 for n in accepted) > len(accepted) / 2
