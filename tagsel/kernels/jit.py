"""The one place where numba compiles: `jit` for generated kernels, and the functions of this room, compiled.

A function of `trigonometric`, `exponential` or `physics` is a Python function on arrays. To compile it for
single numbers, `compiled` makes the same code object anew with other globals: `select` and `branch` become an
if, and every function of this room that it calls becomes the compiled one. So there is one text, and no
second implementation.

Invariant: importing this module does not import numba; the first call that needs it does.
"""

from __future__ import annotations

import dis
import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np

from tagsel.kernels import doubled, elementary, integers, physics

_PACKAGE = __name__.rpartition(".")[0]


def jit(function: Callable[..., Any], **more: bool) -> Any:
    """Compile with the options all our kernels share (no GIL, IEEE arithmetic, no cache of numba's) and `more`."""
    import numba

    options = {"nogil": True, "fastmath": False, "error_model": "numpy", "boundscheck": False, "cache": False}
    return numba.njit(**options, **more)(function)


def _select(condition: Any, yes: Any, no: Any) -> Any:
    if condition:
        return yes
    return no


def _branch(condition: Any, rare: Any, common: Any, x: Any) -> Any:
    if condition:
        return rare(x)
    return common(x)


def _bits_of(x: Any) -> Any:
    return np.float64(x).view(np.int64)


def _float_of(bits: Any) -> Any:
    return np.int64(bits).view(np.float64)


_FOR_ONE_NUMBER: dict[Any, Any] = {
    doubled.select: _select,
    doubled.branch: _branch,
    doubled.bits_of: _bits_of,
    doubled.float_of: _float_of,
}


@cache
def compiled(function: Callable[..., Any]) -> Any:
    """A function of this room as a numba dispatcher for float64 (or int64) numbers."""
    source = _FOR_ONE_NUMBER.get(function, function)
    scope = dict(source.__globals__)
    for name in {i.argval for i in dis.get_instructions(source) if i.opname == "LOAD_GLOBAL"}:
        value = scope.get(name)
        if isinstance(value, FunctionType) and value.__module__.startswith(_PACKAGE):
            scope[name] = compiled(value)
    renewed = FunctionType(source.__code__, scope, source.__name__, source.__defaults__, source.__closure__)
    return jit(renewed)


def numba_functions() -> dict[str, Any]:
    """Every function of `elementary`, `physics` and `integers` by name, for numba.

    Nothing is compiled until a dispatcher is called, here or in another compiled function.

    >>> float(numba_functions()["cos"](0.0))
    1.0
    """
    sources = elementary.SOURCES | physics.SOURCES | integers.SOURCES
    return {name: compiled(f) for name, f in sources.items()}


@cache
def source_digest() -> str:
    """SHA-256, in hex, over the names and texts of this room's files, for the keys of cached kernels."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(f"{path.name}\0".encode())
        digest.update(path.read_bytes())
        digest.update(b"\0")
    return digest.hexdigest()
