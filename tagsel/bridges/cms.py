"""For CMS: what edmPickEvents takes, and CRAB's configuration with its luminosity mask.

Events are `run:lumi:event` for edmPickEvents, and `run:event` for the eventsToProcess_load of its own job
(copyPickMerge_cfg.py), which is what it writes itself. Invariant: the mask holds the luminosity blocks of the
events and no other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from tagsel.bridges.order import Order, Written, column, event_lines, name_lines, shell_script
from tagsel.errors import JobError
from tagsel.quality import LumiSet, format_lumi

EVENTS, PICK, MASK, CONFIG, FILES = "events.txt", "edmPickEvents.sh", "lumiMask.json", "crab_config.py", "files.txt"
PSET = "pset.py"
PICKER = "src/PhysicsTools/Utilities/configuration/copyPickMerge_cfg.py"
"""The job of edmPickEvents, below the release: what CRAB runs where no other is given."""

PICK_SETTINGS = {"inputDataset": "the dataset in DAS, /A/B/C", "output": "the base of the names of what it writes"}

CRAB_SETTINGS = {
    "storageSite": "where the output goes, T2_…",
    "inputDataset": "the dataset in DAS, /A/B/C; else the list's own files are read",
    "inputDBS": "global, phys03",
    "requestName": "what CRAB calls the task",
    "unitsPerJob": "luminosity blocks, or files, a job",
    "outputFile": "the file that a job leaves",
    "outLFNDirBase": "where in /store the output goes",
}


_CONFIG = """# {title}: crab submit -c {config}
{refusal}import os
import pathlib

from WMCore.Configuration import Configuration

HERE = os.path.dirname(os.path.abspath(__file__))
config = Configuration()
config.section_("General")
config.General.requestName = {requestName!a}
config.section_("JobType")
config.JobType.pluginName = "Analysis"
config.JobType.psetName = {pset}
config.JobType.pyCfgParams = [
    "eventsToProcess_load=" + os.path.join(HERE, {events!a}),
    "outputFile=" + {outputFile!a},
]
config.section_("Data")
{data}config.section_("Site")
config.Site.storageSite = {storageSite!a}
"""


def write_pick(order: Order) -> Written:
    """The event list, and the script that calls edmPickEvents.py.

    The list is named without a folder: a path with a colon would be taken for an event.
    """
    settings = {"output": "pickevents", **order.settings}
    if settings["inputDataset"].startswith("-"):
        raise JobError(f"inputDataset {settings['inputDataset']!r} would be taken for an option", hint="/A/B/C")
    command = ["edmPickEvents.py", f"--output={settings['output']}", settings["inputDataset"], EVENTS]
    files = {
        EVENTS: event_lines(order, "run", "lumi", "event", separator=":"),
        PICK: shell_script(order.title, command, within=True, empty=not len(order.events)),
    }
    return Written(files, ["sh", f"{{out}}/{PICK}"])


def write_crab(order: Order) -> Written:
    """The mask, the events, and a configuration that picks just these events."""
    files = {MASK: format_lumi(_mask(order), "json"), EVENTS: event_lines(order, "run", "event", separator=":")}
    if order.run is not None:
        files[PSET] = order.run.read_text("utf-8")
    if "inputDataset" not in order.settings:
        files[FILES] = name_lines(_inputs(order))
    files[CONFIG] = _config(order)
    return Written(files, ["crab", "submit", "-c", f"{{out}}/{CONFIG}"])


def _mask(order: Order) -> LumiSet:
    column(order, "lumi")  # all are known
    blocks = np.unique(np.stack([order.events.run, order.events.lumi], axis=1), axis=0).tolist()
    return LumiSet.from_ranges([(run, lumi, lumi) for run, lumi in blocks])


def _inputs(order: Order) -> Iterator[str]:
    """What CRAB reads where no dataset is named: each file by its name below /store, else by a URL."""
    hint = "--set inputDataset=/A/B/C reads the list's luminosity blocks of a dataset"
    if len(order.map.unmapped):
        raise JobError(f"{len(order.map.unmapped):,} events have no file", hint=hint)
    for f in order.map.files:
        urls = [place for place in order.copies.get(f.guid, ()) if place.startswith(("root://", "https://"))]
        names = [f.lfn] if f.lfn.startswith("/store/") else urls
        if not names:
            raise JobError(f"file {f.lfn or f.guid} has neither a name below /store nor a URL", hint=hint, guid=f.guid)
        yield names[0]


def _config(order: Order) -> str:
    settings = {"requestName": f"tagsel_{order.events.digest[:16]}", "outputFile": "pickevents.root", **order.settings}
    if not settings.get("unitsPerJob", "1").isdecimal():
        raise JobError(f"unitsPerJob is {settings['unitsPerJob']!r}: a whole number was expected")
    refusal = "" if len(order.events) else 'raise SystemExit("the list has no events: nothing is to be done")\n'
    release = f'os.path.join(os.environ["CMSSW_RELEASE_BASE"], {PICKER!a})'
    return _CONFIG.format(
        title=order.title,
        config=CONFIG,
        events=EVENTS,
        refusal=refusal,
        pset=release if order.run is None else f"os.path.join(HERE, {PSET!a})",
        data="".join(f"config.Data.{name} = {value}\n" for name, value in _data(settings).items()),
        **_plain(settings),
    )


def _plain(settings: Mapping[str, str]) -> dict[str, str]:
    return {name: settings[name] for name in ("requestName", "outputFile", "storageSite")}


def _data(settings: Mapping[str, str]) -> dict[str, str]:
    """The section Data, as Python: luminosity blocks of a dataset, or files, whose blocks CRAB does not know."""
    out = {"outLFNDirBase": ascii(settings["outLFNDirBase"])} if "outLFNDirBase" in settings else {}
    if "inputDataset" in settings:
        return {
            "inputDataset": ascii(settings["inputDataset"]),
            "inputDBS": ascii(settings.get("inputDBS", "global")),
            "lumiMask": f"os.path.join(HERE, {MASK!a})",
            "splitting": '"LumiBased"',
            "unitsPerJob": str(int(settings.get("unitsPerJob", "5"))),
            **out,
        }
    return {
        "userInputFiles": f"pathlib.Path(HERE, {FILES!a}).read_text().splitlines()",
        "outputPrimaryDataset": ascii(settings["requestName"]),
        "splitting": '"FileBased"',
        "unitsPerJob": str(int(settings.get("unitsPerJob", "1"))),
        **out,
    }
