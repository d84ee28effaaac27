"""What the trials of one part of the suite came to, and the file in which it stands between runs."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tagsel.base.atomic_write import write_bytes

VERSION = 1


@dataclass
class Tally:
    """Trials of one part by their outcome; `failures` name seed and trial, so that each can be repeated.

    `done` of a part's `size` have been run. The crowd is one run, whose trials are turns.
    """

    kind: str
    size: int
    done: int = 0
    trials: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, outcome: str) -> None:
        """One more trial that went as it should."""
        self.trials += 1
        self.outcomes[outcome] += 1

    def fail(self, what: str) -> None:
        """One more trial, and what went wrong."""
        self.trials += 1
        self.outcomes["wrong"] += 1
        self.failures.append(what)

    def take(self, turn: Tally) -> None:
        """Take up what a turn came to."""
        self.done += turn.done
        self.trials += turn.trials
        self.outcomes.update(turn.outcomes)
        self.failures.extend(turn.failures)
        self.seconds += turn.seconds

    def row(self) -> str:
        """The tally as a line of text."""
        trials = f"{self.trials:>9,} trials ({self.done / self.size:.1%})"
        wrong = len(self.failures)
        return f"{self.kind:<24} {trials}: {self.outcomes_text()}; {wrong} wrong; {self.seconds / 60:.1f} min"

    def outcomes_text(self) -> str:
        """The outcomes that are not wrong, with their numbers, the most frequent first."""
        return ", ".join(f"{n:,} {name}" for name, n in self.outcomes.most_common() if name != "wrong")


class Counts:
    """How far each part came, in a JSON file: a later run with the same file goes on where this one stops."""

    def __init__(self, path: Path | None, seed: int) -> None:
        self.path = path
        self.seed = seed
        self.parts: dict[str, Tally] = {}
        self.commits: list[str] = []
        if path is not None and path.exists():
            self._read(json.loads(path.read_text()))

    def _read(self, document: Mapping[str, Any]) -> None:
        if document.get("version") != VERSION:
            raise ValueError(f"{self.path} has version {document.get('version')} of this file, not {VERSION}")
        self.seed = document["seed"]
        self.commits = document["commits"]
        for kind, part in document["parts"].items():
            outcomes = Counter(part.pop("outcomes"))
            self.parts[kind] = Tally(kind, outcomes=outcomes, **part)

    def tally(self, kind: str, size: int) -> Tally:
        """The tally of a part of so many trials: what earlier runs came to."""
        tally = self.parts.setdefault(kind, Tally(kind, size))
        tally.size = size
        return tally

    def note_commit(self) -> None:
        """Note the commit of the code whose trials follow."""
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True)
        commit = done.stdout.strip() or "unknown"
        if commit not in self.commits:
            self.commits.append(commit)

    def table(self) -> str:
        """The figures as the table of docs/understand/reliability.md: a row for each kind of fault, over all verbs."""
        kinds: dict[str, Tally] = {}
        for tally in self.parts.values():
            kind, _, _ = tally.kind.partition(": ")
            total = kinds.setdefault(kind, Tally(kind, 0))
            total.size += tally.size
            total.take(tally)
        rows = [
            f"| {total.kind} | {total.done:,} | {total.size:,} | {total.outcomes_text()} | {len(total.failures)} |"
            for total in kinds.values()
        ]
        return "\n".join(["| kind | done | of | outcomes | wrong |", "|---|---|---|---|---|", *rows])

    def save(self) -> None:
        """Write the file."""
        if self.path is None:
            return
        parts = {}
        for kind, tally in self.parts.items():
            fields = {name: value for name, value in vars(tally).items() if name != "kind"}
            parts[kind] = {**fields, "outcomes": dict(tally.outcomes)}
        document = {
            "version": VERSION,
            "seed": self.seed,
            "date": time.strftime("%Y-%m-%d"),
            "commits": self.commits,
            "parts": parts,
        }
        write_bytes(self.path, json.dumps(document, indent=1).encode())


@dataclass(frozen=True)
class Part:
    """One kind of fault: how many trials it has in all, how many are run in a turn, and what runs some of them.

    `run` adds the trials of a range to a tally; the folder is free for what they need, and nobody else uses it.
    """

    kind: str
    size: int
    turn: int
    run: Callable[[Tally, range, Path], None]
