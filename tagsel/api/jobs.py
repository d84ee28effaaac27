"""Jobs of a workspace: submit, wait, and register the merged output as a dataset with its parents and its cut.

Invariant: the result of a finished job is registered once, however many processes wait for it. The next `jobs show` or
`jobs resubmit` registers a result that a crash left unregistered, or registered without its parents. A dataset that was
registered and then dropped stays dropped. A name belongs to one job: no other job's output is added to its dataset, and
a renewed result replaces the old one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.api import brokering, requests
from tagsel.api.home import Home
from tagsel.api.inputs import DATA
from tagsel.api.origins import contents, origins
from tagsel.base.fail_points import fail_point
from tagsel.catalog import Catalog, DropDataset, DropFiles, FileRecord, PutDataset, PutFiles, PutJob
from tagsel.catalog.requests import JobRequest
from tagsel.errors import CatalogError, JobError, after, did_you_mean
from tagsel.events import DeliveryLedger
from tagsel.store import Table as StoreTable
from tagsel.store import disk

if TYPE_CHECKING:
    from tagsel.base.text_table import Table
    from tagsel.jobs import Chosen, Executor, Job, JobResult, JobStatus
    from tagsel.jobs.folder import PieceState
    from tagsel.jobs.lumi import JobLumi

JOBS = "jobs"
"""The folder of a workspace that holds its jobs."""

TYPES = {"events": "EVENTS", "hist": "HIST", "numbers": "NUMBERS", "none": "NUMBERS"}
"""The type of the dataset that a job's result becomes, by its kind."""


ENDED = ("failed", "killed")
"""States of a job that has no output and gets none unless it is submitted again."""


