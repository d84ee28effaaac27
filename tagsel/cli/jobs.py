"""The group `jobs`: list them, wait for one, say why it went as it did, and mend it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import click

from tagsel.cli import render
from tagsel.cli.options import LOSSES, OK, USER, DefaultGroup
from tagsel.cli.verb import Answer, verb
from tagsel.errors import JobError

if TYPE_CHECKING:
    from tagsel.api import Workspace
    from tagsel.api.jobs import WorkspaceJob
    from tagsel.jobs import JobStatus

SHOWN, SHOWN_PIECES = 5, 10
"""How many lines of a piece's complaint, and how many failed pieces, are shown to people; `--json` has all."""

job_argument = click.argument("job")


@click.group(cls=DefaultGroup, short_help="List, wait for, diagnose, resubmit and end jobs.")
def jobs() -> None:
    """Jobs: list, show or wait for one, see what a piece prints, diagnose, resubmit or resplit what failed, kill.

    \b
    Example:
      tagsel jobs list
      tagsel jobs resubmit 1
    """


@jobs.command("list")
@verb(csv=True)
def jobs_list(ws: Workspace) -> Answer:
    """List the jobs of the workspace.

    \b
    Example:
      tagsel jobs list

    Pieces that are `left` run, wait, are held, or were not run to the end: jobs show says which. A job whose job.json
    or result.json is damaged, or whose result is gone, is named, and the exit code is 3.
    """
    from tagsel.base.text_table import Table

    damaged = {job: error.message for job, error in ws.jobs.damaged.items()}
    states = []
    for job in ws.jobs:
        if job.id in damaged:
            continue
        try:
            states.append(job.status())
        except JobError as error:
            damaged[job.id] = error.message
    rows: list[tuple[Any, ...]] = []
    for status in states:
        left = status.running + status.held + status.waiting
        counts = (status.pieces, status.done, status.failed, left, status.events)
        rows.append((status.id, status.state, *counts, status.name))
    rows += [(number, "damaged", "", "", "", "", "", "") for number in damaged]
    columns = ("job", "state", "pieces", "done", "failed", "left", "events", "name")
    return Answer(
        {"jobs": [status.to_json() for status in states], "damaged": damaged},
        table=Table(columns, tuple(sorted(rows, key=lambda row: int(row[0])))),
        notes=list(damaged.values()),
        code=LOSSES if damaged else OK,
    )


@jobs.command("show")
@job_argument
@verb()
def show(ws: Workspace, job: str) -> Answer:
    """Show a job: its pieces, ledger, output and errors.

    \b
    Example:
      tagsel jobs show 1
    """
    chosen = ws.jobs[job]
    chosen.show()
    return job_answer(chosen)


@jobs.command("wait")
@job_argument
@verb()
def wait(ws: Workspace, job: str) -> Answer:
    """Wait for a job's end, merge, register its output: of one that was left to a batch engine, too.

    \b
    Example:
      tagsel jobs wait 1
    """
    return finish(ws.jobs[job])


@jobs.command("peek")
@job_argument
@click.argument("piece", type=click.IntRange(min=0))
@click.option("--err", is_flag=True, help="What it complains, not what it prints.")
@verb()
def peek(ws: Workspace, job: str, piece: int, err: bool) -> Answer:
    """Show what a piece of a job has printed so far, while it runs and after.

    \b
    Example:
      tagsel jobs peek 1 0
    """
    text = ws.jobs[job].peek(piece, err=err)
    return Answer({"piece": piece, "text": text}, text.removesuffix("\n"))


@jobs.command("result")
@job_argument
@verb()
def result(ws: Workspace, job: str) -> Answer:
    """Print the result of a job: its numbers or its histogram, and the file that has them; of events just the file.

    \b
    Example:
      tagsel jobs result 1
    """
    merged = ws.jobs[job].result()
    units = dict(merged.units)
    document = {"kind": merged.kind, "path": str(merged.path), "events": merged.events, "units": units}
    if merged.kind not in ("numbers", "hist"):
        return Answer(document, str(merged.path), notes=[f"{merged.events:,} events"])
    lines, notes = value_text(merged.value, merged.kind, units)
    return Answer({**document, "value": merged.document["value"]}, "\n".join(lines), notes=[*notes, str(merged.path)])


