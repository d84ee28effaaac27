"""Verbs that deliver: map, skim, submit, jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

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
from tagsel.cli.streams import read_list, retracted

SHOWN, SHOWN_PIECES = 5, 10
"""How many lines of a piece's complaint, and how many failed pieces, are shown to people; `--json` has all."""


@click.command("map")
@click.argument("path", metavar="EVENTS")
@click.option("--stage", type=click.Choice(["aod", "esd", "raw"]), default="aod", show_default=True,
              help="Which files of the events: the AOD, ESD or RAW.")  # fmt: skip
@click.option("--refresh", is_flag=True, help="Ask other catalogs first where copies are now.")
@csv_option
@common
@click.pass_context
def map_(context: click.Context, /, path: str, stage: str, refresh: bool, as_csv: bool, workspace: str | None,
         as_json: bool) -> int:  # fmt: skip
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
        rows = [(f.guid, f.lfn, len(f.entries), _spans(f.entries.tolist()), ",".join(f.sites)) for f in found.files]
        render.table(columns, rows, as_csv=as_csv)
        render.note(found.verdict)
        if len(found.unmapped):
            render.note(f"{len(found.unmapped):,} events have no {stage.upper()} address")
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


def _spans(entries: list[int]) -> str:
    """Entries as text, all of them, neighbours as ranges.

    >>> _spans([1, 2, 3, 7])
    '1-3,7'
    """
    spans: list[list[int]] = []
    for entry in entries:
        if spans and entry == spans[-1][1] + 1:
            spans[-1][1] = entry
        else:
            spans.append([entry, entry])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)


@click.command()
@click.argument("path", metavar="EVENTS")
@click.option("-o", "--out", required=True, metavar="FILE", help="The file to write, .root or .parquet.")
@click.option("--branches", default="*", show_default=True, metavar="PATTERNS",
              help='Branches to keep, with commas: "Muon_*,MET_*".')  # fmt: skip
@dry_run_option
@common
@click.pass_context
def skim(context: click.Context, /, path: str, out: str, branches: str, dry_run: bool, workspace: str | None,
         as_json: bool) -> int:  # fmt: skip
    """Write the selected entries of the AOD, slimmed to the branches asked for, as ROOT or Parquet.

    \b
    Example:
      tagsel skim dimuon.events -o dimuon.root --branches "Muon_*,MET_*"
    """
    home, events = workspace_of(context, workspace), read_list(path)
    gone = retracted(home, events, path, as_json)
    report = home.skim(events, out, branches=_patterns(branches), dry_run=dry_run)
    if as_json:
        render.document({**report.to_json(), "retracted": gone})
    else:
        verb = "would be written" if dry_run else "written"
        print(f"{report.events} events, {len(report.branches)} branches {verb} to {out}")
        read = report.read
        render.note(f"{read.bytes_read:,} of {read.bytes_total:,} B read in {read.files} files")
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
@click.option("--bytes-per-job", metavar="SIZE", callback=size,
              help="By bytes: pieces that touch about this much, such as 2GB.")  # fmt: skip
@click.option("--min-events", type=click.IntRange(min=1), help="Merge smaller remainders into their neighbour.")
@click.option("--output", default="", metavar="NAME", help="Name of the dataset that the output becomes.")
@click.option("--on", default="local", show_default=True, metavar="ENGINE",
              help="Where pieces run: local, condor, slurm, dask.")  # fmt: skip
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", callback=pairs,
              help="A setting of the engine, such as request_memory=2GB; may be repeated.")  # fmt: skip
@click.option("--refresh", is_flag=True, help="Ask other catalogs first where copies are now.")
@click.option("--wait/--no-wait", default=True, show_default=True,
              help="Wait for the end; else hand the pieces to a batch engine: tagsel jobs wait goes on.")  # fmt: skip
