"""The verb that fills histograms."""

from __future__ import annotations

from typing import Any

import click

from tagsel.cli import render
from tagsel.cli.options import (
    LOSSES,
    chosen,
    common,
    csv_option,
    cut_option,
    cuts_of,
    dataset_argument,
    home_of,
    selection_options,
)
from tagsel.cli.outputs import force_option, output_option, writes


@click.command()
@dataset_argument
@click.argument("what", nargs=-1, required=True, metavar="HISTOGRAM...")
@cut_option
@selection_options
@output_option("-o", "--out", summary="Save the histograms to FILE, which must be new: .root, or .json (UHI).")
@output_option("--plot", summary="Draw them to FILE, which must be new: .png, .svg or .pdf.")
@force_option
@csv_option
@common
@click.pass_context
def hist(
    context: click.Context,
    /,
    dataset: str,
    what: tuple[str, ...],
    common_cuts: tuple[str, ...],
    workspace: str | None,
    as_json: bool,
    as_csv: bool,
    out: str | None,
    plot: str | None,
    force: bool,
    **options: Any,
) -> int:
    """Fill HISTOGRAMs of the events of DATASET that pass every --cut, all in one scan.

    \b
    Example:
      tagsel hist data18.DoubleMuon.TAG "MET_pt: 50, 0, 200" --cut "nMuon >= 2" --plot met.png
      tagsel hist data18.DoubleMuon.TAG "Z: mass(Muon[0], Muon[1]): 60, 60, 120 GeV" "MET_pt: 20,0,200 x nJet: 8,0,8"
      tagsel hist data18.DoubleMuon.TAG "Muon.pt: [0, 5, 10, 20, 50]" --cut HLT_IsoMu24 -o muons.root

    A HISTOGRAM is an expression, a colon, and its bins: number, low, high, or edges in brackets; a unit may follow. Up
    to three of these are joined by " x ". NAME: in front names it. A list fills once for each object.
    """
    from tagsel.api.histogram import check_names, fill
    from tagsel.selection.binning import read_specs

    specs = read_specs(what)
    check_names(specs, out, plot)
    home, name = home_of(context, workspace, dataset)
    query = home.query(name, cuts_of(common_cuts), **chosen(**options))
    with render.progress("filling", sum(i.snapshot.rows for i in query.inputs)) as advance:
        found = fill(query, specs, advance)
    lost = found.ledger.unreadable
    written = writes(out, plot, read=found.ledger.read - lost, lost=lost)
    if out and written:
        found.save(out, force=force)
    if plot and written:
        found.plot(plot, force=force)
    _show(found, as_json, as_csv, saved=written)
    return LOSSES if lost else 0


def _show(found: Any, as_json: bool, as_csv: bool, *, saved: bool) -> None:
    """The bins (unless they went to a file), what was not filled, and the ledger."""
    if as_json:
        render.document(found.to_json())
        return
    if as_csv or not saved:
        shown = found.table()
        render.table(shown.columns, shown.rows, as_csv=as_csv)
    render.warn([*found.count.warnings, *found.count.losses])
    for one in found.filled:
        render.note(f"{one.name}: {one.said()}")
    render.note(f"{render.ledger(found.ledger.to_json())} = {found.count.read:,} read")
    render.note(render.work(found.count.work.to_json()))


COMMANDS = (hist,)
