"""Verbs that keep data: init, ingest, datasets, schema, compact, gc."""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from tagsel.base.local_path import disk_usage
from tagsel.cli import render
from tagsel.cli.options import (
    LOSSES,
    OK,
    DefaultGroup,
    SuggestingGroup,
    common,
    csv_option,
    dataset_argument,
    dry_run_option,
    interactive,
    optional_dataset_argument,
    pairs,
    values,
    workspace_of,
    yes_option,
)
from tagsel.cli.outputs import text_output
from tagsel.errors import TagselError


@click.command()
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


@click.command()
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
    render.suggest(f'tagsel count {dataset} "true"')
    return LOSSES if done.failed else 0


@click.group(cls=DefaultGroup)
def datasets() -> None:
    """Find datasets by their metadata; show one; bring an old snapshot back.

    \b
    Example:
      tagsel datasets "type = 'TAG' and year = 2018"
      tagsel datasets show data18.DoubleMuon.TAG
      tagsel datasets --sql "select run, count(*) from \\"data18.DoubleMuon.TAG\\" group by run"
      tagsel datasets restore data18.DoubleMuon.TAG@3
    """


@datasets.command("list")
@click.argument("where", default="")
@click.option("--sql", help="One read-only SELECT over the catalog's tables and the TAG datasets; @name: a named one.")
@csv_option
@common
@click.pass_context
def datasets_list(
    context: click.Context, /, where: str, sql: str | None, as_csv: bool, workspace: str | None, as_json: bool
) -> None:
    """List the datasets that WHERE selects: an SQL condition over their columns and any free key, or @name.

    \b
    Example:
      tagsel datasets "type = 'TAG' and year = 2009 and trigger = 2 and version = '1.0.0'"
      tagsel datasets @trigger_2_of_2009
    """
    from tagsel.api.named import metadata_query

    home = workspace_of(context, workspace)
    if not sql and where.startswith("@") and metadata_query(where, home.folder).kind == "sql":
        sql = where
    if sql:
        found = home.sql(sql)
        if as_json:
            render.document({"columns": found.column_names, "rows": found.to_pylist()})
        else:
            rows = zip(*(c.to_pylist() for c in found.columns), strict=True)
            render.table(found.column_names, list(rows), as_csv=as_csv)
        return
    listed = home.datasets(where)
    if as_json:
        render.document({"datasets": listed.to_json()})
    elif not as_csv and not sys.stdout.isatty():
        print("".join(f"{n}\n" for n in listed.names()), end="")
    else:
        render.table(listed.columns, listed.rows, as_csv=as_csv)


@datasets.command("show")
@dataset_argument
@common
@click.pass_context
def datasets_show(context: click.Context, /, dataset: str, workspace: str | None, as_json: bool) -> None:
    """Show all that is known of one dataset.

    \b
    Example:
      tagsel datasets show data18.DoubleMuon.TAG
    """
    known = workspace_of(context, workspace).show(dataset)
    render.document(known) if as_json else render.facts(known)


@datasets.command("restore")
@dataset_argument
@common
@click.pass_context
def datasets_restore(context: click.Context, /, dataset: str, workspace: str | None, as_json: bool) -> None:
    """Make a new snapshot with the content of an old one: NAME@3.

    \b
    Example:
      tagsel datasets restore data18.DoubleMuon.TAG@3
    """
    home = workspace_of(context, workspace)
    snapshot = home.restore(dataset)
    if as_json:
        render.document({"snapshot": snapshot.number, "events": snapshot.rows})
    else:
        print(f"{dataset.partition('@')[0]}@{snapshot.number} has the content of {dataset}: {snapshot.rows:,} events")


@click.group(cls=SuggestingGroup)
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
        triggers = sorted({name for menu in source.menus.values() for name in menu.bits})
    else:
        home = workspace_of(context, workspace)
        report = None
        found = home.schema(dataset, pattern)
        triggers = home[dataset].triggers()
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


@click.command()
@dataset_argument
@dry_run_option
@common
@click.pass_context
def compact(context: click.Context, /, dataset: str, dry_run: bool, workspace: str | None, as_json: bool) -> None:
    """Pack the small parts of DATASET into larger ones; no digest changes, old snapshots stay readable.

    \b
    Example:
      tagsel compact data18.DoubleMuon.TAG --dry-run
    """
    home = workspace_of(context, workspace)
    plan = home.compact(dataset, dry_run=True)
    bins = [list(names) for names in plan.bins]  # type: ignore[union-attr]
    done = None if dry_run else home.compact(dataset)
    if as_json:
        render.document({"pack": bins, "snapshot": getattr(done, "number", None)})
    elif dry_run or not bins:
        print(f"{sum(map(len, bins))} parts to pack into {len(bins)}" if bins else "nothing to pack")
    else:
        print(f"{dataset}@{getattr(done, 'number', '')}: {sum(map(len, bins))} parts packed into {len(bins)}")