@jobs.command("diagnose")
@job_argument
@verb(csv=True)
def diagnose(ws: Workspace, job: str) -> Answer:
    """Group the failures of a job by cause: how many, of which class, who must act, and what comes next.

    \b
    Example:
      tagsel jobs diagnose 1
    """
    from tagsel.base.text_table import Table

    chosen = ws.jobs[job]
    causes = [cause.to_json() for cause in chosen.diagnose()]
    left = not_run(chosen.status().to_json())
    columns = ("class", "cause", "pieces", "events", "example", "owner", "action", "signature")
    notes = []
    if left:
        notes = [f"job {job}: {left}"]
    elif not causes:
        notes = [f"job {job}: nothing failed"]
    return Answer(
        {"job": job, "causes": causes, "not_run": left},
        table=Table(columns, tuple(map(itemgetter(*columns), causes))),
        notes=notes,
        next=f"tagsel jobs peek {job} {causes[0]['example']} --err" if causes else "",
    )


@jobs.command("explain")
@job_argument
@verb(csv=True)
def explain(ws: Workspace, job: str) -> Answer:
    """Say where the files of JOB are processed, from which copies, why not elsewhere, and what would help.

    \b
    Example:
      tagsel jobs explain 1
    """
    chosen = ws.jobs[job]
    return Answer({"job": job, "files": chosen.choices}, table=chosen.explain())


@jobs.command("resubmit")
@job_argument
@verb()
def resubmit(ws: Workspace, job: str) -> Answer:
    """Run again the pieces that have no good output or unreadable events, and nothing else.

    \b
    Example:
      tagsel jobs resubmit 1
    """
    chosen = ws.jobs[job].resubmit()
    return requested(chosen) or finish(chosen)


@jobs.command("resplit")
@job_argument
@click.argument("pieces", type=click.IntRange(min=0), nargs=-1, metavar="PIECE...")
@click.option("--into", type=click.IntRange(min=2), help="So many pieces of about equal length.")
@click.option("--events-per-job", type=click.IntRange(min=1), help="Pieces of at most this many events.")
@verb()
def resplit(ws: Workspace, job: str, pieces: tuple[int, ...], into: int | None, events_per_job: int | None) -> Answer:
    """Split pieces of a job that failed anew, inside the job, and run the new ones; nothing else runs again.

    \b
    Example:
      tagsel jobs resplit 1 2 --into 4
      tagsel jobs resplit 1 2 3 --events-per-job 100
    """
    if (into is None) == (events_per_job is None):
        raise click.UsageError("one of --into and --events-per-job was expected", click.get_current_context())
    chosen = ws.jobs[job].resplit(pieces, into=into, events_per_job=events_per_job)
    return requested(chosen) or finish(chosen)


@jobs.command("kill")
@job_argument
@verb()
def kill(ws: Workspace, job: str) -> Answer:
    """End a job; outputs of finished pieces stay.

    \b
    Example:
      tagsel jobs kill 1
    """
    chosen = ws.jobs[job].kill()
    return requested(chosen) or replace(job_answer(chosen), code=OK)


