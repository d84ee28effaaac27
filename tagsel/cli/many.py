"""Verbs that ask many questions in one pass: regions and sweep; and estimate, which asks a sample."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tagsel.cli import render
from tagsel.cli.options import (
    CUT_NAME,
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
from tagsel.cli.outputs import force_option, output_option, writes

if TYPE_CHECKING:
    from tagsel.selection.regions import Regions


@click.command()
@cut_arguments
@cut_option
@selection_options
@click.option("--overlap", is_flag=True, help="Show the events that each two regions share instead.")
@output_option("-o", "--out", metavar="FOLDER", summary="Save the events of each region as FOLDER/NAME.events.")
@force_option
@csv_option
@common
@click.pass_context
def regions(
    context: click.Context,
    /,
    dataset: str,
    cuts: tuple[str, ...],
    common_cuts: tuple[str, ...],
    workspace: str | None,
    as_json: bool,
    as_csv: bool,
    overlap: bool,
    out: str | None,
    force: bool,
    **options: Any,
) -> int:
    """Count the events of DATASET in many regions, each a CUT with its name, in one pass.

    \b
    Example:
      tagsel regions data18.DoubleMuon.TAG "SR: MET_pt > 100" "CR: MET_pt < 50" --cut "nMuon >= 2" --overlap
    """
    home, name = home_of(context, workspace, dataset)
    named = [(name or text, text) for name, text in cuts_of(cuts)] if cuts else []
    twice = [name for name, times in Counter(name for name, _ in named).items() if times > 1]
    if twice:
        raise click.UsageError(f"two regions have the name {twice[0]}", context)
    asked = dict(named)
    if out:
        _check_lists(asked, Path(out), force)
    query = home.query(name, cuts_of(common_cuts), **chosen(**options))
    with render.progress("regions", sum(i.snapshot.rows for i in query.inputs)) as advance:
        found = home.regions(
            name,
            asked,
            *query.cuts,
            overlap=overlap,
            lists=bool(out),
            progress=advance,
            inputs=query.inputs,
            **chosen(**options),
        )
    if out:
        _save(found, Path(out), force)
    lost = any(count.ledger.unreadable for count in found.values())
    if as_json:
        render.document(found.to_json())
        return LOSSES if lost else 0
    first = next(iter(found.values()))
    render.warn(dict.fromkeys(w for c in found.values() for w in (*c.warnings, *c.losses)))
    shown = found.overlaps() if overlap else found.table()
    render.table(shown.columns, shown.rows, as_csv=as_csv)
    render.note(f"{len(found)} regions of {first.read:,} read; {render.work(first.work.to_json())}")
    return LOSSES if lost else 0


def _check_lists(names: Iterable[str], folder: Path, force: bool) -> None:
    """Names of regions must be those of files, and the files may be written: all of them, before any is."""
    from tagsel.base.output_file import check_output, check_output_folder
    from tagsel.events.parquet import is_intact

    check_output_folder(folder)
    for name in names:
        if not CUT_NAME.fullmatch(name):
            raise click.UsageError(f'a region needs a name for its file: "NAME: {name}"')
        if folder.is_dir():
            check_output(folder / f"{name}.events", force=force, intact=is_intact)


def _save(found: Regions, folder: Path, force: bool) -> None:
    """Save a list for each region, by its name."""
    for name, events in found.lists.items():
        path = folder / f"{name}.events"
        lost = found[name].ledger.unreadable
        if writes(str(path), read=found[name].read - lost, lost=lost):
            folder.mkdir(parents=True, exist_ok=True)
            events.save(path, force=force)


@click.command()
@dataset_argument
@click.argument("cut")
@click.argument("values", nargs=-1, required=True, metavar="VALUE...")
@cut_option
@selection_options
@csv_option
@common
@click.pass_context
def sweep(
    context: click.Context,
    /,
    dataset: str,
    cut: str,
    values: tuple[str, ...],
    common_cuts: tuple[str, ...],
    workspace: str | None,
    as_json: bool,
    as_csv: bool,
    **options: Any,
) -> int:
    """Count the events of DATASET that pass CUT with each VALUE in the place of {x}, in one pass.

    \b
    Example:
      tagsel sweep data18.DoubleMuon.TAG "MET_pt > {x}" 20 50 100 --cut "nMuon >= 2"
      tagsel sweep data18.DoubleMuon.TAG "max(Muon.pt) > {x} GeV" 0:100:5

    A VALUE is a number, or LOW:HIGH:STEP for all from LOW to HIGH, both included.
    """
    home, name = home_of(context, workspace, dataset)
    query = home.query(name, cuts_of(common_cuts), **chosen(**options))
    with render.progress("sweep", sum(i.snapshot.rows for i in query.inputs)) as advance:
        found = home.sweep(
            name, cut, expanded(values), *query.cuts, progress=advance, inputs=query.inputs, **chosen(**options)
        )
    if as_json:
        render.document(found.to_json())
    else:
        render.warn([*found.loosest.warnings, *found.loosest.losses])
        shown = found.table()
        render.table(shown.columns, shown.rows, as_csv=as_csv)
        render.note(f"{len(found)} values, {found.loosest.read:,} read; {render.work(found.loosest.work.to_json())}")
    return LOSSES if found.loosest.ledger.unreadable else 0


def expanded(values: tuple[str, ...]) -> list[str]:
    """Values with ranges written out, in decimal: `0:1:0.25` is 0, 0.25, 0.5, 0.75, 1.

    >>> expanded(("7", "0:1:0.5"))
    ['7', '0.0', '0.5', '1.0']
    """
    found: list[str] = []
    for value in map(str.strip, values):
        if ":" not in value:
            found.append(value)
            continue
        try:
            low, high, step = map(Decimal, value.split(":"))
            if not step or (high - low) / step < 0 or (high - low) / step > 100_000:
                raise ValueError(value)
            found += [str(low + k * step) for k in range(int((high - low) / step) + 1)]
        except (ValueError, InvalidOperation):
            raise click.UsageError(f"{value!r} is no range: LOW:HIGH:STEP, like 0:100:5") from None
    return found


@click.command()
@cut_arguments
@click.option("--sample", default="1%", show_default=True, metavar="SHARE", help="How much to look at: 1%, or 0.01.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another sample of that size.")
@selection_options
@common
@click.pass_context
def estimate(
    context: click.Context,
    /,
    dataset: str,
    cuts: tuple[str, ...],
    workspace: str | None,
    as_json: bool,
    sample: str,
    seed: int,
    **options: Any,
) -> int:
    """Estimate how many events of DATASET pass every CUT, from a sample of its rows: a preview, never a count.

    \b
    Example:
      tagsel estimate data18.DoubleMuon.TAG "count(Muon.pt > 10 GeV) >= 2" --sample 1%

    In a pipe: the estimate, and the ends of its 95 % interval. The same seed looks at the same rows.
    """
    home, name = home_of(context, workspace, dataset)
    found = home.estimate(name, *cuts_of(cuts), sample=_share(sample), seed=seed, **chosen(**options))
    if as_json:
        render.document(found.to_json())
        return LOSSES if found.ledger.unreadable else 0
    render.warn([*found.warnings, *found.losses])
    if sys.stdout.isatty():
        print(found.said())
    else:
        print(f"{found.estimate:.0f}\t{found.low}\t{found.high}")
        render.note(found.said())
    looked = found.ledger
    render.note(f"of the sample: {render.ledger(looked.to_json())} = {looked.read:,} of {found.read:,} rows")
    return LOSSES if found.ledger.unreadable else 0


def _share(text: str) -> float:
    """`1%` or `0.01`."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise click.UsageError(f"--sample {text!r} is no share: 1%, or 0.01") from None


COMMANDS = (regions, sweep, estimate)
