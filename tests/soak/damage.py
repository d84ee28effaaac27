"""Bit flips, truncations and swaps over all files of a workspace: an answer is right, or it is an error."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from soak import world
from soak.forks import in_child
from soak.tally import Part, Tally
from soak.world import BEFORE, NAME, look

ASIDE = (".run", ".lock", "lock", ".out", ".err", ".gate", "begun", "job.py")
"""Files whose content no answer rests on: locks, what a script printed, and the script, which is the user's."""


def files_of(home: Path) -> list[Path]:
    """The files of a workspace on which answers rest, sorted."""
    every = (path for path in sorted(home.rglob("*")) if path.is_file() and path.stat().st_size)
    return [path for path in every if not path.name.endswith(ASIDE)]


def damaged(seed: int, trial: int, files: list[Path]) -> tuple[Path, str, bytes]:
    """The file of a trial, what is done to it, and its bytes then."""
    chance = random.Random(f"{seed} damage {trial}")
    path = chance.choice(files)
    data = bytearray(path.read_bytes())
    kind = chance.random()
    if kind < 0.2:
        length = chance.randrange(len(data))
        return path, f"cut to {length} of {len(data)} B", bytes(data[:length])
    others = [other for other in files if other.suffix == path.suffix and other != path]
    if kind < 0.4 and others:
        other = chance.choice(others)
        return path, f"a copy of {other.name}", other.read_bytes()
    bit = chance.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    return path, f"bit {bit} flipped", bytes(data)


def _job(workspace: Any) -> Any:
    return dict(workspace.jobs["1"].result().value)


def _list(workspace: Any) -> str:
    import tagsel

    return tagsel.read_events(workspace.folder.parent / "list.events").digest


def _twice(workspace: Any) -> int:
    return int(workspace[NAME].count("MET_pt > 50").accepted)


QUESTIONS: dict[str, tuple[Any, Any]] = {
    "job": (_job, world.JOB_RESULT),
    "list": (_list, world.digest(0, 1)),
    "count": (_twice, 2 * world.ABOVE_50),
    "names": (lambda workspace: workspace.catalog.names("data18.*"), [world.NAME, world.OTHER]),
    "files": (lambda workspace: len(workspace.catalog.files(NAME, kind="AOD")), 2),
}
"""What is asked beside what `look` asks, each apart, and the right answers."""


def one_by_one(home: Path) -> Any:
    """Work for a child: each question apart, its answer or the class of its error; a fault of ours is its traceback."""

    def work() -> tuple[int, Any]:
        from tagsel.api import Workspace
        from tagsel.errors import TagselError

        asks = {name: ask for name, (ask, _) in QUESTIONS.items()}
        asks["look"] = lambda workspace: look(home)()[1]
        answers: dict[str, Any] = {}
        for name, ask in asks.items():
            try:
                answers[name] = ask(Workspace(home))
            except TagselError as error:
                answers[name] = f"refused: {error.message}"
        return 0, answers

    return work


def damage(seed: int, size: int, pristine: Path) -> Part:
    """Damage one file of a fresh copy at a time, and ask everything."""
    right = {name: value for name, (_, value) in QUESTIONS.items()}
    right["look"] = BEFORE
    files = files_of(pristine / "W")

    def run(tally: Tally, trials: range, scratch: Path) -> None:
        for trial in trials:
            path, what, data = damaged(seed, trial, files)
            name = path.relative_to(pristine / "W")
            home = world.copy(pristine, scratch)
            (home / name).write_bytes(data)
            ended = in_child(one_by_one(home))
            label = f"seed {seed}, trial {trial}, {name}, {what}"
            if ended.code != 0:
                tally.fail(f"{label}: {'hung' if ended.hung else f'exit code {ended.code}'}: {ended.last_line}")
                continue
            wrong = _wrong(ended.value, right)
            if wrong:
                tally.fail(f"{label}: {wrong}")
            else:
                tally.add("named" if any(_refused(answer) for answer in ended.value.values()) else "right all the same")

    return Part("damage", size, 50, run)


def _refused(answer: Any) -> bool:
    return isinstance(answer, str) and answer.startswith("refused: ")


def _wrong(answers: dict[str, Any], right: dict[str, Any]) -> str:
    """The answers that are neither right nor an error."""
    wrong = [
        f"{name} is {answers[name]!r:.200}, not {value!r:.80}"
        for name, value in right.items()
        if answers[name] != value and not _refused(answers[name])
    ]
    return "; ".join(wrong)