@contextmanager
def naming_job(job: WorkspaceJob) -> Iterator[None]:
    """Have an interrupted command say that the job is there, and how it goes on."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.add_note(_how_to_go_on(job))
        raise


def _how_to_go_on(job: WorkspaceJob) -> str:
    state = job.status().state
    if state in ("running", "submitted"):
        # It may be ending: a second Ctrl-C comes while the first one kills it.
        return f"job {job.id} is there: tagsel jobs wait {job.id} waits for it, and says how it ends"
    if state == "done":
        return f"job {job.id} is done: tagsel jobs show {job.id}"
    return f"job {job.id} is there, {state}: tagsel jobs resubmit {job.id} goes on with it"


def finish(job: WorkspaceJob, more: Mapping[str, Any] | None = None) -> Answer:
    """Wait for a job, and say what it came to; `more` is for `--json`."""
    status = job.status()
    with naming_job(job), render.progress(f"job {job.id}", status.pieces, "pieces") as advance:
        done, error = 0, ""

        def follow(now: JobStatus) -> None:
            nonlocal done, error
            if advance is not None:
                advance(now.done - done)
                done = now.done
            if now.error != error and now.under_way:  # as where a queue is full
                error = now.error
                if error:
                    render.note(error)

        status = job.wait(follow if advance is not None else None)
    next_command = ""
    if status.state == "done":
        next_command = f"tagsel datasets show {job.output}"
    elif status.state == "failed":
        next_command = f"tagsel jobs diagnose {job.id}"
    return job_answer(job, more=more, next_command=next_command)


def exit_code(job: WorkspaceJob) -> int:
    """0 when all is delivered or the job runs, 3 when events or the result are lost, 2 when results do not merge."""
    status = job.status()
    if status.under_way:
        return OK
    ledger = job.ledger
    if ledger.unreadable or ledger.failed or status.state == "interrupted":
        return LOSSES
    return USER if status.error else OK


def requested(job: WorkspaceJob) -> Answer | None:
    """Say that a job's submitter was asked; None where the job is this user's, so that it was done."""
    waiting = [request for request in job.requests if request.state == "open"]
    if not waiting:
        return None
    return Answer(
        job.to_json(),
        f"job {job.id} is {job.owner}'s: {waiting[-1].verb} is asked for, in the journal",
        notes=[f"it is done by {job.owner}'s next tagsel jobs wait {job.id}, a kill by any tagsel jobs command"],
    )


def job_answer(job: WorkspaceJob, *, more: Mapping[str, Any] | None = None, next_command: str = "") -> Answer:
    """A job as it is now, with the value of its result where that is numbers or a histogram."""
    facts: dict[str, Any] = job.to_json()
    lines = [_headline(facts)]
    notes = _state_notes(facts)
    if facts["kind"] in ("numbers", "hist"):
        value_lines, value_notes = value_text(job.result().value, facts["kind"], facts["units"])
        lines += value_lines
        notes += value_notes
    elif facts["units"]:
        notes.append("units: " + ", ".join(f"{name} {unit}" for name, unit in facts["units"].items()))
    document = {**facts, **(more or {})}
    return Answer(document, "\n".join(lines), notes=notes, next=next_command, code=exit_code(job))


def _headline(facts: Mapping[str, Any]) -> str:
    output = f", output {facts['output']} ({facts['kind']})" if facts["output"] else ""
    engine = "" if facts["engine"] == "local" else f" on {facts['engine']}"
    pieces = f"{facts['done']} of {facts['pieces']} pieces done"
    return f"job {facts['id']}: {facts['state']}{engine}, {pieces}{output}"


def _state_notes(facts: Mapping[str, Any]) -> list[str]:
    """How far a job is, what it lost, and what was asked of it."""
    notes = []
    under_way = [f"{facts[state]:,} {state}" for state in ("running", "held", "waiting") if facts[state]]
    if under_way and facts["ledger"] is None:
        notes.append(f"pieces: {', '.join(under_way)}")
    if facts["ledger"]:
        notes.append(render.ledger(facts["ledger"]))
        if left := not_run(facts):
            notes.append(left)
    if facts["error"]:
        notes.append(f"no result: {facts['error']}")
    if facts["state"] == "done":
        notes += forecast_notes(facts["forecast"])
    for old, new in facts["replaced"].items():
        notes.append(f"piece {old} was split into pieces {', '.join(map(str, new))}")
    if facts["lumi"] and facts["ledger"] and (missing := sum(map(_blocks, facts["lumi"]["missing"].values()))):
        processed = sum(map(_blocks, facts["lumi"]["processed"].values()))
        notes.append(f"luminosity blocks: {processed:,} processed, {missing:,} missing")
    for problem in facts["problems"]:
        notes.append(unreadable_file(problem["guid"], problem["pfn"], problem["reason"], problem["events"]))
    for request in facts["requests"]:
        note = f" ({request['note']})" if request["note"] else ""
        asked = f"{request['who']} asked to {request['verb']} it at {request['updated']}"
        notes.append(f"{asked}: {request['state']}{note}")
    return [*notes, *_failure_notes(facts["errors"])]


def value_text(value: Any, kind: str, units: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Lines and notes of a result: a histogram with the units of its axes, or a line for each number."""
    if kind == "hist":
        return [str(value)], [f"{axis} in {unit}" for axis, unit in units.items()]
    lines, notes = [], []
    for name, number in value.items():
        unit = f" {units[name]}" if name in units else ""
        lines.append(f"{name} = {number}{unit}")
        for key, inside in units.items():
            if key.startswith(f"{name}."):
                notes.append(f"{name}.{key.partition('.')[2]} in {inside}")
    return lines, notes


