"""The verbs on which something could be lost: how each is asked for, and how it is seen to be done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soak import world
from soak.forks import Ended, in_child, tagsel
from soak.world import BEFORE, NAME, OTHER, look

Ask = Callable[[Any], Any]


@dataclass(frozen=True)
class Verb:
    """A command, how to see whether it is done (`asks`), and what is seen then (`after`, where it differs)."""

    name: str
    arguments: tuple[str, ...]
    after: Mapping[str, Any] = field(default_factory=dict)
    asks: Mapping[str, Ask] = field(default_factory=dict)
    not_done: Mapping[str, Any] = field(default_factory=dict)

    def command(self, folder: Path) -> tuple[str, ...]:
        """Its words, in the world at a folder."""
        words = (word.replace("{}", str(folder)) for word in self.arguments)
        return (*words, "-w", str(folder / "W"))

    @property
    def done(self) -> dict[str, Any]:
        """What is seen once it is done."""
        return {**BEFORE, **self.not_done, **self.after}

    @property
    def undone(self) -> dict[str, Any]:
        """What is seen before."""
        return {**BEFORE, **self.not_done}


def _attribute(workspace: Any) -> int | None:
    from tagsel.errors import CutError

    try:
        return int(workspace[NAME].count("user.twice > 100").accepted)
    except CutError:
        return None


def _saved(workspace: Any) -> str | None:
    import tagsel

    path = workspace.folder.parent / "out.events"
    return tagsel.read_events(path).digest if path.exists() else None


def _skimmed(workspace: Any) -> int | None:
    import uproot

    path = workspace.folder.parent / "out.root"
    return int(uproot.open(path)["Events"].num_entries) if path.exists() else None


def _sites(workspace: Any) -> list[str]:
    return [site.name for site in workspace.catalog.sites()]


def _last_job(workspace: Any) -> Any:
    """The result of the job that was added; it is run to its end first where the kill left it undone."""
    jobs = workspace.jobs.list()
    if len(jobs) < 2:  # the world has one
        return None
    job = jobs[-1]
    if job.status().state != "done":
        job.resubmit()
        job.wait()
    return dict(job.result().value)


VERBS = (
    Verb("ingest", ("ingest", "{}/2.root", "--dataset", NAME), world.state_of(0, 1, 2)),
    Verb(
        "ingest, new dataset",
        ("ingest", "{}/2.root", "--dataset", "data18.Z.TAG"),
        {"names": [NAME, OTHER, "data18.Z.TAG"]},
        {"names": lambda workspace: workspace.catalog.names("data18.*")},
        {"names": [NAME, OTHER]},
    ),
    Verb(
        "extend",
        ("datasets", "extend", NAME, "twice = 2 * MET_pt"),
        {"twice": 2 * world.ABOVE_50},
        {"twice": _attribute},
        {"twice": None},
    ),
    Verb("retract", ("datasets", "retract", "{}/1.root", "--reason", "beam spot", "--yes"), world.state_of(0)),
    Verb("restore", ("datasets", "restore", f"{NAME}@1"), world.state_of(0)),
    Verb("compact", ("datasets", "compact", NAME)),
    Verb("gc", ("datasets", "gc", NAME)),
    Verb("drop", ("datasets", "drop", OTHER), {"other": None}),
    Verb(
        "pin",
        ("datasets", "pin", f"{OTHER}@1", "--reason", "thesis"),
        {"pinned": 1},
        {"pinned": lambda w: len(w.catalog.pins(OTHER))},
        {"pinned": 0},
    ),
    Verb(
        "sites add",
        ("sites", "add", "CNAF", "--prefix", "/data/cnaf"),
        {"sites": ["CNAF", "HOME"]},
        {"sites": _sites},
        {"sites": ["HOME"]},
    ),
    Verb("catalog rebuild", ("workspace", "rebuild")),
    Verb(
        "select",
        ("select", NAME, world.CUT, "-o", "{}/out.events"),
        {"saved": world.digest(0, 1)},
        {"saved": _saved},
        {"saved": None},
    ),
    Verb(
        "skim",
        ("skim", "{}/list.events", "-o", "{}/out.root"),
        {"skimmed": 2 * world.ABOVE_50},
        {"skimmed": _skimmed},
        {"skimmed": None},
    ),
    Verb(
        "submit",
        ("submit", "{}/list.events", "--run", "{}/job.py", "--events-per-job", "12"),
        {"job": world.JOB_RESULT},
        {"job": _last_job},
        {"job": None},
    ),
)
"""The paths on which something could be lost; more are a row each."""


def aftermath(verb: Verb, home: Path, scratch: Path, ended: Ended) -> str:
    """What is wrong after a verb ended in some way; "" for nothing.

    An acknowledged verb is done; another is done or not, nothing between; either way it can be repeated.
    """
    reason = _state(verb, home, [verb.done] if ended.code == 0 else [verb.done, verb.undone])
    if reason:
        return f"exit code {ended.code}: {reason}"
    again = in_child(tagsel(*verb.command(scratch)))
    if again.crashed:
        return f"a second try failed: {again.last_line}"
    reason = _state(verb, home, [verb.done])
    return f"after a second try: {reason}" if reason else ""


def _state(verb: Verb, home: Path, expected: Sequence[Mapping[str, Any]]) -> str:
    seen = in_child(look(home, verb.asks))
    if seen.code != 0:
        return f"the workspace does not open: {seen.last_line}"
    return " or ".join(world.differences(seen.value, expected))


def usual(verb: Verb, pristine: Path, scratch: Path) -> Ended:
    """The verb where nothing fails."""
    world.copy(pristine, scratch)
    ended = in_child(tagsel(*verb.command(scratch)))
    if ended.code != 0:
        raise world.BadWorld(f"{verb.name}: exit code {ended.code}: {ended.output}")
    return ended
