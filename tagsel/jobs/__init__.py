"""Jobs on selected events: split, run on executors, retried, merged once and only once, accounted for to
the event."""

from tagsel.jobs.diagnose import Group
from tagsel.jobs.engines import Chosen, memory_setting
from tagsel.jobs.executors import Ended, Executor, Task
from tagsel.jobs.failures import Failure
from tagsel.jobs.folder import PieceState
from tagsel.jobs.job import Job, JobStatus, dispatch, list_jobs, load, look_up_jobs, refuse_leaving, submit
from tagsel.jobs.local import LocalExecutor
from tagsel.jobs.lumi import JobLumi, lumi_of
from tagsel.jobs.merge import JobResult
from tagsel.jobs.piece import Piece
from tagsel.jobs.plan import Plan, clean, dry_run, plan_job
from tagsel.jobs.split import WAYS, split

__all__ = [
    "WAYS",
    "Chosen",
    "Ended",
    "Executor",
    "Failure",
    "Group",
    "Job",
    "JobLumi",
    "JobResult",
    "JobStatus",
    "LocalExecutor",
    "Piece",
    "PieceState",
    "Plan",
    "Task",
    "clean",
    "dispatch",
    "dry_run",
    "list_jobs",
    "load",
    "look_up_jobs",
    "lumi_of",
    "memory_setting",
    "plan_job",
    "refuse_leaving",
    "split",
    "submit",
]
