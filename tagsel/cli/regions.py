"""Questions about many sets of events at once: regions, sweep, estimate, triggers, overlap."""

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
    OK,
    chosen,
    cut_arguments,
    cut_option,
    cuts_of,
    dataset_argument,
    selection_options,
    wants_csv,
)
from tagsel.cli.outputs import force_option, output_option, writes
from tagsel.cli.verb import Answer, question

if TYPE_CHECKING:
    from tagsel.api import Dataset
    from tagsel.selection import Count
    from tagsel.selection.regions import Regions

WIDEST = 8
"""Sets whose matrix is shown at a terminal; of more, each with the set that it shares most with."""


@click.command(short_help="Count the events of many regions in one pass.")
@cut_arguments
@cut_option
@selection_options
@click.option("--overlap", is_flag=True, help="Show the events that each two regions share instead.")
@output_option("-o", "--out", metavar="FOLDER", summary="Save the events of each region as FOLDER/NAME.events.")
@force_option
@question(csv=True)
def regions(
    data: Dataset,
    cuts: tuple[str, ...],
    common_cuts: tuple[str, ...],
    overlap: bool,
    out: str | None,
    force: bool,
    **options: Any,
) -> Answer:
    """Count the events of DATASET in many regions, each a CUT with its name, in one pass.

    \b
    Example:
      tagsel regions data18.DoubleMuon.TAG "SR: MET_pt > 100" "CR: MET_pt < 50" --cut "nMuon >= 2" --overlap
    """
    named = _named_regions(cuts)
    if out:
        _check_lists(named, Path(out), force)
    with render.progress("regions", data.events) as advance:
        answer = data.regions(
            named, *cuts_of(common_cuts), overlap=overlap, lists=bool(out), **chosen(**options), progress=advance
        )
    if out:
        _save(answer, Path(out), force)
    counts = list(answer.values())
    first = counts[0]
    return Answer(
        answer,
        table=answer.overlaps() if overlap else answer.table(),
        warnings=_warnings(counts),
        notes=[f"{len(answer)} regions of {first.read:,} read; {render.work(first.work.to_json())}"],
        code=LOSSES if any(count.ledger.unreadable for count in counts) else OK,
    )


def _named_regions(cuts: tuple[str, ...]) -> dict[str, str]:
    """Regions by their names; one without a name goes by its text."""
    named = [(name or text, text) for name, text in cuts_of(cuts)] if cuts else []
    times = Counter(name for name, _ in named)
    twice = [name for name in times if times[name] > 1]
    if twice:
        raise click.UsageError(f"two cuts have the name {twice[0]}", click.get_current_context())
    return dict(named)


def _warnings(counts: Iterable[Count]) -> list[str]:
    """The warnings and losses of several counts, each once."""
    messages: list[str] = []
    for count in counts:
        messages += [*count.warnings, *count.losses]
    return list(dict.fromkeys(messages))


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


def _save(regions: Regions, folder: Path, force: bool) -> None:
    """Save a list for each region, by its name."""
    for name, events in regions.lists.items():
        path = folder / f"{name}.events"
        lost = regions[name].ledger.unreadable
        if writes(str(path), read=regions[name].read - lost, lost=lost):
            folder.mkdir(parents=True, exist_ok=True)
            events.save(path, force=force)


@click.command(short_help="Count the events that pass a cut at each of many thresholds.")
@dataset_argument
@click.argument("cut")
@click.argument("values", nargs=-1, required=True, metavar="VALUE...")
@cut_option
@selection_options
@question(csv=True)
def sweep(
    data: Dataset,
    cut: str,
    values: tuple[str, ...],
    common_cuts: tuple[str, ...],
    **options: Any,
) -> Answer:
    """Count the events of DATASET that pass CUT with each VALUE in the place of {x}, in one pass.

    \b
    Example:
      tagsel sweep data18.DoubleMuon.TAG "MET_pt > {x}" 20 50 100 --cut "nMuon >= 2"
      tagsel sweep data18.DoubleMuon.TAG "max(Muon.pt) > {x} GeV" 0:100:5

    A VALUE is a number, or LOW:HIGH:STEP for all from LOW to HIGH, both included.
    """
    with render.progress("sweep", data.events) as advance:
        answer = data.sweep(cut, expanded(values), *cuts_of(common_cuts), **chosen(**options), progress=advance)
    loosest = answer.loosest
    return Answer(
        answer,
        table=answer.table(),
        warnings=[*loosest.warnings, *loosest.losses],
        notes=[f"{len(answer)} values, {loosest.read:,} read; {render.work(loosest.work.to_json())}"],
        code=LOSSES if loosest.ledger.unreadable else OK,
    )


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


