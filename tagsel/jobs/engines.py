"""The engines that pieces run on, by name, and which of them a job was given.

Invariant: a job keeps its engine: every process that continues the job uses the same one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tagsel.errors import JobError, did_you_mean
from tagsel.jobs import condor, dask, local, slurm
from tagsel.jobs.executors import Ended, Executor, Task
from tagsel.jobs.folder import JobFolder


@dataclass(frozen=True)
class Engine:
    """How an engine's executor is made from options and a number of processes. Of the notes of a job `states` says
    where its tasks are, `collect` brings in those that ended while nobody drove it, and `cancel` ends all. `check` is a
    JobError where this machine cannot reach it at all."""

    make: Callable[[Mapping[str, str], int], Executor]
    states: Callable[[Path], Iterable[tuple[Task, str]]] = lambda notes: ()
    collect: Callable[[Path], Iterable[Ended]] = lambda notes: ()
    cancel: Callable[[Path], None] = lambda notes: None
    check: Callable[[], None] = lambda: None


def parse_size(text: str) -> int:
    """Bytes of `512MB`, `4GB`, `2GiB`; JobError else."""
    match = re.fullmatch(r"\s*(\d{1,15})\s*([kMGT]?)(i?)B?\s*", text)
    if match is None or not int(match[1]):
        raise JobError(f"{text[:40]!r} was given, an amount was expected", hint="for example 512MB or 4GB")
    base = 1024 if match[3] else 1000
    return int(match[1]) * int(base ** " kMGT".index(match[2] or " "))


def parse_memory(text: str) -> int:
    """Bytes of memory for a piece. JobError: no amount, or less than a piece takes before it reads an event."""
    size = parse_size(text)
    if size >= local.LEAST_MEMORY:
        return size
    least = f"{local.LEAST_MEMORY // 10**6} MB"
    hint = f"ask for at least {least.replace(' ', '')}"
    if text.strip().isdigit():
        hint = f"{hint}; name the unit: {text.strip()}GB"
    raise JobError(
        f"memory {text.strip()} is {size:,} bytes; a piece needs {least} or more, for its imports and its events",
        hint=hint,
        memory=text,
    )


MEMORY: Mapping[str, Callable[[int], tuple[str, str]]] = {
    "local": lambda size: ("memory", f"{size}B"),
    "condor": lambda size: ("request_memory", str(-(-size // 2**20))),
    "slurm": lambda size: ("mem", f"{-(-size // 2**20)}M"),
}
"""The setting of each engine that says how much memory a piece may take, and its value for so many bytes; the batch
systems count in MiB."""


def memory_setting(name: str, amount: str) -> dict[str, str]:
    """The setting by which an engine bounds a piece's memory.

    JobError: the engine has none, no amount was given, or one that is too small.

    >>> memory_setting("local", "2GB"), memory_setting("slurm", "2GiB")
    ({'memory': '2000000000B'}, {'mem': '2048M'})
    """
    if name not in MEMORY:
        raise JobError(f"engine {name} bounds no piece's memory", hint=f"--on {', '.join(MEMORY)}", engine=name)
    return dict([MEMORY[name](parse_memory(amount))])


def _local(options: Mapping[str, str], processes: int) -> Executor:
    if unknown := sorted(set(options) - {"memory", "log"}):
        raise JobError(f"local processes take no option {', '.join(unknown)}", hint="--set memory=4GB, --set log=1GB")
    memory = parse_memory(options["memory"]) if "memory" in options else 0
    log = parse_size(options["log"]) if "log" in options else local.LOG_BYTES
    return local.LocalExecutor(processes or None, memory=memory, log=log)


ENGINES: Mapping[str, Engine] = {
    "local": Engine(_local),
    "condor": Engine(
        lambda options, _: condor.CondorExecutor(options), condor.states, condor.collect, condor.cancel, condor.check
    ),
    "slurm": Engine(
        lambda options, _: slurm.SlurmExecutor(options), slurm.states, cancel=slurm.cancel, check=slurm.check
    ),
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

    def check(self) -> None:
        """JobError where this machine cannot reach the engine at all."""
        engine(self.name).check()

    def to_json(self) -> dict[str, object]:
        """What job.json says of it."""
        return {"name": self.name, "options": dict(self.options or {})}

    @classmethod
    def of(cls, folder: JobFolder) -> Chosen:
        """The engine of a job. JobError: nobody can tell."""
        said = folder.spec.get("engine")
        if said is not None:
            return cls(said["name"], said["options"])
        return cls._kept_apart(folder.engine / "engine.json")

    @classmethod
    def _kept_apart(cls, path: Path) -> Chosen:
        """What a job of version 1 says of its engine, in a file of its own; local processes where there is none."""
        try:
            document = json.loads(path.read_text("utf-8"))
            return cls(str(document["name"]), dict(document["options"]))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise JobError(f"{path}: not an engine: {error}", path=str(path)) from error


LOCAL = Chosen()
"""Processes of this machine."""
