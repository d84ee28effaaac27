"""Verbs that deliver: map, skim, submit, jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from tagsel.base.ranges import as_ranges
from tagsel.cli import render
from tagsel.cli.options import (
    LOSSES,
    OK,
    USER,
    SuggestingGroup,
    common,
    csv_option,
    dry_run_option,
    pairs,
    size,
    workspace_of,
)
from tagsel.cli.outputs import force_option, output_option
from tagsel.cli.streams import read_list, retracted
from tagsel.errors import JobError, after

SHOWN, SHOWN_PIECES = 5, 10
"""How many lines of a piece's complaint, and how many failed pieces, are shown to people; `--json` has all."""


@click.command("map")
@click.argument("path", metavar="EVENTS")
@click.option(
    "--stage",
    type=click.Choice(["aod", "esd", "raw"]),
    default="aod",
    show_default=True,
    help="Which files of the events: the AOD, ESD or RAW.",
)
@click.option("--refresh", is_flag=True, help="Ask other catalogs first where copies are now.")
@csv_option
@common
@click.pass_context
def map_(
    context: click.Context, /, path: str, stage: str, refresh: bool, as_csv: bool, workspace: str | None, as_json: bool
) -> int:
    """Say where the EVENTS of a list are: files, entries, sites; and whether reading them is worth it.

    \b
    Example:
      tagsel map dimuon.events
    """
    home, events = workspace_of(context, workspace), read_list(path)
    found, gone = home.map(events, stage=stage, refresh=refresh), retracted(home, events, path, as_json)
    asked = _asked(home, {site for f in found.files for site in f.sites})
    if as_json:
        render.document({**found.to_json(), "catalogs": asked, "retracted": gone})
    else:
        columns = ("guid", "lfn", "events", "entries", "sites")
        rows = []
        for file in found.files:
            entries = as_ranges(file.entries.tolist(), ",")
            rows.append((file.guid, file.lfn, len(file.entries), entries, ",".join(file.sites)))
        render.table(columns, rows, as_csv=as_csv)
        render.note(found.verdict)
        if len(found.unmapped):
            render.note(f"{len(found.unmapped):,} events have no {stage.upper()} address")
        site, held = found.fullest_site
        if 0 < held < len(found.files):
            render.note(
                f"no site has all {len(found.files):,} files; {site} has {held:,}: "
                f"tagsel transfer {path} {site} brings the others"
            )
        _note_ages({} if refresh else asked)
        render.suggest(f'tagsel skim {path} -o out.root --branches "*"')
    return LOSSES if len(found.unmapped) else 0


def _asked(home: Any, sites: set[str]) -> dict[str, str]:
    """When the other catalogs whose sites hold copies were asked for them last, by catalog."""
    from tagsel.api import shared

    return dict(shared.ages(home, sites))


def _note_ages(asked: Mapping[str, str]) -> None:
    """How old is what is known of copies."""
    from tagsel.api import shared

    for name, when in asked.items():
        render.note(f"copies are as {name} said {shared.age(when)} ago (--refresh asks again)")


@click.command()
@click.argument("path", metavar="EVENTS")
@output_option("-o", "--out", required=True, summary="The file to write, which must be new: .root or .parquet.")
@force_option
@click.option(
    "--branches",
    default="*",
    show_default=True,
    metavar="PATTERNS",
    help='Branches to keep, with commas: "Muon_*,MET_*".',
)
@dry_run_option
@common
@click.pass_context
def skim(
    context: click.Context,
    /,
    path: str,
    out: str,
    force: bool,
    branches: str,
    dry_run: bool,
    workspace: str | None,
    as_json: bool,
) -> int:
    """Write the selected entries of the AOD, slimmed to the branches asked for, as ROOT or Parquet.

    \b
    Example:
      tagsel skim dimuon.events -o dimuon.root --branches "Muon_*,MET_*"
    """
    home, events = workspace_of(context, workspace), read_list(path)
    gone = retracted(home, events, path, as_json)
    report = home.skim(events, out, branches=_patterns(branches), dry_run=dry_run, force=force)
    if as_json:
        render.document({**report.to_json(), "retracted": gone})
    else:
        verb = "would be written" if dry_run else "written"
        print(f"{report.events} events, {len(report.branches)} branches {verb} to {out}")
        render.note(report.verdict)
        read = report.read
        render.note(read.amount)
        render.note(f"{render.ledger(report.ledger.to_json())}")
        for problem in read.problems:
            _unreadable(problem.guid, problem.pfn, problem.reason, problem.events)
    return LOSSES if report.ledger.unreadable or report.ledger.failed else 0