class WorkspaceJob:
    """A job of a workspace. `wait()` for its end; then `ledger`, `result()`, and `output`, its dataset's name."""

    def __init__(self, home: Home, job: Job) -> None:
        self._home = home
        self._job = job

    @property
    def id(self) -> str:
        """The job's number, as text."""
        return self._job.id

    def wait(self, progress: Callable[[JobStatus], None] | None = None) -> JobStatus:
        """Wait for the end; the output of a job that is done is registered then. Ctrl-C ends the job.

        Pieces that an engine has, and that nobody waits for, are taken up: of a job submitted without `wait`, or whose
        process died. A job that another process drives is waited for; Ctrl-C ends the waiting then.
        """
        from tagsel.jobs.job import LOOK_S

        mine = requests.is_mine(self._job)
        if not self._job.lives():
            self.carry_out_requests()
        while not self._job.lives() and (status := self._job.status()).state == "running":
            if progress is not None:
                progress(status)
            time.sleep(LOOK_S)
        if mine and self._job.status().state == "submitted":
            self._job.start(executor_of(self._home, self._job.engine), again=False)
        try:
            with requests.heeding_kills(self._home.folder, self._job):
                status = self._job.wait(progress) if progress is not None else self._job.wait()
        except JobError:  # results that do not merge: the catalog, too, says that the job failed
            self._settle(self._job.status())
            raise
        self._settle(status)
        if self.carry_out_requests():
            return self.wait(progress)
        return status

    @property
    def requests(self) -> list[JobRequest]:
        """What members of the group asked of the job, in order, each open, done or refused."""
        return self._home.catalog.requests(self.id)

    def carry_out_requests(self, *verbs: str) -> bool:
        """Carry out what others asked of this user's job, all verbs or those named; whether there was any."""
        actions: dict[str, Callable[[JobRequest], object]] = {
            "kill": lambda request: self.kill(),
            "resubmit": lambda request: self.resubmit(),
            "resplit": lambda request: self.resplit(**request.options),
        }
        chosen = {verb: actions[verb] for verb in verbs or actions}
        return requests.carry_out(self._home.catalog, self._job, chosen)

    def status(self) -> JobStatus:
        """The job now."""
        return self._job.status()

    @property
    def ledger(self) -> DeliveryLedger:
        """accepted = delivered + unreadable + failed."""
        return self._job.ledger

    @property
    def problems(self) -> list[dict[str, object]]:
        """Files whose events could not be read, each once."""
        return self._job.problems

    @property
    def pieces(self) -> list[PieceState]:
        """The state of every piece."""
        return self._job.pieces

    def result(self) -> JobResult:
        """The merged result: a record of numbers, a histogram, or events; JobError names failed pieces."""
        return self._job.result()

    @property
    def output(self) -> str:
        """Name of the dataset that the output became; JobError where there is none yet."""
        self._job.result()
        return _name(self._job)

    @property
    def choices(self) -> list[dict[str, Any]]:
        """Where each of its files is processed, from which copy it is read, and why not elsewhere."""
        return list(self._job.folder.spec.get("brokering", ()))

    @property
    def forecast(self) -> dict[str, Any] | None:
        """What it was thought to cost before it ran, and once it is done what it took and how far off that was."""
        return self._job.forecast

    @property
    def engine(self) -> str:
        """The name of the engine that its pieces run on."""
        return self._job.engine.name

    @property
    def owner(self) -> str:
        """The user whose job it is, as the kernel knows who owns its folder."""
        path = self._job.folder.path
        try:
            return path.owner()
        except KeyError:
            return f"uid {path.stat().st_uid}"

    def show(self) -> dict[str, object]:
        """Show all that is known of the job; the output of one that is done is registered."""
        self._settle_if_done()
        return self.to_json()

    def explain(self) -> Table:
        """Say where its files are processed, from which copies, and why not elsewhere: a row for each choice."""
        return brokering.explain(self.choices)

    def peek(self, piece: int, *, err: bool = False) -> str:
        """Read what a piece has printed so far, in its last attempt, or with `err` its complaints.

        JobError where there is no such piece.
        """
        folder, kind = self._job.folder, "err" if err else "out"
        if not 0 <= piece <= (last := max({p["number"] for p in folder.pieces} | folder.replaced.keys())):
            raise JobError(f"job {self.id} has no piece {piece}: 0 to {last}", job=self.id)
        logs = [log for n in folder.attempts().get(piece, {}) if (log := folder.log(piece, n, kind)).exists()]
        return logs[-1].read_text("utf-8", "replace") if logs else ""

    def resubmit(self) -> WorkspaceJob:
        """Run again what has no good output or unreadable events, and nothing else; the output is renewed.

        Another user's job is theirs: then they are asked, by the journal, and `requests` says what became of it.
        Returns the job.
        """
        if not requests.is_mine(self._job):
            requests.ask(self._home.catalog, self._job, "resubmit")
        else:
            self._job.resubmit(executor_of(self._home, self._job.engine))
        self._settle_if_done()
        return self

    def diagnose(self) -> tuple[Any, ...]:
        """The failures of the job in few groups: cause, class, pieces, events, who must act, and the next action."""
        return self._job.diagnose()

    def lumi(self) -> JobLumi:
        """The `processed` and the `missing` luminosity blocks: together those of the list, exactly."""
        return self._job.lumi()

    def resplit(
        self, pieces: Sequence[int] | int, *, into: int | None = None, events_per_job: int | None = None
    ) -> WorkspaceJob:
        """Split pieces that failed anew, inside the job, and run the new ones and nothing else.

        The user whose job it is does it, or is asked, as for `resubmit`. Returns the job.
        """
        numbers = (pieces,) if isinstance(pieces, int) else tuple(pieces)
        if not requests.is_mine(self._job):
            options = {"pieces": list(numbers), "into": into, "events_per_job": events_per_job}
            requests.ask(self._home.catalog, self._job, "resplit", **options)
        else:
            self._job.resplit(*numbers, into=into, events_per_job=events_per_job)
            self._job.start(executor_of(self._home, self._job.engine), again=False)
        self._settle_if_done()
        return self

    def kill(self) -> WorkspaceJob:
        """End the job; outputs of finished pieces stay. The user whose job it is does it, or is asked.

        Returns the job.
        """
        if requests.is_mine(self._job):
            self._job.kill()
            self._settle(self._job.status())
        else:
            requests.ask(self._home.catalog, self._job, "kill")
            self._settle_if_done()
        return self

    def to_json(self) -> dict[str, object]:
        """All that is known of the job."""
        from tagsel.jobs import lumi_of

        status = self.status()
        done = status.state == "done"
        lumi = lumi_of(self._job.folder, self.pieces)
        return {
            **status.to_json(),
            "engine": self.engine,
            "ledger": None if status.under_way else self.ledger.to_json(),
            "output": self.output if done else None,
            "kind": self.result().kind if done else None,
            "units": dict(self.result().units) if done else {},
            "problems": self.problems,
            "errors": [_piece_error(piece) for piece in self.pieces if piece.error],
            "lumi": lumi.to_json() if lumi is not None else None,
            "forecast": self._job.forecast,
            "requests": [vars(request) for request in self.requests],
            "replaced": {old: _numbers(new) for old, new in self._job.folder.replaced.items()},
        }

    def _settle_if_done(self) -> None:
        status = self._job.status()
        if status.state == "done":
            self._settle(status)

    def settle(self) -> None:
        """Tell the catalog what the job came to, and register its output; errors as `wait`."""
        self._settle(self._job.status())

    def _settle(self, status: JobStatus) -> None:
        """Register what the job came to, once; CatalogError where its output's name is another's."""
        catalog = self._home.catalog
        done = status.state == "done"
        known = {j.job: j for j in catalog.jobs()}
        output, result = (self.output, self._job.result().digest) if done else ("", "")
        if done and not _is_registered(catalog, output, self._job):
            fail_point("jobs.register")
            home = self._home.folder / JOBS
            with disk.locked(home, disk.LONG_PATIENCE, "registering a job's output"):  # two who wait for it
                if not _is_registered(catalog, output, self._job):
                    refuse_taken(catalog, self._job, output)
                    whole = f"job {self.id} is done, its result is {self._job.result().path}"
                    with after(whole, f"tagsel jobs show {self.id} registers it again"):
                        register(self._home, self._job, output)
        change = PutJob(
            self.id,
            ",".join(_datasets(self._job)),
            status.state,
            status.pieces,
            status.done,
            status.failed,
            status.events,
            output,
            str(self._job.folder.path),
            result,
        )
        said = attrgetter("state", "output", "done", "note")
        if self.id not in known or said(known[self.id]) != said(change):
            catalog.record(change)

    def __repr__(self) -> str:
        return repr(self._job)


