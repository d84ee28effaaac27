"""Verbs that count many sets of events against one another: triggers, and overlap."""

from __future__ import annotations

import sys
from typing import Any

import click

from tagsel.cli import render
from tagsel.cli.options import (
    LOSSES,
    chosen,
    common,
    csv_option,
    cut_arguments,
    cut_option,
    cuts_of,
    dataset_argument,
    home_of,
    selection_options,
)

WIDEST = 8
"""Sets whose matrix is shown at a terminal; of more, each with the set that it shares most with."""


@click.command()
@dataset_argument
@click.argument("pattern", default="*")
@click.option("--by", type=click.Choice(["run", "lumi"]), default=None, help="Count by run, or by luminosity block.")
@cut_option
@selection_options
@csv_option
@common
@click.pass_context
def triggers(
    context: click.Context,
    /,
    dataset: str,
    pattern: str,
    by: str | None,
    common_cuts: tuple[str, ...],
    workspace: str | None,
    as_json: bool,
    as_csv: bool,
    **options: Any,
) -> int:
    """Count how often each trigger chain or flag of DATASET that PATTERN matches fired, and where a menu lacks it.

    \b
    Example:
      tagsel triggers data18.DoubleMuon.TAG "HLT_IsoMu*"
      tagsel triggers data18.DoubleMuon.TAG "HLT_IsoMu24,HLT_Mu50" --by run --cut "nMuon >= 2" --csv

    Columns: fired; present, the events whose menu has the chain; absent, those whose menu lacks it; fired of present.
    """
    home, name = home_of(context, workspace, dataset)
    query = home.query(name, cuts_of(common_cuts), **chosen(**options))
    with render.progress("triggers", sum(i.snapshot.rows for i in query.inputs)) as advance:
        found = home.triggers(
            name, pattern, *query.cuts, by=by or "", progress=advance, inputs=query.inputs, **chosen(**options)
        )
    lost = LOSSES if found.count.ledger.unreadable else 0
    if as_json:
        render.document(found.to_json())
        return lost
    render.warn([*found.count.warnings, *found.count.losses])
    render.table(found.columns, found.rows(), as_csv=as_csv)
    render.note(f"{len(found.chains):,} chains, {found.count.accepted:,} events of {found.count.read:,} read")
    return lost


@click.command()
@cut_arguments
@click.option("--chains", default="", metavar="PATTERN", help="Overlap the trigger chains that PATTERN matches.")
@cut_option
@selection_options
@csv_option
@common
@click.pass_context
def overlap(
    context: click.Context,
    /,
    dataset: str,
    cuts: tuple[str, ...],
    chains: str,
    common_cuts: tuple[str, ...],
    workspace: str | None,
    as_json: bool,
    as_csv: bool,
    **options: Any,
) -> int:
    """Count the events that each two of several DATASETs share, or each two trigger chains, or each two CUTs.

    \b
    Example:
      tagsel overlap data18.DoubleMuon.TAG,data18.SingleMuon.TAG
      tagsel overlap data18.DoubleMuon.TAG --chains "HLT_*Mu*"
      tagsel overlap data18.DoubleMuon.TAG "SR: MET_pt > 100" "CR: MET_pt < 50" --cut "nMuon >= 2"

    Streams are compared by the identity of their events. A set's own events stand on its diagonal; `alone` are those in
    no other set. At a terminal, of more than 8 sets, each with the set that it shares most with; --csv has them all.
    """
    home, name = home_of(context, workspace, dataset)
    sets = [(called or text, text) for called, text in cuts_of(cuts)] if cuts else []
    if len(dict(sets)) < len(sets):
        raise click.UsageError("two regions have the same name", context)
    query = home.query(name, cuts_of(common_cuts), **chosen(**options))
    with render.progress("overlap", sum(i.snapshot.rows for i in query.inputs)) as advance:
        found = home.overlap(
            name,
            *query.cuts,
            chains=chains,
            regions=dict(sets),
            progress=advance,
            inputs=query.inputs,
            **chosen(**options),
        )
    lost = LOSSES if found.unreadable else 0
    if as_json:
        render.document(found.to_json())
        return lost
    render.warn(dict.fromkeys(w for c in found.counts for w in (*c.warnings, *c.losses)))
    short = len(found.names) > WIDEST and sys.stdout.isatty() and not as_csv
    shown = found.nearest() if short else found.table()
    render.table(shown.columns, shown.rows, as_csv=as_csv)
    render.note(f"{len(found.names):,} {found.kind}s, {found.events:,} events in any of them")
    return lost


COMMANDS = (triggers, overlap)
