"""Machine code of kernels, kept in the process and on disk, keyed by all that it depends on.

The key is a SHA-256 over the generated source and `native.fingerprint` (every helper's source, the versions of
Python, NumPy, numba and llvmlite, the processor). A file is a line of JSON and the object code; nothing in it is ever
unpickled. It is used only if the folder and the file belong to this user and nobody else may enter or write
them, and if the code has the digest that the line says; else it is dropped and made anew. A folder that
is not private is not used at all.

Invariant: code is loaded only after the checks, from the bytes that were checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock, RLock, Thread, main_thread

from tagsel import settings
from tagsel.aside import aside
from tagsel.errors import TagselError
from tagsel.kernels import native
from tagsel.kernels.native import Loaded, Native

FORMAT = 1
MOST_KERNELS = 256
"""Kernels kept in the process, and on disk; the oldest go first."""

_functions: dict[str, Loaded] = {}
_compiling = RLock()


def function(source: str) -> Loaded:
    """The compiled kernel of a source text: from this process, from disk, or compiled now."""
    found = _functions.get(source)
    if found is not None:
        return found
    with _compiling:
        if source not in _functions:
            while len(_functions) >= MOST_KERNELS:
                del _functions[next(iter(_functions))]  # whoever runs it still holds it
            _functions[source] = native.load(_stored(source) or _built(source))
        return _functions[source]


def ready(source: str) -> bool:
    """Whether the kernel of a source is in this process."""
    return source in _functions


def kept(source: str) -> bool:
    """Whether the kernel of a source is in this process, or a file of it is on disk."""
    return source in _functions or (folder() / f"{key(source)}.kernel").is_file()


def _hold() -> None:
    """A fork waits for the kernel in the making: its thread holds locks, of imports and numba too, that a child would
    never see released."""
    _compiling.acquire()


def _forked() -> None:
    """A child has none of its parent's threads: what they were to compile, nobody is."""
    global _compiling, _asking
    _compiling, _asking = RLock(), Lock()
    _making.clear()


os.register_at_fork(before=_hold, after_in_parent=lambda: _compiling.release(), after_in_child=_forked)

COMPILING = 2.0
"""Seconds that one of our own loops takes to compile, about."""

_making: set[str] = set()
_asking = Lock()


def at_hand(*sources: str, spares: float = 0.0) -> bool:
    """Whether kernels are here, on disk, or worth compiling for the seconds that they would spare; those that are not
    are compiled behind the answers."""
    missing = [source for source in sources if not kept(source)]
    if not missing or spares >= COMPILING * len(missing):
        return True
    soon(missing)
    return False


def soon(sources: Sequence[str]) -> None:
    """Compile kernels behind the answers, each once; not in a process that ends after its answer."""
    if settings.one_answer:
        return
    with _asking:
        new = [source for source in sources if source not in _making]
        _making.update(new)
    if new:
        Thread(target=_make, args=(new,), name="tagsel-compile").start()


def _make(sources: Sequence[str]) -> None:
    for source in sources:
        if not main_thread().is_alive():  # the process is ending, and waits for this
            return
        function(source)


def folder() -> Path:
    """Where kernels are kept: `kernels` in `$TAGSEL_CACHE`, or in the user's own folder for caches."""
    base = os.environ.get("TAGSEL_CACHE")
    if not base:
        import platformdirs

        base = platformdirs.user_cache_dir("tagsel")
    return Path(base) / "kernels"


def key(source: str) -> str:
    """SHA-256, in hex, over a source and all else that its machine code depends on."""
    return hashlib.sha256(f"{FORMAT}\0{native.fingerprint()}\0{source}".encode()).hexdigest()


def private(status: os.stat_result) -> bool:
    """Whether a folder or file is ours, no link, and closed to everybody else."""
    real = stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)
    return real and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def _closed(place: Path) -> bool:
    """Whether the folder is there and private."""
    try:
        return private(place.lstat())
    except OSError:
        return False


def _stored(source: str) -> Native | None:
    """The kernel as kept on disk; what is there but cannot be used is removed."""
    name = key(source)
    path = folder() / f"{name}.kernel"
    if not _closed(path.parent):
        return None
    try:
        return _read(path, name)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        _drop(path)
        return None


def _drop(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _read(path: Path, name: str) -> Native:
    """ValueError and the like for whatever is not a whole kernel file of this key, closed to others."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        if not private(os.fstat(file.fileno())):
            raise ValueError(f"{path} is open to others")
        line, _, code = file.read().partition(b"\n")
    head = json.loads(line)
    if head["key"] != name or head["sha256"] != hashlib.sha256(code).hexdigest():
        raise ValueError(f"{path} is damaged")
    return Native(str(head["symbol"]), code)


def _built(source: str) -> Native:
    """The kernel compiled now, and kept if there is a place for it."""
    made = native.build(source)
    if made.alone:
        with suppress(OSError, TagselError):  # a cache that cannot be written is no reason to fail
            _keep(made, key(source))
    return made


def _keep(made: Native, name: str) -> None:
    place = folder()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _closed(place):
        return
    head = {"key": name, "symbol": made.symbol, "sha256": hashlib.sha256(made.code).hexdigest()}
    with aside(place / f"{name}.kernel") as temporary:
        temporary.touch(mode=0o600)
        temporary.write_bytes(json.dumps(head).encode() + b"\n" + made.code)
    for old in sorted(place.glob("*.kernel"), key=lambda p: p.stat().st_mtime)[:-MOST_KERNELS]:
        _drop(old)
