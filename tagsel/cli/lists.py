"""The groups `lists` (event lists) and `lumi` (good-run lists)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tagsel.cli import render
from tagsel.cli.options import LOSSES, OK, SuggestingGroup, wants_json, workspace_here
from tagsel.cli.outputs import F, force_option, output_option, text_output, writes
from tagsel.cli.streams import STREAM, check_streams, read_list, retracted, save_list
from tagsel.cli.verb import SILENT, Answer, verb

if TYPE_CHECKING:
    from tagsel.api import Workspace
    from tagsel.api.lists import Lists
    from tagsel.api.lumi import Lumi
    from tagsel.quality import LumiSet

EVENT_FORMS = ("run:lumi:event", "run:event", "run lumi event", "run event", "run event guid", "json", "parquet")


def _lists(context: click.Context, flag: str | None) -> Lists:
    """Event lists, of the workspace where there is one."""
    from tagsel.api.lists import Lists

    ws = workspace_here(context, flag)
    return ws.lists if ws is not None else Lists()


def _lists_alone(context: click.Context, flag: str | None) -> Lists:
    """Event lists of no workspace."""
    from tagsel.api.lists import Lists

    del context, flag
    return Lists()


@click.group(cls=SuggestingGroup, short_help="Look at, combine, rebase and convert event lists.")
def lists() -> None:
    """Event lists: look at one, combine several, export and import.

    \b
    Example:
      tagsel lists show dimuon.events
      tagsel lists intersect dimuon.events met.events -o both.events
      tagsel lists export dimuon.events --format run:lumi:event
    """


def result_output(command: F) -> F:
    """`-o FILE` and `--force` of a verb that says the sizes anyway."""
    summary = "Save the result (.events) to FILE, which must be new; without it only the sizes are said."
    return output_option("-o", "--out", summary=summary)(force_option(command))


@lists.command("show")
@click.argument("events", metavar="FILE")
@click.option("-n", "--number", type=click.IntRange(min=0), help="Events to print (terminal: 10, else all).")
@verb(csv=True, opens=_lists)
def show(lists: Lists, events: str, number: int | None) -> Answer:
    """Show an event list: its size, digest, ledger, provenance, and first events.

    \b
    Example:
      tagsel lists show dimuon.events

    In a workspace, also which of its events were in files that have been retracted.
    """
    from tagsel.base.text_table import Table

    chosen = lists[read_list(events)]
    facts = lists.show(chosen)
    if number is None:
        number = 10 if sys.stdout.isatty() else len(chosen)
    notes = [f"{len(chosen):,} events of {facts['kind']}, digest {chosen.digest}"]
    if chosen.ledger is not None:
        notes.append(f"{render.ledger(chosen.ledger.to_json())} = {chosen.ledger.read:,} read")
    for name in ("cut", "selection", "datasets", "lumi", "operation", "parents"):
        if chosen.provenance.get(name):
            notes.append(f"{name}: {chosen.provenance[name]}")
    first = list(chosen[:number])
    files = retracted(chosen, events) if chosen.home is not None else []
    return Answer(
        {**facts, "first": [event._asdict() for event in first], "retracted": files},
        table=Table(("run", "lumi", "event", "guid", "entry"), tuple(first)),
        notes=notes,
    )


def _combination(name: str, summary: str) -> click.Command:
    """The command that combines several event lists."""

    @click.argument("events", nargs=-1, required=True, metavar="FILE FILE...")
    @result_output
    @verb(opens=_lists_alone)
    def command(lists: Lists, events: tuple[str, ...], out: str | None, force: bool) -> Answer:
        check_streams(out)
        if len(events) < 2:
            raise click.UsageError(f"{name} needs two lists or more")
        operands = [read_list(file) for file in events]
        sizes = [len(operand) for operand in operands]
        combined = getattr(lists, name)(*operands)
        if out:
            save_list(combined, out, force=force)
        return Answer(
            {"sizes": sizes, "events": len(combined), "digest": combined.digest, "out": out},
            f"{len(combined)} events, digest {combined.digest}",
            stdout_taken=out == STREAM,
            notes=[f"{name} of {', '.join(f'{size:,}' for size in sizes)} events"],
        )

    command.__doc__ = f"{summary}\n\n\b\nExample:\n  tagsel lists {name} a.events b.events -o c.events"
    return click.command(name)(command)


for _name, _summary in {
    "union": "Events of any list, each once.",
    "intersect": "Events that all lists hold.",
    "minus": "Events of the first list that no other holds.",
    "xor": "Events that just one of two lists holds.",
}.items():
    lists.add_command(_combination(_name, _summary))


@lists.command("rebase")
@click.argument("events", metavar="LIST")
@click.option("--onto", required=True, metavar="DATASET", help="Where to look: a name, name@snapshot, or several.")
@result_output
@verb()
def rebase(ws: Workspace, events: str, onto: str, out: str | None, force: bool) -> Answer:
    """Look the events of a list up again after files were reprocessed, merged, moved or retracted.

    \b
    Example:
      tagsel lists rebase dimuon.events --onto data18.DoubleMuon.TAG -o now.events
      tagsel lists rebase dimuon.events --onto data18.DoubleMuon.v2.TAG@3 -o v2.events

    Each event is kept (same file and entry), moved, vanished, or ambiguous; exit code 3 where some are lost.
    """
    check_streams(out)
    rebased = ws.lists.rebase(read_list(events), onto)
    written = out if writes(out, read=len(rebased.events), lost=rebased.ledger.lost) else None
    if written:
        save_list(rebased.events, written, force=force)
    ledger = render.ledger(_shown(rebased.ledger.to_json()))
    return Answer(
        {**rebased.to_json(), "out": written},
        f"{len(rebased.events)} events, digest {rebased.events.digest}",
        stdout_taken=out == STREAM,
        notes=[*_lost_notes(rebased.lost()), f"{ledger} = {len(rebased.old):,} events of {events}"],
        next=f"tagsel map {written}" if written else "",
        code=LOSSES if rebased.ledger.lost else OK,
    )


def _shown(counts: Mapping[str, int]) -> dict[str, int]:
    """The ledger without repeated rows where a list has none, as most have."""
    return {name: n for name, n in counts.items() if n or name != "repeated"}


NAMED = 10
"""Events lost that are named to people; `--json` has all."""


def _lost_notes(lost: Sequence[Mapping[str, Any]]) -> list[str]:
    """Events that were not found, and those that may be several."""
    notes = []
    for event in lost[:NAMED]:
        lumi = f"{event['lumi']}:" if event["lumi"] >= 0 else ""
        places = ", ".join(f"{place['guid']} entry {place['entry']}" for place in event.get("places", ())[:3])
        there = event.get("in_lumi")
        but = ""
        if places:
            but = f" (may be {places})"
        elif there is not None:
            but = f" (it is in luminosity block {there})"
        notes.append(f"{event['fate']}: {event['run']}:{lumi}{event['event']}{but}")
    if len(lost) > NAMED:
        notes.append(f"… and {len(lost) - NAMED:,} more; --json names all {len(lost):,}")
    return notes


@lists.command("export")
@click.argument("events", metavar="FILE")
@click.option(
    "--format",
    "form",
    type=click.Choice(EVENT_FORMS),
    default=EVENT_FORMS[0],
    show_default=True,
    help="What to write: a line an event, or json, or parquet.",
)
@text_output
@verb(opens=_lists_alone)
def export(lists: Lists, events: str, form: str, out: str, force: bool) -> Answer:
    """Write an event list in another form: no header, file order, to standard output or -o FILE.

    \b
    Example:
      tagsel lists export dimuon.events --format run:lumi:event > dimuon.txt
    """
    chosen = read_list(events)
    to_stream = out == STREAM
    form = "json" if to_stream and wants_json() else form
    lists.export(chosen, sys.stdout if to_stream else Path(out), form=form, force=force)
    return Answer(SILENT if to_stream else {"events": len(chosen), "format": form, "out": out})


@lists.command("import")
@click.argument("path", metavar="FILE")
@output_option("-o", "--out", required=True, summary="Save the list (.events) to FILE, which must be new.")
@force_option
@verb(opens=_lists_alone)
def import_(lists: Lists, path: str, out: str, force: bool) -> Answer:
    """Read a list in any form (text, JSON, Parquet, ROOT TEntryList) and save it as .events.

    A bad line is an error with its number.

    \b
    Example:
      tagsel lists import wanted.txt -o wanted.events
    """
    check_streams(out)
    events = lists[read_list(path)]
    save_list(events, out, force=force)
    return Answer(
        {"events": len(events), "digest": events.digest, "out": out},
        f"{len(events)} events, digest {events.digest}",
        stdout_taken=out == STREAM,
        next=f"tagsel pick DATASET -f {out} -o picked.events",
    )


def _lumi_alone(context: click.Context, flag: str | None) -> Lumi:
    """Good-run lists need no workspace."""
    from tagsel.api.lumi import Lumi

    del context, flag
    return Lumi()


@click.group(cls=SuggestingGroup, short_help="Look at and combine good-run lists.")
def lumi() -> None:
    """Good-run lists (ATLAS XML, CMS JSON): look at one, combine several.

    \b
    Example:
      tagsel lumi show grlA.xml
      tagsel lumi intersect grlA.xml grlB.xml --format json -o both.json
    """


def _good_runs(name: str, summary: str) -> click.Command:
    """The command that shows or combines good-run lists."""

    @click.argument("files", nargs=-1, required=True, metavar="FILE...")
    @click.option("--format", "form", type=click.Choice(["xml", "json"]), help="Write the list in this form.")
    @text_output
    @verb(opens=_lumi_alone)
    def command(lumi: Lumi, files: tuple[str, ...], form: str | None, out: str, force: bool) -> Answer:
        _check_number(name, files)
        method: Callable[..., LumiSet] = getattr(lumi, name)
        return _lumi_answer(name, method(*files), form, out, force=force)

    second = "" if name == "show" else " grlB.xml"
    command.__doc__ = f"{summary}\n\n\b\nExample:\n  tagsel lumi {name} grlA.xml{second}"
    return click.command(name)(command)


def _check_number(name: str, files: tuple[str, ...]) -> None:
    if name == "show" and len(files) != 1:
        raise click.UsageError("show takes one list")
    if name != "show" and len(files) < 2:
        raise click.UsageError(f"{name} needs two lists or more")


def _lumi_answer(name: str, blocks: LumiSet, form: str | None, out: str, *, force: bool) -> Answer:
    from tagsel.base.text_table import Table
    from tagsel.quality import write_lumi

    if out != STREAM:
        form_by_name = "json" if out.endswith((".json", ".txt")) else "xml"
        write_lumi(blocks, Path(out), form or form_by_name, force=force)
    runs = len(set(map(int, blocks.runs)))
    ranges = [tuple(map(int, span)) for span in blocks.ranges]
    document = {"luminosity_blocks": len(blocks), "runs": runs, "ranges": ranges, "digest": blocks.digest}
    if form and out == STREAM:
        if not wants_json():
            write_lumi(blocks, sys.stdout, form)
        return Answer(document)
    total = f"{len(blocks)} luminosity blocks in {runs} runs"
    if name == "show" and out == STREAM:
        return Answer(document, table=Table(("run", "first", "last"), tuple(ranges)), notes=[total])
    return Answer(document, total)


for _name, _summary in {
    "show": "The ranges of luminosity blocks of one list.",
    "union": "Luminosity blocks of any list.",
    "intersect": "Luminosity blocks that all lists hold.",
    "minus": "Luminosity blocks of the first list that no other holds.",
    "xor": "Luminosity blocks that just one of two lists holds.",
}.items():
    lumi.add_command(_good_runs(_name, _summary))


COMMANDS = (lists, lumi)