def _piece_error(piece: PieceState) -> dict[str, object]:
    """Why a piece failed, with every failure of it."""
    failures = [failure.to_json() for failure in piece.failures]
    return {"piece": piece.number, "events": piece.events, "error": piece.error, "failures": failures}


def _numbers(pieces: Iterable[Mapping[str, Any]]) -> list[int]:
    return [piece["number"] for piece in pieces]


def unregistered(catalog: Catalog, job: Job) -> str:
    """The name of the output of a job that is done and whose output the catalog does not know; "": it does, or there
    is none. JobError: the result is damaged."""
    if not job.folder.result.exists():
        return ""
    name = _name(job)
    return "" if _is_registered(catalog, name, job) else name


def is_unregistered_result(home: Home, path: Path) -> bool:
    """Whether a file is the result of a job of the workspace whose output is no dataset, as where another has its
    name."""
    from tagsel.jobs import load

    if path.parent.parent != (home.folder / JOBS).resolve():
        return False
    try:
        job = load(path.parent)
        return bool(unregistered(home.catalog, job)) and job.result().path.name == path.name
    except JobError:  # no job, or a damaged one
        return False


def _name(job: Job) -> str:
    """The dataset that a job's result becomes. JobError: it has none yet."""
    return job.folder.spec["name"] or _usual_name(job, job.result().kind)


