"""Verbs that ask: count, select, cutflow, why, pick."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from tagsel.cli import render
from tagsel.cli.options import (
    LOSSES,
    chosen,
    common,
    csv_option,
    cut_arguments,
    cuts_of,
    dask_option,
    dataset_argument,
    home_of,
    selection_options,
)
from tagsel.cli.outputs import list_output, writes
from tagsel.cli.streams import check_streams, read_list, save_list

if TYPE_CHECKING:
    from tagsel.selection import Query


@click.command()
@cut_arguments
@selection_options
@dask_option
@common
@click.pass_context
def count(
    context: click.Context,
    /,
    dataset: str,
    cuts: tuple[str, ...],
    workspace: str | None,
    as_json: bool,
    dask: str | None,
    **options: Any,
) -> int:
    """Count the events of DATASET that pass every CUT.

    \b
    Example:
      tagsel count data18.DoubleMuon.TAG "count(Muon.pt > 10 GeV) >= 2"

    DATASET is a name, name@snapshot, a glob, several with commas, or a ROOT or Parquet file.
    """
    home, name = home_of(context, workspace, dataset)
    query = home.query(name, cuts_of(cuts), **chosen(**options))
    from tagsel import selection
    from tagsel.selection.dask import runner

    with render.progress("counting", sum(i.snapshot.rows for i in query.inputs)) as advance:
        counted = selection.count(query, progress=advance, runner=runner(dask))
    if as_json:
        render.document({"datasets": _pinned(query), **counted.to_json()})
    else:
        render.warn([*counted.warnings, *counted.losses])
        _absent(counted.triggers_absent)
        if sys.stdout.isatty():
            print(f"{counted.accepted:,} of {counted.read:,} events pass")
        else:
            print(counted.accepted)
        _account(counted)
        render.note(_of(query))
    return LOSSES if counted.ledger.unreadable else 0


def _account(counted: Any) -> None:
    """The ledger, sums of weights, and what it took."""
    render.note(f"{render.ledger(counted.ledger.to_json())} = {counted.read:,} read")
    if counted.weighted is not None:
        render.note(f"sum of weights {counted.weighted.sumw!r}, of squared weights {counted.weighted.sumw2!r}")
    render.note(render.work(counted.work.to_json()))


NAMED = 3
"""Datasets that are named beside an answer; --json names all."""


def _pinned(query: Query) -> list[str]:
    """Every dataset that is asked, with its snapshot: `data18.DoubleMuon.TAG@3`."""
    return [i.pinned for i in query.inputs]


def _of(query: Query) -> str:
    """The datasets and snapshots of an answer, in a line."""
    pinned = _pinned(query)
    more = f" and {len(pinned) - NAMED:,} more" if len(pinned) > NAMED else ""
    return f"of {', '.join(pinned[:NAMED])}{more}"


def _absent(chains: Any) -> None:
    for chain, found in chains.items():
        runs = ", ".join(map(str, found["runs"][:6])) + (" …" if len(found["runs"]) > 6 else "")
        render.note(f"note: {chain} is in no menu of {found['events']:,} events (runs {runs}); there it is missing")


@click.command()
@cut_arguments
@selection_options
@dask_option
@list_output
@click.option(
    "--top",
    nargs=2,
    type=(click.IntRange(min=0), str),
    metavar="N ATTR",
    help="Only the N events with the highest ATTR.",
)
@click.option("--explain", is_flag=True, help="Print the plan and run nothing.")
@common
@click.pass_context
def select(
    context: click.Context,
    /,
    dataset: str,
    cuts: tuple[str, ...],
    workspace: str | None,
    as_json: bool,
    out: str | None,
    force: bool,
    top: tuple[int, str] | None,
    explain: bool,
    dask: str | None,
    **options: Any,
) -> int:
    """Select the events of DATASET that pass every CUT, as an event list.

    \b
    Example:
      tagsel select data18.DoubleMuon.TAG "count(Muon.pt > 10 GeV) >= 2" --lumi good.json -o dimuon.events
    """
    check_streams(out, as_json)
    home, name = home_of(context, workspace, dataset)
    query = home.query(name, cuts_of(cuts), **chosen(**options))
    from tagsel import selection
    from tagsel.api import Events
    from tagsel.selection.dask import runner

    if explain:
        plan = selection.prepare(query).plan.to_json()
        render.document(plan) if as_json else render.facts(plan)
        return 0
    with render.progress("selecting", sum(i.snapshot.rows for i in query.inputs)) as advance:
        found, counted = selection.select(query, top=top, progress=advance, runner=runner(dask))
    events = Events.of(found, home.home)
    lost = counted.ledger.unreadable
    written = out if writes(out, read=counted.read - lost, lost=lost) else None
    if written:
        save_list(events, written, force=force)
    if as_json:
        render.document({**counted.to_json(), "digest": events.digest, "events": len(events), "out": written})
    else:
        render.warn([*counted.warnings, *counted.losses])
        _absent(counted.triggers_absent)
        render.say(f"{len(events)} events accepted, digest {events.digest}", out)
        _account(counted)
        if written:
            render.suggest(f"tagsel map {written}")
    return LOSSES if lost else 0


@click.command()
@cut_arguments
@selection_options
@dask_option
@csv_option
@common
@click.pass_context
def cutflow(
    context: click.Context,
    /,
    dataset: str,
    cuts: tuple[str, ...],
    workspace: str | None,
    as_json: bool,
    as_csv: bool,
    dask: str | None,
    **options: Any,
) -> int:
    """Show for each CUT the events that pass it alone, in sequence, and all cuts but it.

    \b
    Example:
      tagsel cutflow data18.DoubleMuon.TAG "nMuon >= 2" "hard: count(Muon.pt > 10 GeV) >= 2" "HLT_IsoMu24"
    """
    home, name = home_of(context, workspace, dataset)
    query = home.query(name, cuts_of(cuts), **chosen(**options))
    from tagsel import selection
    from tagsel.selection.dask import runner

    with render.progress("cutflow", sum(i.snapshot.rows for i in query.inputs)) as advance:
        flow = selection.cutflow(query, progress=advance, runner=runner(dask))
    if as_json:
        render.document({"datasets": _pinned(query), **flow.to_json()})
        return LOSSES if flow.ledger.unreadable else 0
    render.warn([*flow.warnings, *flow.losses])
    shown = flow.table()
    render.table(shown.columns, shown.rows, as_csv=as_csv)
    if flow.generated is None and query.simulation:
        render.note("note: not every file keeps its generated count and sum of weights")
    render.note(_of(query))
    return LOSSES if flow.ledger.unreadable else 0


@click.command()
@dataset_argument
@click.argument("event")
@click.argument("cuts", nargs=-1, metavar="CUT...")
@selection_options
@common
@click.pass_context
def why(
    context: click.Context,
    /,
    dataset: str,
    event: str,
    cuts: tuple[str, ...],
    workspace: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Say why EVENT (run:event) of DATASET passes every CUT or not, with the values that each cut saw.

    \b
    Example:
      tagsel why data18.DoubleMuon.TAG 315267:197818706 "count(Muon.pt > 10 GeV) >= 2"
    """
    home, name = home_of(context, workspace, dataset)
    answer = home.why(name, event, *cuts_of(cuts), **chosen(**options))
    if as_json:
        render.document(answer.to_json())
        return 0
    print(f"{answer.run}:{answer.event} {answer.verdict}")
    for row in answer.rows:
        place = f" lumi {row.lumi}, file {row.guid}, entry {row.entry}" if row.lumi >= 0 else ""
        print(f"  {row.dataset}{place}: {row.verdict}{' ' + row.detail if row.detail else ''}")
        for step in row.cuts:
            print(f"    {'pass' if step.passed else 'FAIL'}  {step.name}")
            for text, value in step.values:
                print(f"            {text} = {value}")
    return 0