@click.command(short_help="Estimate a count from a sample of the rows.")
@cut_arguments
@click.option("--sample", default="1%", show_default=True, metavar="SHARE", help="How much to look at: 1%, or 0.01.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Another sample of that size.")
@selection_options
@question()
def estimate(
    data: Dataset,
    cuts: tuple[str, ...],
    sample: str,
    seed: int,
    **options: Any,
) -> Answer:
    """Estimate how many events of DATASET pass every CUT, from a sample of its rows: a preview, never a count.

    \b
    Example:
      tagsel estimate data18.DoubleMuon.TAG "count(Muon.pt > 10 GeV) >= 2" --sample 1%

    In a pipe: the estimate, and the ends of its 95 % interval. The same seed looks at the same rows.
    """
    answer = data.estimate(*cuts_of(cuts), sample=_share(sample), seed=seed, **chosen(**options))
    sentence, ledger = answer.summary(), answer.ledger
    of_sample = f"of the sample: {render.ledger(ledger.to_json())} = {ledger.read:,} of {answer.read:,} rows"
    on_terminal = sys.stdout.isatty()
    return Answer(
        answer,
        sentence if on_terminal else f"{answer.estimate:.0f}\t{answer.low}\t{answer.high}",
        warnings=[*answer.warnings, *answer.losses],
        notes=[of_sample] if on_terminal else [sentence, of_sample],
        code=LOSSES if ledger.unreadable else OK,
    )


def _share(text: str) -> float:
    """`1%` or `0.01`."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise click.UsageError(f"--sample {text!r} is no share: 1%, or 0.01") from None


@click.command(short_help="Count how often each trigger chain fired.")
@dataset_argument
@click.argument("pattern", default="*")
@click.option("--by", type=click.Choice(["run", "lumi"]), default=None, help="Count by run, or by luminosity block.")
@cut_option
@selection_options
@question(csv=True)
def triggers(
    data: Dataset,
    pattern: str,
    by: str | None,
    common_cuts: tuple[str, ...],
    **options: Any,
) -> Answer:
    """Count how often each trigger chain or flag of DATASET that PATTERN matches fired, and where a menu lacks it.

    \b
    Example:
      tagsel triggers data18.DoubleMuon.TAG "HLT_IsoMu*"
      tagsel triggers data18.DoubleMuon.TAG "HLT_IsoMu24,HLT_Mu50" --by run --cut "nMuon >= 2" --csv

    Columns: fired; present, the events whose menu has the chain; absent, those whose menu lacks it; fired of present.
    """
    with render.progress("triggers", data.events) as advance:
        answer = data.triggers(pattern, *cuts_of(common_cuts), by=by or "", **chosen(**options), progress=advance)
    from tagsel.base.text_table import Table

    counted = answer.count
    return Answer(
        answer,
        table=Table(answer.columns, tuple(answer.rows())),
        warnings=[*counted.warnings, *counted.losses],
        notes=[f"{len(answer.chains):,} chains, {counted.accepted:,} events of {counted.read:,} read"],
        code=LOSSES if counted.ledger.unreadable else OK,
    )


@click.command(short_help="Count the events that datasets, chains or cuts share.")
@cut_arguments
@click.option("--chains", default="", metavar="PATTERN", help="Overlap the trigger chains that PATTERN matches.")
@cut_option
@selection_options
@question(csv=True)
def overlap(
    data: Dataset,
    cuts: tuple[str, ...],
    chains: str,
    common_cuts: tuple[str, ...],
    **options: Any,
) -> Answer:
    """Count the events that each two of several DATASETs share, or each two trigger chains, or each two CUTs.

    \b
    Example:
      tagsel overlap data18.DoubleMuon.TAG,data18.SingleMuon.TAG
      tagsel overlap data18.DoubleMuon.TAG --chains "HLT_*Mu*"
      tagsel overlap data18.DoubleMuon.TAG "SR: MET_pt > 100" "CR: MET_pt < 50" --cut "nMuon >= 2"

    Streams are compared by the identity of their events. A set's own events stand on its diagonal; `alone` are those in
    no other set. At a terminal, of more than 8 sets, each with the set that it shares most with; --csv has them all.
    """
    with render.progress("overlap", data.events) as advance:
        answer = data.overlap(
            *cuts_of(common_cuts),
            chains=chains,
            regions=_named_regions(cuts),
            **chosen(**options),
            progress=advance,
        )
    narrow = len(answer.names) > WIDEST and sys.stdout.isatty() and not wants_csv()
    return Answer(
        answer,
        table=answer.nearest() if narrow else answer.table(),
        warnings=_warnings(answer.counts),
        notes=[f"{len(answer.names):,} {answer.kind}s, {answer.events:,} events in any of them"],
        code=LOSSES if answer.unreadable else OK,
    )


COMMANDS = (regions, sweep, estimate, triggers, overlap)
