"""What numba compiles in the place of `memory` and of a `Layout`: single loads and stores, without a check
but in a debug build (`regions`).

Invariant: importing this module does not import numba; the first call that needs it does.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from tagsel.kernels import regions
from tagsel.kernels.layouts import Layout
from tagsel.kernels.memory import STORED, WIDTHS

MOST_ARGUMENTS = 64
"""Numbers that a function may take: four for each of 16 objects."""


@cache
def primitives() -> dict[str, Any]:
    """The functions of `memory.PRIMITIVES`, and `invoke_<n>`, by name."""
    return {**_memory(), **_calls()}


def _memory() -> dict[str, Any]:
    from numba import types
    from numba.extending import intrinsic

    def place(context: Any, builder: Any, kind: Any, address: Any, index: Any) -> Any:
        data = context.get_data_type(kind)
        if regions.ACTIVE:
            address = _checked(builder, address, index, context.get_abi_sizeof(data))
            index = index.type(0)
        return builder.gep(builder.inttoptr(address, data.as_pointer()), [index])

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


def _checked(builder: Any, address: Any, index: Any, size: int) -> Any:
    """Where value number `index` of so many bytes lies, as a debug build lets it be used."""
    from llvmlite import ir
    from numba.core import cgutils

    word = ir.IntType(64)
    begin = builder.add(address, builder.mul(index, word(size)))
    check = cgutils.get_or_insert_function(builder.module, ir.FunctionType(word, [word, word]), regions.SYMBOL)
    return builder.call(check, [begin, word(size)])


@cache
def record(layout: Layout) -> Any:
    """What opens a record of a layout at (address, index)."""
    from numba import types
    from numba.extending import intrinsic
    from numba.np.numpy_support import from_struct_dtype

    kind, size = from_struct_dtype(layout.dtype), layout.dtype.itemsize

    def open_record(typing: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            begin = builder.add(args[0], builder.mul(args[1], args[1].type(size)))
            if regions.ACTIVE:
                begin = _checked(builder, begin, args[1].type(0), size)
            return builder.inttoptr(begin, context.get_value_type(kind))

        return kind(types.uint64, types.int64), generate

    return intrinsic(open_record)


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
    others = {f.__name__: intrinsic(f) for f in (run_kernel, bits_set, prefetch)}
    return {**others, **invokers}


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
