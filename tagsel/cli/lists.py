"""Verbs on lists: events (event lists) and lumi (good-run lists)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from tagsel.cli import render
from tagsel.cli.options import LOSSES, SuggestingGroup, common, csv_option, workspace_here, workspace_of
from tagsel.cli.outputs import F, force_option, output_option, text_output, writes
from tagsel.cli.streams import check_streams, read_list, retracted, save_list

EVENT_FORMS = ("run:lumi:event", "run:event", "run lumi event", "run event", "run event guid", "json", "parquet")


@click.group(cls=SuggestingGroup)
def events() -> None:
    """Event lists: look at one, combine several, export and import.

    \b
    Example:
      tagsel events show dimuon.events
      tagsel events intersect dimuon.events met.events -o both.events
      tagsel events export dimuon.events --format run:lumi:event
    """


def result_output(command: F) -> F:
    """`-o FILE` and `--force` of a verb that says the sizes anyway."""
    summary = "Save the result (.events) to FILE, which must be new; without it only the sizes are said."
    return output_option("-o", "--out", summary=summary)(force_option(command))


@events.command("show")
@click.argument("path", metavar="FILE")
@click.option("-n", "--number", type=click.IntRange(min=0), help="Events to print (terminal: 10, else all).")
@csv_option
@common
@click.pass_context
def events_show(
    context: click.Context, /, path: str, number: int | None, as_csv: bool, workspace: str | None, as_json: bool
) -> None:
    """Show an event list: its size, digest, ledger, provenance, and first events; in a workspace, too, which of its
    events were in files that have been retracted.

    \b
    Example:
      tagsel events show dimuon.events
    """
    found = read_list(path)
    home = workspace_here(context, workspace)
    if number is None:
        number = 10 if sys.stdout.isatty() else len(found)
    if as_json:
        first = [e._asdict() for e in found[:number]]
        gone = retracted(home, found, path, as_json) if home else []
        files = len([g for g in found.guids if g])
        render.document({**found.header(), "files": files, "first": first, "retracted": gone})
        return
    render.table(("run", "lumi", "event", "guid", "entry"), list(found[:number]), as_csv=as_csv)
    header = found.header()
    render.note(f"{len(found):,} events of {header['kind']}, digest {found.digest}")
    if found.ledger is not None:
        render.note(f"{render.ledger(found.ledger.to_json())} = {found.ledger.read:,} read")
    for name in ("cut", "selection", "datasets", "lumi", "operation", "parents"):
        if found.provenance.get(name):
            render.note(f"{name}: {found.provenance[name]}")
    if home:
        retracted(home, found, path, as_json)


def _combine(name: str, said: str) -> click.Command:
    @click.argument("files", nargs=-1, required=True, metavar="FILE FILE...")
    @result_output
    @common
    def command(files: tuple[str, ...], out: str | None, force: bool, workspace: str | None, as_json: bool) -> None:
        from tagsel.api.event_lists import OPERATIONS

        del workspace
        check_streams(out, as_json)
        if len(files) < 2:
            raise click.UsageError(f"{name} needs two lists or more")
        read = [read_list(f) for f in files]
        combined = read[0]
        for other in read[1:]:
            combined = OPERATIONS[name](combined, other)
        if out:
            save_list(combined, out, force=force)
        sizes = [len(r) for r in read]
        if as_json:
            render.document({"sizes": sizes, "events": len(combined), "digest": combined.digest, "out": out})
        else:
            render.say(f"{len(combined)} events, digest {combined.digest}", out)
            render.note(f"{name} of {', '.join(f'{n:,}' for n in sizes)} events")

    command.__doc__ = f"{said}\n\n\b\nExample:\n  tagsel events {name} a.events b.events -o c.events"
    return click.command(name)(command)


for _name, _said in {
    "union": "Events of any list, each once.",
    "intersect": "Events that all lists hold.",
    "minus": "Events of the first list that no other holds.",
    "xor": "Events that just one of two lists holds.",
}.items():
    events.add_command(_combine(_name, _said))


@events.command("rebase")
@click.argument("path", metavar="LIST")
@click.option("--onto", required=True, metavar="DATASET", help="Where to look: a name, name@snapshot, or several.")
@result_output
@common
@click.pass_context
def events_rebase(
    context: click.Context, /, path: str, onto: str, out: str | None, force: bool, workspace: str | None, as_json: bool
) -> int:
    """Look the events of a list up again after files were reprocessed, merged, moved or retracted.

    \b
    Example:
      tagsel events rebase dimuon.events --onto data18.DoubleMuon.TAG -o now.events
      tagsel events rebase dimuon.events --onto data18.DoubleMuon.v2.TAG@3 -o v2.events

    Each event is kept (same file and entry), moved, vanished, or ambiguous; exit code 3 where some are lost.
    """
    check_streams(out, as_json)
    found = workspace_of(context, workspace).rebase(read_list(path), onto)
    written = out if writes(out, read=len(found.events), lost=found.ledger.lost) else None
    if written:
        save_list(found.events, written, force=force)
    if as_json:
        render.document({**found.to_json(), "out": written})
    else:
        render.say(f"{len(found.events)} events, digest {found.events.digest}", out)
        _said_lost(found.lost())
        render.note(f"{render.ledger(_shown(found.ledger.to_json()))} = {len(found.old):,} events of {path}")
        if written:
            render.suggest(f"tagsel map {written}")
    return LOSSES if found.ledger.lost else 0


def _shown(counts: Mapping[str, int]) -> dict[str, int]:
    """The ledger without repeated rows where a list has none, as most have."""
    return {name: n for name, n in counts.items() if n or name != "repeated"}


NAMED = 10
"""Events lost that are named to people; `--json` has all."""


def _said_lost(lost: Sequence[Mapping[str, Any]]) -> None:
    """Events that were not found, and those that may be several."""
    for event in lost[:NAMED]:
        lumi = f"{event['lumi']}:" if event["lumi"] >= 0 else ""
        where = ", ".join(f"{p['guid']} entry {p['entry']}" for p in event.get("places", ())[:3])
        there = event.get("in_lumi")
        but = f" (may be {where})" if where else f" (it is in luminosity block {there})" if there is not None else ""
        render.note(f"{event['fate']}: {event['run']}:{lumi}{event['event']}{but}")
    if len(lost) > NAMED:
        render.note(f"… and {len(lost) - NAMED:,} more; --json names all {len(lost):,}")


@events.command("export")
@click.argument("path", metavar="FILE")
@click.option(
    "--format",
    "form",
    type=click.Choice(EVENT_FORMS),
    default=EVENT_FORMS[0],
    show_default=True,
    help="What to write: a line an event, or json, or parquet.",
)
@text_output
@common
def events_export(path: str, form: str, out: str, force: bool, workspace: str | None, as_json: bool) -> None:
    """Write an event list in another form: no header, file order, to standard output or -o FILE.

    \b
    Example:
      tagsel events export dimuon.events --format run:lumi:event > dimuon.txt
    """
    from tagsel.events.files import write_events

    del workspace
    found = read_list(path)
    form = "json" if as_json and out == "-" else form
    write_events(found, sys.stdout if out == "-" else Path(out), form, force=force)
    if as_json and out != "-":
        render.document({"events": len(found), "format": form, "out": out})


@events.command("import")
@click.argument("path", metavar="FILE")
@output_option("-o", "--out", required=True, summary="Save the list (.events) to FILE, which must be new.")
@force_option
@common
def events_import(path: str, out: str, force: bool, workspace: str | None, as_json: bool) -> None:
    """Read a list in any form (text, JSON, Parquet, ROOT TEntryList) and save it as .events.

    A bad line is an error with its number.

    \b
    Example:
      tagsel events import wanted.txt -o wanted.events
    """
    del workspace
    check_streams(out, as_json)
    found = read_list(path)
    save_list(found, out, force=force)
    if as_json:
        render.document({"events": len(found), "digest": found.digest, "out": out})
    else:
        render.say(f"{len(found)} events, digest {found.digest}", out)
        render.suggest(f"tagsel pick DATASET -f {out} -o picked.events")


@click.group(cls=SuggestingGroup)
def lumi() -> None:
    """Good-run lists (ATLAS XML, CMS JSON): look at one, combine several.

    \b
    Example:
      tagsel lumi show grlA.xml
      tagsel lumi intersect grlA.xml grlB.xml --format json -o both.json
    """


def _lumi(name: str, said: str) -> click.Command:
    @click.argument("files", nargs=-1, required=True, metavar="FILE...")
    @click.option("--format", "form", type=click.Choice(["xml", "json"]), help="Write the list in this form.")
    @text_output
    @common
    def command(
        files: tuple[str, ...], form: str | None, out: str, force: bool, workspace: str | None, as_json: bool
    ) -> None:
        from tagsel.quality import read_lumi

        del workspace
        _check_number(name, files)
        read = [read_lumi(f) for f in files]
        _show_lumi(name, _operate(name, read), form, out, as_json, force=force)

    command.__doc__ = f"{said}\n\n\b\nExample:\n  tagsel lumi {name} grlA.xml{'' if name == 'show' else ' grlB.xml'}"
    return click.command(name)(command)


def _check_number(name: str, files: tuple[str, ...]) -> None:
    if name == "show" and len(files) != 1:
        raise click.UsageError("show takes one list")
    if name != "show" and len(files) < 2:
        raise click.UsageError(f"{name} needs two lists or more")


def _operate(name: str, read: list[Any]) -> Any:
    from tagsel.api.event_lists import OPERATIONS

    operation: Callable[[Any, Any], Any] = OPERATIONS.get(name, lambda a, _: a)
    combined = read[0]
    for other in read[1:]:
        combined = operation(combined, other)
    return combined


def _show_lumi(name: str, found: Any, form: str | None, out: str, as_json: bool, *, force: bool) -> None:
    from tagsel.quality import write_lumi

    if out != "-":
        form_by_name = "json" if out.endswith((".json", ".txt")) else "xml"
        write_lumi(found, Path(out), form or form_by_name, force=force)
    if as_json:
        render.document(
            {
                "luminosity_blocks": len(found),
                "runs": len(set(map(int, found.runs))),
                "ranges": [list(map(int, r)) for r in found.ranges],
                "digest": found.digest,
            }
        )
    elif form and out == "-":
        write_lumi(found, sys.stdout, form)
    else:
        if name == "show" and out == "-":
            render.table(("run", "first", "last"), [tuple(map(int, r)) for r in found.ranges])
        print(
            f"{len(found)} luminosity blocks in {len(set(map(int, found.runs)))} runs",
            file=sys.stderr if name == "show" and out == "-" else sys.stdout,
        )


for _name, _said in {
    "show": "The ranges of luminosity blocks of one list.",
    "union": "Luminosity blocks of any list.",
    "intersect": "Luminosity blocks that all lists hold.",
    "minus": "Luminosity blocks of the first list that no other holds.",
    "xor": "Luminosity blocks that just one of two lists holds.",
}.items():
    lumi.add_command(_lumi(_name, _said))


COMMANDS = (events, lumi)
