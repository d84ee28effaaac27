"""The engines that pieces run on, by name, and which of them a job was given.

Invariant: a job keeps its engine: whoever goes on with it, in whatever process, asks the same one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tagsel.errors import JobError, did_you_mean
from tagsel.jobs.executors import Executor, Task


@dataclass(frozen=True)
class Engine:
    """How an engine's executor is made from options and a number of processes, and how its tasks are asked for."""

    make: Callable[[Mapping[str, str], int], Executor]
    states: Callable[[Path], Iterator[tuple[Task, str]]]
    help: str


def _local(options: Mapping[str, str], processes: int) -> Executor:
    from tagsel.jobs.local import LocalExecutor

    if options:
        raise JobError(f"local processes take no option: {', '.join(options)}", hint="--set is for batch engines")
    return LocalExecutor(processes or None)


def _condor(options: Mapping[str, str], processes: int) -> Executor:
    from tagsel.jobs.condor import CondorExecutor

    return CondorExecutor(options)


def _condor_states(notes: Path) -> Iterator[tuple[Task, str]]:
    from tagsel.jobs.condor import states

    return states(notes)


def _slurm(options: Mapping[str, str], processes: int) -> Executor:
    from tagsel.jobs.slurm import SlurmExecutor

    return SlurmExecutor(options)


def _slurm_states(notes: Path) -> Iterator[tuple[Task, str]]:
    from tagsel.jobs.slurm import states

    return states(notes)


def _dask(options: Mapping[str, str], processes: int) -> Executor:
    from tagsel.jobs.dask import DaskExecutor

    return DaskExecutor(options)


ENGINES: Mapping[str, Engine] = {
    "local": Engine(_local, lambda notes: iter(()), "processes on this machine"),
    "condor": Engine(_condor, _condor_states, "HTCondor"),
    "slurm": Engine(_slurm, _slurm_states, "Slurm"),
    "dask": Engine(_dask, lambda notes: iter(()), "a Dask cluster"),
}


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
