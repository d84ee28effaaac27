"""The debug build of the kernels: each load and store is checked against the memory that the loops were given.

`TAGSEL_DEBUG_KERNELS=1` in the environment of a process turns it on. `memory.address_of` then notes where each array
lies, for as long as its memory lives, and compiled code asks `tagsel_checked` for every address before it is used. An
address outside of every array is noted, and the load or store goes to spare memory; the call that ran the loop raises
IndexError. Loops that Python runs raise it at once.

Invariant: without the variable nothing here runs, and machine code is the same as if this file did not exist.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from itertools import chain
from threading import RLock
from typing import Any

import numpy as np
import numpy.typing as npt

ACTIVE = os.environ.get("TAGSEL_DEBUG_KERNELS", "0") not in ("", "0")
"""Whether this process checks the memory of its kernels."""

SYMBOL = "tagsel_checked"
"""The function that compiled code calls with (address, bytes); it gives the address, or one of spare memory."""

TABLE, FAILURES, ADDRESS, SIZE, SPARE = range(5)
"""Words of the state that Python and `tagsel_checked` share: where the table of regions is; how many addresses were
outside; the last of these, and the bytes asked for; where the spare memory is."""

RECENT_TABLES = 64
"""Tables of regions that stay, since a loop in another thread may still read an old one."""

_spare = np.zeros(1 << 16, np.uint8)
_state = np.zeros(5, np.uint64)
_state[SPARE] = _spare.__array_interface__["data"][0]


class Regions:
    """The memory that loops may touch: of each owner, the places (begin, end) that were handed out."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._places: dict[int, set[tuple[int, int]]] = {}
        self._owners: dict[int, object] = {}
        self._freed: deque[int] = deque()
        self._tables: deque[npt.NDArray[np.uint64]] = deque(maxlen=RECENT_TABLES)
        self._changed = True

    def add(self, owner: object, begin: int, size: int) -> None:
        """Note the bytes at an address; they count until their owner is freed."""
        number, place = id(owner), (begin, begin + size)
        with self._lock:
            self._forget_freed()
            places = self._places.setdefault(number, set())
            if place in places or size == 0:
                return
            places.add(place)
            self._changed = True
            if number not in self._owners:
                self._owners[number] = _watched(owner, lambda _: self._freed.append(number))

    def _forget_freed(self) -> None:
        while self._freed:
            number = self._freed.popleft()
            del self._places[number], self._owners[number]
            self._changed = True

    def table(self) -> npt.NDArray[np.uint64]:
        """The regions as compiled code reads them: their number, their begins (rising), their ends."""
        with self._lock:
            self._forget_freed()
            if self._changed:
                self._tables.append(_merged(chain.from_iterable(self._places.values())))
                self._changed = False
            return self._tables[-1]


def owner_of(array: npt.NDArray[Any]) -> object:
    """What an array's memory lives as long as: itself, or the last that it is a view of and that can be watched."""
    owner: object = array
    while True:
        below = owner.obj if isinstance(owner, memoryview) else getattr(owner, "base", None)
        if below is None or isinstance(below, bytes):
            return owner
        owner = below


def _watched(owner: object, freed: Callable[[object], None]) -> object:
    """A reference to an owner that says when it is freed; one that cannot say so is kept."""
    try:
        return weakref.ref(owner, freed)
    except TypeError:
        return owner


def _merged(places: Iterable[tuple[int, int]]) -> npt.NDArray[np.uint64]:
    """The union of places, as a table of regions that do not overlap."""
    bounds = np.array(sorted(places), np.uint64).reshape(-1, 2)
    ends = np.maximum.accumulate(bounds[:, 1])
    first = np.ones(len(bounds), np.bool_)
    first[1:] = bounds[1:, 0] >= ends[:-1]
    begins = bounds[first, 0]
    last = np.append(first[1:], True)[: len(bounds)]
    return np.concatenate([np.array([len(begins)], np.uint64), begins, ends[last]])


REGIONS = Regions()


def note_columns(owner: object, addresses: npt.NDArray[np.uint64], sizes: npt.NDArray[np.int64]) -> None:
    """Note the columns of row groups, so many bytes each, which an owner keeps."""
    for address, size in zip(addresses.tolist(), sizes.tolist(), strict=True):
        REGIONS.add(owner, address, size)


