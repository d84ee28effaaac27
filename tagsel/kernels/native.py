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
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from tagsel.kernels import elementary, integers, physics
from tagsel.kernels.jit import compiled, jit, source_digest

WIDTHS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")
"""Types of memory that kernels can read, as NumPy spells them."""

STORED = ("u1", "i4", "i8", "u8", "f8")
"""Types of memory that kernels can write."""


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

    `load_<width>(address, index)` for each of WIDTHS; `store_<width>(address, index, value)` for each of STORED;
    `contains_<i8|f8>(address, size, value)` in a sorted table; `within(runs, firsts, lasts, size, run, lumi)` in sorted
    int64 ranges;
    `run_kernel(address of its code, table, scratch, first, count)`; `invoke_<n>(address of its code, numbers …)`;
    `bits_set(word)`; `prefetch(address)`; `exact_<name>` of `integers`;
    `call_<name>` of `elementary` and `physics`; int32, int64, uint64, float32, float64, uint8, INF; `helper` marks a
    function that `kernel` calls.
    """
    memory = _memory()
    functions = elementary.SOURCES | physics.SOURCES
    return {
        **memory,
        **_lookups(memory),
        **_calls(),
        **{f"exact_{name}": compiled(f) for name, f in integers.SOURCES.items()},
        **{f"call_{name}": compiled(f) for name, f in functions.items()},
        **{t.__name__: t for t in (np.int32, np.int64, np.uint64, np.float32, np.float64, np.uint8)},
        "helper": jit,
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

    def storer(kind: Any) -> Any:
        def store(typing: Any, address: Any, index: Any, value: Any) -> Any:
            def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
                builder.store(args[2], place(context, builder, kind, *args[:2]), align=1)
                return context.get_dummy_value()

            return types.void(types.uint64, types.int64, kind), generate

        return intrinsic(store)

    loaders = {f"load_{width}": loader(getattr(types, np.dtype(width).name)) for width in WIDTHS}
    storers = {f"store_{width}": storer(getattr(types, np.dtype(width).name)) for width in STORED}
    return {**loaders, **storers}


def _calls() -> dict[str, Any]:
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic

    def run_kernel(typing: Any, code: Any, table: Any, scratch: Any, first: Any, count: Any) -> Any:
        """A loaded kernel, called by its address in numba's convention; its status is 0, as it may not raise."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            word, pointer = ir.IntType(64), ir.IntType(8).as_pointer()
            function = ir.FunctionType(ir.IntType(32), [word.as_pointer(), pointer.as_pointer(), *[word] * 4])
            entry = builder.function.entry_basic_block
            with builder.goto_block(entry):
                result, exception = builder.alloca(word), builder.alloca(pointer)
            builder.call(builder.inttoptr(args[0], function.as_pointer()), [result, exception, *args[1:]])
            return builder.load(result)

        return types.int64(types.uint64, types.uint64, types.uint64, types.int64, types.int64), generate

    def prefetch(typing: Any, address: Any) -> Any:
        """Have the processor fetch what lies at an address, which may be any: it will be read soon."""

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
            fetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
            builder.call(fetch, [builder.inttoptr(args[0], pointer), number(0), number(3), number(1)])
            return context.get_dummy_value()

        return types.void(types.uint64), generate

    def bits_set(typing: Any, word: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.ctpop(args[0])

        return types.uint64(types.uint64), generate

    invokers = {f"invoke_{count}": intrinsic(_invoker(count)) for count in range(1, MOST_ARGUMENTS + 1)}
    found = {f.__name__: intrinsic(f) for f in (run_kernel, bits_set, prefetch)}
    return {**found, **invokers}


MOST_ARGUMENTS = 64
"""Numbers that a function may take: four for each of 16 objects."""


def _invoker(count: int) -> Any:
    """What calls a loaded function of so many numbers by its address, in numba's convention."""
    from llvmlite import ir
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        number, pointer = ir.DoubleType(), ir.IntType(8).as_pointer()
        function = ir.FunctionType(ir.IntType(32), [number.as_pointer(), pointer.as_pointer(), *[number] * count])
        with builder.goto_block(builder.function.entry_basic_block):
            result, exception = builder.alloca(number), builder.alloca(pointer)
        builder.call(builder.inttoptr(args[0], function.as_pointer()), [result, exception, *args[1:]])
        return builder.load(result)

    names = ", ".join(f"a{n}" for n in range(count))
    scope: dict[str, Any] = {"signature": types.float64(types.uint64, *[types.float64] * count), "generate": generate}
    exec(f"def invoke(typing, code, {names}):\n    return signature, generate\n", scope)
    return scope["invoke"]


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
    """Compile `source`: a `kernel(table, scratch, first, count)` that gives an int64, or a `function_source`.

    It may not raise.
    """
    from numba import types

    scope = dict(vocabulary())
    exec(compile(source, "<kernel>", "exec"), scope)
    wanted = scope.get("kernel") or scope["function"]
    dispatcher = jit(wanted, _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)
    numbers = (types.float64,) * wanted.__code__.co_argcount
    dispatcher.compile((types.uint64, types.uint64, types.int64, types.int64) if "kernel" in scope else numbers)
    (result,) = dispatcher.overloads.values()
    library = result.library
    needs = [f.name for f in library._final_module.functions if f.is_declaration]
    _, _, (code, _) = library.serialize_using_object_code()
    alone = all(name.startswith("llvm.") for name in needs)
    return Native(result.fndesc.llvm_func_name, code, alone)


def function_source(name: str, count: int) -> str:
    """The source of a function of `elementary` or `physics` of `count` numbers, compiled once for all kernels.

    >>> print(function_source("hypot", 2))
    def function(a0, a1):
        return call_hypot(a0, a1)
    <BLANKLINE>
    """
    names = ", ".join(f"a{n}" for n in range(count))
    return f"def function({names}):\n    return call_{name}({names})\n"


_PROTOTYPE = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64, ctypes.c_int64
)
"""numba's calling convention: a status from (result, exception, arguments …)."""


class Loaded:
    """A kernel in the process: called with (table, scratch, first, count) it lets go of the GIL while it runs."""

    def __init__(self, symbol: str, engine: Any) -> None:
        self.address = int(engine.get_function_address(symbol))
        if not self.address:
            raise ValueError(f"object code without {symbol}")
        self._engine = engine  # the code lives as long as the engine
        self._function = _PROTOTYPE(self.address)
        self._symbol = symbol

    def __call__(self, table: int, scratch: int, first: int, count: int) -> int:
        result, exception = ctypes.c_int64(), ctypes.c_void_p()
        status = self._function(ctypes.addressof(result), ctypes.addressof(exception), table, scratch, first, count)
        if status:
            raise RuntimeError(f"kernel {self._symbol} ended with status {status}")
        return result.value


def load(native: Native) -> Loaded:
    """The kernel of some machine code; ValueError for code that does not hold it."""
    import llvmlite.binding as llvm

    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
    engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(native.code))
    engine.finalize_object()
    return Loaded(native.symbol, engine)


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
        *(f"{name} {version(name)}" for name in ("numba", "llvmlite", "numpy")),
        platform.python_implementation(),
        platform.python_version(),
        platform.platform(),
        llvm.get_default_triple(),
        llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten(),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