@dry_run_option
@common
@click.pass_context
def submit(context: click.Context, /, path: str, script: str, dry_run: bool, workspace: str | None, as_json: bool,
           **options: Any) -> int:  # fmt: skip
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
        return USER if any(c["problem"] and c["refused"] for c in job["brokering"]) else OK
    if not as_json:
        where = "" if job.engine == "local" else f" on {job.engine}"
        render.note(f"job {job.id}: {job.status().events:,} events in {job.status().pieces:,} pieces{where}")
        _show_forecast(job.forecast)
    if options["wait"]:
        return finish(job, as_json, gone)
    if as_json:
        render.document({**job.to_json(), **gone})
    render.suggest(f"tagsel jobs wait {job.id}")
    return OK


def _show_plan(plan: dict[str, Any]) -> None:
    rows = [(p["number"], p["events"], len(p["files"]), p["site"]) for p in plan["pieces"]]
    render.table(("piece", "events", "files", "site"), rows)
    read = plan["read"]
    render.note(f"{plan['events']:,} events in {len(rows):,} pieces by {plan['by']}; "
                f"{read['bytes_read']:,} of {read['bytes_total']:,} B would be read; nothing was done")  # fmt: skip
    _show_forecast(plan["forecast"])
    for choice in plan["brokering"]:
        if choice["problem"] and choice["refused"]:
            sites = "; ".join(f"{site} is {why}" for site, why in choice["refused"].items())
            render.note(f"{choice['lfn'] or choice['guid']}: {choice['problem']} ({sites}); {choice['remedy']}")


def _show_forecast(told: dict[str, Any] | None) -> None:
    """What a job is thought to cost, and once it is done what it took."""
    if told is None:
        return
    if "cost" not in told:
        time = f", done in {told['time_s']:,.3g} s" if told.get("time_s") else ""
        render.note(f"forecast: {told['verdict']}; about {told['bytes']:,} B, {told['cpu_s']:,.3g} s of CPU{time}"
                    f" ({told['basis']})")  # fmt: skip
        return
    off = ", ".join(f"{name.removesuffix('_s')} {value:+.0%}" for name, value in told["error"].items())
    cost = told["cost"]
    took = sum(cost[name] for name in ("start_s", "read_s", "process_s"))
    time = f", {cost['wait_s'] + cost['span_s']:,.3g} s" if cost.get("span_s") else ""
    render.note(f"took {cost['bytes']:,} B, {took:,.3g} s of CPU{time};"
                f" the forecast was off by {off or 'nothing known'}")  # fmt: skip


def finish(job: Any, as_json: bool, more: Mapping[str, Any] | None = None) -> int:
    """Wait for a job and say what it came to; the exit code is as `_code` says."""
    status = job.status()
    with render.progress(f"job {job.id}", status.pieces, "pieces") as advance:
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
    """0 when all is delivered or the job runs, 3 when events are lost, 2 when results do not merge."""
    status = job.status()
    if status.under_way:
        return OK
    ledger = job.ledger
    if ledger.unreadable or ledger.failed:
        return LOSSES
    return USER if status.error else OK


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
    _show_failures(known["errors"])
    if known["kind"] in ("numbers", "hist"):
        value = job.result().value
        print(value if known["kind"] == "hist" else "\n".join(f"{k} = {v}" for k, v in value.items()))


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
def jobs_list(context: click.Context, /, as_csv: bool, workspace: str | None, as_json: bool) -> None:
    """List the jobs of the workspace.

    \b
    Example:
      tagsel jobs list
    """
    found = [j.status() for j in workspace_of(context, workspace).jobs()]
    if as_json:
        render.document({"jobs": [s.to_json() for s in found]})
        return
    rows = [(s.id, s.state, s.pieces, s.done, s.failed, s.events, s.name) for s in found]
    render.table(("job", "state", "pieces", "done", "failed", "events", "name"), rows, as_csv=as_csv)


def _one(name: str, said: str) -> click.Command:
    @click.argument("job")
    @common
    @click.pass_context
    def command(context: click.Context, /, job: str, workspace: str | None, as_json: bool) -> int:
        chosen = workspace_of(context, workspace).jobs(name, job)
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