def publish() -> None:
    """Have compiled code see all regions that are noted now."""
    _state[TABLE] = REGIONS.table().__array_interface__["data"][0]


def require(address: int, size: int) -> None:
    """IndexError where the bytes at an address lie in no region."""
    table = REGIONS.table()
    count = int(table[0])
    begins, ends = table[1 : count + 1], table[count + 1 :]
    n = int(np.searchsorted(begins, np.uint64(address), side="right")) - 1
    if n < 0 or address + size > int(ends[n]):
        raise IndexError(outside(address, size))


def outside(address: int, size: int) -> str:
    """The message for an address in no region, with the nearest one below it."""
    table = REGIONS.table()
    count = int(table[0])
    n = int(np.searchsorted(table[1 : count + 1], np.uint64(address), side="right")) - 1
    if n < 0:
        return f"{size} bytes at {address:#x} lie below all memory that the kernels were given"
    begin, end = int(table[1 + n]), int(table[1 + count + n])
    return f"{size} bytes at {address:#x} end {address + size - end:,} bytes behind the array of {end - begin:,} bytes"


def raise_if_outside(kernel: str) -> None:
    """IndexError where a loop that has run used an address outside of all regions."""
    if _state[FAILURES]:
        address, size = int(_state[ADDRESS]), int(_state[SIZE])
        count = int(_state[FAILURES])
        _state[FAILURES] = 0
        raise IndexError(f"kernel {kernel}: {outside(address, size)} ({count:,} such loads and stores)")


def install(machine: object) -> object:
    """Compile `tagsel_checked` and give its name to the linker; what is returned holds its code."""
    import llvmlite.binding as llvm

    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(_module())), machine)
    engine.finalize_object()
    llvm.add_symbol(SYMBOL, engine.get_function_address(SYMBOL))
    return engine


def _module() -> Any:
    """`tagsel_checked` as LLVM's assembly: a binary search for the last region that begins at or before an address."""
    from llvmlite import ir

    word = ir.IntType(64)
    module = ir.Module(name="regions")
    function = ir.Function(module, ir.FunctionType(word, [word, word]), SYMBOL)
    address, size = function.args
    entry, head, body = map(function.append_basic_block, ("entry", "head", "body"))
    compare, inside, wrong = map(function.append_basic_block, ("compare", "inside", "wrong"))
    builder = ir.IRBuilder(entry)

    def at(begin: Any, index: Any) -> Any:
        return builder.inttoptr(builder.add(begin, builder.shl(index, word(3))), word.as_pointer())

    state = word(_state.__array_interface__["data"][0])
    table = builder.load(at(state, word(TABLE)))
    count = builder.load(at(table, word(0)))
    builder.branch(head)

    builder.position_at_end(head)
    low, high = builder.phi(word), builder.phi(word)
    builder.cbranch(builder.icmp_unsigned("<", low, high), body, compare)

    builder.position_at_end(body)
    middle = builder.lshr(builder.add(low, high), word(1))
    begin = builder.load(at(table, builder.add(middle, word(1))))
    before = builder.icmp_unsigned("<=", begin, address)
    next_low = builder.select(before, builder.add(middle, word(1)), low)
    next_high = builder.select(before, high, middle)
    builder.branch(head)
    low.add_incoming(word(0), entry)
    low.add_incoming(next_low, body)
    high.add_incoming(count, entry)
    high.add_incoming(next_high, body)

    builder.position_at_end(compare)  # `low` regions begin at or before the address; with none, word 0 is no end
    end = builder.load(at(table, builder.add(count, low)))
    fits = builder.icmp_unsigned("<=", builder.add(address, size), end)
    some = builder.icmp_unsigned("!=", low, word(0))
    builder.cbranch(builder.and_(fits, some), inside, wrong)

    builder.position_at_end(inside)
    builder.ret(address)

    builder.position_at_end(wrong)
    failures = at(state, word(FAILURES))
    builder.store(builder.add(builder.load(failures), word(1)), failures)
    builder.store(address, at(state, word(ADDRESS)))
    builder.store(size, at(state, word(SIZE)))
    builder.ret(builder.load(at(state, word(SPARE))))
    return module
