"""Verbs of the catalog, and of others that it mirrors: catalog rebuild, add, list, forget, sync, publish."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from tagsel.cli import render
from tagsel.cli.options import (
    LOSSES,
    OK,
    SuggestingGroup,
    common,
    csv_option,
    dataset_argument,
    dry_run_option,
    interactive,
    workspace_of,
    yes_option,
)
from tagsel.errors import TagselError


@click.group(cls=SuggestingGroup)
def catalog() -> None:
    """Keep the catalog; mirror Rucio, and register outputs there.

    \b
    Example:
      tagsel catalog add rucio --datasets "data18:data18*AOD"
      tagsel catalog sync
      tagsel catalog publish jobs.0001.EVENTS --site CERN_SCRATCH --scope user.jdoe
    """


@catalog.command("rebuild")
@common
@click.pass_context
def catalog_rebuild(context: click.Context, /, workspace: str | None, as_json: bool) -> None:
    """Make the catalog's database anew from its journal.

    \b
    Example:
      tagsel catalog rebuild
    """
    replayed = workspace_of(context, workspace).rebuild()
    if as_json:
        render.document({"replayed": replayed})
    else:
        print(f"the catalog is rebuilt from {replayed:,} changes of its journal")


@catalog.command("recover")
@dry_run_option
@yes_option
@common
@click.pass_context
def catalog_recover(context: click.Context, /, dry_run: bool, yes: bool, workspace: str | None, as_json: bool) -> int:
    """Recover a damaged catalog: says what can be had from where, asks, and does it; losses are exit code 3.

    \b
    Example:
      tagsel catalog recover --dry-run
    """
    home = workspace_of(context, workspace)
    plan = home.recover_catalog(dry_run=True)
    shown: list[str] = []
    if not as_json and (dry_run or not yes or not plan.needed):
        shown = plan.lines()
        for line in shown:
            print(line)
    done = plan
    if plan.needed and not dry_run:
        if not yes and not interactive():
            raise TagselError("the catalog would be recovered", hint="--yes does it")
        if not yes:
            click.confirm("recover this?", abort=True, err=True)
        done = home.recover_catalog()
        if not as_json:
            for line in done.lines():
                if line not in shown:
                    print(line)
    if as_json:
        render.document({"needed": plan.needed, "dry_run": dry_run, **done.to_json()})
    elif not plan.needed:
        print("nothing to recover: the journal is whole, and the catalog knows what is on disk")
    return LOSSES if done.lost or done.journal.losses else OK


@catalog.command("add")
@click.argument("kind")
@click.option("--name", default="", help="What to call it here (default: its kind).")
@click.option("--datasets", multiple=True, metavar="SCOPE:GLOB", help="Datasets to mirror; repeat for more.")
@click.option("--config", default="", metavar="FILE", help="A rucio.cfg (default: the one that rucio itself finds).")
@click.option("--account", default="", help="The account to use, where the configuration says another.")
@click.option("--scope", default="", help="The scope in which outputs are published.")
@common
@click.pass_context
def catalog_add(context: click.Context, /, kind: str, workspace: str | None, as_json: bool, **options: Any) -> None:
    """Mirror another catalog, of KIND rucio, from now on; credentials come from its own configuration.

    \b
    Example:
      tagsel catalog add rucio --datasets "data18:data18*AOD" --scope user.jdoe
    """
    added = workspace_of(context, workspace).add_catalog(kind, **options)
    if as_json:
        render.document({"name": added.name, "kind": added.kind, "datasets": list(added.patterns)})
        return
    print(f"{added.name} is mirrored from now on: {' '.join(added.patterns) or 'what `sync --datasets` names'}")
    render.suggest(f"tagsel catalog sync {added.name}")


@catalog.command("list")
@csv_option
@common
@click.pass_context
def catalog_list(context: click.Context, /, as_csv: bool, workspace: str | None, as_json: bool) -> None:
    """List the catalogs that are mirrored, and how old what is known of each is.

    \b
    Example:
      tagsel catalog list
    """
    found = workspace_of(context, workspace).catalogs()
    if as_json:
        render.document({"catalogs": found.to_json()})
    else:
        render.table(found.columns, found.rows, as_csv=as_csv)


@catalog.command("forget")
@click.argument("name")
@common
@click.pass_context
def catalog_forget(context: click.Context, /, name: str, workspace: str | None, as_json: bool) -> None:
    """Mirror a catalog no more; what was mirrored of it stays.

    \b
    Example:
      tagsel catalog forget rucio
    """
    workspace_of(context, workspace).forget_catalog(name)
    render.document({"forgotten": name}) if as_json else print(f"{name} is mirrored no more")


@catalog.command("sync")
@click.argument("name", default="")
@click.option("--datasets", multiple=True, metavar="SCOPE:GLOB", help="Only these, once; repeat for more.")
@common
@click.pass_context
def catalog_sync(
    context: click.Context, /, name: str, datasets: tuple[str, ...], workspace: str | None, as_json: bool
) -> int:
    """Take over what another catalog says now: datasets, files, copies, sites. Work then goes on without it.

    \b
    Example:
      tagsel catalog sync rucio
    """
    done = workspace_of(context, workspace).sync(name, datasets)
    if as_json:
        render.document(asdict(done))
        return LOSSES if done.left_out else OK
    print(f"{done.catalog}: {done.datasets:,} datasets, {done.files:,} files, {done.copies:,} copies")
    for said, names in (("new", done.new), ("changed", done.changed), ("gone there", done.gone)):
        if names:
            render.note(f"{said}: {', '.join(names[:5])}{f' and {len(names) - 5:,} more' if len(names) > 5 else ''}")
    for left in done.left_out:
        render.note(f"left out: {left}: its name is taken here")
    return LOSSES if done.left_out else OK


@catalog.command("conditions")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@common
@click.pass_context
def catalog_conditions(context: click.Context, /, path: Path, workspace: str | None, as_json: bool) -> None:
    """Take over conditions of runs from a CSV FILE with a column `run`: the table `conditions` of datasets --sql.

    \b
    Example:
      tagsel catalog conditions magnet.csv
      tagsel datasets --sql "select magnet, sum(events) from runs join conditions using (run) group by magnet"
    """
    runs = workspace_of(context, workspace).conditions(path)
    render.document({"runs": runs}) if as_json else print(f"conditions of {runs:,} runs")


@catalog.command("publish")
@dataset_argument
@click.option("--to", default="", metavar="CATALOG", help="The catalog, where several are mirrored.")
@click.option("--site", required=True, help="The site of that catalog that gets the files.")
@click.option("--scope", default="", help="The scope of its name there.")
@common
@click.pass_context
def catalog_publish(
    context: click.Context, /, dataset: str, to: str, site: str, scope: str, workspace: str | None, as_json: bool
) -> None:
    """Copy the files of DATASET to a site of another catalog, verified, and register them there with its provenance.

    \b
    Example:
      tagsel catalog publish jobs.0001.EVENTS --site CERN_SCRATCH --scope user.jdoe
    """
    done = workspace_of(context, workspace).publish(dataset, to=to, site=site, scope=scope)
    if as_json:
        render.document(
            {
                "name": done.name,
                "site": done.site,
                "files": done.files,
                "bytes": done.bytes,
                "not_kept": list(done.unsaid),
            }
        )
        return
    print(f"{done.name}: {done.files:,} files, {done.bytes:,} B at {done.site}, closed")
    if done.unsaid:
        render.note(f"its server keeps no free keys; not said there: {', '.join(done.unsaid)}")


COMMANDS = (catalog,)
