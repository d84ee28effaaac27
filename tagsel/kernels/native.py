"""From generated source to machine code that needs neither numba nor Python, and back from its bytes.

`build` lets numba compile a function `kernel(table, scratch, first, count)` and keeps the object code; `load` links
such bytes into the process with llvmlite and gives a plain function. A fresh kernel and a stored one take the same
way, and a stored one runs without importing numba. `table` and `scratch` are addresses of arrays of uint64: addresses
of columns, constants, results. The code reads and writes memory as it is told, unaligned too, and checks nothing:
its caller does.

Invariant: `load` is given only what `build` made, on the same machine with the same versions (`fingerprint`).
"""

from __future__ import annotations

import ctypes
import hashlib
import platform
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from types import FunctionType
from typing import Any, TypeAlias

import numpy as np

from tagsel.kernels import elementary, integers, intrinsics, lookups, physics, regions
from tagsel.kernels.jit import compiled, jit, renewed, source_digest
from tagsel.kernels.memory import CALL

KernelSource: TypeAlias = str | Callable[..., Any]
"""What a kernel is compiled from: generated text, or a loop of this room, `loop(job, scratch, begin, end)`."""


@dataclass(frozen=True, slots=True)
class Native:
    """Machine code of one kernel: the function's symbol, the object file that holds it.

    `alone` says that the code needs nothing outside itself, so that it may be loaded where numba is not.
    """

    symbol: str
    code: bytes
    alone: bool = True


@cache
def vocabulary() -> dict[str, Any]:
    """All that generated source may name, for numba.

    The functions of `memory` and `lookups`; `invoke_<n>(address of its code, numbers …)`; `exact_<name>` of `integers`;
    `call_<name>` of `elementary` and `physics`; int32, int64, uint64, float32, float64, uint8, INF.
    """
    searches = (lookups.contains_i8, lookups.contains_f8, lookups.within)
    functions = elementary.SOURCES | physics.SOURCES
    return {
        **intrinsics.primitives(),
        **{f.__name__: compiled(f) for f in searches},
        **{f"exact_{name}": compiled(f) for name, f in integers.SOURCES.items()},
        **{f"call_{name}": compiled(f) for name, f in functions.items()},
        **{t.__name__: t for t in (np.int32, np.int64, np.uint64, np.float32, np.float64, np.uint8)},
        "INF": np.inf,
    }


def name_of(source: KernelSource) -> str:
    """What tells a source from others: its text, or the name of a loop (whose text `fingerprint` covers)."""
    return source if isinstance(source, str) else f"{source.__module__}.{source.__qualname__}"


def build(source: KernelSource) -> Native:
    """Compile a loop, the text of a `kernel(table, scratch, first, count)` that gives an int64, or a `function_source`.

    It may not raise.
    """
    from numba import types

    if callable(source) and not source.__module__.startswith(f"{__package__}."):
        raise ValueError(f"{name_of(source)} is no loop of this room, whose files the keys of kernels cover")
    _link_checks()
    function = renewed(source) if callable(source) else _defined(source)
    numbers = (types.float64,) * function.__code__.co_argcount
    arguments = numbers if function.__name__ == "function" else (types.uint64, types.uint64, types.int64, types.int64)
    dispatcher = jit(function, _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)
    dispatcher.compile(arguments)
    (result,) = dispatcher.overloads.values()
    library = result.library
    needs = [f.name for f in library._final_module.functions if f.is_declaration]
    _, _, (code, _) = library.serialize_using_object_code()
    alone = all(name.startswith("llvm.") or name == regions.SYMBOL for name in needs)
    return Native(result.fndesc.llvm_func_name, code, alone)


def _defined(text: str) -> FunctionType:
    """The function that generated text defines."""
    scope = dict(vocabulary())
    exec(compile(text, "<kernel>", "exec"), scope)
    function: FunctionType = scope.get("kernel") or scope["function"]
    return function


def function_source(name: str, count: int) -> str:
    """The source of a function of `elementary` or `physics` of `count` numbers, compiled once for all kernels.

    >>> print(function_source("hypot", 2))
    def function(a0, a1):
        return call_hypot(a0, a1)
    <BLANKLINE>
    """
    names = ", ".join(f"a{n}" for n in range(count))
    return f"def function({names}):\n    return call_{name}({names})\n"


class Loaded:
    """A kernel in the process: called with (table, scratch, first, count) it lets go of the GIL while it runs."""

    def __init__(self, symbol: str, engine: Any) -> None:
        self.address = int(engine.get_function_address(symbol))
        if not self.address:
            raise ValueError(f"object code without {symbol}")
        self._engine = engine  # the code lives as long as the engine
        self._function = CALL(self.address)
        self._symbol = symbol

    def __call__(self, table: int, scratch: int, first: int, count: int) -> int:
        result, exception = ctypes.c_int64(), ctypes.c_void_p()
        if regions.ACTIVE:
            regions.publish()
        status = self._function(ctypes.addressof(result), ctypes.addressof(exception), table, scratch, first, count)
        if status:
            raise RuntimeError(f"kernel {self._symbol} ended with status {status}")
        if regions.ACTIVE:
            regions.raise_if_outside(self._symbol)
        return result.value


def load(native: Native) -> Loaded:
    """The kernel of some machine code; ValueError for code that does not hold it."""
    import llvmlite.binding as llvm

    _link_checks()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(native.code))
    engine.finalize_object()
    return Loaded(native.symbol, engine)


@cache
def _link_checks() -> object:
    """In a debug build, what kernels ask before each load and store; it stays as long as the process."""
    return regions.install(_machine()) if regions.ACTIVE else None


def _machine() -> Any:
    import llvmlite.binding as llvm

    with suppress(RuntimeError):
        llvm.initialize()  # before llvmlite 0.45; later ones do it themselves and say so by raising
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine()


@cache
def fingerprint() -> str:
    """SHA-256, in hex, over all that machine code depends on but its source: this room, versions, processor."""
    from importlib.metadata import version

    import llvmlite.binding as llvm

    parts = [
        source_digest(),
        f"checked {regions.ACTIVE}",
        *(f"{name} {version(name)}" for name in ("numba", "llvmlite", "numpy")),
        platform.python_implementation(),
        platform.python_version(),
        platform.platform(),
        llvm.get_default_triple(),
        llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten(),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
