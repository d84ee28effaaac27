"""The groups `transfers` and `subscriptions`: copies that are asked for at sites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from tagsel.cli import render
from tagsel.cli.options import LOSSES, OK, DefaultGroup, complete_datasets
from tagsel.cli.streams import STREAM, read_list
from tagsel.cli.verb import Answer, verb

if TYPE_CHECKING:
    from tagsel.api import Workspace
    from tagsel.catalog import Rule

catalog_option = click.option("--catalog", default="", metavar="NAME", help="Ask that catalog, not the workspace.")
what_argument = click.argument("what", metavar="DATASET|EVENTS", shell_complete=complete_datasets)


@click.group(cls=DefaultGroup, short_help="Copies that are asked for at sites.")
def transfers() -> None:
    """Copies of datasets and of the AOD files of lists that are asked for at sites.

    \b
    Example:
      tagsel transfers
      tagsel transfers request data18.DoubleMuon.AOD CNAF
      tagsel transfers run
    """


@transfers.command("list")
@catalog_option
@verb(csv=True)
def transfers_list(ws: Workspace, catalog: str) -> Answer:
    """List the copies that were asked for, and how far each is.

    \b
    Example:
      tagsel transfers
      tagsel transfers list --catalog rucio
    """
    return _rules(ws.transfers.list(catalog=catalog))


@transfers.command("request")
@what_argument
@click.argument("site")
@verb(csv=True)
def request(ws: Workspace, what: str, site: str) -> Answer:
    """Ask for complete copies of DATASET at SITE: copied and verified here, or by the catalog whose dataset it is.

    Of an event list, a file or `-`, just the AOD files of its EVENTS are copied.

    \b
    Example:
      tagsel transfers request data18.DoubleMuon.AOD CNAF
      tagsel transfers request dimuon.events CNAF
    """
    wanted = read_list(what) if what == STREAM else what
    with render.counting(f"copying to {site}", "files") as progress:
        rules = ws.transfers.request(wanted, site, progress=progress)
    return _rules(rules)


@transfers.command("cancel")
@what_argument
@click.argument("site")
@verb()
def cancel(ws: Workspace, what: str, site: str) -> Answer:
    """Take a request of DATASET, or of the files of EVENTS, at SITE back; copies that are there stay.

    \b
    Example:
      tagsel transfers cancel data18.DoubleMuon.AOD CNAF
    """
    rule = ws.transfers.cancel(read_list(what) if what == STREAM else what, site)
    left = f"{rule.done} of its {rule.files} files are there, and stay"
    return Answer({"cancelled": vars(rule)}, f"{what} is no more asked for at {site}; {left}")


@transfers.command("run")
@verb(csv=True)
def run(ws: Workspace) -> Answer:
    """Make the copies that wait, those of new datasets of subscriptions, too.

    \b
    Example:
      tagsel transfers run
    """
    with render.counting("copying", "files") as progress:
        rules = ws.transfers.run(progress=progress)
    return _rules(rules)


def _rules(rules: Sequence[Rule]) -> Answer:
    """Requests, and how far they are; exit code 3 where one failed."""
    from tagsel.api.transfer_rules import rule_table

    failed = any(rule.state == "failed" or rule.error for rule in rules)
    document = {"transfers": [vars(rule) for rule in rules]}
    return Answer(document, table=rule_table(rules), code=LOSSES if failed else OK)


@click.group(cls=DefaultGroup, short_help="Copies of every dataset that a glob matches, those to come.")
def subscriptions() -> None:
    """Requests for copies of every dataset that a glob matches, those to come, too.

    \b
    Example:
      tagsel subscriptions
      tagsel subscriptions add "data18.*.AOD" CNAF && tagsel transfers run
    """


@subscriptions.command("list")
@catalog_option
@verb(csv=True)
def subscriptions_list(ws: Workspace, catalog: str) -> Answer:
    """List what is subscribed to.

    \b
    Example:
      tagsel subscriptions
    """
    table = ws.subscriptions.list(catalog=catalog)
    return Answer({"subscriptions": table}, table=table)


@subscriptions.command("add")
@click.argument("pattern")
@click.argument("site")
@catalog_option
@verb()
def add(ws: Workspace, pattern: str, site: str, catalog: str) -> Answer:
    """Ask for copies at SITE of every dataset that the glob PATTERN matches, new versions too.

    \b
    Example:
      tagsel subscriptions add "data18.*.AOD" CNAF && tagsel transfers run
    """
    ws.subscriptions.add(pattern, site, catalog=catalog)
    return Answer(
        {"pattern": pattern, "site": site, "subscribed": True},
        f"{pattern} is subscribed to by {site}",
        next=f"tagsel transfers list --catalog {catalog}" if catalog else "tagsel transfers run",
    )


@subscriptions.command("end")
@click.argument("pattern")
@click.argument("site")
@catalog_option
@verb()
def end(ws: Workspace, pattern: str, site: str, catalog: str) -> Answer:
    """End the subscription of PATTERN at SITE; copies and rules that it made stay.

    \b
    Example:
      tagsel subscriptions end "data18.*.AOD" CNAF
    """
    ws.subscriptions.end(pattern, site, catalog=catalog)
    document = {"pattern": pattern, "site": site, "subscribed": False}
    return Answer(document, f"{pattern} is no more subscribed to by {site}")


COMMANDS = (transfers, subscriptions)