@click.command()
@optional_dataset_argument
@dry_run_option
@yes_option
@click.option(
    "--grace",
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="Keep files younger than this: someone may be reading or writing them.",
)
@common
@click.pass_context
def gc(
    context: click.Context,
    /,
    dataset: str,
    dry_run: bool,
    yes: bool,
    grace: float,
    workspace: str | None,
    as_json: bool,
) -> None:
    """Remove files of DATASET, or of all, that no latest or pinned snapshot needs; lists them first and asks.

    \b
    Example:
      tagsel gc data18.DoubleMuon.TAG --dry-run
      tagsel gc --dry-run
    """
    home = workspace_of(context, workspace)
    usage = {path: disk_usage(path) for path in home.gc(dataset, dry_run=True, grace_s=grace)}
    if not as_json:
        for path in usage:
            print(path)
    if not dry_run and usage:
        if not yes and not interactive():
            raise TagselError(f"{_amount(usage.values())} would be removed", hint="--yes removes them")
        if not yes:
            click.confirm(f"remove {_amount(usage.values())}?", abort=True, err=True)
        removed = set(home.gc(dataset, dry_run=False, grace_s=grace))
        for path in sorted(removed - usage.keys()):
            render.note(f"removed, too, and not counted: {path}")
        usage = {path: amount for path, amount in usage.items() if path in removed}
    if as_json:
        files = sum(files for files, _ in usage.values())
        size = sum(size for _, size in usage.values())
        paths = [str(path) for path in usage]
        removed_some = bool(usage) and not dry_run
        render.document({"paths": paths, "files": files, "bytes": size, "removed": removed_some})
    else:
        render.note(f"{_amount(usage.values())} {'would be removed' if dry_run else 'removed'}")


def _amount(usage: Iterable[tuple[int, int]]) -> str:
    """Files and bytes in words."""
    each = list(usage)
    return f"{sum(files for files, _ in each):,} files, {sum(size for _, size in each):,} B"


@datasets.command("files")
@dataset_argument
@click.option("--site", default="", help="Where they lie at one site; files that it lacks are exit code 3.")
@csv_option
@common
@click.pass_context
def datasets_files(
    context: click.Context, /, dataset: str, site: str, as_csv: bool, workspace: str | None, as_json: bool
) -> int:
    """List the files of DATASET: in a pipe where each can be read, one a line.

    \b
    Example:
      tagsel datasets files data18.DoubleMuon.AOD --site CERN
    """
    found = workspace_of(context, workspace).files(dataset, site=site)
    places = [str(row[0]) for row in found.rows]
    if as_json:
        render.document({"files": found.to_json()})
    elif not as_csv and not sys.stdout.isatty():
        print("".join(f"{place}\n" for text in places for place in text.split()[:1]), end="")
    else:
        render.table(found.columns, found.rows, as_csv=as_csv)
    return OK if all(places) else LOSSES


@datasets.command("close")
@dataset_argument
@click.option("--freeze", is_flag=True, help="Nor may it be dropped, ever; digests of its content are kept.")
@click.option(
    "--meta",
    multiple=True,
    metavar="KEY=VALUE",
    callback=pairs,
    help="A free key that stays with it, as luminosity_fb=36.1; may be repeated.",
)
@common
@click.pass_context
def datasets_close(
    context: click.Context, /, dataset: str, freeze: bool, meta: dict[str, str], workspace: str | None, as_json: bool
) -> None:
    """Close DATASET: nothing is added to it any more. There is no way back; a new version is a new dataset.

    \b
    Example:
      tagsel datasets close data18.DoubleMuon.TAG --freeze --meta luminosity_fb=36.1
    """
    got = workspace_of(context, workspace).close(dataset, freeze=freeze, meta=values(meta))
    state = "frozen" if freeze else "closed"
    if as_json:
        render.document({"dataset": dataset, "state": state, "meta": got})
        return
    print(f"{dataset} is {state}")
    for key, value in got.items():
        render.note(f"{key} = {value}")


COMMANDS = (init, ingest, datasets, schema, compact, gc)
