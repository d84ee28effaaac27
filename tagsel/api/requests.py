"""Members of a group act on another's job: they ask in the journal, and the submitter's processes carry it out.

Invariant: only a user who may write a job's folder changes it; the journal answers each request once.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.catalog import Catalog
from tagsel.catalog.changes import AnswerRequest, RequestJob
from tagsel.catalog.requests import DONE, OPEN, REFUSED, JobRequest
from tagsel.errors import CatalogError, JobError, TagselError

if TYPE_CHECKING:
    from tagsel.jobs import Job

log = logging.getLogger("tagsel")

HEED_S = 2.0
"""How often a process that waits for a job looks for requests to kill it, in seconds."""

Actions = Mapping[str, Callable[[JobRequest], object]]
"""How requests are carried out, by verb."""


def is_mine(job: Job) -> bool:
    """Whether this user may change a job: its folder is theirs."""
    return os.access(job.folder.path, os.W_OK, effective_ids=True)


def ask(catalog: Catalog, job: Job, verb: str, **options: Any) -> None:
    """Ask the submitter of a job for a verb; one that is asked for already is not asked for again.

    AccessError: this user may not change the workspace. JobError: a job that is done cannot be killed.
    """
    if verb == "kill" and job.folder.result.exists():
        raise JobError(f"job {job.id} is done", job=job.id)
    catalog.need_writable()
    if not any((r.verb, r.options) == (verb, options) for r in waiting(catalog, job)):
        catalog.record(RequestJob(job.id, verb, options))


def waiting(catalog: Catalog, job: Job) -> list[JobRequest]:
    """The requests for a job that nobody has carried out yet."""
    return [request for request in catalog.requests(job.id) if request.state == OPEN]


def carry_out(catalog: Catalog, job: Job, actions: Actions) -> bool:
    """Carry out what waits and has an action, in order; whether there was any. What is refused is said in the answer.

    The one who asks for it is answered before the next is begun, so a crash repeats one request at most.
    """
    if not is_mine(job) or not catalog.may_write():
        return False
    any_done = False
    for request in waiting(catalog, job):
        action = actions.get(request.verb)
        if action is None:
            continue
        state, note = DONE, ""
        try:
            action(request)
        except (JobError, TypeError) as error:
            state, note = REFUSED, getattr(error, "message", str(error))
        try:
            catalog.record(AnswerRequest(job.id, request.seq, state, note))
        except CatalogError:  # another process of this user answered it meanwhile
            if any(open_one.seq == request.seq for open_one in waiting(catalog, job)):
                raise
        any_done = True
    return any_done


@contextmanager
def heeding_kills(home: Path, job: Job) -> Iterator[None]:
    """Kill a job, while the block runs, as soon as a member of the group asks for it.

    A catalog that is busy, or away, is asked again; each reason is said once.
    """
    stop = threading.Event()

    def watch() -> None:
        catalog = Catalog(home)  # one object a thread
        reasons: set[str] = set()
        while not stop.wait(HEED_S):
            try:
                if carry_out(catalog, job, {"kill": lambda _: job.kill()}):
                    return
            except (TagselError, OSError) as error:
                reason = str(error)
                if reason not in reasons:
                    log.warning("requests for job %s are not seen now, and looked for again: %s", job.id, reason)
                reasons.add(reason)

    thread = threading.Thread(target=watch, name=f"tagsel-requests-{job.id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
