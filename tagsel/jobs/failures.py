"""What a failure means: its class, its cause in words, who must act, and what comes next.

One table says it. Invariant: any evidence has one cause: the first row of its origin whose pattern is found, and the
last row of each origin takes all; nothing else decides whether a piece is tried again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

TRIED_AGAIN = ("transient", "site")
"""Classes of failures that another attempt may mend; `user` and `data` are named, and wait for somebody to act."""

ORIGINS = ("ended", "raised", "input")
"""Where a failure is seen, see `Evidence`."""

LINES = 20
"""How many of the last lines of what an attempt complained are kept as evidence."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a failure. `origin` is where it was seen: `raised` in the worker, by the script or for it;
    `ended` by the engine, of a worker that left no output; `input` on a file whose events could not be read.

    `kinds` are the classes of the error, `code` the exit code (-N for signal N), `hold` why a batch system held it,
    `stderr` the last lines of what the attempt complained.
    """

    origin: str
    message: str
    kinds: tuple[str, ...] = ()
    code: int | None = None
    hold: str = ""
    stderr: str = ""

    @property
    def text(self) -> str:
        """What signatures look at: the classes of the error and the message, in one line."""
        kinds = f"{' '.join(self.kinds)}: " if self.kinds else ""
        return f"{kinds}{' '.join(self.message.split())}"

    @classmethod
    def of(cls, error: Mapping[str, object]) -> Evidence:
        """The evidence in the record of a failed attempt."""
        origin = str(error.get("origin", ""))
        if origin not in ORIGINS:
            origin = "raised" if error.get("where") else "ended"
        code, kinds = error.get("code"), error.get("kinds")
        return cls(
            origin,
            str(error.get("message", "failed")),
            tuple(kinds) if isinstance(kinds, list | tuple) else (),
            code if isinstance(code, int) else None,
            str(error.get("hold", "")),
            last_lines(str(error.get("trace", ""))),
        )


@dataclass(frozen=True)
class Cause:
    """A row of the table: it is the cause where its `signature` is found in the text of the evidence (letter case is
    ignored), or its `complaint` in the last lines of stderr. `again` names the cause that it is where the piece fails
    so a second time."""

    name: str
    kind: str
    origin: str
    signature: str
    words: str
    owner: str
    action: str
    again: str = ""
    complaint: str = ""

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], re.Pattern[str] | None]:
        return re.compile(self.signature, re.IGNORECASE), re.compile(self.complaint) if self.complaint else None

    def fits(self, text: str, stderr: str) -> bool:
        """Whether this is the cause of evidence."""
        signature, complaint = self._patterns
        return bool(signature.search(text) or (complaint and complaint.search(stderr)))


YOU, SITE, DATA = "you", "the site", "whoever keeps the data"
WAIT = "nothing: it is tried again; tagsel jobs resubmit tries once more"
GIVEN_UP = {
    "killed": "it was killed; tagsel jobs resubmit runs it",
    "killed by jobs kill": "it was killed by jobs kill; tagsel jobs resubmit runs it",
    "killed by Ctrl-C": "it was killed when Ctrl-C ended the process that waited; tagsel jobs resubmit runs it",
    "killed by SIGTERM": "it was killed when SIGTERM ended the process that waited; tagsel jobs resubmit runs it",
    "interrupted": "nobody drives the job any more; tagsel jobs resubmit tries again",
    "tried": "it was tried {attempts} times, and is not tried again by itself; tagsel jobs resubmit does",
}
"""What takes the place of `WAIT` once a piece is tried no more, by why."""

MORE_MEMORY = "ask for more memory (submit --memory 4GB), or a smaller batch; or tagsel jobs resplit"
SHORTER = "tagsel jobs resplit into shorter pieces, or ask for more time (--set time=8:00:00)"
AT_SITE = "tell the site, with the evidence of jobs show; tagsel jobs resubmit when it is mended"
BY_LIMIT = r"bytes of memory are what a piece may take"
"""How tagsel says that it set the limit that a piece met: another attempt would meet it again."""

LIBRARIES = "tagsel|numpy|numba|pyarrow|uproot|awkward"

CAUSES = (
    # How an engine says that a worker ended which left no output.
    Cause(
        "memory limit",
        "user",
        "ended",
        rf"^stopped: it and what it started took|{BY_LIMIT}",
        "it took more memory than it had",
        YOU,
        MORE_MEMORY,
    ),
    Cause(
        "limits",
        "user",
        "ended",
        r"^stopped: it ",
        "it took more than a piece may",
        YOU,
        "print less or take less at once (batch), or allow more with --set; then tagsel jobs resubmit",
    ),
    Cause(
        "memory",
        "transient",
        "ended",
        r"^held by.*memor|^Slurm: OUT_OF_ME|oom[-_ ]kill|out of memory",
        "it took more memory than it had",
        YOU,
        MORE_MEMORY,
        again="memory twice",
        complaint=r"oom[-_ ]kill",
    ),
    Cause(
        "time",
        "user",
        "ended",
        r"^killed after [\d.e+]+ s|^Slurm: (TIMEOUT|DEADLINE)|killed by SIGXCPU"
        r"|exceeded allowed (job|execute) duration|^held by.*exceed.*(wall|run)[ -]?time"
        r"|^held by.*(wall|run)[ -]?time.*(exceed|limit)",
        "it took longer than it may",
        YOU,
        SHORTER,
    ),
    Cause(
        "disk",
        "site",
        "ended",
        r"no space left on device|disk quota exceeded|^held by.*\b(disk|scratch)\b",
        "the disk is full where it ran",
        SITE,
        AT_SITE,
        complaint=r"No space left on device|Disk quota exceeded",
    ),
    Cause(
        "software",
        "site",
        "ended",
        r"^cannot start|^held by.*(failed to execute|executable)|exit code 12[67]\b",
        "a program or release is missing where it ran",
        SITE,
        "install it there, or ask the site to; or choose another site",
        complaint=rf"command not found|os\.execv|No module named '?({LIBRARIES})\b"
        r"|error while loading shared libraries|GLIBC\w*_[\d.]+' not found"
        r"|/cvmfs/[^\n]*(No such file|not connected)",
    ),
    Cause(
        "moving",
        "site",
        "ended",
        r"^held by.*(transfer|send|receive|copy)",
        "files could not be moved to or from where it ran",
        SITE,
        AT_SITE,
    ),
    Cause(
        "held",
        "site",
        "ended",
        r"^held by",
        "the batch system held it",
        SITE,
        "read the hold reason; tell the site if it is not yours to mend",
    ),
    Cause("node", "site", "ended", r"^Slurm: (NODE_FAIL|BOOT_FAIL|REVOKED)", "the node it ran on was lost", SITE, WAIT),
    Cause(
        "evicted",
        "transient",
        "ended",
        r"^Slurm: (PREEMPTED|CANCELLED)|^removed:|evicted|preempted",
        "it was taken off its machine before it ended",
        "nobody",
        WAIT,
    ),
    Cause(
        "crash",
        "transient",
        "ended",
        r"killed by SIG(SEGV|BUS|ABRT|ILL|FPE)",
        "it crashed in compiled code",
        "nobody",
        WAIT,
        again="crash twice",
    ),
    Cause("killed", "transient", "ended", r"killed by sig", "its worker was killed", "nobody", WAIT),
    Cause(
        "another tagsel",
        "site",
        "ended",
        r"its output cannot be used: .*an output of version|unexpected keyword",
        "another version of tagsel ran there",
        SITE,
        "install the version that submits where pieces run",
    ),
    Cause("output", "transient", "ended", r"its output cannot be used", "its output was damaged", "nobody", WAIT),
    Cause("lost", "transient", "ended", "", "its worker ended without an output", "nobody", WAIT),
    # What was raised in the worker.
    Cause("memory limit", "user", "raised", BY_LIMIT, "it took more memory than it had", YOU, MORE_MEMORY),
    Cause(
        "memory",
        "transient",
        "raised",
        r"^[\w ]*\bMemoryError\b|bad_alloc|^[\w ]*\bOSError\b.*\[Errno 12\]|can't start new thread",
        "it took more memory than it had",
        YOU,
        MORE_MEMORY,
        again="memory twice",
    ),
    Cause(
        "disk",
        "site",
        "raised",
        r"^[\w ]*\b(OSError|AccessError)\b.*(\[Errno (28|122)\]|no space left on device|disk quota exceeded)",
        "the disk is full where it ran",
        SITE,
        AT_SITE,
    ),
    Cause(
        "software",
        "site",
        "raised",
        rf"^ModuleNotFoundError.*No module named '({LIBRARIES})\b|^[\w ]*\bImportError\b.*(shared object|GLIBC)"
        r"|^[\w ]*\bOSError\b.*/cvmfs/",
        "a program or release is missing where it ran",
        SITE,
        "install it there, or ask the site to; or choose another site",
    ),
    Cause(
        "module",
        "user",
        "raised",
        r"^ModuleNotFoundError",
        "the script imports what is not installed where it ran",
        YOU,
        "install it where pieces run, or do without; then submit again",
    ),
    Cause(
        "own file",
        "user",
        "raised",
        r"^[\w ]*\b(FileNotFoundError|FileExistsError|IsADirectoryError|NotADirectoryError|PermissionError)\b",
        "the script asks for a file that it cannot have",
        YOU,
        "give the script what it needs in itself",
    ),
    Cause(
        "server",
        "transient",
        "raised",
        r"^[\w ]*\bOSError\b",
        "network or disk did not do what was asked",
        "nobody",
        WAIT,
    ),
    Cause(
        "result",
        "user",
        "raised",
        r"^JobError.*(process returned|two events of a batch|do(es)? not add)",
        "process returned what cannot be merged",
        YOU,
        "return numbers, a histogram, or events; docs/how-to/jobs.md",
    ),
    Cause("script", "user", "raised", "", "the script raised an error", YOU, "mend the script and submit it again"),
    # Why a file could not be read.
    Cause(
        "server",
        "transient",
        "input",
        r"does not answer|timed? ?out|operation expired|connection (refused|reset|closed|aborted)|closed connection"
        r"|responded with status 5\d\d|\[fatal\].*(connection|socket|redirect|handshake)|temporarily|is unreachable",
        "the server of a file does not answer",
        SITE,
        "nothing yet: it is tried again; then tell the site",
    ),
    Cause(
        "certificate",
        "site",
        "input",
        r"certificate that is not good here|certificate verify failed",
        "the server of a file is not trusted where it ran",
        SITE,
        "SSL_CERT_FILE or X509_CERT_DIR there says whom to trust; or tell the site",
    ),
    Cause(
        "not there",
        "site",
        "input",
        r"^none of \d+ copies.*(cannot be opened|no such file|not found)"
        r"|cannot be opened: (permission denied|input/output error|stale file handle|transport endpoint)"
        r"|responded with status 40[13]|responded with an error: \[3010\]|auth failed",
        "a file that is there cannot be read from here",
        SITE,
        AT_SITE,
    ),
    Cause(
        "other file",
        "data",
        "input",
        r"not the file that is meant",
        "a file is not the one of the TAG",
        DATA,
        "put the right file back, or ingest this one anew; then tagsel jobs resubmit",
    ),
    Cause(
        "no copy",
        "data",
        "input",
        r"is in no catalog|has no local copy",
        "no copy of a file is known",
        DATA,
        "ingest it with --aod, or add a replica; then submit again",
    ),
    Cause(
        "gone",
        "data",
        "input",
        r"no such file or directory|file not found",
        "a file is gone",
        DATA,
        "put it back; then tagsel jobs resubmit",
    ),
    Cause(
        "damaged", "data", "input", "", "a file is damaged", DATA, "put a good copy there; then tagsel jobs resubmit"
    ),
    # What some are where a piece fails so a second time.
    Cause("memory twice", "user", "", "", "it took more memory than it had, twice", YOU, MORE_MEMORY),
    Cause(
        "crash twice",
        "user",
        "",
        "",
        "it crashed in compiled code, twice",
        YOU,
        "find the event with the first lines of jobs peek --err; tagsel jobs resplit narrows it down",
    ),
)
"""Every cause, in the order in which they are tried. A new one is a row."""

_BY_NAME = {c.name: c for c in CAUSES}


def cause_of(evidence: Evidence, earlier: Collection[str] = ()) -> Cause:
    """The cause of a failure; `earlier` are the names of the causes that earlier attempts at the piece had.

    >>> cause_of(Evidence("ended", "killed by SIGKILL")).kind
    'transient'
    >>> [cause_of(Evidence("raised", "", ("MemoryError",)), earlier).kind for earlier in ([], ["memory"])]
    ['transient', 'user']
    """
    text = evidence.text
    causes = [cause for cause in CAUSES if cause.origin == evidence.origin]
    cause = next(cause for cause in causes if cause.fits(text, evidence.stderr))
    if cause.again and {cause.name, cause.again}.intersection(earlier):
        return _BY_NAME[cause.again]
    return cause


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt: its cause, the evidence, and where the script was, or "". `attempt` is 0 of a file."""

    attempt: int
    cause: Cause
    evidence: Evidence
    where: str = ""

    @property
    def said(self) -> str:
        """The message, and where."""
        return f"{self.evidence.message} {self.where}" if self.where else self.evidence.message

    def to_json(self) -> dict[str, object]:
        """Class, cause, who must act, and the evidence."""
        evidence = asdict(self.evidence)
        evidence.pop("kinds")
        return {
            "attempt": self.attempt,
            "class": self.cause.kind,
            "cause": self.cause.words,
            "owner": self.cause.owner,
            "action": self.cause.action,
            "where": self.where,
            **evidence,
        }


