"""Machine code of kernels, kept in the process and on disk, keyed by all that it depends on.

The key is a SHA-256 over the generated source, or the name of a loop, and `native.fingerprint` (this room's source, the
versions of Python, NumPy, numba and llvmlite, the processor). A file is a line of JSON and the object code; nothing in
it is ever unpickled. It is used only if the folder and the file belong to this user and nobody else may enter or write
them, if the line states the key, and if its SHA-256 is that of key, symbol and code; else it is dropped and made anew,
as is code without its symbol. A folder that is not private is not used at all.

Invariant: code is loaded only after the checks, from the bytes that were checked.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock, RLock, Thread, main_thread

from tagsel.base import settings
from tagsel.base.atomic_write import atomic_write
from tagsel.base.cache import Cache, DiskCache, register_on_disk
from tagsel.base.memory_limit import has_room_for_a_thread, memory_left, require
from tagsel.errors import TagselError
from tagsel.kernels import native
from tagsel.kernels.native import KernelSource, Loaded, Native

log = logging.getLogger("tagsel")

FORMAT = 2
MOST_KERNELS = 256
"""Kernels kept in the process, and on disk; the oldest go first."""

_functions: Cache[KernelSource, Loaded] = Cache("kernels", entries=MOST_KERNELS)
_compiling = RLock()


def function(source: KernelSource) -> Loaded:
    """The compiled kernel of a source text: from this process, from disk, or compiled now."""
    loaded = _functions.get(source)
    if loaded is not None:
        return loaded
    with _compiling:
        return _functions.get_or_create(source, lambda: _from_disk(source) or native.load(_built(source)))


def ready(source: KernelSource) -> bool:
    """Whether the kernel of a source is in this process."""
    return source in _functions


def kept(source: KernelSource) -> bool:
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

_making: set[KernelSource] = set()
_asking = Lock()


def at_hand(*sources: KernelSource, spares: float = 0.0) -> bool:
    """Whether kernels are here, on disk, or worth compiling for the seconds that they would spare; those that are not
    are compiled behind the answers."""
    left = memory_left()
    if left is not None and max(map(room_for, sources), default=0) > left:
        return False
    missing = [source for source in sources if not kept(source)]
    if not missing or spares >= COMPILING * len(missing):
        return True
    soon(missing)
    return False


LINKER, COMPILER, A_KERNEL = 180 << 20, 100 << 20, 40 << 20
"""Memory that llvmlite, numba, and compiling a kernel take, about. One that gets none ends the process."""


def room_for(source: KernelSource) -> int:
    """Bytes of memory without which a kernel is neither loaded nor compiled."""
    if ready(source):
        return 0
    linker = 0 if "llvmlite.binding" in sys.modules else LINKER
    if kept(source):
        return linker
    return linker + A_KERNEL + (0 if "numba" in sys.modules else COMPILER)


def soon(sources: Sequence[KernelSource]) -> None:
    """Compile kernels behind the answers, each once; not in a process that ends after its answer, or lacks memory."""
    if settings.one_answer or not has_room_for_a_thread():
        return
    with _asking:
        new = [source for source in sources if source not in _making]
        _making.update(new)
    if new:
        try:
            Thread(target=_make, args=(new,), name="tagsel-compile").start()
        except RuntimeError:  # there may be no more threads: a later question asks again
            with _asking:
                _making.difference_update(new)


def _make(sources: Sequence[KernelSource]) -> None:
    """Compile kernels that no answer waits for; one that fails is named in the log, and left to the interpreter."""
    for source in sources:
        if not main_thread().is_alive():  # the process is ending, and waits for this
            return
        try:
            function(source)
        except Exception as error:  # an answer that needs this kernel raises it
            reason = (str(error).strip() or "no reason").splitlines()[0]
            log.warning("a kernel is not compiled behind the answers: %s: %.200s", type(error).__name__, reason)


def folder() -> Path:
    """Where kernels are kept: `kernels` in `$TAGSEL_CACHE`, or in the user's own folder for caches."""
    base = os.environ.get("TAGSEL_CACHE")
    if not base:
        import platformdirs

        base = platformdirs.user_cache_dir("tagsel")
    return Path(base) / "kernels"


ON_DISK = register_on_disk(DiskCache("kernels", lambda _: [folder()], "*.kernel"))


def key(source: KernelSource) -> str:
    """SHA-256, in hex, over a source and all else that its machine code depends on."""
    return hashlib.sha256(f"{FORMAT}\0{native.fingerprint()}\0{native.name_of(source)}".encode()).hexdigest()


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


def _from_disk(source: KernelSource) -> Loaded | None:
    """The kernel as kept on disk, loaded; a file whose code does not hold its symbol is removed."""
    stored = _stored(source)
    if stored is None:
        return None
    try:
        return native.load(stored)
    except ValueError:
        _drop(folder() / f"{key(source)}.kernel")
        return None


def _stored(source: KernelSource) -> Native | None:
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
    kernel = Native(str(head["symbol"]), code)
    if head["key"] != name or head["sha256"] != _checksum(name, kernel):
        raise ValueError(f"{path} is damaged, or another kernel's")
    return kernel


def _checksum(name: str, kernel: Native) -> str:
    """SHA-256, in hex, over all that a file says: key, symbol and code."""
    return hashlib.sha256(f"{name}\0{kernel.symbol}\0".encode() + kernel.code).hexdigest()


def _built(source: KernelSource) -> Native:
    """The kernel compiled now, and kept if there is a place for it."""
    require(room_for(source), "compiling a kernel")
    native_code = native.build(source)
    if native_code.alone:
        with suppress(OSError, TagselError):  # a cache that cannot be written is no reason to fail
            _keep(native_code, key(source))
    return native_code


def _keep(native_code: Native, name: str) -> None:
    place = folder()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _closed(place):
        return
    head = {"key": name, "symbol": native_code.symbol, "sha256": _checksum(name, native_code)}
    with atomic_write(place / f"{name}.kernel") as temporary:
        temporary.touch(mode=0o600)
        temporary.write_bytes(json.dumps(head).encode() + b"\n" + native_code.code)
    for old in sorted(place.glob("*.kernel"), key=lambda p: p.stat().st_mtime)[:-MOST_KERNELS]:
        _drop(old)
