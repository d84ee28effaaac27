"""Verbs that bring data in: init, ingest, schema."""

from __future__ import annotations

import fnmatch
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tagsel.cli import render
from tagsel.cli.options import (
    LOSSES,
    SuggestingGroup,
    common,
    csv_option,
    dataset_argument,
    pairs,
    values,
    workspace_of,
)
from tagsel.cli.outputs import text_output

if TYPE_CHECKING:
    from tagsel.ingest.load import Ingested


@click.command(short_help="Make a folder a workspace.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
def init(folder: Path, as_json: bool) -> None:
    """Make FOLDER (missing or empty) a workspace; on a workspace this changes nothing and says so.

    \b
    Example:
      tagsel init W && cd W
    """
    from tagsel.api.home import make_workspace

    made = make_workspace(folder)
    if as_json:
        render.document({"workspace": str(folder), "made": made})
        return
    print(f"{folder} is a workspace now" if made else f"{folder} is a workspace already; nothing changed")
    if made:
        render.suggest(f"tagsel -w {folder} ingest FILE... --dataset NAME")


PROFILES = click.Choice(("slim", "standard", "full"))

PROFILE_HELP = "How much to take of each file: slim is about 1 kB an event, full every column."


@click.command(short_help="Turn ROOT or Parquet files into TAGs of a dataset.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--dataset", required=True, help="The dataset's name: letters, digits, '.', '_', '-'.")
@click.option("--schema", default="", metavar="TOML", help="A source schema: nanoaod, physlite, … or a file.")
@click.option("--profile", type=PROFILES, show_default="the dataset's own, or standard", help=PROFILE_HELP)
@click.option("--site", default="", help="The site that holds the files.")
@click.option(
    "--meta", multiple=True, metavar="KEY=VALUE", callback=pairs, help="A free key of the dataset; repeat for more."
)
@click.option("--type", "kind", default="", help="The dataset's type, where its name does not say it.")
@click.option("--version", default="", help="The dataset's version.")
@click.option("--stream", default="", help="The stream, where the name does not say it.")
@click.option("--sample", default="", help="The simulated sample.")
@click.option("--parent", "parents", multiple=True, metavar="NAME", help="A dataset that this one was made from.")
@click.option(
    "--aod",
    multiple=True,
    metavar="FILE",
    help="AOD files that the rows point to, paths or URLs, or a PoolFileCatalog.xml of such; repeat for more.",
)
@click.option("--evolve", is_flag=True, help="Take attributes that some files lack as missing there.")
@click.option(
    "--identity",
    default="",
    metavar="IDS",
    help="What makes two rows of data one event: 'run event' or 'run lumi event'.",
)
@click.option("--processes", type=click.IntRange(min=0), default=0, help="Processes; 0 = one for each core.")
@common
@click.pass_context
def ingest(
    context: click.Context,
    /,
    files: tuple[Path, ...],
    dataset: str,
    workspace: str | None,
    as_json: bool,
    meta: dict[str, str],
    kind: str,
    profile: str | None,
    **options: Any,
) -> int:
    """Turn FILES (NanoAOD, PHYSLITE, POOL collections, Parquet, Arrow; TTree or RNTuple) into TAGs of a dataset.

    A folder stands for the files in it; folders named year=2018 are columns of the files below them.

    \b
    Example:
      tagsel ingest nano_dimuon.root --dataset data18.DoubleMuon.TAG
      tagsel ingest mine.root --dataset mine.TAG --schema mine.toml --meta trigger=2 --version 1.0.0
    """
    from tagsel.ingest.columnar import data_files

    home = workspace_of(context, workspace)
    with render.progress("ingesting", len(data_files(files).files), "files") as advance:
        step = None if advance is None else lambda _: advance(1)
        done = home.ingest(
            *files, dataset=dataset, meta=values(meta), type=kind, profile=profile or "", progress=step, **options
        )
    if as_json:
        render.document(done.to_json())
        return LOSSES if done.failed else 0
    _show_ingested(dataset, done)
    render.suggest(f'tagsel count {dataset} "true"')
    return LOSSES if done.failed else 0


def _show_ingested(dataset: str, done: Ingested) -> None:
    """What became of the files, what the dataset holds now, and what of the files was left out."""
    render.warn(done.warnings)
    for file in done.moved:
        render.note(f"{file.path}: moved here from {file.former}; the new place is recorded")
    for path in done.already:
        render.note(f"{path}: already in {dataset}, nothing to do")
    for failure in done.failed:
        render.note(f"not ingested: {failure.reason if failure.path in failure.reason else str(failure)}")
    what = "simulation" if done.simulation else "data"
    print(
        f"{dataset}@{done.snapshot}: {done.events:,} events of {what} from {len(done.landed)} new files "
        f"({', '.join(done.formats) or 'nothing new'})"
    )
    per_event = f", {done.bytes / done.events:,.0f} B an event" if done.events else ""
    repeated = f"{done.duplicates:,} duplicate rows"
    if done.simulation and done.duplicates:
        repeated = f"{done.duplicates:,} rows repeat a run and event, and count: simulation reuses its numbers"
    render.note(f"{done.bytes:,} B on disk{per_event}; {repeated}")
    for line in done.report.summary():
        render.note(line)
    if done.bookkeeping.get("genEventCount") is not None:
        render.note(
            f"generated: {done.bookkeeping['genEventCount']:,} events, sum of weights {done.bookkeeping['sumw']:.6g}"
        )


@click.group(cls=SuggestingGroup, short_help="Attributes of a file; a schema drafted for one.")
def schema() -> None:
    """Show the attributes of a dataset or file; draft a schema for a file.

    \b
    Example:
      tagsel schema show data18.DoubleMuon.TAG "Muon*"
      tagsel schema derive mine.root -o mine.toml
    """


@schema.command("show")
@dataset_argument
@click.argument("pattern", default="*")
@click.option("--profile", type=PROFILES, default="standard", show_default=True, help=PROFILE_HELP)
@csv_option
@common
@click.pass_context
def schema_show(
    context: click.Context,
    /,
    dataset: str,
    pattern: str,
    profile: str,
    as_csv: bool,
    workspace: str | None,
    as_json: bool,
) -> None:
    """List the attributes of DATASET that match PATTERN; of a FILE also what an ingest would leave out, and why.

    \b
    Example:
      tagsel schema show data18.DoubleMuon.TAG "Muon*"
      tagsel schema show nano_dimuon.root
    """
    from tagsel.api.dataset import attribute_table
    from tagsel.api.inputs import is_file_name
    from tagsel.ingest import IngestReport, open_source

    if is_file_name(dataset):
        source = open_source(Path(dataset), profile=profile)
        report = IngestReport(profile)
        report.add(source.lines)
        found = attribute_table(source.schema, pattern, dataset)
        triggers = sorted(set(chain.from_iterable(menu.bits for menu in source.menus.values())))
    else:
        home = workspace_of(context, workspace)
        report = None
        found = home.datasets.attributes(dataset, pattern)
        triggers = home[dataset].trigger_names()
    if as_json:
        said = {} if report is None else {"report": report.to_json()}
        chosen = [name for name in triggers if fnmatch.fnmatchcase(name, pattern)]
        render.document({"attributes": found.to_json(), "triggers": chosen, **said})
        return
    render.table(found.columns, found.rows, as_csv=as_csv)
    render.note(f"{len(found):,} attributes, {len(triggers):,} trigger chains and flags")
    for line in report.summary() if report is not None else ():
        render.note(line)


@schema.command("derive")
@click.argument("path", type=click.Path(path_type=Path))
@text_output
@common
def schema_derive(path: Path, out: str, force: bool, workspace: str | None, as_json: bool) -> None:
    """Draft a source schema (TOML) for a ROOT or Parquet file, to edit and hand to ingest --schema.

    \b
    Example:
      tagsel schema derive mine.root -o mine.toml
    """
    from tagsel.ingest import derive_source_schema

    del workspace
    text = derive_source_schema(path)
    if as_json:
        render.document({"schema": text})
    elif out == "-":
        print(text, end="")
    else:
        from tagsel.base.output_file import output_file

        with output_file(out, force=force) as temporary:
            temporary.write_text(text, encoding="utf-8")
        render.suggest(f"tagsel ingest {path} --dataset NAME --schema {out}")


COMMANDS = (init, ingest, schema)