def last_failure(records: Mapping[int, Mapping[str, object]]) -> Failure | None:
    """The failure of the last of the failed attempts at one piece; None of none."""
    if not records:
        return None
    last = max(records)
    (failure,) = failures_of({last: records[last]})
    return failures_of(records)[-1] if failure.cause.again else failure  # of the others no earlier attempt matters


def failures_of(records: Mapping[int, Mapping[str, object]]) -> tuple[Failure, ...]:
    """The failures of one piece from the records of its failed attempts, in order."""
    failures: list[Failure] = []
    for attempt, error in sorted(records.items()):
        evidence = Evidence.of(error)
        cause = cause_of(evidence, [f.cause.name for f in failures])
        failures.append(Failure(attempt, cause, evidence, str(error.get("where") or "")))
    return tuple(failures)


def given_up(failures: Sequence[Failure], why: str, attempts: int) -> tuple[Failure, ...]:
    """The failures of a piece that is tried no more after so many attempts: the last says so; `why` is of GIVEN_UP, or
    "" while it is tried."""
    if not failures or why not in GIVEN_UP or failures[-1].cause.action != WAIT:
        return tuple(failures)
    cause = replace(failures[-1].cause, action=GIVEN_UP[why].format(attempts=attempts))
    return (*failures[:-1], replace(failures[-1], cause=cause))


def unreadable_file(reason: str) -> Failure:
    """The failure that a file was whose events could not be read."""
    evidence = Evidence("input", reason)
    return Failure(0, cause_of(evidence), evidence)


def worst(causes: Sequence[Cause]) -> Cause | None:
    """Of the causes of what could not be read one that another attempt may mend, else any; None of none."""
    return next((c for c in causes if c.kind in TRIED_AGAIN), causes[0] if causes else None)


def last_lines(text: str) -> str:
    """The last lines of a log."""
    return "\n".join(text.rstrip().splitlines()[-LINES:])
