"""The group `datasets`: find and describe datasets, keep them right, close them, drop them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tagsel.cli import render
from tagsel.cli.options import (
    LOSSES,
    OK,
    DefaultGroup,
    dataset_argument,
    dry_run_option,
    optional_dataset_argument,
    pairs,
    values,
    yes_option,
)
from tagsel.cli.trash import dropped_datasets
from tagsel.cli.verb import Answer, confirm, preview, verb

if TYPE_CHECKING:
    from tagsel.api import Workspace
    from tagsel.api.retracting import Retracted


@click.group(cls=DefaultGroup, short_help="Find, look at, keep right, close and drop datasets.")
def datasets() -> None:
    """Find datasets by their metadata; look at one, keep it right, close it, drop it.

    \b
    Example:
      tagsel datasets "type = 'TAG' and year = 2018"
      tagsel datasets show data18.DoubleMuon.TAG
      tagsel datasets --sql "select run, count(*) from \\"data18.DoubleMuon.TAG\\" group by run"
      tagsel datasets restore data18.DoubleMuon.TAG@3
    """


@datasets.command("find")
@click.argument("where", default="")
@click.option("--sql", help="One read-only SELECT over the catalog's tables and the TAG datasets; @name: a named one.")
@verb(csv=True)
def find(ws: Workspace, where: str, sql: str | None) -> Answer:
    """Find the datasets that WHERE selects: an SQL condition over their columns and any free key, or @name.

    \b
    Example:
      tagsel datasets find "type = 'TAG' and year = 2009 and trigger = 2 and version = '1.0.0'"
      tagsel datasets @trigger_2_of_2009

    Without a verb, `datasets` finds. In a pipe: names, one a line.
    """
    from tagsel.api.named_cuts import metadata_query

    if not sql and where.startswith("@") and metadata_query(where, ws.folder).kind == "sql":
        sql = where
    if sql:
        return _rows(ws, sql)
    listed = ws.datasets.find(where)
    return Answer({"datasets": listed}, table=listed, names=listed.names())


def _rows(ws: Workspace, sql: str) -> Answer:
    """The rows of a SELECT."""
    from tagsel.base.text_table import Table

    rows = ws.sql(sql)
    columns = [column.to_pylist() for column in rows.columns]
    table = Table(tuple(rows.column_names), tuple(zip(*columns, strict=True)))
    return Answer({"columns": rows.column_names, "rows": rows.to_pylist()}, table=table)


@datasets.command("show")
@dataset_argument
@verb()
def show(ws: Workspace, dataset: str) -> Answer:
    """Show all that the catalog has of DATASET: facts, runs, files, bookkeeping, parents, snapshots, pins.

    \b
    Example:
      tagsel datasets show data18.DoubleMuon.TAG
    """
    facts = ws.datasets.show(dataset)
    return Answer(facts, facts=facts)


@datasets.command("attributes")
@dataset_argument
@click.argument("pattern", default="*")
@verb(csv=True)
def attributes(ws: Workspace, dataset: str, pattern: str) -> Answer:
    """List the attributes of DATASET whose name matches PATTERN.

    \b
    Example:
      tagsel datasets attributes data18.DoubleMuon.TAG "Muon*"

    Of a file that is in no dataset, `tagsel schema show FILE` lists them.
    """
    table = ws.datasets.attributes(dataset, pattern)
    return Answer({"attributes": table}, table=table, notes=[f"{len(table):,} attributes"])


@datasets.command("files")
@dataset_argument
@click.option("--site", default="", help="Where they lie at one site; files that it lacks are exit code 3.")
@verb(csv=True)
def files(ws: Workspace, dataset: str, site: str) -> Answer:
    """List the files of DATASET: in a pipe where each can be read, one a line.

    \b
    Example:
      tagsel datasets files data18.DoubleMuon.AOD --site CERN
    """
    table = ws.datasets.files(dataset, site=site)
    places = [str(row[0]) for row in table.rows]
    first_places = [text.split()[0] for text in places if text]
    return Answer({"files": table}, table=table, names=first_places, code=OK if all(places) else LOSSES)


@datasets.command("runs")
@dataset_argument
@click.option(
    "--by",
    type=click.Choice(["run", "file"]),
    default="run",
    show_default=True,
    help="A row a run, or a row an ingested file.",
)
@verb(csv=True)
def runs(ws: Workspace, dataset: str, by: str) -> Answer:
    """Sum up DATASET run by run (or file by file): events, luminosity blocks, files, and the totals.

    \b
    Example:
      tagsel datasets runs data18.DoubleMuon.TAG
      tagsel datasets runs data18.DoubleMuon.TAG --by file --csv
    """
    summary = ws.datasets.runs(dataset, by=by)
    total = ", ".join(f"{n:,} {name.replace('lumi_blocks', 'luminosity blocks')}" for name, n in summary.total.items())
    return Answer(summary, table=summary.table, notes=[f"{summary.dataset}: {total}"])


@datasets.command("facets")
@click.argument("where", default="")
@click.option("--by", multiple=True, metavar="KEY", help="Just this column or free key; repeat for more.")
@click.option("--most", type=click.IntRange(min=1), default=20, show_default=True, help="List so many values of a key.")
@verb(csv=True)
def facets(ws: Workspace, where: str, by: tuple[str, ...], most: int) -> Answer:
    """Count the datasets that WHERE leaves by type, stream, year, version and any free key, to narrow step by step.

    \b
    Example:
      tagsel datasets facets "type = 'TAG' and year = 2009"
      tagsel datasets facets "type = 'TAG'" --by stream --by trigger

    Each row's last column is the condition to put beside WHERE to choose its value.
    """
    from tagsel.base.text_table import Table

    answer = ws.datasets.facets(where, by=by, most=most)
    rows, notes = [], []
    for facet in answer.facets:
        for choice in facet.choices:
            rows.append((facet.key, choice.value, choice.datasets, choice.events, choice.condition))
        if facet.more:
            notes.append(
                f"{facet.key}: {facet.more:,} more values, in {facet.more_datasets:,} of the datasets (--most)"
            )
        if facet.without:
            notes.append(f"{facet.key}: no value in {facet.without:,} of the datasets")
    notes.append(f"{answer.datasets:,} datasets with {answer.events:,} events")
    table = Table(("key", "value", "datasets", "events", "condition"), tuple(rows))
    return Answer(answer, table=table, notes=notes)


@datasets.command("latest")
@click.argument("what", default="")
@verb(csv=True)
def latest(ws: Workspace, what: str) -> Answer:
    """List the newest version of each family of datasets; WHAT is a glob or a condition.

    \b
    Example:
      tagsel datasets latest "data09_900GeV.*"
      tagsel datasets latest "type = 'TAG' and year = 2009"

    1.10.0 is newer than 1.9.2, and r123_p4 than r123_p3. In a pipe: names, one a line.
    """
    newest = ws.datasets.latest(what)
    older = sum(map(len, newest.older.values()))
    note = f"{len(newest.table):,} datasets; {older:,} older versions"
    return Answer({"latest": newest}, table=newest.table, names=newest.names(), notes=[note])


@datasets.command("tree")
@dataset_argument
@click.option("--up", is_flag=True, help="Just what it was made from.")
@click.option("--down", is_flag=True, help="Just what was made from it.")
@verb()
def tree(ws: Workspace, dataset: str, up: bool, down: bool) -> Answer:
    """Show the provenance of DATASET: what it was made from (<), and what was made from it (>).

    \b
    Example:
      tagsel datasets tree data18.DoubleMuon.TAG
    """
    lineage = ws.datasets.tree(dataset, up=up or not down, down=down or not up)
    return Answer(lineage, text=lineage.text())


@datasets.command("check")
@dataset_argument
@click.option("--deep", is_flag=True, help="Read every column of every part, not ids and addresses alone.")
@verb(csv=True)
def check(ws: Workspace, dataset: str, deep: bool) -> Answer:
    """Check that DATASET (or several, with commas) is whole: files, copies, entries, damage, duplicates, blocks.

    \b
    Example:
      tagsel datasets check data18.DoubleMuon.TAG,data18.SingleMuon.TAG

    Exit code 3 where something is missing or corrupt; duplicates and remarks are none of these.
    """
    report = ws.datasets.check(dataset, deep=deep)
    notes = []
    for name, ledger in report.addressed.items():
        notes.append(
            f"{name}: {report.rows[name]:,} rows = {ledger.known:,} to AOD files that are known + "
            f"{ledger.unknown:,} to unknown ones + {ledger.without:,} without an address + "
            f"{ledger.unreadable:,} unreadable"
        )
    notes.append("nothing is missing or corrupt" if report.sound else "something is missing or corrupt")
    return Answer(report, table=report.table(), notes=notes, code=OK if report.sound else LOSSES)


@datasets.command("pin")
@dataset_argument
@click.option("--reason", required=True, help="What for: a paper, a list, an output.")
@verb()
def pin(ws: Workspace, dataset: str, reason: str) -> Answer:
    """Keep a snapshot, NAME@3, readable for ever; NAME is the latest.

    \b
    Example:
      tagsel datasets pin data18.DoubleMuon.TAG@3 --reason "paper draft 2"
    """
    pinned = ws.datasets.pin(dataset, reason)
    return Answer({"pinned": pinned, "reason": reason}, f"{pinned} is pinned: {reason}")


@datasets.command("unpin")
@dataset_argument
@click.option("--reason", default="", help="Take back just this reason (default: all of the snapshot).")
@verb()
def unpin(ws: Workspace, dataset: str, reason: str) -> Answer:
    """Take back a pin of a snapshot, NAME@3; without other pins, gc may remove what it alone needs.

    \b
    Example:
      tagsel datasets unpin data18.DoubleMuon.TAG@3 --reason "paper draft 2"
    """
    reasons = ws.datasets.unpin(dataset, reason)
    text = f"{dataset} is no longer pinned for {', '.join(reasons)}"
    return Answer({"unpinned": dataset, "reasons": reasons}, text)


@datasets.command("pins")
@optional_dataset_argument
@verb(csv=True)
def pins(ws: Workspace, dataset: str) -> Answer:
    """List the pinned snapshots of DATASET, or of all, with the reason, when, and by whom.

    \b
    Example:
      tagsel datasets pins
    """
    table = ws.datasets.pins(dataset)
    return Answer({"pins": table}, table=table, notes=[f"{len(table):,} pins"])


@datasets.command("restore")
@dataset_argument
@verb()
def restore(ws: Workspace, dataset: str) -> Answer:
    """Make a new snapshot with the content of an old one: NAME@3.

    \b
    Example:
      tagsel datasets restore data18.DoubleMuon.TAG@3
    """
    snapshot = ws.datasets.restore(dataset)
    name, _, _ = dataset.partition("@")
    text = f"{name}@{snapshot.number} has the content of {dataset}: {snapshot.rows:,} events"
    return Answer({"snapshot": snapshot.number, "events": snapshot.rows}, text)


meta_option = click.option(
    "--meta",
    multiple=True,
    metavar="KEY=VALUE",
    callback=pairs,
    help="A free key that stays with it, as luminosity_fb=36.1; may be repeated.",
)


@datasets.command("close")
@dataset_argument
@meta_option
@verb()
def close(ws: Workspace, dataset: str, meta: dict[str, str]) -> Answer:
    """Close DATASET: nothing is added to it any more. There is no way back; a new version is a new dataset.

    \b
    Example:
      tagsel datasets close data18.DoubleMuon.TAG --meta luminosity_fb=36.1
    """
    return _ended(dataset, "closed", ws.datasets.close(dataset, meta=values(meta)))


@datasets.command("freeze")
@dataset_argument
@meta_option
@verb()
def freeze(ws: Workspace, dataset: str, meta: dict[str, str]) -> Answer:
    """Freeze DATASET: it is closed, may never be dropped, and keeps digests of its content. There is no way back.

    \b
    Example:
      tagsel datasets freeze data18.DoubleMuon.TAG --meta luminosity_fb=36.1
    """
    return _ended(dataset, "frozen", ws.datasets.freeze(dataset, meta=values(meta)))


def _ended(dataset: str, state: str, keys: Mapping[str, object]) -> Answer:
    """A dataset that does not change any more, and the free keys that it got by that."""
    notes = [f"{key} = {value}" for key, value in keys.items()]
    return Answer({"dataset": dataset, "state": state, "meta": keys}, f"{dataset} is {state}", notes=notes)


@datasets.command("extend")
@dataset_argument
@click.argument("what", metavar="FILE.parquet|'NAME = EXPRESSION'")
@click.option("--unit", "units", multiple=True, metavar="NAME=UNIT", callback=pairs, help="Unit of a new attribute.")
@click.option(
    "--describe", "descriptions", multiple=True, metavar="NAME=TEXT", callback=pairs, help="What a new attribute says."
)
@verb()
def extend(ws: Workspace, dataset: str, what: str, units: dict[str, str], descriptions: dict[str, str]) -> Answer:
    """Give DATASET attributes of your own, user.NAME: computed, or from a Parquet file by run and event.

    \b
    Example:
      tagsel datasets extend data18.DoubleMuon.TAG "dimuon_mass = mass(Muon[0], Muon[1])" --unit dimuon_mass=GeV
      tagsel datasets extend data18.DoubleMuon.TAG scores.parquet --describe "dnn=my network, v3"

    One new snapshot; tagsel datasets restore undoes it. Rows without a match are missing.
    """
    done = ws.datasets.extend(dataset, what, units=_stripped(units), descriptions=_stripped(descriptions))
    notes = [f"{done.rows:,} rows: {done.matched:,} matched, {done.unmatched:,} missing"]
    if done.rows and not done.matched:
        notes.append("no row has a value now; tagsel datasets restore undoes it: are these the ids of this dataset?")
    if done.given:
        notes.append(f"{done.given:,} rows of the file: {done.used:,} used, {done.unused:,} not")
    text = f"{done.dataset}@{done.snapshot}: {', '.join(done.attributes)}"
    return Answer(done, text, notes=notes, next=f"tagsel count {done.dataset} 'present({done.attributes[0]})'")


def _stripped(texts: Mapping[str, str]) -> dict[str, str]:
    return {name.strip(): text.strip() for name, text in texts.items()}


@datasets.command("retract")
@click.argument("file")
@click.option("--dataset", default="", metavar="NAME", help="Of this dataset only (default: of every one that has it).")
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is kept, and shown to users with events of it.")
@dry_run_option
@yes_option
@verb(csv=True)
def retract(ws: Workspace, file: str, dataset: str, reason: str, dry_run: bool, yes: bool) -> Answer:
    """Take the rows of FILE out of its datasets; lists what would go first, and asks.

    \b
    Example:
      tagsel datasets retract nano_dimuon.root --reason "wrong beam spot" --dry-run

    FILE is an ingested file or an AOD that rows point to: its path, logical name or GUID. Old snapshots stay readable,
    tagsel datasets restore undoes it, and lists with events of the file warn from then on. Datasets that are closed or
    frozen keep their rows: they are named, and the exit code is 3.
    """
    report = ws.datasets.retract(file, dataset=dataset, reason=reason, dry_run=True)
    preview(_losses(report))
    if not dry_run:
        rows = f"{report.rows:,} rows"
        refusal = f"{rows} would be retracted with {report.name}"
        confirm(f"retract {rows} with {report.name}?", yes=yes, refusal=refusal, hint="--yes retracts them")
        report = ws.datasets.retract(file, dataset=dataset, reason=reason)
    notes = [f"{report.rows:,} rows {'would be retracted' if dry_run else 'retracted'} with {report.name}"]
    for loss in () if dry_run else report.losses:
        notes.append(f"{loss.dataset}@{loss.snapshot}: {loss.of - loss.rows:,} rows are left")
    for kept in report.kept:
        notes.append(f"{kept.dataset} is {kept.state}: it keeps its {kept.rows:,} rows of {report.name}")
    return Answer(
        {**report.to_json(), "done": not dry_run},
        notes=notes,
        next="" if dry_run else "tagsel lists rebase LIST --onto DATASET -o NEW.events",
        code=LOSSES if report.kept else OK,
    )


def _losses(report: Retracted) -> Answer:
    """The rows that each dataset loses by a retraction."""
    from tagsel.base.text_table import Table

    rows = []
    for loss in report.losses:
        partly = ",".join(f"{name} ({lost:,} rows)" for name, lost in loss.partly.items())
        rows.append((loss.dataset, loss.rows, loss.of, ",".join(loss.files), partly))
    return Answer(report, table=Table(("dataset", "rows", "of", "files", "partly"), tuple(rows)))


@datasets.command("compact")
@dataset_argument
@dry_run_option
@verb()
def compact(ws: Workspace, dataset: str, dry_run: bool) -> Answer:
    """Pack the small parts of DATASET into larger ones; no digest changes, old snapshots stay readable.

    \b
    Example:
      tagsel datasets compact data18.DoubleMuon.TAG --dry-run
    """
    plan = ws.datasets.compact(dataset, dry_run=True)
    bins = [list(names) for names in plan.bins]  # type: ignore[union-attr]
    parts = sum(map(len, bins))
    if dry_run:
        text = f"{parts} parts to pack into {len(bins)}" if bins else "nothing to pack"
        return Answer({"pack": bins, "snapshot": None}, text)
    number = getattr(ws.datasets.compact(dataset), "number", None)
    text = f"{dataset}@{number}: {parts} parts packed into {len(bins)}" if bins else "nothing to pack"
    return Answer({"pack": bins, "snapshot": number}, text)


@datasets.command("gc")
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
@verb()
def gc(ws: Workspace, dataset: str, dry_run: bool, yes: bool, grace: float) -> Answer:
    """Remove files of DATASET, or of all, that no latest or pinned snapshot needs; lists them first and asks.

    \b
    Example:
      tagsel datasets gc data18.DoubleMuon.TAG --dry-run
      tagsel datasets gc --dry-run
    """
    from tagsel.base.local_path import disk_usage

    usage = {path: disk_usage(path) for path in ws.datasets.gc(dataset, dry_run=True, grace=grace)}
    preview(Answer(None, "\n".join(map(str, usage))))
    also: list[Path] = []
    if usage and not dry_run:
        amount = _amount(usage.values())
        confirm(f"remove {amount}?", yes=yes, refusal=f"{amount} would be removed", hint="--yes removes them")
        removed = set(ws.datasets.gc(dataset, grace=grace))
        also = sorted(removed - usage.keys())
        usage = {path: amount for path, amount in usage.items() if path in removed}
    document = {
        "paths": list(usage),
        "files": sum(files for files, _ in usage.values()),
        "bytes": sum(size for _, size in usage.values()),
        "removed": bool(usage) and not dry_run,
    }
    for path in also:
        render.note(f"removed, too, and not counted: {path}")
    verb_ = "would be removed" if dry_run else "removed"
    return Answer(document, notes=[f"{_amount(usage.values())} {verb_}"])


def _amount(usage: Iterable[tuple[int, int]]) -> str:
    """Files and bytes in words."""
    pairs_ = list(usage)
    return f"{sum(files for files, _ in pairs_):,} files, {sum(size for _, size in pairs_):,} B"


@datasets.command("expire")
@dataset_argument
@click.option("--after", required=True, metavar="DAY", help="The last day on which it is wanted (UTC), or never.")
@verb()
def expire(ws: Workspace, dataset: str, after: str) -> Answer:
    """Set the last DAY on which DATASET is wanted; `datasets drop --expired` drops it afterwards, nothing else does.

    \b
    Example:
      tagsel datasets expire user.Zmumu.EVENTS --after 2027-12-31
      tagsel datasets expire user.Zmumu.EVENTS --after never
    """
    day = ws.datasets.expire(dataset, after=after)
    text = f"{dataset} is wanted until {day}" if day else f"{dataset} is wanted for ever"
    return Answer({"dataset": dataset, "until": day or None}, text)


@datasets.command("drop")
@click.argument("datasets", metavar="[DATASET]...", nargs=-1)
@click.option("--expired", is_flag=True, help="All whose last day is over.")
@dry_run_option
@verb(csv=True)
def drop(ws: Workspace, datasets: tuple[str, ...], expired: bool, dry_run: bool) -> Answer:
    """Move DATASETs into the trash of the workspace: all of them, or none where one may not be dropped.

    \b
    Example:
      tagsel datasets drop user.Zmumu.EVENTS --dry-run
      tagsel datasets drop --expired

    Nothing is lost: `trash recover` puts one back, and only `trash empty` removes files. A dataset that is pinned,
    frozen, or held by a container is not dropped; AOD, ESD and RAW files are never touched.
    """
    if bool(datasets) is expired:
        raise click.UsageError("name datasets, or give --expired", click.get_current_context())
    obstacles = ws.datasets.expired if expired else dict.fromkeys(datasets, "")
    droppable = [name for name, obstacle in obstacles.items() if not obstacle]
    dropped = ws.datasets.drop(*droppable, dry_run=dry_run)
    for obstacle in filter(None, obstacles.values()):
        render.note(f"stays: {obstacle}")
    notes = []
    for one in dropped:
        if one.from_it:
            count, first = len(one.from_it), one.from_it[0]
            notes.append(f"{one.name}: {count} datasets were made from it and stay ({first}, …)")
    next_verb = "datasets drop" if dry_run else "trash recover"
    return dropped_datasets(
        dropped,
        "dropped",
        dry_run=dry_run,
        notes=notes,
        next_command=f"tagsel {next_verb} {dropped[0].name}" if dropped else "",
    )


COMMANDS = (datasets,)
