"""Sub-verbs of `datasets` that say what is there: facets, latest, pin, unpin, pins, tree, runs, check."""

from __future__ import annotations

import sys

import click

from tagsel.cli import render
from tagsel.cli.data import datasets
from tagsel.cli.options import LOSSES, common, csv_option, dataset_argument, optional_dataset_argument, workspace_of


@datasets.command("facets")
@click.argument("where", default="")
@click.option("--by", multiple=True, metavar="KEY", help="Just this column or free key; repeat for more.")
@click.option("--most", type=click.IntRange(min=1), default=20, show_default=True, help="List so many values of a key.")
@csv_option
@common
@click.pass_context
def datasets_facets(
    context: click.Context,
    /,
    where: str,
    by: tuple[str, ...],
    most: int,
    as_csv: bool,
    workspace: str | None,
    as_json: bool,
) -> None:
    """Count the datasets that WHERE leaves by type, stream, year, version and any free key, to narrow step by step.

    \b
    Example:
      tagsel datasets facets "type = 'TAG' and year = 2009"
      tagsel datasets facets "type = 'TAG'" --by stream --by trigger

    Each row's last column is the condition to put beside WHERE to choose its value.
    """
    found = workspace_of(context, workspace).facets(where, by=by, most=most)
    if as_json:
        render.document(found.to_json())
        return
    rows = [(f.key, c.value, c.datasets, c.events, c.condition) for f in found.facets for c in f.choices]
    render.table(("key", "value", "datasets", "events", "condition"), rows, as_csv=as_csv)
    for facet in found.facets:
        if facet.more:
            render.note(f"{facet.key}: {facet.more:,} more values, in {facet.more_datasets:,} of the datasets (--most)")
        if facet.without:
            render.note(f"{facet.key}: no value in {facet.without:,} of the datasets")
    render.note(f"{found.datasets:,} datasets with {found.events:,} events")


@datasets.command("latest")
@click.argument("what", default="")
@csv_option
@common
@click.pass_context
def datasets_latest(context: click.Context, /, what: str, as_csv: bool, workspace: str | None, as_json: bool) -> None:
    """List the newest version of each family of datasets; WHAT is a glob or a condition.

    \b
    Example:
      tagsel datasets latest "data09_900GeV.*"
      tagsel datasets latest "type = 'TAG' and year = 2009"

    1.10.0 is newer than 1.9.2, and r123_p4 than r123_p3. In a pipe: names, one a line.
    """
    found = workspace_of(context, workspace).latest(what)
    if as_json:
        render.document({"latest": found.to_json()})
    elif not as_csv and not sys.stdout.isatty():
        print("".join(f"{n}\n" for n in found.names()), end="")
    else:
        render.table(found.table.columns, found.table.rows, as_csv=as_csv)
    if not as_json:
        render.note(f"{len(found.table):,} datasets; {sum(map(len, found.older.values())):,} older versions")


@datasets.command("pin")
@dataset_argument
@click.option("--reason", required=True, help="What for: a paper, a list, an output.")
@common
@click.pass_context
def datasets_pin(context: click.Context, /, dataset: str, reason: str, workspace: str | None, as_json: bool) -> None:
    """Keep a snapshot, NAME@3, readable for ever; NAME is the latest.

    \b
    Example:
      tagsel datasets pin data18.DoubleMuon.TAG@3 --reason "paper draft 2"
    """
    pinned = workspace_of(context, workspace).pin(dataset, reason)
    if as_json:
        render.document({"pinned": pinned, "reason": reason})
    else:
        print(f"{pinned} is pinned: {reason}")


@datasets.command("unpin")
@dataset_argument
@click.option("--reason", default="", help="Take back just this reason (default: all of the snapshot).")
@common
@click.pass_context
def datasets_unpin(context: click.Context, /, dataset: str, reason: str, workspace: str | None, as_json: bool) -> None:
    """Take back a pin of a snapshot, NAME@3; without other pins, gc may remove what it alone needs.

    \b
    Example:
      tagsel datasets unpin data18.DoubleMuon.TAG@3 --reason "paper draft 2"
    """
    gone = workspace_of(context, workspace).unpin(dataset, reason)
    if as_json:
        render.document({"unpinned": dataset, "reasons": gone})
    else:
        print(f"{dataset} is no longer pinned for {', '.join(gone)}")