def not_run(facts: Mapping[str, Any]) -> str:
    """What a job that nobody drives any more lacks, beside the pieces that failed; "" where that is nothing."""
    if facts["state"] not in ("interrupted", "killed"):
        return ""
    if facts["done"] == facts["pieces"]:
        return f"all pieces are done, but their outputs are not merged: tagsel jobs resubmit {facts['id']} merges them"
    reasons = []
    if facts["running"]:
        pieces = "1 piece still runs" if facts["running"] == 1 else f"{facts['running']:,} pieces still run"
        reasons.append(f"{pieces}, though nobody waits; their events count as failed")
    if facts["waiting"]:
        pieces = "1 piece was" if facts["waiting"] == 1 else f"{facts['waiting']:,} pieces were"
        reasons.append(f"{pieces} not run to the end, and their events count as failed")
    return f"{'; '.join(reasons)}: tagsel jobs resubmit {facts['id']} runs what is missing" if reasons else ""


def _blocks(spans: list[list[int]]) -> int:
    """How many luminosity blocks the spans of a run have."""
    return sum(last - first + 1 for first, last in spans)


def unreadable_file(guid: str, pfn: str, reason: str, events: int) -> str:
    """A line on a file whose events could not be read; most reasons name the file themselves."""
    file = pfn or guid
    return f"unreadable: {reason if file in reason else f'{file}: {reason}'} ({events:,} events)"


def forecast_notes(forecast: Mapping[str, Any] | None) -> list[str]:
    """What a job is thought to cost, and once it is done what it took."""
    if forecast is None:
        return []
    if "cost" not in forecast:
        time = f", done in {forecast['time_s']:,.3g} s" if forecast.get("time_s") else ""
        scan = "not known"
        if forecast["scan_cpu_s"]:
            scan = f"{forecast['scan_bytes']:,} B and {forecast['scan_cpu_s']:,.3g} s"
        cost = f"{forecast['bytes']:,} B and {forecast['cpu_s']:,.3g} s of CPU"
        return [forecast["verdict"], f"forecast: about {cost}{time}; a full scan: {scan} ({forecast['basis']})"]
    errors = [f"{name.removesuffix('_s')} {value:+.0%}" for name, value in forecast["error"].items()]
    cost = forecast["cost"]
    cpu = sum(cost[name] for name in ("start_s", "read_s", "process_s"))
    time = f", {cost['wait_s'] + cost['span_s']:,.3g} s" if cost.get("span_s") else ""
    off = ", ".join(errors) or "nothing known"
    return [f"took {cost['bytes']:,} B, {cpu:,.3g} s of CPU{time}; the forecast was off by {off}"]


def _failure_notes(errors: list[dict[str, Any]]) -> list[str]:
    """A line for each piece that failed; below the first of each cause the evidence."""
    notes = []
    seen = set()
    for failed in errors[:SHOWN_PIECES]:
        last = failed["failures"][-1] if failed["failures"] else None
        kind = f"{last['class']}: " if last else ""
        notes.append(f"piece {failed['piece']} ({failed['events']:,} events): {kind}{failed['error']}")
        if last and last["cause"] not in seen:
            seen.add(last["cause"])
            notes += _evidence(last)
    if (more := len(errors) - SHOWN_PIECES) > 0:
        notes.append(f"and {more:,} more pieces: tagsel jobs diagnose puts them together by their causes")
    return notes


def _evidence(failure: Mapping[str, Any]) -> list[str]:
    code = "" if failure["code"] is None else f", exit code {failure['code']}"
    lines = [f"  {failure['cause']}{code}; {failure['owner']}: {failure['action']}"]
    if failure["hold"]:
        lines.append(f"  | held: {failure['hold']}")
    lines += [f"  | {line}" for line in failure["stderr"].splitlines()[-SHOWN:]]
    return lines


COMMANDS = (jobs,)
