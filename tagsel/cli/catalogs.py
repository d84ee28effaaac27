"""The group `catalogs`: other people's catalogs that a workspace mirrors, and publishing to them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from tagsel.cli.options import LOSSES, OK, DefaultGroup, dataset_argument
from tagsel.cli.verb import Answer, verb

if TYPE_CHECKING:
    from tagsel.api import Workspace


@click.group(cls=DefaultGroup, short_help="Other people's catalogs: mirror Rucio, publish outputs there.")
def catalogs() -> None:
    """Other people's catalogs: mirror Rucio, and register outputs there.

    \b
    Example:
      tagsel catalogs add rucio --datasets "data18:data18*AOD"
      tagsel catalogs sync
      tagsel catalogs publish jobs.0001.EVENTS --site CERN_SCRATCH --scope user.jdoe
    """


@catalogs.command("list")
@verb(csv=True)
def catalogs_list(ws: Workspace) -> Answer:
    """List the catalogs that are mirrored, and how old what is known of each is.

    \b
    Example:
      tagsel catalogs
    """
    table = ws.catalogs.list()
    return Answer({"catalogs": table}, table=table)


@catalogs.command("add")
@click.argument("kind")
@click.option("--name", default="", help="What to call it here (default: its kind).")
@click.option("--datasets", multiple=True, metavar="SCOPE:GLOB", help="Datasets to mirror; repeat for more.")
@click.option("--config", default="", metavar="FILE", help="A rucio.cfg (default: the one that rucio itself finds).")
@click.option("--account", default="", help="The account to use, where the configuration says another.")
@click.option("--scope", default="", help="The scope in which outputs are published.")
@verb()
def add(ws: Workspace, kind: str, **options: Any) -> Answer:
    """Mirror another catalog, of KIND rucio, from now on; credentials come from its own configuration.

    \b
    Example:
      tagsel catalogs add rucio --datasets "data18:data18*AOD" --scope user.jdoe
    """
    added = ws.catalogs.add(kind, **options)
    patterns = " ".join(added.patterns) or "what `sync --datasets` names"
    return Answer(
        {"name": added.name, "kind": added.kind, "datasets": list(added.patterns)},
        f"{added.name} is mirrored from now on: {patterns}",
        next=f"tagsel catalogs sync {added.name}",
    )


@catalogs.command("sync")
@click.argument("name", default="")
@click.option("--datasets", multiple=True, metavar="SCOPE:GLOB", help="Only these, once; repeat for more.")
@verb()
def sync(ws: Workspace, name: str, datasets: tuple[str, ...]) -> Answer:
    """Take over what another catalog says now: datasets, files, copies, sites. Work then goes on without it.

    \b
    Example:
      tagsel catalogs sync rucio
    """
    report = ws.catalogs.sync(name, datasets)
    notes = []
    for label, names in (("new", report.new), ("changed", report.changed), ("gone there", report.gone)):
        if names:
            more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
            notes.append(f"{label}: {', '.join(names[:5])}{more}")
    notes += [f"left out: {left}: its name is taken here" for left in report.left_out]
    return Answer(
        asdict(report),
        f"{report.catalog}: {report.datasets:,} datasets, {report.files:,} files, {report.copies:,} copies",
        notes=notes,
        code=LOSSES if report.left_out else OK,
    )


@catalogs.command("publish")
@dataset_argument
@click.option("--to", default="", metavar="CATALOG", help="The catalog, where several are mirrored.")
@click.option("--site", required=True, help="The site of that catalog that gets the files.")
@click.option("--scope", default="", help="The scope of its name there.")
@verb()
def publish(ws: Workspace, dataset: str, to: str, site: str, scope: str) -> Answer:
    """Copy the files of DATASET to a site of another catalog, verified, and register them there with its provenance.

    \b
    Example:
      tagsel catalogs publish jobs.0001.EVENTS --site CERN_SCRATCH --scope user.jdoe
    """
    done = ws.catalogs.publish(dataset, to=to, site=site, scope=scope)
    document = {
        "name": done.name,
        "site": done.site,
        "files": done.files,
        "bytes": done.bytes,
        "not_kept": list(done.unsaid),
    }
    notes = []
    if done.unsaid:
        notes.append(f"its server keeps no free keys; not said there: {', '.join(done.unsaid)}")
    return Answer(document, f"{done.name}: {done.files:,} files, {done.bytes:,} B at {done.site}, closed", notes=notes)


@catalogs.command("forget")
@click.argument("name")
@verb()
def forget(ws: Workspace, name: str) -> Answer:
    """Mirror a catalog no more; what was mirrored of it stays.

    \b
    Example:
      tagsel catalogs forget rucio
    """
    ws.catalogs.forget(name)
    return Answer({"forgotten": name}, f"{name} is mirrored no more")


COMMANDS = (catalogs,)
