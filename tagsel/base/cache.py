"""Bounded caches in memory, caches on disk, and one registry that lists and clears them all.

Invariant: a cache holds only what can be computed again, so an eviction or `clear` never changes an answer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast, overload
from weakref import WeakSet

from tagsel.base.fork_lock import fork_lock

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
Default = TypeVar("Default")
Answer = TypeVar("Answer")
Answer_co = TypeVar("Answer_co", covariant=True)

MEMORY = "memory"
"""Where a cache lies that is not on disk."""


class Cache(Generic[Key, Value]):
    """A bounded mapping that evicts the least recently used entry.

    Parameters
    ----------
    name : str
        What `caches` and `clear` call it. Caches of one name are listed and cleared together.
    entries : int, optional
        The largest number of entries.
    nbytes : int or callable, optional
        The largest number of bytes, or a function that returns it at each insertion.
    size : callable, optional
        Returns the bytes of a value; needed with `nbytes`. The size of a value must not change.
    largest : int, optional
        A value of more bytes is not kept. By default, the last value inserted is always kept.

    Notes
    -----
    Any number of threads may use a cache, and a forked child may go on with its copy. A look-up takes no lock: each of
    its two steps is atomic, and an entry that another thread evicts between them is a miss. Two threads that miss the
    same key at the same time both compute its value. Evicted values are released outside the lock.

    Examples
    --------
    >>> squares = Cache("squares", entries=2)
    >>> squares[3] = 9
    >>> squares.get_or_create(4, lambda: 16)
    16
    >>> squares.get(3)
    9
    >>> squares[5] = 25  # evicts 4, the least recently used
    >>> squares.get(4), len(squares)
    (None, 2)
    """

    def __init__(
        self,
        name: str,
        *,
        entries: int | None = None,
        nbytes: int | Callable[[], int] | None = None,
        size: Callable[[Value], int] | None = None,
        largest: int | None = None,
    ) -> None:
        if entries is None and nbytes is None:
            raise ValueError(f"cache {name} has no bound: give entries or nbytes")
        if nbytes is not None and size is None:
            raise ValueError(f"cache {name} is bounded by bytes: give size")
        self.name = name
        self.max_entries = entries
        self.max_bytes = nbytes
        self._size = size
        self._largest = largest
        self._entries: OrderedDict[Key, Value] = OrderedDict()
        self._bytes = 0
        self._lock = fork_lock()
        _register(self)

    @overload
    def get(self, key: Key) -> Value | None: ...
    @overload
    def get(self, key: Key, default: Default) -> Value | Default: ...
    def get(self, key: Key, default: Default | None = None) -> Value | Default | None:
        """Return the value of a key, or `default`; the entry counts as used."""
        try:
            self._entries.move_to_end(key)
            return self._entries[key]
        except KeyError:
            return default

    def get_or_create(self, key: Key, create: Callable[[], Value]) -> Value:
        """Return the value of a key; `create` computes it where there is none. An exception is not cached."""
        try:
            self._entries.move_to_end(key)
            return self._entries[key]
        except KeyError:
            pass
        value = create()
        self[key] = value
        return value

    def __setitem__(self, key: Key, value: Value) -> None:
        """Insert or replace an entry, then evict until the cache is within its bounds."""
        size = self._size_of(value)
        max_bytes = self.max_bytes() if callable(self.max_bytes) else self.max_bytes
        evicted = []  # released when the lock is free: a finalizer may use the cache
        with self._lock:
            if key in self._entries:
                evicted.append(self._remove(key))
            if self._largest is not None and size > self._largest:
                return
            self._entries[key] = value
            self._bytes += size
            while len(self._entries) > 1 and self._is_over(max_bytes):
                _, oldest = self._entries.popitem(last=False)
                self._bytes -= self._size_of(oldest)
                evicted.append(oldest)

    def _is_over(self, max_bytes: int | None) -> bool:
        if self.max_entries is not None and len(self._entries) > self.max_entries:
            return True
        return max_bytes is not None and self._bytes > max_bytes

    def _size_of(self, value: Value) -> int:
        return 0 if self._size is None else self._size(value)

    def _remove(self, key: Key) -> Value:
        value = self._entries.pop(key)
        self._bytes -= self._size_of(value)
        return value

    def pop(self, key: Key) -> Value | None:
        """Remove an entry and return its value; None where there is no such entry."""
        with self._lock:
            if key not in self._entries:
                return None
            return self._remove(key)

    def clear(self) -> None:
        """Remove all entries."""
        with self._lock:
            evicted, self._entries = self._entries, OrderedDict()
            self._bytes = 0
        evicted.clear()

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def nbytes(self) -> int:
        """Bytes of all values; 0 for a cache that is bounded by entries alone."""
        return self._bytes

    @property
    def is_sized(self) -> bool:
        """Whether the cache measures the bytes of its values."""
        return self._size is not None


class CacheGroup:
    """Caches by name that live as long as their owner: what others derive from an object that does not change.

    Examples
    --------
    >>> group = CacheGroup()
    >>> group.get_or_create("squares", 3, lambda: 9), group.get_or_create("squares", 3, lambda: 0)
    (9, 9)
    """

    def __init__(self) -> None:
        self._caches: dict[str, Cache[Hashable, Any]] = {}

    def get_or_create(self, name: str, key: Hashable, create: Callable[[], Value], entries: int = 1024) -> Value:
        """Return the value of a key in the cache of this name, which has at most so many `entries`."""
        cache = self._caches.get(name)
        if cache is None:
            cache = self._caches.setdefault(name, Cache(name, entries=entries))
        return cast("Value", cache.get_or_create(key, create))

    def clear(self) -> None:
        """Remove all entries of all caches."""
        for cache in list(self._caches.values()):
            cache.clear()


class MemoizedFunction(Protocol[Answer_co]):
    """A function whose answers a bounded cache keeps, as `functools.lru_cache` makes it."""

    def __call__(self, *arguments: Hashable) -> Answer_co:
        """Return the answer for these arguments."""

    def cache_info(self) -> Any:
        """Return hits, misses and sizes."""

    def cache_clear(self) -> None:
        """Remove all answers."""


def memoize(name: str, *, entries: int) -> Callable[[Callable[..., Answer]], MemoizedFunction[Answer]]:
    """Return a decorator that keeps the last `entries` answers of a function, in a registered cache.

    This is `functools.lru_cache`, for look-ups that must cost less than those of a `Cache`.

    Examples
    --------
    >>> @memoize("cubes", entries=10)
    ... def cube(number):
    ...     return number**3
    >>> cube(2), cube(2), cube.cache_info().hits
    (8, 8, 1)
    """

    def decorate(function: Callable[..., Answer]) -> MemoizedFunction[Answer]:
        memoized = lru_cache(maxsize=entries)(function)
        _register(_Answers(name, memoized))
        return memoized

    return decorate


class _Answers:
    """A memoized function as the registry sees it."""

    nbytes = 0
    is_sized = False

    def __init__(self, name: str, function: MemoizedFunction[Any]) -> None:
        self.name = name
        self._function = function
        _functions.append(self)  # the registry's own references are weak

    def __len__(self) -> int:
        return int(self._function.cache_info().currsize)

    def clear(self) -> None:
        self._function.cache_clear()


class _InMemory(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def is_sized(self) -> bool: ...
    def __len__(self) -> int: ...
    def clear(self) -> None: ...


@dataclass(frozen=True)
class DiskCache:
    """A cache of files: the folders that it fills, and the pattern of its files' names.

    Files are written aside under names that the pattern does not match, so `clear` never disturbs a writer; a reader
    keeps the bytes of a file that it has opened.

    Parameters
    ----------
    name : str
        What `caches` and `clear` call it.
    folders : callable
        Returns its folders, given the folder of the workspace or None. Folders need not exist.
    pattern : str
        A glob, relative to a folder.
    """

    name: str
    folders: Callable[[Path | None], Iterable[Path]]
    pattern: str

    def files(self, folder: Path) -> Iterator[Path]:
        """Yield the cache's files in one of its folders."""
        for path in folder.glob(self.pattern):
            if path.is_file() and not path.is_symlink():
                yield path


