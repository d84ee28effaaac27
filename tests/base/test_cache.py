"""Caches: bounds, least recently used, threads, fork; the registry lists and clears those in memory and on disk."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagsel.base import cache
from tagsel.base.cache import Cache, CacheGroup, CacheUsage, DiskCache, clear, clear_memory, memoize, register_on_disk

ARRAY = np.ndarray[tuple[int], np.dtype[np.int64]]


def nbytes(array: ARRAY) -> int:
    return int(array.nbytes)


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[DiskCache]:
    """A registered cache of `*.item` files in `things` of a workspace."""
    name = f"items of {tmp_path.name}"
    yield register_on_disk(DiskCache(name, lambda workspace: [workspace / "things"] if workspace else [], "*/*.item"))
    del cache._on_disk[name]


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from(("get", "set", "create", "pop")), st.integers(0, 7)), max_size=60),
)
def test_entries_are_those_of_a_slow_cache(bound: int, steps: list[tuple[str, int]]) -> None:
    """The oracle: a list of keys, the most recently used last."""
    mapping: Cache[int, int] = Cache("oracle", entries=bound)
    keys: list[int] = []
    for number, (step, key) in enumerate(steps):
        is_hit = key in keys
        if step == "get":
            assert (mapping.get(key) is not None) is is_hit
        elif step == "pop":
            assert (mapping.pop(key) is not None) is is_hit
        elif step == "create":
            created = mapping.get_or_create(key, lambda number=number: number)  # type: ignore[misc]
            assert (created == number) is not is_hit
        else:
            mapping[key] = number
        if is_hit:
            keys.remove(key)
        if step in ("set", "create") or (step == "get" and is_hit):
            keys.append(key)
        keys = keys[-bound:]
        assert len(mapping) == len(keys)
        assert [key for key in range(8) if key in mapping] == sorted(keys)


def test_arrays_are_kept_up_to_a_number_of_bytes() -> None:
    arrays: Cache[int, ARRAY] = Cache("arrays", nbytes=800, size=nbytes, largest=100)
    decoded: list[int] = []

    def decode(number: int, size: int = 10) -> ARRAY:
        def create() -> ARRAY:
            decoded.append(number)
            return np.full(size, number, np.int64)

        return arrays.get_or_create(number, create)

    for number in (*range(10), 0, 10, 0, 1):  # 0 is used again, so 1 goes when 10 comes
        assert decode(number).tolist() == [number] * 10
        assert arrays.nbytes == 80 * len(arrays) <= 800
    assert decoded == [*range(11), 1]
    for _ in range(2):
        decode(99, 13)  # 104 bytes: too large to be kept
    assert decoded[-2:] == [99, 99]


def test_a_replaced_value_gives_its_bytes_back() -> None:
    arrays: Cache[str, ARRAY] = Cache("arrays", nbytes=1000, size=nbytes, largest=500)
    arrays["a"] = np.zeros(10, np.int64)
    arrays["a"] = np.zeros(20, np.int64)
    assert arrays.nbytes == 160
    arrays["a"] = np.zeros(100, np.int64)  # too large: the old value goes, too
    assert "a" not in arrays
    assert arrays.nbytes == 0


def test_the_bound_may_change_between_insertions() -> None:
    bound = 160
    arrays: Cache[int, ARRAY] = Cache("arrays", nbytes=lambda: bound, size=nbytes)
    for number in range(4):
        arrays[number] = np.zeros(10, np.int64)
    assert len(arrays) == 2
    bound = 1
    arrays[9] = np.zeros(10, np.int64)
    assert len(arrays) == 1  # the last one stays, however small the bound
    assert 9 in arrays


def test_an_exception_is_not_cached() -> None:
    mapping: Cache[str, int] = Cache("failures", entries=2)
    with pytest.raises(ZeroDivisionError):
        mapping.get_or_create("a", lambda: 1 // 0)
    assert mapping.get_or_create("a", lambda: 1) == 1


def test_none_is_a_value() -> None:
    mapping: Cache[str, None] = Cache("nothing", entries=2)
    mapping["a"] = None
    assert mapping.get("a", "absent") is None
    assert mapping.get("b", "absent") == "absent"


@pytest.mark.parametrize("bounds", [{}, {"nbytes": 100}])
def test_a_cache_without_a_bound_is_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"cache free (has no bound|is bounded by bytes)"):
        Cache("free", **bounds)  # type: ignore[arg-type]


def test_a_finalizer_may_use_the_cache_that_evicts_its_object() -> None:
    class Value:
        def __del__(self) -> None:
            mapping.pop(-1)

    mapping: Cache[int, Value] = Cache("finalizers", entries=2)
    for number in range(5):
        mapping[number] = Value()
    assert len(mapping) == 2
    mapping.clear()
    assert len(mapping) == 0


def test_threads_share_a_cache() -> None:
    mapping: Cache[int, int] = Cache("threads", entries=16)
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for step in range(3000):
                key = (step * seed) % 40
                assert mapping.get_or_create(key, lambda key=key: key * key) == key * key  # type: ignore[misc]
                if step % 500 == 0:
                    mapping.clear()
                if step % 7 == 0:
                    mapping[key] = key * key
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 3, 7, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(mapping) <= 16


def test_a_forked_child_goes_on_with_its_copy() -> None:
    """Another thread fills the cache all the while: it may have the lock at the moment of the fork."""
    mapping: Cache[int, int] = Cache("fork", entries=4)
    stop = threading.Event()

    def fill() -> None:
        number = 0
        while not stop.is_set():
            mapping[number % 9] = number
            number += 1

    thread = threading.Thread(target=fill)
    thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                mapping[100] = 1
                os._exit(0 if mapping.get(100) == 1 and len(mapping) <= 4 else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        thread.join()


def test_a_group_has_a_cache_for_each_name() -> None:
    group = CacheGroup()
    assert group.get_or_create("a", 1, lambda: "one") == "one"
    assert group.get_or_create("b", 1, lambda: "two") == "two"
    assert group.get_or_create("a", 1, lambda: "three") == "one"
    group.clear()
    assert group.get_or_create("a", 1, lambda: "three") == "three"


def usage_of(name: str, workspace: Path | None = None) -> list[CacheUsage]:
    return [usage for usage in cache.caches(workspace) if usage.name == name]


def test_caches_of_one_name_are_listed_and_cleared_together() -> None:
    one: Cache[int, ARRAY] = Cache("pair", nbytes=1000, size=nbytes)
    two: Cache[int, ARRAY] = Cache("pair", nbytes=1000, size=nbytes)
    other: Cache[int, int] = Cache("other", entries=3)
    one[1] = two[1] = np.zeros(2, np.int64)
    other[1] = 1
    assert usage_of("pair") == [CacheUsage("pair", "memory", 2, 32)]
    assert usage_of("other") == [CacheUsage("other", "memory", 1, None)]
    assert clear("pair") == [CacheUsage("pair", "memory", 2, 32)]
    assert usage_of("pair") == []
    assert len(other) == 1
    assert {"pair", "other"} <= set(cache.names())


def test_a_cache_leaves_the_registry_with_its_owner() -> None:
    group = CacheGroup()
    group.get_or_create("short-lived", 1, lambda: 1)
    assert usage_of("short-lived") != []
    del group
    gc.collect()
    assert usage_of("short-lived") == []


def test_a_memoized_function_is_listed_and_cleared() -> None:
    calls: list[int] = []

    @memoize("doubles", entries=2)
    def double(number: int) -> int:
        calls.append(number)
        return 2 * number

    assert [double(n) for n in (1, 1, 2, 3, 1)] == [2, 2, 4, 6, 2]
    assert calls == [1, 2, 3, 1]
    assert usage_of("doubles") == [CacheUsage("doubles", "memory", 2, None)]
    clear_memory("doubles")
    assert usage_of("doubles") == []


def test_files_of_a_cache_on_disk_are_counted_and_removed(tmp_path: Path, on_disk: DiskCache) -> None:
    folder = tmp_path / "things"
    (folder / "a").mkdir(parents=True)
    for name in ("1.item", "2.item"):
        (folder / "a" / name).write_bytes(b"12345")
    others = [folder / "a" / ".tmp-3", folder / "a" / "4.other", tmp_path / "5.item"]
    for path in others:
        path.write_bytes(b"x")
    (folder / "a" / "link.item").symlink_to(tmp_path / "5.item")
    usage = CacheUsage(on_disk.name, str(folder), 2, 10)
    assert usage_of(on_disk.name, tmp_path) == [usage]
    assert usage.to_json() == {"name": on_disk.name, "where": str(folder), "entries": 2, "bytes": 10}
    assert usage_of(on_disk.name) == []  # without a workspace
    assert clear(on_disk.name, tmp_path) == [usage]
    assert usage_of(on_disk.name, tmp_path) == []
    assert all(path.exists() for path in others)


def test_an_unknown_name_clears_nothing() -> None:
    mapping: Cache[int, int] = Cache("kept", entries=3)
    mapping[1] = 1
    with pytest.raises(KeyError, match="no such cache"):
        clear("no such cache")
    assert len(mapping) == 1
