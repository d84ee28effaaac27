"""Verbs of sites and of copies there: sites, transfer, transfers, subscribe, subscriptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tagsel.cli import render
from tagsel.cli.options import (
    LOSSES,
    OK,
    DefaultGroup,
    common,
    complete_datasets,
    csv_option,
    pairs,
    values,
    workspace_of,
)
from tagsel.cli.streams import STREAM, read_list

catalog_option = click.option("--catalog", default="", metavar="NAME", help="Ask that catalog, not the workspace.")


@click.group(cls=DefaultGroup)
def sites() -> None:
    """Sites: where copies are, how fast files go between them, and when they are down.

    \b
    Example:
      tagsel sites
      tagsel sites load grid.toml
      tagsel sites down CNAF --ends 2026-12-01T08:00+00:00 --reason "cooling"
    """


@sites.command("list")
@csv_option
@common
@click.pass_context
def sites_list(context: click.Context, /, as_csv: bool, workspace: str | None, as_json: bool) -> None:
    """List the sites, the files that are said to be at each, and whether it is up.

    \b
    Example:
      tagsel sites
    """
    found = workspace_of(context, workspace).sites.list()
    if as_json:
        render.document({"sites": found.to_json()})
    else:
        render.table(found.columns, found.rows, as_csv=as_csv)


@sites.command("show")
@click.argument("site")
@click.option("--lfn", default="", metavar="LFN", help="Print the physical names of a file there.")
@common
@click.pass_context
def sites_show(context: click.Context, /, site: str, lfn: str, workspace: str | None, as_json: bool) -> int:
    """Show all that is known of a site; copies whose file is not where it is said to be are exit code 3.

    \b
    Example:
      tagsel sites show CERN
      tagsel sites show T2_CH_CERN --lfn /store/data/a.root
    """
    known = workspace_of(context, workspace).sites.show(site, lfn=lfn)
    if as_json:
        render.document(known)
    elif lfn:
        print("".join(f"{pfn}\n" for pfn in known["pfns"]), end="")
        if not known["pfns"]:
            render.note(f"site {site} has no rule for {lfn}")
    else:
        render.facts(known)
    return LOSSES if known["stale"] else OK


@sites.command("add")
@click.argument("site")
@click.option("--prefix", metavar="PLACE", help="What goes before logical names: a folder or URL; '' for nothing.")
@click.option("--rules", metavar="FILE", help="Rules of a CMS site: its storage.json or storage.xml; '' for none.")
@click.option("--volume", default="", metavar="VOLUME", help="Which one, where storage.json describes several.")
@click.option("--set", "meta", multiple=True, metavar="KEY=VALUE", callback=pairs, help="A key, as tier=1.")
@common
@click.pass_context
def sites_add(
    context: click.Context, /, site: str, meta: dict[str, str], workspace: str | None, as_json: bool, **options: Any
) -> None:
    """Make a site known, or change what is given of one: the prefix of its files' names, keys, its rules.

    \b
    Example:
      tagsel sites add CERN --prefix root://eos.example.org//eos/data --set tier=0
    """
    workspace_of(context, workspace).sites.add(site, meta=values(meta), **options)
    render.document({"site": site}) if as_json else print(f"site {site} is known")


@sites.command("load")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@common
@click.pass_context
def sites_load(context: click.Context, /, path: Path, workspace: str | None, as_json: bool) -> None:
    """Take over sites and links from a TOML file.

    \b
    Example:
      tagsel sites load grid.toml
    """
    names = workspace_of(context, workspace).sites.load(path)
    render.document({"sites": list(names)}) if as_json else print("".join(f"{n}\n" for n in names), end="")


@sites.command("down")
@click.argument("site")
@click.option("--begins", default="", metavar="TIME", help="From when, as 2026-11-25T08:00+00:00 (default: now).")
@click.option("--ends", default="", metavar="TIME", help="Until when (default: until it is `up` again).")
@click.option("--reason", default="", help="Why.")
@common
@click.pass_context
def sites_down(
    context: click.Context, /, site: str, begins: str, ends: str, reason: str, workspace: str | None, as_json: bool
) -> None:
    """Do not use a site for a time.

    \b
    Example:
      tagsel sites down CNAF --ends 2026-12-01T08:00+00:00 --reason "cooling"
    """
    said = workspace_of(context, workspace).sites.down(site, begins=begins, ends=ends, reason=reason)
    if as_json:
        render.document(vars(said))
    else:
        print(f"{site} is down from {said.begins}{f' to {said.ends}' if said.ends else ''}")


@sites.command("test")
@click.argument("sites", nargs=-1, metavar="SITE...")
@csv_option
@common
@click.pass_context
def sites_test(
    context: click.Context, /, sites: tuple[str, ...], as_csv: bool, workspace: str | None, as_json: bool
) -> int:
    """Open a file at each SITE (default: at all) as a job would. Those that fail three times running are excluded.

    \b
    Example:
      tagsel sites test
    """
    home = workspace_of(context, workspace)
    done = home.sites.test(*sites)
    excluded = {row[0]: row[4] for row in home.sites.list().rows}
    if as_json:
        render.document({"tests": [{**vars(t), "state": excluded[t.site]} for t in done]})
    else:
        rows = [(t.site, "good" if t.good else "failed", t.seconds, excluded[t.site], t.error) for t in done]
        render.table(("site", "test", "seconds", "state", "error"), rows, as_csv=as_csv)
    return OK if all(t.good for t in done) else LOSSES


@sites.command("exclude")
@click.argument("site")
@click.option("--reason", default="", help="Why.")
@common
@click.pass_context
def sites_exclude(context: click.Context, /, site: str, reason: str, workspace: str | None, as_json: bool) -> None:
    """Send no job to a site until it is `up` again.

    \b
    Example:
      tagsel sites exclude CNAF --reason "black hole"
    """
    workspace_of(context, workspace).sites.exclude(site, reason)
    render.document({"excluded": site}) if as_json else print(f"{site} gets no jobs until `tagsel sites up {site}`")


@sites.command("up")
@click.argument("site")
@common
@click.pass_context
def sites_up(context: click.Context, /, site: str, workspace: str | None, as_json: bool) -> None:
    """Use a site again: take back its downtimes and exclusion.

    \b
    Example:
      tagsel sites up CNAF
    """
    lifted = workspace_of(context, workspace).sites.up(site)
    render.document({"lifted": lifted}) if as_json else print(f"{site} is up" + ("" if lifted else ", as it was"))


def _rules(rules: Any, as_csv: bool, as_json: bool) -> int:
    """Wishes, and how far they are; exit code 3 where one failed."""
    if as_json:
        render.document({"transfers": [vars(rule) for rule in rules]})
    else:
        from tagsel.api.topology import rule_table

        found = rule_table(rules)
        render.table(found.columns, found.rows, as_csv=as_csv)
    return LOSSES if any(rule.state == "failed" or rule.error for rule in rules) else OK


@click.command()
@click.argument("what", metavar="DATASET|EVENTS", shell_complete=complete_datasets)
@click.argument("site")
@click.option("--cancel", is_flag=True, help="Take the wish back; copies that are there stay.")
@csv_option
@common
@click.pass_context
def transfer(
    context: click.Context, /, what: str, site: str, cancel: bool, as_csv: bool, workspace: str | None, as_json: bool
) -> int:
    """Ask for complete copies of DATASET at SITE: copied and verified here, or by the catalog whose dataset it is.

    Of an event list, a file or `-`, just the AOD files of its EVENTS are copied.

    \b
    Example:
      tagsel transfer data18.DoubleMuon.AOD CNAF
      tagsel transfer dimuon.events CNAF
    """
    home = workspace_of(context, workspace)
    wanted = read_list(what) if what == STREAM else what
    if cancel:
        (rule,) = home.transfer(wanted, site, cancel=True)
        if as_json:
            render.document({"cancelled": vars(rule)})
        else:
            held = f"{rule.done} of its {rule.files} files are there, and stay"
            print(f"{what} is no more asked for at {site}; {held}")
        return OK
    with render.counting(f"copying to {site}", "files") as progress:
        rules = home.transfer(wanted, site, progress=progress)
    return _rules(rules, as_csv, as_json)


@click.command()
@click.option("--run", is_flag=True, help="Carry out what waits, and look for new datasets of subscriptions.")
@catalog_option
@csv_option
@common
@click.pass_context
def transfers(
    context: click.Context, /, run: bool, catalog: str, as_csv: bool, workspace: str | None, as_json: bool
) -> int:
    """List the copies that were asked for and how far each is; with --run, make them.

    \b
    Example:
      tagsel transfers --run
    """
    with render.counting("copying", "files") as progress:
        rules = workspace_of(context, workspace).transfers(run=run, catalog=catalog, progress=progress)
    return _rules(rules, as_csv, as_json)


@click.command()
@click.argument("pattern")
@click.argument("site")
@click.option("--end", is_flag=True, help="End the subscription.")
@catalog_option
@common
@click.pass_context
def subscribe(
    context: click.Context, /, pattern: str, site: str, end: bool, catalog: str, workspace: str | None, as_json: bool
) -> None:
    """Ask for copies at SITE of every dataset that the glob PATTERN matches, new versions too.

    \b
    Example:
      tagsel subscribe "data18.*.AOD" CNAF && tagsel transfers --run
    """
    home = workspace_of(context, workspace)
    if end:
        home.unsubscribe(pattern, site, catalog=catalog)
    else:
        home.subscribe(pattern, site, catalog=catalog)
    if as_json:
        render.document({"pattern": pattern, "site": site, "subscribed": not end})
        return
    print(f"{pattern} is {'no more ' if end else ''}subscribed to by {site}")
    if not end:
        render.suggest(f"tagsel transfers --catalog {catalog}" if catalog else "tagsel transfers --run")


@click.command()
@catalog_option
@csv_option
@common
@click.pass_context
def subscriptions(context: click.Context, /, catalog: str, as_csv: bool, workspace: str | None, as_json: bool) -> None:
    """List what is subscribed to.

    \b
    Example:
      tagsel subscriptions
    """
    found = workspace_of(context, workspace).subscriptions(catalog=catalog)
    if as_json:
        render.document({"subscriptions": found.to_json()})
    else:
        render.table(found.columns, found.rows, as_csv=as_csv)


COMMANDS = (sites, transfer, transfers, subscribe, subscriptions)
