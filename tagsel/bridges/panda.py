"""For PanDA's client: event lists for --eventPickEvtList, the files for --inputFileList, and prun's command.

The client hands an event list on unread: a line `run event`, or `run event guid` with --eventPickWithGUID, which
spares PanDA the look-up of every event. Invariant: a file that would lack events or files is not written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from tagsel.bridges.order import Order, Written, event_lines, name_lines, options, shell_script
from tagsel.errors import JobError

EVENTS, WITH_GUIDS, FILES, SCRIPT = "events.txt", "events.guid.txt", "files.txt", "prun.sh"

SETTINGS = {
    "outDS": "the output dataset, user.NICKNAME.…",
    "exec": "what a job runs, 'python job.py %IN'",
    "inDS": "read this dataset's files of the list whole, instead of picking events",
    "eventPickDataType": "AOD, ESD or RAW; PanDA looks events up where it is not the stage of the list",
    "eventPickDS": "only datasets of this pattern are picked from",
    "eventPickStreamName": "the stream to pick from",
    "eventPickAmiTag": "the processing to pick from",
    "ei_api": "mc for simulation",
    "outputs": "files that a job leaves",
    "extFile": "files to send along",
    "nFilesPerJob": "how many files a job reads",
    "nEventsPerJob": "how many events a job reads",
    "site": "where to run",
    "excludedSite": "where not to run",
    "athenaTag": "the release",
    "containerImage": "the container",
    "noBuild": "nothing is compiled there",
    "vo": "the virtual organisation",
}
"""Options of prun that may be set beforehand; any other may follow the script's name."""


def write(order: Order) -> Written:
    """The files, and the script that calls prun."""
    notes = []
    files = {EVENTS: event_lines(order, "run", "event", separator=" ")}
    guids = order.events.stage(order.map.stage).guid.known()
    kind = order.settings.get("eventPickDataType", order.map.stage.upper())
    if kind != order.map.stage.upper():
        notes.append(f"no {WITH_GUIDS}: PanDA looks the {kind} files of the events up")
    elif guids.all():
        files[WITH_GUIDS] = event_lines(order, "run", "event", "guid", separator=" ")
    else:
        lost = int((~guids).sum())
        notes.append(f"no {WITH_GUIDS}: {lost:,} events do not know their {kind} file")
    nameless = [f.guid for f in order.map.files if not f.lfn]
    if guids.all() and not nameless:
        # event picking hands the names on in one line, with commas
        files[FILES] = name_lines((f.lfn for f in order.map.files), ",")
    else:
        unknown = f", {len(nameless):,} files have no logical name" if nameless else ""
        notes.append(f"no {FILES}: it would not be whole{unknown}")
    command = ["prun", *_input(order, files), *options(order.settings)]
    files[SCRIPT] = shell_script(order.title, command, empty=not len(order.events))
    wanted = [word for key, word in _LATER.items() if key not in order.settings]
    return Written(files, ["sh", f"{{out}}/{SCRIPT}", *" ".join(wanted).split()], tuple(notes))


_LATER = {"outDS": "--outDS DATASET", "exec": "--exec COMMAND"}


def _input(order: Order, files: Mapping[str, str]) -> list[str | PurePath]:
    """What prun reads: events that are picked, or files of a dataset."""
    if "inDS" in order.settings:
        if FILES not in files:
            raise JobError(
                "prun cannot read just the files of this list: not all have a logical name in the catalog",
                hint="without inDS the events are picked; or ingest the files' catalog with --aod",
            )
        return ["--inputFileList", PurePath(FILES)]
    kind = [] if "eventPickDataType" in order.settings else ["--eventPickDataType", order.map.stage.upper()]
    if WITH_GUIDS in files:
        return ["--eventPickEvtList", PurePath(WITH_GUIDS), "--eventPickWithGUID", *kind]
    return ["--eventPickEvtList", PurePath(EVENTS), *kind]