@dataclass(frozen=True)
class CacheUsage:
    """A cache as it is listed: its name, "memory" or its folder, how many entries, their bytes (None: not measured)."""

    name: str
    where: str
    entries: int
    nbytes: int | None

    def to_json(self) -> dict[str, object]:
        """Return a JSON-ready form."""
        return {"name": self.name, "where": self.where, "entries": self.entries, "bytes": self.nbytes}


_in_memory: WeakSet[_InMemory] = WeakSet()
_on_disk: dict[str, DiskCache] = {}
_functions: list[_Answers] = []
_registering = fork_lock()


def _register(cache: _InMemory) -> None:
    with _registering:
        _in_memory.add(cache)


def register_on_disk(cache: DiskCache) -> DiskCache:
    """Add a cache on disk to the registry, and return it."""
    _on_disk[cache.name] = cache
    return cache


def names() -> list[str]:
    """Return the names of all registered caches, sorted."""
    return sorted({cache.name for cache in _memory_caches()} | set(_on_disk))


def caches(workspace: Path | None = None) -> list[CacheUsage]:
    """List the caches that have entries: those in memory, then those on disk, by name.

    Parameters
    ----------
    workspace : Path, optional
        The folder of the workspace whose caches on disk are listed beside the user's own.
    """
    return [*_memory_usage(), *_disk_usage(workspace)]


