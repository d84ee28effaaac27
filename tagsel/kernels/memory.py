"""Memory as the loops see it: numbers at addresses, read and written without a look at what owns them.

The functions here are plain Python over ctypes, so a loop also runs, slowly, where nothing is compiled; numba
compiles `intrinsics` in their place. A value may lie at any address, aligned or not.

    >>> import numpy as np
    >>> from tagsel.kernels.memory import address_of, load_i4, store_i4
    >>> numbers = np.array([1, 2, 3], np.int32)
    >>> store_i4(address_of(numbers), 1, 7)
    >>> load_i4(address_of(numbers), 1), numbers
    (np.int32(7), array([1, 7, 3], dtype=int32))

Invariant: the loops check nothing, but in a debug build (`regions`). Whoever fills a table (`layouts`) answers for what
its addresses point to.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tagsel.kernels import regions

Word: TypeAlias = Any
"""A number of 64 bits in a loop: an address, a count, a row. (int where Python runs the loop, int64 or uint64 where it
is compiled.)"""

WIDTHS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")
"""Types of memory that loops can read, as NumPy spells them."""

STORED = ("u1", "i4", "i8", "u8", "f8")
"""Types of memory that loops can write."""

CALL = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64, ctypes.c_int64
)
"""numba's calling convention: a status from (result, exception, arguments …)."""


def address_of(array: npt.NDArray[Any]) -> int:
    """Where an array's values begin."""
    if array.dtype.names is not None:  # NumPy would spend 10 µs on a description of the fields
        array = array.view(np.uint8)
    begin = int(array.__array_interface__["data"][0])
    if regions.ACTIVE:
        regions.REGIONS.add(regions.owner_of(array), begin, array.nbytes)
    return begin


def place(address: Word, index: Word, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The value number `index` of an array at `address`, as an array of one that shares its memory."""
    begin = int(address) + int(index) * dtype.itemsize
    if regions.ACTIVE:
        regions.require(begin, dtype.itemsize)
    return np.ndarray((1,), dtype, memoryview((ctypes.c_char * dtype.itemsize).from_address(begin)))


def _loader(width: str) -> Callable[[Word, Word], Word]:
    dtype = np.dtype(width)

    def load(address: Word, index: Word) -> Word:
        return place(address, index, dtype)[0]

    return load


def _storer(width: str) -> Callable[[Word, Word, Word], None]:
    dtype = np.dtype(width)

    def store(address: Word, index: Word, value: Word) -> None:
        place(address, index, dtype)[0] = value

    return store


load_i1, load_i2, load_i4, load_i8 = _loader("i1"), _loader("i2"), _loader("i4"), _loader("i8")
load_u1, load_u2, load_u4, load_u8 = _loader("u1"), _loader("u2"), _loader("u4"), _loader("u8")
load_f4, load_f8 = _loader("f4"), _loader("f8")
store_u1, store_i4, store_i8 = _storer("u1"), _storer("i4"), _storer("i8")
store_u8, store_f8 = _storer("u8"), _storer("f8")


def bits_set(word: Word) -> Word:
    """How many bits of a word are 1, uint64."""
    return np.uint64(int(word).bit_count())


def prefetch(address: Word) -> None:
    """Have the processor fetch what lies at an address, which may be any: it will be read soon."""


def run_kernel(code: Word, table: Word, scratch: Word, first: Word, count: Word) -> Word:
    """Call a loaded kernel by the address of its code."""
    result, exception = ctypes.c_int64(), ctypes.c_void_p()
    at = ctypes.addressof(result), ctypes.addressof(exception)
    if regions.ACTIVE:
        regions.publish()
    CALL(int(code))(*at, int(table), int(scratch), int(first), int(count))
    return result.value


PRIMITIVES: dict[str, Callable[..., Any]] = {
    **{f"load_{width}": globals()[f"load_{width}"] for width in WIDTHS},
    **{f"store_{width}": globals()[f"store_{width}"] for width in STORED},
    "bits_set": bits_set,
    "prefetch": prefetch,
    "run_kernel": run_kernel,
}
"""The functions that `intrinsics` compiles otherwise, by name."""
