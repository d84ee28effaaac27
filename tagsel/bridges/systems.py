"""The table of systems that lists are written for, and the writing.

Invariant: what is asked of a system is checked against its row before anything is written; a folder is there whole or
not at all, and none that holds something is touched.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tagsel.base.output_file import output_file, output_folder
from tagsel.bridges import cms, ganga, panda, pool
from tagsel.bridges.order import Order, Written
from tagsel.errors import AccessError, JobError, did_you_mean


@dataclass(frozen=True)
class System:
    """A system: what is written for it and by what, and what may be told it.

    `run` says whether it takes the user's program: "", "may" or "must"; `places`, whether it finds events by their
    files' places alone, so that those without one are lost; `single`, whether it takes one file and no folder.
    """

    what: str
    files: tuple[str, ...]
    write: Callable[[Order], Written]
    settings: Mapping[str, str] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    run: str = ""
    splits: bool = False
    places: bool = False
    single: bool = False


SYSTEMS: Mapping[str, System] = {
    "panda": System(
        "PanDA's client (prun, pathena): event picking, or the list's files of a dataset",
        (panda.EVENTS, panda.WITH_GUIDS, panda.FILES, panda.SCRIPT),
        panda.write,
        panda.SETTINGS,
    ),
    "ganga": System(
        "Ganga: a subjob for each piece of the list, on any of its backends",
        (ganga.SCRIPT, "program.py", ganga.RUN, ganga.PIECES),
        ganga.write,
        ganga.SETTINGS,
        run="must",
        splits=True,
        places=True,
    ),
    "crab": System(
        "CRAB: a luminosity mask, the events, and a configuration that picks them",
        (cms.MASK, cms.EVENTS, cms.CONFIG),
        cms.write_crab,
        cms.CRAB_SETTINGS,
        ("storageSite",),
        run="may",
    ),
    "edmpick": System(
        "edmPickEvents: the events, and its command",
        (cms.EVENTS, cms.PICK),
        cms.write_pick,
        cms.PICK_SETTINGS,
        ("inputDataset",),
    ),
    "pool": System(
        "POOL and Athena: the files of the list with their names, as PoolFileCatalog.xml",
        (pool.CATALOG,),
        pool.write,
        places=True,
        single=True,
    ),
}
"""Every system by its name. A new one is one row."""


@dataclass(frozen=True)
class Exported:
    """What was written: files below `out` (`out` itself where it is one), and what the list lacks for the system.

    `lost` counts events that are not in it: those without an address, and those of the files `nameless`, by GUID.
    """

    system: str
    out: Path
    files: tuple[str, ...]
    events: int
    lost: int = 0
    nameless: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    command: str = ""

    def to_json(self) -> dict[str, object]:
        """All of it, JSON-ready."""
        return {
            "system": self.system,
            "out": str(self.out),
            "files": list(self.files),
            "events": self.events,
            "lost": self.lost,
            "nameless": list(self.nameless),
            "notes": list(self.notes),
            "command": self.command,
        }


def system(name: str) -> System:
    """The row of a system; JobError with the nearest where there is none."""
    if name not in SYSTEMS:
        raise JobError(f"no system {name!r}", hint=did_you_mean(name, SYSTEMS) or ", ".join(SYSTEMS), system=name)
    return SYSTEMS[name]


def export(name: str, order: Order, out: Path, *, force: bool = False) -> Exported:
    """Write what a system takes, below a missing or empty folder `out`, or as the file `out`.

    JobError for what the system does not take or lacks; AccessError where nothing can be written. `force` replaces a
    file that tagsel wrote, never a folder.
    """
    row = system(name)
    _check(name, row, order)
    nameless = tuple(f.guid for f in order.map.files if not order.copies.get(f.guid)) if row.places else ()
    placeless = len(order.map.unmapped) + sum(len(f.entries) for f in order.map.files if f.guid in nameless)
    lost = placeless if row.places else 0
    if lost and lost == len(order.events):
        message = f"none of the {lost:,} events has a file whose place is known"
        raise JobError(message, hint="tagsel map names the files")
    written = row.write(order)
    if row.single:
        (text,) = written.files.values()
        with output_file(out, force=force) as temporary:
            temporary.write_text(text, "utf-8")
    else:
        with output_folder(out) as building:
            for file_name, content in written.files.items():
                (building / file_name).write_text(content, "utf-8")
    command = shlex.join(word.replace("{out}", str(out), 1) for word in written.command)
    files = () if row.single else tuple(written.files)
    return Exported(name, out, files, len(order.events), lost, nameless, written.notes, command)


def _check(name: str, row: System, order: Order) -> None:
    """JobError for what an order gives a system that does not take it, and for what it lacks."""
    _check_settings(name, row, order.settings)
    _check_program(name, row, order.run)
    if order.events_per_job is not None and not row.splits:
        raise JobError(f"{name} splits by itself: events per job mean nothing to it")


def _check_settings(name: str, row: System, settings: Mapping[str, str]) -> None:
    for key, value in settings.items():
        if key not in row.settings:
            choices = ", ".join(row.settings) or f"{name} takes none"
            raise JobError(
                f"{name} takes no setting {key!r}", hint=did_you_mean(key, row.settings) or choices, setting=key
            )
        if any(ord(c) < 32 or ord(c) == 127 for c in value):
            raise JobError(f"setting {key} of {name} holds control characters: {value[:80]!r}", setting=key)
    for key in row.needed:
        if not settings.get(key):
            raise JobError(f"{name} needs {key}: {row.settings[key]}", hint=f"--set {key}=…", setting=key)


def _check_program(name: str, row: System, program: Path | None) -> None:
    if program is None:
        if row.run == "must":
            raise JobError(f"{name} needs a program", hint="--run PROGRAM, which gets the name of a piece")
        return
    if not row.run:
        hint = "--set exec='…'" if "exec" in row.settings else "leave --run out"
        raise JobError(f"{name} takes no program", hint=hint)
    if not program.is_file():
        raise AccessError(f"there is no file {program}", path=str(program))
