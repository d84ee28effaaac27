"""Verbs that deliver: map, skim, submit, jobs."""

from __future__ import annotations

import click

from tagsel.cli import render
from tagsel.cli.options import common, csv_option, dry_run_option, workspace_of

LOSSES = 3


@click.command("map")
@click.argument("path", metavar="EVENTS")
@click.option("--stage", type=click.Choice(["aod", "esd", "raw"]), default="aod", show_default=True)
@csv_option
@common
@click.pass_context
def map_(context: click.Context, /, path: str, stage: str, as_csv: bool, workspace: str | None, as_json: bool) -> int:
    """Say where the EVENTS of a list are: files, entries, sites; and whether reading them is worth it.

    \b
    Example:
      tagsel map dimuon.events
    """
    found = workspace_of(context, workspace).map(path, stage=stage)
    if as_json:
        render.document(found.to_json())
    else:
        columns = ("guid", "lfn", "events", "entries", "sites")
        rows = [(f.guid, f.lfn, len(f.entries), _spans(f.entries.tolist()), ",".join(f.sites)) for f in found.files]
        render.table(columns, rows, as_csv=as_csv)
        render.note(found.verdict)
        if len(found.unmapped):
            render.note(f"{len(found.unmapped):,} events have no {stage.upper()} address")
        render.suggest(f'tagsel skim {path} -o out.root --branches "*"')
    return LOSSES if len(found.unmapped) else 0


def _spans(entries: list[int]) -> str:
    """Entries as text, all of them, neighbours as ranges.

    >>> _spans([1, 2, 3, 7])
    '1-3,7'
    """
    spans: list[list[int]] = []
    for entry in entries:
        if spans and entry == spans[-1][1] + 1:
            spans[-1][1] = entry
        else:
            spans.append([entry, entry])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


@click.command()
@click.argument("path", metavar="EVENTS")
@click.option("-o", "--out", required=True, metavar="FILE", help="The file to write, .root or .parquet.")
@click.option("--branches", default="*", show_default=True, metavar="PATTERNS",
              help='Branches to keep, with commas: "Muon_*,MET_*".')  # fmt: skip
@dry_run_option
@common
@click.pass_context
def skim(context: click.Context, /, path: str, out: str, branches: str, dry_run: bool, workspace: str | None,
         as_json: bool) -> int:  # fmt: skip
    """Write the selected entries of the AOD, slimmed to the branches asked for, as ROOT or Parquet.

    \b
    Example:
      tagsel skim dimuon.events -o dimuon.root --branches "Muon_*,MET_*"
    """
    report = workspace_of(context, workspace).skim(path, out, branches=_patterns(branches), dry_run=dry_run)
    if as_json:
        render.document(report.to_json())
    else:
        verb = "would be written" if dry_run else "written"
        print(f"{report.events} events, {len(report.branches)} branches {verb} to {out}")
        read = report.read
        render.note(f"{read.bytes_read:,} of {read.bytes_total:,} B read in {read.files} files")
        render.note(f"{render.ledger(report.ledger.to_json())}")
        for problem in read.problems:
            render.note(f"unreadable: {problem.pfn or problem.guid}: {problem.reason} ({problem.events:,} events)")
    return LOSSES if report.ledger.unreadable or report.ledger.failed else 0


def _patterns(text: str) -> list[str]:
    return [p.strip() for p in text.split(",") if p.strip()]


COMMANDS = (map_, skim)