def _is_registered(catalog: Catalog, name: str, job: Job) -> bool:
    """Whether the dataset of that name is, or was until it was dropped, the job's result as it is now, not one from
    before a `resubmit`."""
    result = job.result().digest
    if name not in catalog.names():
        return (job.id, name, result) in {(j.job, j.output, j.note) for j in catalog.jobs()}
    meta = catalog.dataset(name).meta
    return (meta.get("job"), meta.get("result")) == (job.id, result)


def refuse_taken(catalog: Catalog, job: Job, name: str) -> None:
    """CatalogError where a dataset, in the catalog or on disk, has the name of a job's output and is not what a crash
    left of it."""
    registered = name in catalog.names()
    folder = catalog.folder / DATA / name
    if not registered and not StoreTable.exists(folder):
        return
    owner = catalog.dataset(name).meta.get("job") if registered else None
    result = job.result()
    if owner == job.id:
        return
    if owner is None and result.kind == "events" and StoreTable.exists(folder):
        from tagsel.ingest import open_source

        if StoreTable.open(folder).snapshot().source_guids <= {open_source(result.path).guid}:
            return
    raise CatalogError(
        f"the output of job {job.id} cannot become dataset {name}: {f'job {owner}' if owner else 'another dataset'} "
        "has that name",
        hint=f"its result is whole: {result.path}; tagsel ingest takes events from there under another name",
        dataset=name,
        job=job.id,
    )


def executor_of(home: Home, engine: Chosen) -> Executor:
    """An executor of a job's engine, with the workspace's settings."""
    return engine.executor(home.setting("processes"))


def _provenance(job: Job) -> Mapping[str, Any]:
    found = job.folder.spec["provenance"]["provenance"]
    return found if isinstance(found, Mapping) else {}


def _datasets(job: Job) -> list[str]:
    """`name@snapshot` of the datasets that the job's list came from."""
    return list(dict.fromkeys(str(origin) for origin in origins(_provenance(job))))


def register(home: Home, job: Job, name: str) -> None:
    """Make the merged output a dataset: events are ingested and can be selected from; others are files of one.

    Rows of an earlier result of the job give way in a new snapshot; old snapshots stay readable.
    """
    result = job.result()
    history = _provenance(job)
    facts: dict[str, Any] = {
        "type": TYPES[result.kind],
        "parents": tuple(_datasets(job)),
        "cut": str(history.get("cut", "")),
        "lumi": ",".join(map(str, history.get("lumi", ()))),
        "state": "output",
    }
    meta = {"job": job.id, "list": job.folder.spec["list"], "selected": result.ledger.accepted}
    meta |= {"delivered": result.ledger.delivered, "unreadable": result.ledger.unreadable, "result": result.digest}
    meta |= contents(origins(history))
    home.catalog.need_open(name)  # before rows of an earlier result give way
    _forget_others(home, job, name)
    if result.kind == "events":
        from tagsel.ingest.load import ingest

        result.verify()
        folder = home.folder / DATA / name
        _make_way(folder, result.path)
        ingest([result.path], name, folder, home.catalog, {**facts, "meta": meta}, schema="")
        return
    before: list[tuple[str, str]] = []
    if name in home.catalog.names():
        old: dict[str, Any] = home.catalog.dataset(name).facts()
        facts, meta = {**old, **facts}, {**old["meta"], **meta}
        before = [(f.kind, f.guid) for f in home.catalog.files(name)]
    file = _file_of(job, name)
    others = [key for key in before if key != (file.kind, file.guid)]
    home.catalog.record(
        PutDataset(name, **{**facts, "meta": meta, "files": 1}), PutFiles(name, [file]), DropFiles(name, others)
    )


