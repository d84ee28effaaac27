"""Six processes at once in one workspace: two ingest, one packs and cleans, two ask, one writes to the catalog.

Each says what was acknowledged to it. While they run, an answer about a pinned snapshot never changes; at the end, all
that was acknowledged is there.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nanofile import nano

from soak import world
from soak.forks import in_child
from soak.tally import Part, Tally
from soak.world import CUT, NAME

Step = Callable[[Any, random.Random, int], str]


def _ingest(workspace: Any, chance: random.Random, number: int) -> str:
    """A new file of 25 events, into one of two datasets."""
    name = f"data18.crowd{chance.randrange(2)}.TAG"
    first = chance.randrange(1 << 40)
    path = nano(workspace.folder.parent / f"crowd-{first}.root", first, world.EVENTS)
    workspace.ingest(path, dataset=name, processes=1)
    return name


def _pack(workspace: Any, chance: random.Random, number: int) -> str:
    """Packing, and the removal of what nobody needs."""
    for name in workspace.catalog.names("data18.crowd*"):
        workspace.datasets.compact(name)
        workspace.datasets.gc(name, grace=60.0)
    return ""


def _ask(workspace: Any, chance: random.Random, number: int) -> str:
    """A question about a pinned snapshot, whose answer is known, and one about a dataset that grows."""
    accepted = workspace[f"{NAME}@1"].count(CUT).accepted
    if accepted != world.ABOVE_50:
        raise AssertionError(f"{NAME}@1 has {accepted} events above 50 GeV, not {world.ABOVE_50}")
    if workspace[f"{NAME}@2"].select(CUT).digest != world.digest(0, 1):
        raise AssertionError(f"the digest of {NAME}@2 changed")
    for name in workspace.catalog.names("data18.crowd*"):
        read = workspace[name].count("true").read
        if read % world.EVENTS:
            raise AssertionError(f"{name} has {read} rows: a file is there in part")
    return ""


def _note(workspace: Any, chance: random.Random, number: int) -> str:
    """A site, which stays."""
    name = f"SITE{number}"
    from tagsel.catalog import PutSite

    workspace.catalog.record(PutSite(name, f"/data/{name}"))
    return name


ROLES: tuple[tuple[str, Step], ...] = (
    ("ingest", _ingest),
    ("ingest", _ingest),
    ("pack", _pack),
    ("ask", _ask),
    ("ask", _ask),
    ("note", _note),
)


def _play(role: int, home: Path, seed: int, until: float, results: Any) -> None:
    """One process: its step again and again, until the time is over."""
    from tagsel.api import Workspace

    name, step = ROLES[role]
    chance = random.Random(f"{seed} {role}")
    acknowledged: list[str] = []
    turns = 0
    try:
        while time.time() < until:
            acknowledged.append(step(Workspace(home), chance, turns))
            turns += 1
    except BaseException as error:
        results.put((role, turns, acknowledged, f"{name}, turn {turns}: {type(error).__name__}: {error}"))
    else:
        results.put((role, turns, acknowledged, ""))


def crowd(seed: int, minutes: float, pristine: Path) -> Part:
    """Let six processes work for some minutes, then count."""

    def run(tally: Tally, trials: range, scratch: Path) -> None:
        home = world.copy(pristine, scratch)
        context = multiprocessing.get_context("fork")
        results = context.Queue()
        until = time.time() + 60 * minutes
        players = [context.Process(target=_play, args=(role, home, seed, until, results)) for role in range(len(ROLES))]
        for player in players:
            player.start()
        reports = [results.get(timeout=60 * minutes + 300) for _ in players]
        for player in players:
            player.join()
        for role, turns, _, wrong in reports:
            tally.trials += turns
            tally.outcomes[ROLES[role][0]] += turns
            if wrong:
                tally.fail(f"seed {seed}: {wrong}")
        for wrong in _missing(home, reports):
            tally.fail(f"seed {seed}: {wrong}")

    return Part("crowd of six", 1, 1, run)


def _missing(home: Path, reports: list[tuple[int, int, list[str], str]]) -> list[str]:
    """What was acknowledged and is not there."""
    ingested = [name for role, _, names, _ in reports if ROLES[role][0] == "ingest" for name in names]
    noted = [name for role, _, names, _ in reports if ROLES[role][0] == "note" for name in names]

    def count() -> tuple[int, Any]:
        from tagsel.api import Workspace

        workspace = Workspace(home)
        datasets = {name: workspace[name].count("true").read for name in workspace.catalog.names("data18.crowd*")}
        return 0, {"rows": datasets, "sites": [site.name for site in workspace.catalog.sites()]}

    ended = in_child(count)
    if ended.code != 0:
        return [f"at the end the workspace does not open: {ended.last_line}"]
    wrong = []
    for name in sorted(set(ingested)):
        expected = world.EVENTS * ingested.count(name)
        if ended.value["rows"].get(name) != expected:
            wrong.append(f"{name} has {ended.value['rows'].get(name)} rows, {expected} were acknowledged")
    lost = sorted(set(noted) - set(ended.value["sites"]))
    if lost:
        wrong.append(f"sites that were acknowledged are gone: {', '.join(lost)}")
    return wrong
