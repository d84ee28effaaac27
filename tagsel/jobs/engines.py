"""The engines that pieces run on, by name, and which of them a job was given.

Invariant: a job keeps its engine: whoever goes on with it, in whatever process, asks the same one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tagsel.errors import JobError, did_you_mean
from tagsel.jobs import condor, dask, local, slurm
from tagsel.jobs.executors import Ended, Executor, Task


@dataclass(frozen=True)
class Engine:
    """How an engine's executor is made from options and a number of processes. Of the notes of a job `states` says
    where its tasks are, `collect` brings in those that ended while nobody drove it, and `cancel` ends all."""

    make: Callable[[Mapping[str, str], int], Executor]
    states: Callable[[Path], Iterable[tuple[Task, str]]] = lambda notes: ()
    collect: Callable[[Path], Iterable[Ended]] = lambda notes: ()
    cancel: Callable[[Path], None] = lambda notes: None


def _local(options: Mapping[str, str], processes: int) -> Executor:
    if options:
        raise JobError(f"local processes take no option: {', '.join(options)}", hint="--set is for batch engines")
    return local.LocalExecutor(processes or None)


ENGINES: Mapping[str, Engine] = {
    "local": Engine(_local),
    "condor": Engine(lambda options, _: condor.CondorExecutor(options), condor.states,
                     condor.collect, condor.cancel),
    "slurm": Engine(lambda options, _: slurm.SlurmExecutor(options), slurm.states, cancel=slurm.cancel),
    "dask": Engine(lambda options, _: dask.DaskExecutor(options)),
}
"""Every engine by its name. The libraries that an engine needs are imported when it is asked for something."""


def engine(name: str) -> Engine:
    """The engine of a name. JobError where there is none."""
    if name not in ENGINES:
        raise JobError(f"no engine {name!r}", hint=did_you_mean(name, ENGINES) or ", ".join(ENGINES), engine=name)
    return ENGINES[name]


@dataclass(frozen=True)
class Chosen:
    """The engine that a job was given, with its options."""

    name: str = "local"
    options: Mapping[str, str] | None = None

    def executor(self, processes: int = 0) -> Executor:
        """One for this process. JobError where the engine, or an option, is not there."""
        return engine(self.name).make(dict(self.options or {}), processes)

    def write(self, notes: Path) -> None:
        """Keep it in the folder of a job's notes, which is made."""
        notes.mkdir(exist_ok=True)
        (notes / "engine.json").write_text(json.dumps({"name": self.name, "options": dict(self.options or {})}))

    @classmethod
    def read(cls, notes: Path) -> Chosen:
        """What was kept; local processes where nothing was."""
        try:
            told = json.loads((notes / "engine.json").read_text("utf-8"))
            return cls(told["name"], told["options"])
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise JobError(f"{notes / 'engine.json'}: not an engine: {error}", path=str(notes)) from error
