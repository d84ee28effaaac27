"""Other users, for tests: a command runs as a numeric user and group that own nothing else on this machine.

The interpreter may lie where only root may go (a home of mode 0700). The child then sees an open folder there, which
holds the interpreter alone, in a mount namespace of its own; it has no right of root's. Where no namespace can be had,
it keeps one: to read and to search everywhere (CAP_DAC_READ_SEARCH), and `why_not_closed` says so.
"""

from __future__ import annotations

import ctypes
import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import tagsel as package

ALICE, BOB, GROUP = 64001, 64002, 64100
"""Two users and the group that both are in."""

_KEEP_CAPABILITIES, _AMBIENT, _RAISE, _READ_SEARCH = 8, 47, 2, 2  # prctl(2), capabilities(7)
_VERSION_3 = 0x20080522
_NEW_MOUNTS, _BIND, _REC, _PRIVATE = 0x20000, 0x1000, 0x4000, 0x40000  # unshare(2), mount(2)
_libc = ctypes.CDLL(None, use_errno=True)


def why_not() -> str:
    """Why this process cannot act as other users, or ""."""
    return "" if os.geteuid() == 0 else "only root may act as other users"


@cache
def why_not_closed() -> str:
    """Why other users may read every file here, those that are closed to them, too; "" where they may not."""
    if why_not() or not _closed():
        return why_not()
    child = os.fork()
    if child == 0:
        os._exit(0 if _open_the_way() else 1)
    status = os.waitpid(child, 0)[1]
    return "this machine gives no mount namespace" if status else ""


def _closed() -> dict[Path, list[Path]]:
    """Folders that are closed to others, with those below them that a child must be able to read."""
    closed: dict[Path, list[Path]] = {}
    for folder in {Path(sys.base_prefix), Path(sys.prefix), Path(package.__file__).parents[1]}:
        real = folder.resolve()
        shut = [parent for parent in real.parents if not parent.stat().st_mode & stat.S_IXOTH]
        if shut:
            closed.setdefault(shut[-1], []).append(real)  # the outermost
    return closed


def _open_the_way() -> bool:
    """Put an open folder in the place of each closed one, with what a child reads of it; whether that was possible."""
    if _libc.unshare(_NEW_MOUNTS) or not _mount("none", "/", flags=_REC | _PRIVATE):
        return False
    for folder, inner in _closed().items():
        kept = {path: os.open(path, os.O_PATH) for path in inner}
        if not _mount("tmpfs", folder, "tmpfs", options="mode=755"):
            return False
        for path, descriptor in kept.items():
            path.mkdir(parents=True, mode=0o755, exist_ok=True)
            if not _mount(f"/proc/self/fd/{descriptor}", path, flags=_BIND | _REC):
                return False
            os.close(descriptor)
    return True


def _mount(source: str, target: Path | str, kind: str = "none", flags: int = 0, options: str = "") -> bool:
    texts = (source, str(target), kind)
    return _libc.mount(*map(os.fsencode, texts), ctypes.c_ulong(flags), os.fsencode(options)) == 0


def become(uid: int, umask: int) -> None:
    """Make this process one of the user `uid`, of its own group and of GROUP."""
    os.umask(0o022)
    plain = not why_not_closed() and (not _closed() or _open_the_way())
    _prctl(_KEEP_CAPABILITIES, 0 if plain else 1)
    os.setgroups([GROUP])
    os.setgid(uid)
    os.setuid(uid)
    os.umask(umask)
    if not plain:
        _keep_reading()


def _keep_reading() -> None:
    """Keep the right to read and to search everywhere, also over the start of another program."""
    head = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    bits = 1 << _READ_SEARCH
    sets = (ctypes.c_uint32 * 6)(bits, bits, bits, 0, 0, 0)  # effective, permitted, inheritable
    if _libc.capset(head, sets):
        raise OSError(ctypes.get_errno(), "capset")
    _prctl(_AMBIENT, _RAISE, _READ_SEARCH)


def _prctl(option: int, *values: int) -> None:
    arguments = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    if _libc.prctl(option, *arguments):
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a user whose home is `home`."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "TAGSEL_CACHE": str(home / "cache"), **more}


def start(
    uid: int, command: Sequence[str | Path], home: Path, umask: int = 0o022, **more: str
) -> subprocess.Popen[str]:
    """Start a command as a user, in the user's home; `more` is added to the environment."""
    return subprocess.Popen(
        [str(word) for word in command],
        cwd=home,
        env=environment(home, **more),
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: become(uid, umask),
    )


def python(uid: int, code: str, home: Path, umask: int = 0o022, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python code as a user; what it printed."""
    process = start(uid, [sys.executable, "-c", code], home, umask, **more)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def tagsel(
    uid: int, arguments: str | Sequence[str | Path], home: Path, umask: int = 0o022, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run `tagsel ARGUMENTS` as a user."""
    words = arguments.split() if isinstance(arguments, str) else list(arguments)
    process = start(uid, [sys.executable, "-m", "tagsel", *words], home, umask, **more)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def home_of(uid: int, place: Path) -> Path:
    """A home of a user below `place`."""
    home = place / f"home-{uid}"
    home.mkdir(mode=0o755)
    os.chown(home, uid, uid)
    return home