def _unreadable(guid: str, pfn: str, reason: str, events: int) -> None:
    """A line on a file whose events could not be read; most reasons name the file themselves."""
    file = pfn or guid
    render.note(f"unreadable: {reason if file in reason else f'{file}: {reason}'} ({events:,} events)")


def _patterns(text: str) -> list[str]:
    return [p.strip() for p in text.split(",") if p.strip()]


@click.command()
@click.argument("path", metavar="EVENTS")
@click.option("--run", "script", required=True, metavar="JOB.PY", help="A script that defines process(events).")
@click.option("--events-per-job", type=click.IntRange(min=1), help="Split into pieces of about this many events.")
@click.option(
    "--by",
    type=click.Choice(["events", "file", "site", "lumi", "bytes"]),
    default="events",
    show_default=True,
    help="What a piece may not cut: nothing, a file, a site, a luminosity block; or by the bytes that it touches.",
)
@click.option(
    "--bytes-per-job", metavar="SIZE", callback=size, help="By bytes: pieces that touch about this much, such as 2GB."
)
@click.option("--min-events", type=click.IntRange(min=1), help="Merge smaller remainders into their neighbour.")
@click.option("--output", default="", metavar="NAME", help="Name of the dataset that the output becomes.")
@click.option(
    "--on", default="local", show_default=True, metavar="ENGINE", help="Where pieces run: local, condor, slurm, dask."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    callback=pairs,
    help="A setting of the engine, such as request_memory=2GB; may be repeated.",
)
@click.option("--memory", default="", metavar="AMOUNT", help="Memory that a piece may take, such as 4GB.")
@click.option("--refresh", is_flag=True, help="Ask other catalogs first where copies are now.")
@click.option(
    "--wait/--no-wait",
    default=True,
    show_default=True,
    help="Wait for the end; else hand the pieces to a batch engine: tagsel jobs wait goes on.",
)
@dry_run_option
@common
@click.pass_context
def submit(
    context: click.Context,
    /,
    path: str,
    script: str,
    dry_run: bool,
    workspace: str | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Run JOB.PY over the events of a list: split, run, merge, register the output as a dataset.

    \b
    Example:
      tagsel submit dimuon.events --run job.py --events-per-job 10
      tagsel submit dimuon.events --run job.py --by lumi --dry-run
      tagsel submit dimuon.events --run job.py --by bytes --bytes-per-job 2GB --dry-run
      tagsel submit dimuon.events --run job.py --on condor --set request_memory=2GB

    JOB.PY defines process(events) on an awkward array; it returns a record of numbers, a hist histogram, or events.
    """
    home = workspace_of(context, workspace)
    events = read_list(path)
    gone: dict[str, Any] = {"retracted": retracted(home, events, path, as_json)}
    job = home.submit(events, script, dry_run=dry_run, **options)
    sites = {s for c in (job["brokering"] if dry_run else job.choices) for s in (c["site"], *c["refused"])}
    gone["catalogs"] = asked = _asked(home, sites)
    if dry_run:
        render.document({**job, **gone}) if as_json else _show_plan(job)
    if not as_json and not options["refresh"]:
        _note_ages(asked)
    if dry_run:  # as `submit` would end
        expected = job["read"]["ledger"]
        return LOSSES if expected["unreadable"] or expected["failed"] else OK
    if not as_json:
        where = "" if job.engine == "local" else f" on {job.engine}"
        render.note(f"job {job.id}: {job.status().events:,} events in {job.status().pieces:,} pieces{where}")
        _show_forecast(job.forecast)
    if options["wait"]:
        with after(f"job {job.id} is submitted", f"tagsel jobs show {job.id}"):
            return finish(job, as_json, gone)
    if as_json:
        render.document({**job.to_json(), **gone})
    render.suggest(f"tagsel jobs wait {job.id}")
    return OK


def _show_plan(plan: dict[str, Any]) -> None:
    rows = [(p["number"], p["events"], len(p["files"]), p["site"]) for p in plan["pieces"]]
    render.table(("piece", "events", "files", "site"), rows)
    read = plan["read"]
    render.note(f"{plan['events']:,} events in {len(rows):,} pieces by {plan['by']}; nothing was done")
    _show_forecast(plan["forecast"])
    moved = [c for c in plan["brokering"] if c["moved"]]
    if moved:
        size = sum(c["moved"] for c in moved)
        render.note(f"{size:,} B of {len(moved):,} files come from another site; {moved[0]['remedy']}")
    render.note(render.ledger(read["ledger"]))
    for problem in read["problems"]:
        _unreadable(**{name: problem[name] for name in ("guid", "pfn", "reason", "events")})


def _show_forecast(told: dict[str, Any] | None) -> None:
    """What a job is thought to cost, and once it is done what it took."""
    if told is None:
        return
    if "cost" not in told:
        render.note(told["verdict"])
        time = f", done in {told['time_s']:,.3g} s" if told.get("time_s") else ""
        scan = f"{told['scan_bytes']:,} B and {told['scan_cpu_s']:,.3g} s" if told["scan_cpu_s"] else "not known"
        render.note(
            f"forecast: about {told['bytes']:,} B and {told['cpu_s']:,.3g} s of CPU{time};"
            f" a full scan: {scan} ({told['basis']})"
        )
        return
    off = ", ".join(f"{name.removesuffix('_s')} {value:+.0%}" for name, value in told["error"].items())
    cost = told["cost"]
    took = sum(cost[name] for name in ("start_s", "read_s", "process_s"))
    time = f", {cost['wait_s'] + cost['span_s']:,.3g} s" if cost.get("span_s") else ""
    render.note(
        f"took {cost['bytes']:,} B, {took:,.3g} s of CPU{time}; the forecast was off by {off or 'nothing known'}"
    )


@contextmanager
def naming_job(job: Any) -> Iterator[None]:
    """Have an interrupted command say that the job is there, and how it goes on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.add_note(_how_to_go_on(job))
        raise


def _how_to_go_on(job: Any) -> str:
    state = job.status().state
    if state in ("running", "submitted"):
        # It may be ending: a second Ctrl-C comes while the first one kills it.
        return f"job {job.id} is there: tagsel jobs wait {job.id} waits for it, and says how it ends"
    if state == "done":
        return f"job {job.id} is done: tagsel jobs show {job.id}"
    return f"job {job.id} is there, {state}: tagsel jobs resubmit {job.id} goes on with it"


def finish(job: Any, as_json: bool, more: Mapping[str, Any] | None = None) -> int:
    """Wait for a job and say what it came to; the exit code is as `_code` says."""
    status = job.status()
    with naming_job(job), render.progress(f"job {job.id}", status.pieces, "pieces") as advance:
        seen, said = 0, ""

        def note(now: Any) -> None:
            nonlocal seen, said
            if advance is not None:
                advance(now.done - seen)
                seen = now.done
            if now.error != said and now.under_way:  # as where a queue is full
                said = now.error
                if said:
                    render.note(said)

        status = job.wait(note if advance is not None else None)
    if as_json:
        render.document({**job.to_json(), **(more or {})})
        return _code(job)
    _show(job)
    if status.state == "done":
        render.suggest(f"tagsel datasets show {job.output}")
    elif status.state == "failed":
        render.suggest(f"tagsel jobs diagnose {job.id}")
    return _code(job)


def _code(job: Any) -> int:
    """0 when all is delivered or the job runs, 3 when events or the result are lost, 2 when results do not merge."""
    status = job.status()
    if status.under_way:
        return OK
    ledger = job.ledger
    if ledger.unreadable or ledger.failed or status.state == "interrupted":
        return LOSSES
    return USER if status.error else OK


def requested(job: Any, as_json: bool) -> bool:
    """Say that a job's submitter was asked; False where the job is this user's, so that it was done."""
    waiting = [request for request in job.requests if request.state == "open"]
    if not waiting:
        return False
    if as_json:
        render.document(job.to_json())
    else:
        print(f"job {job.id} is {job.owner}'s: {waiting[-1].verb} is asked for, in the journal")
        render.note(f"it is done by {job.owner}'s next tagsel jobs wait {job.id}, a kill by any tagsel jobs command")
    return True


def _show(job: Any) -> None:
    known = job.to_json()
    where = f", output {known['output']} ({known['kind']})" if known["output"] else ""
    on = "" if known["engine"] == "local" else f" on {known['engine']}"
    print(f"job {known['id']}: {known['state']}{on}, {known['done']} of {known['pieces']} pieces done{where}")
    going = ", ".join(f"{known[state]:,} {state}" for state in ("running", "held", "waiting") if known[state])
    if going and known["ledger"] is None:
        render.note(f"pieces: {going}")
    if known["ledger"]:
        render.note(render.ledger(known["ledger"]))
        if left := not_run(known):
            render.note(left)
    if known["error"]:
        render.note(f"no result: {known['error']}")
    if known["state"] == "done":
        _show_forecast(known["forecast"])
    for old, new in known["replaced"].items():
        render.note(f"piece {old} was split into pieces {', '.join(map(str, new))}")
    if known["lumi"] and known["ledger"] and (missing := sum(map(_blocks, known["lumi"]["missing"].values()))):
        processed = sum(map(_blocks, known["lumi"]["processed"].values()))
        render.note(f"luminosity blocks: {processed:,} processed, {missing:,} missing")
    for problem in known["problems"]:
        _unreadable(**{name: problem[name] for name in ("guid", "pfn", "reason", "events")})
    for asked in known["requests"]:
        note = f" ({asked['note']})" if asked["note"] else ""
        render.note(f"{asked['who']} asked to {asked['verb']} it at {asked['updated']}: {asked['state']}{note}")
    _show_failures(known["errors"])
    if known["kind"] in ("numbers", "hist"):
        _show_value(job.result().value, known["kind"], known["units"])
    elif known["units"]:
        render.note("units: " + ", ".join(f"{name} {unit}" for name, unit in known["units"].items()))


def _show_value(value: Any, kind: str, units: Mapping[str, str]) -> None:
    """A histogram with the units of its axes, or a line for each number."""
    if kind == "hist":
        print(value)
        for axis, unit in units.items():
            render.note(f"{axis} in {unit}")
        return
    for name, number in value.items():
        unit = f" {units[name]}" if name in units else ""
        inside = {key.partition(".")[2]: of for key, of in units.items() if key.startswith(f"{name}.")}
        print(f"{name} = {number}{unit}")
        for key, of in inside.items():
            render.note(f"{name}.{key} in {of}")


def not_run(known: Mapping[str, Any]) -> str:
    """What a job that nobody drives any more lacks, beside the pieces that failed; "" where that is nothing."""
    if known["state"] not in ("interrupted", "killed"):
        return ""
    if known["done"] == known["pieces"]:
        return f"all pieces are done, but their outputs are not merged: tagsel jobs resubmit {known['id']} merges them"
    said = []
    if known["running"]:
        pieces = "1 piece still runs" if known["running"] == 1 else f"{known['running']:,} pieces still run"
        said.append(f"{pieces}, though nobody waits; their events count as failed")
    if known["waiting"]:
        pieces = "1 piece was" if known["waiting"] == 1 else f"{known['waiting']:,} pieces were"
        said.append(f"{pieces} not run to the end, and their events count as failed")
    return f"{'; '.join(said)}: tagsel jobs resubmit {known['id']} runs what is missing" if said else ""


def _blocks(spans: list[list[int]]) -> int:
    """How many luminosity blocks the spans of a run have."""
    return sum(last - first + 1 for first, last in spans)


def _show_failures(errors: list[dict[str, Any]]) -> None:
    """A line for each piece that failed; below the first of each cause the evidence."""
    seen = set()
    for failed in errors[:SHOWN_PIECES]:
        last = failed["failures"][-1] if failed["failures"] else None
        kind = f"{last['class']}: " if last else ""
        render.note(f"piece {failed['piece']} ({failed['events']:,} events): {kind}{failed['error']}")
        if last and last["cause"] not in seen:
            seen.add(last["cause"])
            code = "" if last["code"] is None else f", exit code {last['code']}"
            render.note(f"  {last['cause']}{code}; {last['owner']}: {last['action']}")
            said = [f"held: {last['hold']}"] if last["hold"] else []
            for line in [*said, *last["stderr"].splitlines()[-SHOWN:]]:
                render.note(f"  | {line}")
    if (more := len(errors) - SHOWN_PIECES) > 0:
        render.note(f"and {more:,} more pieces: tagsel jobs diagnose puts them together by their causes")


@click.group(cls=SuggestingGroup)
def jobs() -> None:
    """Jobs: list, show or wait for one, see what a piece prints, diagnose, resubmit or resplit what failed, kill.

    \b
    Example:
      tagsel jobs list
      tagsel jobs resubmit 1
    """


@jobs.command("list")
@csv_option
@common
@click.pass_context
def jobs_list(context: click.Context, /, as_csv: bool, workspace: str | None, as_json: bool) -> int:
    """List the jobs of the workspace.

    \b
    Example:
      tagsel jobs list

    Pieces that are `left` run, wait, are held, or were not run to the end: jobs show says which. A job whose job.json
    or result.json is damaged, or whose result is gone, is named, and the exit code is 3.
    """
    home = workspace_of(context, workspace)
    found = []
    damaged = {job: error.message for job, error in home.damaged_jobs().items()}
    for job in home.jobs():
        if job.id in damaged:
            continue
        try:
            found.append(job.status())
        except JobError as error:
            damaged[job.id] = error.message
    if as_json:
        render.document({"jobs": [s.to_json() for s in found], "damaged": damaged})
    else:
        rows: list[tuple[Any, ...]] = []
        for status in found:
            left = status.running + status.held + status.waiting
            counts = (status.pieces, status.done, status.failed, left, status.events)
            rows.append((status.id, status.state, *counts, status.name))
        rows += [(job, "damaged", "", "", "", "", "", "") for job in damaged]
        columns = ("job", "state", "pieces", "done", "failed", "left", "events", "name")
        render.table(columns, sorted(rows, key=lambda row: int(row[0])), as_csv=as_csv)
        for message in damaged.values():
            render.note(message)
    return LOSSES if damaged else OK


def _one(name: str, said: str) -> click.Command:
    @click.argument("job")
    @common
    @click.pass_context
    def command(context: click.Context, /, job: str, workspace: str | None, as_json: bool) -> int:
        chosen = workspace_of(context, workspace).jobs(name, job)
        if name in ("resubmit", "kill") and requested(chosen, as_json):
            return OK
        if name in ("resubmit", "wait"):
            return finish(chosen, as_json)
        render.document(chosen.to_json()) if as_json else _show(chosen)
        return _code(chosen) if name == "show" else OK

    command.__doc__ = f"{said}\n\n\b\nExample:\n  tagsel jobs {name} 1"
    return click.command(name)(command)


for _name, _said in {
    "show": "Show a job: its pieces, ledger, output and errors.",
    "wait": "Wait for a job's end, merge, register its output: of one that was left to a batch engine, too.",
    "resubmit": "Run again the pieces that have no good output or unreadable events, and nothing else.",
    "kill": "End a job; outputs of finished pieces stay.",
}.items():
    jobs.add_command(_one(_name, _said))


@jobs.command("peek")
@click.argument("job")
@click.argument("piece", type=click.IntRange(min=0))
@click.option("--err", is_flag=True, help="What it complains, not what it prints.")
@common
@click.pass_context
def jobs_peek(context: click.Context, /, job: str, piece: int, err: bool, workspace: str | None, as_json: bool) -> None:
    """Show what a piece of a job has printed so far, while it runs and after.

    \b
    Example:
      tagsel jobs peek 1 0
    """
    text = workspace_of(context, workspace).jobs("show", job).printed(piece, "err" if err else "out")
    render.document({"piece": piece, "text": text}) if as_json else print(text, end="")


COMMANDS = (map_, skim, submit)
