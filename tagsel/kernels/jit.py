"""The one place where numba compiles: `jit` for generated kernels, and the functions of this room, compiled.

A function of `trigonometric`, `exponential` or `physics` is a Python function on arrays, a loop of `driver` or
`filling` one on addresses. To compile it for single numbers, `renewed` makes the same code object anew with other
globals: `select` and `branch` become an if, the functions of `memory` become single instructions, a `Layout` what opens
a record, and every function of this room that it calls becomes the compiled one. So there is one text, and no second
implementation.

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

from tagsel.kernels import doubled, elementary, integers, intrinsics, physics
from tagsel.kernels.layouts import Layout
from tagsel.kernels.memory import PRIMITIVES

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
    """A function of this room as a numba dispatcher."""
    return jit(renewed(_FOR_ONE_NUMBER.get(function, function)))


def renewed(function: Callable[..., Any]) -> FunctionType:
    """A function of this room, to be compiled: the same code, its globals replaced by what numba compiles."""
    scope = dict(function.__globals__)
    for name in {i.argval for i in dis.get_instructions(function) if i.opname == "LOAD_GLOBAL"}:
        if name in scope:
            scope[name] = _compilable(scope[name])
    return FunctionType(function.__code__, scope, function.__name__, function.__defaults__, function.__closure__)


def _compilable(value: Any) -> Any:
    """What stands for a global in compiled code."""
    if isinstance(value, Layout):
        return intrinsics.record(value)
    if not isinstance(value, FunctionType) or not value.__module__.startswith(_PACKAGE):
        return value
    primitive = _PRIMITIVE_NAMES.get(value)
    return compiled(value) if primitive is None else intrinsics.primitives()[primitive]


_PRIMITIVE_NAMES = {function: name for name, function in PRIMITIVES.items()}


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
