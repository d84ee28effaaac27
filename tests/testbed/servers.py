"""What all engines share: where they are installed, free ports, a server that is waited for and stopped."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BED = Path(os.environ.get("TESTBED", ROOT / ".testbed"))
LIBRARIES = f"usr/lib/{os.uname().machine}-linux-gnu"

READY_S, STOP_S = 120.0, 20.0
"""How long a server may take to answer, and to end, in seconds."""


class Missing(Exception):
    """A component is not installed; the text says why."""


def installed(component: str) -> Path:
    """Where `scripts/testbed` put a component. Missing says why it is not there."""
    folder = BED / component
    if (folder / "version").exists():
        return folder
    why = folder / "why-not"
    said = why.read_text().strip() if why.exists() else f"scripts/testbed {component} installs it"
    raise Missing(f"{component} is not installed: {said}")


def for_nobody(folder: Path) -> Path:
    """A component that `as_nobody` runs, if that user can enter its folder; Missing says which folder is closed."""
    closed = [f for f in (folder, *folder.resolve().parents) if not f.stat().st_mode & 0o001]
    if os.geteuid() == 0 and closed:
        raise Missing(f"{folder.name} runs as nobody where root starts it, who cannot enter {closed[-1]}")
    return folder


def free_port() -> int:
    """A port of loopback that nobody uses just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def as_nobody(capabilities: str = "") -> list[str]:
    """What goes before a command so that it does not run as root; nothing where we are not root."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam("nobody")
    kept = [f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}"] if capabilities else []
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *kept]


def give_to_nobody(*paths: Path) -> None:
    """Let the user of `as_nobody` own these, and all below them."""
    if os.geteuid() == 0:
        user = pwd.getpwnam("nobody")
        for path in paths:
            for below in (path, *path.rglob("*")):
                os.chown(below, user.pw_uid, user.pw_gid, follow_symlinks=False)


def open_way(folder: Path) -> None:
    """Let every user go through the folders above one, and look into it: pytest's are its user's alone."""
    for above in (folder, *folder.parents):
        if above.stat().st_uid == os.geteuid() and not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o055)


@contextmanager
def serving(
    command: Sequence[str | Path],
    log: Path,
    answers: Callable[[], bool],
    *,
    env: Mapping[str, str] | None = None,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """A server from when it answers until the block is left. RuntimeError, with its last words, where it does not."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(c) for c in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **(env or {})},
        )
    try:
        wait_for(answers, process, log)
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(answers: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until `answers` is true, for READY_S at most; what it raises counts as no."""
    patience = time.monotonic() + READY_S
    said = ""
    while time.monotonic() < patience:
        if process.poll() is not None:
            break
        try:
            if answers():
                return
        except Exception as error:  # not there yet, in whatever words its client has for that
            said = str(error)
        time.sleep(0.05)
    words = log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"{process.args} does not answer (exit code {process.poll()}): {said}\n{words}")


def kill_tree(pid: int) -> None:
    """kill -9 of a process and of all that it and its children started: a machine that loses power."""
    os.kill(pid, signal.SIGSTOP)  # it starts nothing meanwhile
    for one in tree(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def listens(port: int) -> bool:
    """Whether somebody takes connections at a port of loopback."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