def clear(name: str = "", workspace: Path | None = None) -> list[CacheUsage]:
    """Remove the entries of all caches, or of those of one name, and return what they held.

    Raises
    ------
    KeyError: no cache has this name. OSError: a file cannot be removed.
    """
    if name and name not in names():
        raise KeyError(name)
    removed = [usage for usage in caches(workspace) if name in ("", usage.name)]
    for disk_cache in _on_disk.values():
        if name in ("", disk_cache.name):
            for folder in disk_cache.folders(workspace):
                _remove_files(disk_cache, folder)
    clear_memory(name)
    return removed


def clear_memory(name: str = "") -> None:
    """Remove the entries of all caches in memory, or of those of one name."""
    for cache in _memory_caches():
        if name in ("", cache.name):
            cache.clear()


def _remove_files(cache: DiskCache, folder: Path) -> None:
    for path in cache.files(folder):
        path.unlink(missing_ok=True)


def _memory_caches() -> list[_InMemory]:
    with _registering:
        return list(_in_memory)


def _memory_usage() -> list[CacheUsage]:
    entries: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for cache in _memory_caches():
        entries[cache.name] = entries.get(cache.name, 0) + len(cache)
        if cache.is_sized:
            sizes[cache.name] = sizes.get(cache.name, 0) + cache.nbytes
    return [CacheUsage(name, MEMORY, entries[name], sizes.get(name)) for name in sorted(entries) if entries[name]]


def _disk_usage(workspace: Path | None) -> list[CacheUsage]:
    usage = []
    for name, cache in sorted(_on_disk.items()):
        for folder in cache.folders(workspace):
            entries, size = _count_files(cache, folder)
            if entries:
                usage.append(CacheUsage(name, str(folder), entries, size))
    return usage


def _count_files(cache: DiskCache, folder: Path) -> tuple[int, int]:
    """Return how many files a cache has in a folder, and their bytes."""
    entries = size = 0
    for path in cache.files(folder):
        with suppress(FileNotFoundError):  # evicted meanwhile
            size += path.stat().st_size
            entries += 1
    return entries, size
