"""The group `sites`: where copies are, and whether a site can be used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tagsel.cli.options import LOSSES, OK, DefaultGroup, pairs, values
from tagsel.cli.verb import Answer, verb

if TYPE_CHECKING:
    from tagsel.api import Workspace


@click.group(cls=DefaultGroup, short_help="Where copies are, and whether a site can be used.")
def sites() -> None:
    """Sites: where copies are, how fast files go between them, and when they are down.

    \b
    Example:
      tagsel sites
      tagsel sites load grid.toml
      tagsel sites down CNAF --ends 2026-12-01T08:00+00:00 --reason "cooling"
    """


@sites.command("list")
@verb(csv=True)
def sites_list(ws: Workspace) -> Answer:
    """List the sites, the files that are said to be at each, and whether it is up.

    \b
    Example:
      tagsel sites
    """
    table = ws.sites.list()
    return Answer({"sites": table}, table=table)


@sites.command("show")
@click.argument("site")
@click.option("--lfn", default="", metavar="LFN", help="Print the physical names of a file there.")
@verb()
def show(ws: Workspace, site: str, lfn: str) -> Answer:
    """Show all that is known of a site; copies whose file is not where it is said to be are exit code 3.

    \b
    Example:
      tagsel sites show CERN
      tagsel sites show T2_CH_CERN --lfn /store/data/a.root
    """
    facts = ws.sites.show(site, lfn=lfn)
    code = LOSSES if facts["stale"] else OK
    if not lfn:
        return Answer(facts, facts=facts, code=code)
    notes = [] if facts["pfns"] else [f"site {site} has no rule for {lfn}"]
    return Answer(facts, "\n".join(facts["pfns"]), notes=notes, code=code)


@sites.command("add")
@click.argument("site")
@click.option("--prefix", metavar="PLACE", help="What goes before logical names: a folder or URL; '' for nothing.")
@click.option("--rules", metavar="FILE", help="Rules of a CMS site: its storage.json or storage.xml; '' for none.")
@click.option("--volume", default="", metavar="VOLUME", help="Which one, where storage.json describes several.")
@click.option("--set", "meta", multiple=True, metavar="KEY=VALUE", callback=pairs, help="A key, as tier=1.")
@verb()
def add(ws: Workspace, site: str, meta: dict[str, str], **options: Any) -> Answer:
    """Make a site known, or change what is given of one: the prefix of its files' names, keys, its rules.

    \b
    Example:
      tagsel sites add CERN --prefix root://eos.example.org//eos/data --set tier=0
    """
    ws.sites.add(site, meta=values(meta), **options)
    return Answer({"site": site}, f"site {site} is known")


@sites.command("load")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@verb()
def load(ws: Workspace, path: Path) -> Answer:
    """Take over sites and links from a TOML file.

    \b
    Example:
      tagsel sites load grid.toml
    """
    names = list(ws.sites.load(path))
    return Answer({"sites": names}, "\n".join(names))


@sites.command("down")
@click.argument("site")
@click.option("--begins", default="", metavar="TIME", help="From when, as 2026-11-25T08:00+00:00 (default: now).")
@click.option("--ends", default="", metavar="TIME", help="Until when (default: until it is `up` again).")
@click.option("--reason", default="", help="Why.")
@verb()
def down(ws: Workspace, site: str, begins: str, ends: str, reason: str) -> Answer:
    """Do not use a site for a time.

    \b
    Example:
      tagsel sites down CNAF --ends 2026-12-01T08:00+00:00 --reason "cooling"
    """
    downtime = ws.sites.down(site, begins=begins, ends=ends, reason=reason)
    end = f" to {downtime.ends}" if downtime.ends else ""
    return Answer(vars(downtime), f"{site} is down from {downtime.begins}{end}")


@sites.command("test")
@click.argument("sites", nargs=-1, metavar="SITE...")
@verb(csv=True)
def test(ws: Workspace, sites: tuple[str, ...]) -> Answer:
    """Open a file at each SITE (default: at all) as a job would. Those that fail three times running are excluded.

    \b
    Example:
      tagsel sites test
    """
    from tagsel.base.text_table import Table

    tests = ws.sites.test(*sites)
    states = {row[0]: row[4] for row in ws.sites.list().rows}
    rows = []
    for test in tests:
        verdict = "good" if test.good else "failed"
        rows.append((test.site, verdict, test.seconds, states[test.site], test.error))
    return Answer(
        {"tests": [{**vars(test), "state": states[test.site]} for test in tests]},
        table=Table(("site", "test", "seconds", "state", "error"), tuple(rows)),
        code=OK if all(test.good for test in tests) else LOSSES,
    )


@sites.command("exclude")
@click.argument("site")
@click.option("--reason", default="", help="Why.")
@verb()
def exclude(ws: Workspace, site: str, reason: str) -> Answer:
    """Send no job to a site until it is `up` again.

    \b
    Example:
      tagsel sites exclude CNAF --reason "black hole"
    """
    ws.sites.exclude(site, reason)
    return Answer({"excluded": site}, f"{site} gets no jobs until `tagsel sites up {site}`")


@sites.command("up")
@click.argument("site")
@verb()
def up(ws: Workspace, site: str) -> Answer:
    """Use a site again: take back its downtimes and exclusion.

    \b
    Example:
      tagsel sites up CNAF
    """
    lifted = ws.sites.up(site)
    return Answer({"lifted": lifted}, f"{site} is up" if lifted else f"{site} is up, as it was")


COMMANDS = (sites,)