def _make_way(folder: Path, result: Path) -> None:
    """Empty the dataset of an output, in a new snapshot, unless all that it holds is this very result."""
    from tagsel.ingest import open_source

    if StoreTable.exists(folder):
        table = StoreTable.open(folder)
        if table.snapshot().source_guids - {open_source(result).guid}:
            table.restore(0)


def _forget_others(home: Home, job: Job, name: str) -> None:
    """Drop the record of an earlier result of the job that was of no kind, so that its dataset was called otherwise."""
    catalog = home.catalog
    known = ({_usual_name(job, kind) for kind in TYPES} - {name}) & set(catalog.names())
    others = [n for n in sorted(known) if catalog.dataset(n).meta.get("job") == job.id]
    catalog.record(*(DropDataset(n) for n in others if not StoreTable.exists(home.folder / DATA / n)))


def _usual_name(job: Job, kind: str) -> str:
    """What the output of a job is called that was given no name."""
    return f"{JOBS}.{job.id}.{TYPES[kind]}"


def _file_of(job: Job, dataset: str) -> FileRecord:
    """The file of a result of numbers or histograms, which has no GUID of its own. A renewed result that differs is
    another file, with another name and GUID: no copy of the old one is taken for it."""
    import uuid

    from tagsel.rootio.copying import checksum

    spec, result = job.folder.spec, job.result()
    guid = uuid.uuid5(uuid.NAMESPACE_OID, f"{spec['list']} {spec['script']} {job.id} {result.digest}")
    lfn = f"{dataset}.{result.digest[:8]}{result.path.suffix}"
    size = result.path.stat().st_size
    return FileRecord(
        str(guid).upper(), lfn, str(result.path), TYPES[result.kind], -1, size, checksum=checksum(str(result.path))
    )


def damaged_jobs(home: Home) -> dict[str, JobError]:
    """Why each job whose job.json or result.json is damaged, or whose result is gone, cannot be read, by its number."""
    from tagsel.jobs import look_up_jobs

    readable, damaged = look_up_jobs(home.folder / JOBS)
    for job in readable:
        if job.folder.result.exists():
            try:
                job.result().need_file()
            except JobError as error:
                damaged[job.id] = error
    return damaged


class Jobs:
    """The jobs of a workspace, by their numbers; `ws.jobs`.

    What others asked to be killed is killed when a job is looked up.
    """

    def __init__(self, home: Home) -> None:
        self._home = home

    def list(self) -> tuple[WorkspaceJob, ...]:
        """List the jobs that can be read; `damaged` names the others."""
        readable, _ = self._look_up()
        return readable

    @property
    def damaged(self) -> dict[str, JobError]:
        """Why each job whose job.json or result.json is damaged, or whose result is gone, cannot be read."""
        return damaged_jobs(self._home)

    def __getitem__(self, number: int | str) -> WorkspaceJob:
        """One job; JobError where there is none, or where it is damaged."""
        name = f"{number:>04}" if str(number).isdigit() else str(number)
        readable, damaged = self._look_up()
        if name in damaged:
            raise damaged[name]
        by_name = {job.id: job for job in readable}
        if name not in by_name:
            hint = did_you_mean(name, by_name) or "tagsel jobs list"
            raise JobError(f"no job {str(number)!r}", hint=hint, job=str(number))
        return by_name[name]

    def _look_up(self) -> tuple[tuple[WorkspaceJob, ...], dict[str, JobError]]:
        from tagsel.jobs import look_up_jobs

        readable, damaged = look_up_jobs(self._home.folder / JOBS)
        jobs = tuple(WorkspaceJob(self._home, job) for job in readable)
        for job in jobs:
            job.carry_out_requests("kill")
        return jobs, damaged

    def __iter__(self) -> Iterator[WorkspaceJob]:
        return iter(self.list())

    def __len__(self) -> int:
        return len(self.list())

    def __repr__(self) -> str:
        return f"<Jobs of {self._home.folder}>"
