"""The verb that adds a user's own attributes: extend."""

from __future__ import annotations

import click

from tagsel.cli import render
from tagsel.cli.options import common, dataset_argument, pairs, workspace_of


@click.command()
@dataset_argument
@click.argument("what", metavar="FILE.parquet|'NAME = EXPRESSION'")
@click.option("--unit", "units", multiple=True, metavar="NAME=UNIT", callback=pairs, help="Unit of a new attribute.")
@click.option(
    "--describe", "descriptions", multiple=True, metavar="NAME=TEXT", callback=pairs, help="What a new attribute says."
)
@common
@click.pass_context
def extend(
    context: click.Context,
    /,
    dataset: str,
    what: str,
    units: dict[str, str],
    descriptions: dict[str, str],
    workspace: str | None,
    as_json: bool,
) -> None:
    """Give DATASET attributes of your own, user.NAME: computed, or from a Parquet file by run and event.

    \b
    Example:
      tagsel extend data18.DoubleMuon.TAG "dimuon_mass = mass(Muon[0], Muon[1])" --unit dimuon_mass=GeV
      tagsel extend data18.DoubleMuon.TAG scores.parquet --describe "dnn=my network, v3"

    One new snapshot; tagsel datasets restore undoes it. Rows without a match are missing.
    """
    done = workspace_of(context, workspace).extend(
        dataset, what, units=_stripped(units), descriptions=_stripped(descriptions)
    )
    if as_json:
        render.document(done.to_json())
        return
    print(f"{done.dataset}@{done.snapshot}: {', '.join(done.attributes)}")
    render.note(f"{done.rows:,} rows: {done.matched:,} matched, {done.unmatched:,} missing")
    if done.rows and not done.matched:
        render.note("no row has a value now; tagsel datasets restore undoes it: are these the ids of this dataset?")
    if done.given:
        render.note(f"{done.given:,} rows of the file: {done.used:,} used, {done.unused:,} not")
    render.suggest(f"tagsel count {done.dataset} 'present({done.attributes[0]})'")


def _stripped(given: dict[str, str]) -> dict[str, str]:
    return {name.strip(): said.strip() for name, said in given.items()}


COMMANDS = (extend,)