@click.command()
@dataset_argument
@click.argument("ids", nargs=-1, metavar="RUN:EVENT...")
@click.option(
    "-f",
    "--file",
    "path",
    metavar="FILE",
    help="Read the ids from FILE (any form of an event list; - = stdin).",
)
@list_output
@click.option(
    "--duplicates",
    type=click.Choice(["error", "first", "all"]),
    default=None,
    help="Events that stand in several rows (default: first for data, all for simulation).",
)
@common
@click.pass_context
def pick(
    context: click.Context,
    /,
    dataset: str,
    ids: tuple[str, ...],
    path: str | None,
    out: str | None,
    force: bool,
    workspace: str | None,
    as_json: bool,
    duplicates: str | None,
) -> int:
    """Find events of DATASET by run:event or run:lumi:event; every miss is listed.

    \b
    Example:
      tagsel pick data18.DoubleMuon.TAG 315267:197818706 315267:197762836 -o picked.events
      tagsel pick data18.DoubleMuon.TAG -f wanted.txt -o picked.events

    Exit code 3 where an event is missing.

    A file's GUID after an id (run:event:GUID, or a 'run event guid' file) skips the look-up among the TAGs.
    """
    home, name = home_of(context, workspace, dataset)
    from tagsel.api.picking import wanted

    check_streams(out, as_json)
    if bool(ids) == bool(path):
        raise click.UsageError("give ids, or a file of them with -f", context)
    asked = wanted(ids) if ids else read_list(str(path))
    picked = home.pick(name, asked, **chosen(duplicates=duplicates))
    written = out if writes(out, read=len(picked.events), lost=len(picked.missed)) else None
    if written:
        save_list(picked.events, written, force=force)
    if as_json:
        render.document({**picked.to_json(), "out": written})
        return LOSSES if len(picked.missed) else 0
    for event in picked.events:
        lumi = event.lumi if event.lumi >= 0 else ""
        render.say(f"{event.run}:{lumi}:{event.event}\t{event.guid}\t{event.entry}", out)
    missed, elsewhere = picked.misses, picked.elsewhere
    for run, lumi, number in missed:
        there = elsewhere.get((run, lumi, number))
        but = "" if there is None else f" (it is in luminosity block {there})"
        render.note(f"not found: {run}:{f'{lumi}:' if lumi >= 0 else ''}{number}{but}")
    twice = f" + {picked.named_twice:,} named twice" if picked.named_twice else ""
    render.note(f"{picked.found:,} found + {len(missed):,} missing{twice} = {picked.asked:,} asked")
    if written:
        render.suggest(f"tagsel map {written}")
    return LOSSES if missed else 0


COMMANDS = (count, select, cutflow, why, pick)
