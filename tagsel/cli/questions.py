"""Questions of a dataset: count, select, cutflow, hist, why, pick."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from tagsel.cli import render
from tagsel.cli.options import (
    LOSSES,
    OK,
    chosen,
    cut_arguments,
    cut_option,
    cuts_of,
    dask_option,
    dataset_argument,
    selection_options,
)
from tagsel.cli.outputs import force_option, list_output, output_option, writes
from tagsel.cli.streams import STREAM, check_streams, read_list, save_list
from tagsel.cli.verb import Answer, question

if TYPE_CHECKING:
    from tagsel.api import Dataset
    from tagsel.selection import Count


@click.command(short_help="Count the events that pass every cut.")
@cut_arguments
@selection_options
@dask_option
@question()
def count(
    data: Dataset,
    cuts: tuple[str, ...],
    dask: str | None,
    **options: Any,
) -> Answer:
    """Count the events of DATASET that pass every CUT.

    \b
    Example:
      tagsel count data18.DoubleMuon.TAG "count(Muon.pt > 10 GeV) >= 2"

    DATASET is a name, name@snapshot, a glob, several with commas, or a ROOT or Parquet file.
    """
    with render.progress("counting", data.events) as advance:
        counted = data.count(*cuts_of(cuts), **chosen(**options), client=dask, progress=advance)
    on_terminal = sys.stdout.isatty()
    return Answer(
        {"datasets": _pinned(data), **counted.to_json()},
        f"{counted.accepted:,} of {counted.read:,} events pass" if on_terminal else str(counted.accepted),
        warnings=[*counted.warnings, *counted.losses],
        notes=[*_absent(counted.triggers_absent), *_account(counted), _of(data)],
        code=LOSSES if counted.ledger.unreadable else OK,
    )


def _account(counted: Count) -> list[str]:
    """The ledger, sums of weights, and what it took."""
    notes = [f"{render.ledger(counted.ledger.to_json())} = {counted.read:,} read"]
    if counted.weighted is not None:
        sumw, sumw2 = counted.weighted.sumw, counted.weighted.sumw2
        notes.append(f"sum of weights {sumw!r}, of squared weights {sumw2!r}")
    return [*notes, render.work(counted.work.to_json())]


NAMED = 3
"""Datasets that are named beside an answer; --json names all."""


def _pinned(data: Dataset) -> list[str]:
    """Every dataset that is asked, with its snapshot: `data18.DoubleMuon.TAG@3`."""
    return [source.pinned for source in data.inputs]


def _of(data: Dataset) -> str:
    """The datasets and snapshots of an answer, in a line."""
    pinned = _pinned(data)
    more = f" and {len(pinned) - NAMED:,} more" if len(pinned) > NAMED else ""
    return f"of {', '.join(pinned[:NAMED])}{more}"


def _absent(chains: Mapping[str, Any]) -> list[str]:
    """A note on each chain that some menus lack."""
    notes = []
    for chain, menus in chains.items():
        runs = ", ".join(map(str, menus["runs"][:6])) + (" …" if len(menus["runs"]) > 6 else "")
        notes.append(f"note: {chain} is in no menu of {menus['events']:,} events (runs {runs}); there it is missing")
    return notes


@click.command(short_help="Select the events that pass every cut, as an event list.")
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
@question()
def select(
    data: Dataset,
    cuts: tuple[str, ...],
    out: str | None,
    force: bool,
    top: tuple[int, str] | None,
    explain: bool,
    dask: str | None,
    **options: Any,
) -> Answer:
    """Select the events of DATASET that pass every CUT, as an event list.

    \b
    Example:
      tagsel select data18.DoubleMuon.TAG "count(Muon.pt > 10 GeV) >= 2" --lumi good.json -o dimuon.events
    """
    check_streams(out)
    if explain:
        plan = data.explain(*cuts_of(cuts), **chosen(**options)).to_json()
        return Answer(plan, facts=plan)
    with render.progress("selecting", data.events) as advance:
        events, counted = data.select_counted(
            *cuts_of(cuts), top=top, **chosen(**options), client=dask, progress=advance
        )
    lost = counted.ledger.unreadable
    written = out if writes(out, read=counted.read - lost, lost=lost) else None
    if written:
        save_list(events, written, force=force)
    return Answer(
        {**counted.to_json(), "digest": events.digest, "events": len(events), "out": written},
        f"{len(events)} events accepted, digest {events.digest}",
        stdout_taken=out == STREAM,
        warnings=[*counted.warnings, *counted.losses],
        notes=[*_absent(counted.triggers_absent), *_account(counted)],
        next=f"tagsel map {written}" if written else "",
        code=LOSSES if lost else OK,
    )


@click.command(short_help="Count what each cut passes: alone, in sequence, all but it.")
@cut_arguments
@selection_options
@dask_option
@question(csv=True)
def cutflow(
    data: Dataset,
    cuts: tuple[str, ...],
    dask: str | None,
    **options: Any,
) -> Answer:
    """Show for each CUT the events that pass it alone, in sequence, and all cuts but it.

    \b
    Example:
      tagsel cutflow data18.DoubleMuon.TAG "nMuon >= 2" "hard: count(Muon.pt > 10 GeV) >= 2" "HLT_IsoMu24"
    """
    with render.progress("cutflow", data.events) as advance:
        flow = data.cutflow(*cuts_of(cuts), **chosen(**options), client=dask, progress=advance)
    notes = [_of(data)]
    if flow.generated is None and any(source.simulation for source in data.inputs):
        notes.insert(0, "note: not every file keeps its generated count and sum of weights")
    return Answer(
        {"datasets": _pinned(data), **flow.to_json()},
        table=flow.table(),
        warnings=[*flow.warnings, *flow.losses],
        notes=notes,
        code=LOSSES if flow.ledger.unreadable else OK,
    )


@click.command(short_help="Say why an event passes every cut or not.")
@dataset_argument
@click.argument("event")
@click.argument("cuts", nargs=-1, metavar="CUT...")
@selection_options
@question()
def why(
    data: Dataset,
    event: str,
    cuts: tuple[str, ...],
    **options: Any,
) -> Answer:
    """Say why EVENT (run:event) of DATASET passes every CUT or not, with the values that each cut saw.

    \b
    Example:
      tagsel why data18.DoubleMuon.TAG 315267:197818706 "count(Muon.pt > 10 GeV) >= 2"
    """
    answer = data.why(event, *cuts_of(cuts), **chosen(**options))
    lines = [f"{answer.run}:{answer.event} {answer.verdict}"]
    for row in answer.rows:
        place = f" lumi {row.lumi}, file {row.guid}, entry {row.entry}" if row.lumi >= 0 else ""
        lines.append(f"  {row.dataset}{place}: {row.verdict}{' ' + row.detail if row.detail else ''}")
        for step in row.cuts:
            lines.append(f"    {'pass' if step.passed else 'FAIL'}  {step.name}")
            lines += [f"            {text} = {value}" for text, value in step.values]
    return Answer(answer, "\n".join(lines))


@click.command(short_help="Find events by run and event number.")
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
@question()
def pick(
    data: Dataset,
    ids: tuple[str, ...],
    path: str | None,
    out: str | None,
    force: bool,
    duplicates: str | None,
) -> Answer:
    """Find events of DATASET by run:event or run:lumi:event; every miss is listed.

    \b
    Example:
      tagsel pick data18.DoubleMuon.TAG 315267:197818706 315267:197762836 -o picked.events
      tagsel pick data18.DoubleMuon.TAG -f wanted.txt -o picked.events

    Exit code 3 where an event is missing.

    A file's GUID after an id (run:event:GUID, or a 'run event guid' file) skips the look-up among the TAGs.
    """
    check_streams(out)
    if bool(ids) == bool(path):
        raise click.UsageError("give ids, or a file of them with -f", click.get_current_context())
    picked = data.pick(ids or read_list(str(path)), duplicates=duplicates or "")
    missed, elsewhere = picked.misses, picked.elsewhere
    written = out if writes(out, read=len(picked.events), lost=len(missed)) else None
    if written:
        save_list(picked.events, written, force=force)
    lines = []
    for event in picked.events:
        lumi = event.lumi if event.lumi >= 0 else ""
        lines.append(f"{event.run}:{lumi}:{event.event}\t{event.guid}\t{event.entry}")
    notes = []
    for run, lumi, number in missed:
        there = elsewhere.get((run, lumi, number))
        but = "" if there is None else f" (it is in luminosity block {there})"
        notes.append(f"not found: {run}:{f'{lumi}:' if lumi >= 0 else ''}{number}{but}")
    twice = f" + {picked.named_twice:,} named twice" if picked.named_twice else ""
    notes.append(f"{picked.found:,} found + {len(missed):,} missing{twice} = {picked.asked:,} asked")
    return Answer(
        {**picked.to_json(), "out": written},
        "\n".join(lines),
        stdout_taken=out == STREAM,
        notes=notes,
        next=f"tagsel map {written}" if written else "",
        code=LOSSES if missed else OK,
    )


@click.command(short_help="Fill histograms of the events that pass every cut.")
@dataset_argument
@click.argument("what", nargs=-1, required=True, metavar="HISTOGRAM...")
@cut_option
@selection_options
@output_option("-o", "--out", summary="Save the histograms to FILE, which must be new: .root, or .json (UHI).")
@output_option("--plot", summary="Draw them to FILE, which must be new: .png, .svg or .pdf.")
@force_option
@question(csv=True)
def hist(
    data: Dataset,
    what: tuple[str, ...],
    common_cuts: tuple[str, ...],
    out: str | None,
    plot: str | None,
    force: bool,
    **options: Any,
) -> Answer:
    """Fill HISTOGRAMs of the events of DATASET that pass every --cut, all in one scan.

    \b
    Example:
      tagsel hist data18.DoubleMuon.TAG "MET_pt: 50, 0, 200" --cut "nMuon >= 2" --plot met.png
      tagsel hist data18.DoubleMuon.TAG "Z: mass(Muon[0], Muon[1]): 60, 60, 120 GeV" "MET_pt: 20,0,200 x nJet: 8,0,8"
      tagsel hist data18.DoubleMuon.TAG "Muon.pt: [0, 5, 10, 20, 50]" --cut HLT_IsoMu24 -o muons.root

    A HISTOGRAM is an expression, a colon, and its bins: number, low, high, or edges in brackets; a unit may follow. Up
    to three of these are joined by " x ". NAME: in front names it. A list fills once for each object.
    """
    from tagsel.api.histogram import check_names
    from tagsel.selection.binning import read_specs

    check_names(read_specs(what), out, plot)
    with render.progress("filling", data.events) as advance:
        filled = data.hist(what, *cuts_of(common_cuts), **chosen(**options), progress=advance)
    lost = filled.ledger.unreadable
    written = writes(out, plot, read=filled.ledger.read - lost, lost=lost)
    if out and written:
        filled.save(out, force=force)
    if plot and written:
        filled.plot(plot, force=force)
    notes = [f"{one.name}: {one.summary()}" for one in filled.filled]
    notes.append(f"{render.ledger(filled.ledger.to_json())} = {filled.count.read:,} read")
    notes.append(render.work(filled.count.work.to_json()))
    return Answer(
        filled,
        table=filled.table(),
        csv_only=written,
        warnings=[*filled.count.warnings, *filled.count.losses],
        notes=notes,
        code=LOSSES if lost else OK,
    )


COMMANDS = (count, select, cutflow, hist, why, pick)