@datasets.command("pins")
@optional_dataset_argument
@csv_option
@common
@click.pass_context
def datasets_pins(context: click.Context, /, dataset: str, as_csv: bool, workspace: str | None, as_json: bool) -> None:
    """List the pinned snapshots of DATASET, or of all, with the reason, when, and by whom.

    \b
    Example:
      tagsel datasets pins
    """
    found = workspace_of(context, workspace).pins(dataset)
    if as_json:
        render.document({"pins": found.to_json()})
        return
    render.table(found.columns, found.rows, as_csv=as_csv)
    render.note(f"{len(found):,} pins")


@datasets.command("tree")
@dataset_argument
@click.option("--up", is_flag=True, help="Just what it was made from.")
@click.option("--down", is_flag=True, help="Just what was made from it.")
@common
@click.pass_context
def datasets_tree(
    context: click.Context, /, dataset: str, up: bool, down: bool, workspace: str | None, as_json: bool
) -> None:
    """Show the provenance of DATASET: what it was made from (<), and what was made from it (>).

    \b
    Example:
      tagsel datasets tree data18.DoubleMuon.TAG
    """
    found = workspace_of(context, workspace).tree(dataset, up=up or not down, down=down or not up)
    render.document(found.to_json()) if as_json else print(found.text())


@datasets.command("runs")
@dataset_argument
@click.option(
    "--by",
    type=click.Choice(["run", "file"]),
    default="run",
    show_default=True,
    help="A row a run, or a row an ingested file.",
)
@csv_option
@common
@click.pass_context
def datasets_runs(
    context: click.Context, /, dataset: str, by: str, as_csv: bool, workspace: str | None, as_json: bool
) -> None:
    """Summarise DATASET run by run (or file by file): events, luminosity blocks, files, and the totals.

    \b
    Example:
      tagsel datasets runs data18.DoubleMuon.TAG
      tagsel datasets runs data18.DoubleMuon.TAG --by file --csv
    """
    found = workspace_of(context, workspace).runs(dataset, by=by)
    if as_json:
        render.document(found.to_json())
        return
    render.table(found.table.columns, found.table.rows, as_csv=as_csv)
    said = ", ".join(f"{n:,} {name.replace('lumi_blocks', 'luminosity blocks')}" for name, n in found.total.items())
    render.note(f"{found.dataset}: {said}")


@datasets.command("check")
@dataset_argument
@click.option("--deep", is_flag=True, help="Read every column of every part, not ids and addresses alone.")
@csv_option
@common
@click.pass_context
def datasets_check(
    context: click.Context, /, dataset: str, deep: bool, as_csv: bool, workspace: str | None, as_json: bool
) -> int:
    """Check that DATASET (or several, with commas) is whole: files, copies, entries, damage, duplicates, blocks.

    \b
    Example:
      tagsel datasets check data18.DoubleMuon.TAG,data18.SingleMuon.TAG

    Exit code 3 where something is missing or corrupt; duplicates and remarks are said, and are none of these.
    """
    found = workspace_of(context, workspace).check(dataset, deep=deep)
    if as_json:
        render.document(found.to_json())
        return 0 if found.sound else LOSSES
    table = found.table()
    render.table(table.columns, table.rows, as_csv=as_csv)
    for name, ledger in found.addressed.items():
        render.note(
            f"{name}: {found.rows[name]:,} rows = {ledger.known:,} to AOD files that are known + "
            f"{ledger.unknown:,} to unknown ones + {ledger.without:,} without an address + "
            f"{ledger.unreadable:,} unreadable"
        )
    render.note("nothing is missing or corrupt" if found.sound else "something is missing or corrupt")
    return 0 if found.sound else LOSSES


COMMANDS: tuple[click.Command, ...] = ()
"""None of its own: they stand in `datasets`."""
