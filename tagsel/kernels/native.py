"""From generated source to machine code that needs neither numba nor Python, and back from its bytes.

`build` lets numba compile a function `kernel(table, rows)` and keeps the object code; `load` links such bytes
into the process with llvmlite and gives a plain function. A fresh kernel and a stored one take the same way, and
a stored one runs without importing numba. `table` is the address of an array of uint64: addresses of columns,
constants, results. The code reads and writes memory as it is told, unaligned too, and checks nothing: its
caller does.

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
from importlib.metadata import version
from typing import Any

import numpy as np

from tagsel.kernels import elementary, integers, physics
from tagsel.kernels.jit import compiled, jit, source_digest

WIDTHS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")
"""Types of memory that kernels can read, as NumPy spells them."""


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

    `load_<width>(address, index)` for each of WIDTHS; `store_u1(address, index, value)`; `contains_<i8|f8>(address,
    size, value)` in a sorted table; `within(runs, firsts, lasts, size, run, lumi)` in sorted int64 ranges;
    `exact_<name>` of `integers`; `call_<name>` of `elementary` and `physics`; int64, float32, float64, uint8, INF.
    """
    memory = _memory()
    functions = elementary.SOURCES | physics.SOURCES
    return {
        **memory,
        **_lookups(memory),
        **{f"exact_{name}": compiled(f) for name, f in integers.SOURCES.items()},
        **{f"call_{name}": compiled(f) for name, f in functions.items()},
        **{t.__name__: t for t in (np.int64, np.float32, np.float64, np.uint8)},
        "INF": np.inf,
    }


def _memory() -> dict[str, Any]:
    from numba import types
    from numba.extending import intrinsic

    def place(context: Any, builder: Any, kind: Any, address: Any, index: Any) -> Any:
        return builder.gep(builder.inttoptr(address, context.get_data_type(kind).as_pointer()), [index])

    def loader(kind: Any) -> Any:
        def load(typing: Any, address: Any, index: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                return builder.load(place(context, builder, kind, *args), align=1)

            return kind(types.uint64, types.int64), generate

        return intrinsic(load)

    def store(typing: Any, address: Any, index: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.store(args[2], place(context, builder, types.uint8, *args[:2]), align=1)
            return context.get_dummy_value()

        return types.void(types.uint64, types.int64, types.uint8), generate

    loaders = {f"load_{width}": loader(getattr(types, np.dtype(width).name)) for width in WIDTHS}
    return {**loaders, "store_u1": intrinsic(store)}


def _lookups(memory: dict[str, Any]) -> dict[str, Any]:
    load_i8 = memory["load_i8"]

    def lookup(load: Any) -> Any:
        def contains(address: Any, size: Any, value: Any) -> Any:
            low, high = np.int64(0), size
            while low < high:
                middle = (low + high) >> 1
                if load(address, middle) < value:
                    low = middle + 1
                else:
                    high = middle
            return low < size and load(address, low) == value

        return jit(contains)

    def within(runs: Any, firsts: Any, lasts: Any, size: Any, run: Any, lumi: Any) -> Any:
        low, high = np.int64(0), size  # the first range that begins after (run, lumi)
        while low < high:
            middle = (low + high) >> 1
            start = load_i8(runs, middle)
            if start < run or (start == run and load_i8(firsts, middle) <= lumi):
                low = middle + 1
            else:
                high = middle
        return low > 0 and load_i8(runs, low - 1) == run and lumi <= load_i8(lasts, low - 1)

    return {
        "contains_i8": lookup(load_i8),
        "contains_f8": lookup(memory["load_f8"]),
        "within": jit(within),
    }


def build(source: str) -> Native:
    """Compile `source`, which defines `kernel(table, rows)` of uint64 and int64 giving int64; it may not raise."""
    from numba import types

    scope = dict(vocabulary())
    exec(compile(source, "<kernel>", "exec"), scope)
    dispatcher = jit(scope["kernel"], _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)
    dispatcher.compile((types.uint64, types.int64))
    (result,) = dispatcher.overloads.values()
    library = result.library
    needs = [f.name for f in library._final_module.functions if f.is_declaration]
    _, _, (code, _) = library.serialize_using_object_code()
    alone = all(name.startswith("llvm.") for name in needs)
    return Native(result.fndesc.llvm_func_name, code, alone)


def load(native: Native) -> Callable[[int, int], int]:
    """The kernel as a function of (address of the table, rows); it lets go of the GIL while it runs."""
    import llvmlite.binding as llvm

    machine = _machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(native.code))
    engine.finalize_object()
    address = engine.get_function_address(native.symbol)
    if not address:
        raise ValueError(f"object code without {native.symbol}")
    # numba's calling convention: status of (result, exception, arguments …)
    prototype = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int64)
    function = prototype(address)

    def kernel(table: int, rows: int) -> int:
        result, exception = ctypes.c_int64(), ctypes.c_void_p()
        status = function(ctypes.addressof(result), ctypes.addressof(exception), table, rows)
        if status:
            raise RuntimeError(f"kernel {native.symbol} ended with status {status}")
        return result.value

    kernel.engine = engine  # type: ignore[attr-defined]  # the code lives as long as the engine
    return kernel


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
    import llvmlite.binding as llvm

    parts = [
        source_digest(),
        *(f"{name} {version(name)}" for name in ("numba", "llvmlite", "numpy")),
        platform.python_implementation(),
        platform.python_version(),
        platform.platform(),
        llvm.get_default_triple(),
        llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten(),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
