"""From a bound cut to machine code: the compiled meaning of a cut, equal to the interpreter's row by row.

    >>> from tagsel.language import Block, Node
    >>> n, two = Node("column", value="n", kind="int"), Node("const", value=2, kind="int")
    >>> cut = compile(Node("cmp", (n, two), ">=", "bool"))
    >>> cut(Block(3, {"n": np.array([1, 2, 3], np.int32)}))
    array([False,  True,  True])

A cut is run as a chain of steps, its outermost conjuncts, each a kernel of its own (`emit`), driven over blocks of rows
by one more kernel (`kernels/driver`). A kernel is made for the types of the columns that its step reads, and kept: in
the process, and on disk (`kernel_cache`). Steps that differ in constants or in the names of columns only share it, so
that most new cuts compile nothing. Columns are read where they lie, aligned or not, without the GIL.
Invariant: nothing outside the arrays of a unit is read: sizes are checked before the loop or in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from tagsel.base.cache import Cache
from tagsel.engine.chain import Chain, Units
from tagsel.engine.codegen import emit
from tagsel.engine.interpreter import interpret
from tagsel.engine.source import LOADS
from tagsel.errors import CutError, StoreError
from tagsel.kernels import blocks, kernel_cache
from tagsel.kernels.memory import address_of
from tagsel.language.tree import BOOLEAN_OPS, JOINING_OPS, LOOPING_OPS, Block, Node, columns_of

MOST_ATOMS = 64
"""Longer steps are interpreted: a kernel of 400 atoms takes seconds to compile."""
MOST_NODES, MOST_LEVELS, MOST_LOOPS = 1000, 90, 8

Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[np.generic]


def steps_of(node: Node) -> tuple[Node, ...]:
    """The steps of a cut in its own order: the terms of its outermost `&&`, or itself."""
    return node.args if node.op == "and" else (node,)


def fits(node: Node) -> bool:
    """Whether every step of a bound cut can be a kernel: none is long or deep, with texts or Python functions."""
    return all(map(fits_one, steps_of(node)))


def fits_one(step: Node) -> bool:
    """Whether a step, or a number, can be a kernel."""
    atoms = nodes = 0
    stack = [(step, 1, 0)]
    while stack:
        top, levels, loops = stack.pop()
        atoms += top.op in BOOLEAN_OPS - JOINING_OPS
        nodes += 1 + (len(top.value.bits) if top.op == "trigger" else 0)
        loops += len(top.value.loops) if top.op in LOOPING_OPS else 0
        long = atoms > MOST_ATOMS or nodes > MOST_NODES or levels > MOST_LEVELS or loops > MOST_LOOPS
        if long or top.kind == "str" or top.op == "python":
            return False
        stack.extend((arg, levels + 1, loops) for arg in top.args)
    return True


def compile_cut(node: Node) -> Callable[[Block, Mask | None], Mask]:
    """Whatever evaluates a bound boolean tree fastest: its kernels, or where it does not fit them the interpreter."""
    return compile(node) or partial(interpret, node)


def compile(node: Node) -> Kernel | None:  # noqa: A001
    """The chain of a bound boolean tree, the same one again for the same tree; None if it does not fit one."""
    kernel = _kernels.get(id(node))
    if kernel is not None:
        return kernel
    if not fits(node):
        return None
    return _kernels.get_or_create(id(node), lambda: Kernel(node))  # holds the node, so that its id stays its own


class Kernel:
    """A bound cut as machine code that judges a block: a chain for each set of column types that it has met."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.columns = sorted(columns_of(node))
        self._made: dict[tuple[str, ...], Chain] = {}

    def __call__(self, block: Block, alive: Mask | None = None) -> Mask:
        """Which rows of the block pass, of those alive: `(rows,) bool`; errors as `interpret`'s."""
        arrays = {name: plain(name, block.columns[name]) for name in self.columns if name in block.columns}
        chain = self._for(arrays)
        rows = None if alive is None else np.ascontiguousarray(alive, np.bool_)
        passed = np.zeros(-(-block.rows // 8), np.uint8)
        check_sizes(chain, arrays, block.rows)
        job = chain.job(unit_of(block.rows, arrays, rows), accepted=np.array([address_of(passed)], np.uint64))
        status = job.run(0, 1)
        if status < 0:
            self._raise(status, chain, block, alive)
        return np.unpackbits(passed, count=block.rows, bitorder="little").view(np.bool_)

    def _for(self, arrays: Mapping[str, Array]) -> Chain:
        key = tuple(f"{name} {a.dtype.str[1:]}" for name, a in arrays.items())
        if key not in self._made:
            types = {name: a.dtype.str[1:] for name, a in arrays.items()}
            steps = steps_of(self.node)
            sources = []
            for step in steps:
                columns = sorted(columns_of(step) & types.keys())
                sources.append(emit(step, {name: types[name] for name in columns}))
            self._made[key] = Chain.of(steps, sources, types, kernel_cache.function)
        return self._made[key]

    def _raise(self, status: int, chain: Chain, block: Block, alive: Mask | None) -> None:
        """The error of a row is told by the interpreter, which finds the same one."""
        if status <= blocks.SHORT:
            raise too_short(chain, status)
        interpret(self.node, block, alive)
        raise RuntimeError("the kernel has an error, the interpreter has none")


def too_short(chain: Chain, status: int) -> StoreError:
    """The error for a list that ends before its counter says, from what the loop gave."""
    counter = chain.counters[blocks.SHORT - status]
    return StoreError(f"the lists of {counter} have fewer values than it says", column=counter)


_kernels: Cache[int, Kernel] = Cache("block-kernels", entries=64)


def plain(name: str, array: Array) -> Array:
    """The array as kernels read it: contiguous, in the machine's byte order."""
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    if plain.dtype.str[1:] not in LOADS:
        raise CutError(f"column {name} holds {plain.dtype}, which kernels do not read", column=name)
    return plain


def check_sizes(chain: Chain, arrays: Mapping[str, Array], rows: int) -> None:
    """Every column of one value an event has `rows` values; lists are checked in the loop."""
    for name in (chain.columns - chain.list_columns) & arrays.keys():
        if arrays[name].size != rows:
            raise StoreError(f"column {name} has {arrays[name].size} values for {rows} rows", column=name)


def unit_of(rows: int, arrays: Mapping[str, Array], alive: Mask | None) -> Units:
    """A block as a single unit."""
    return Units(
        np.array([rows]),
        np.array([0 if alive is None else address_of(alive)], np.uint64),
        {name: np.array([address_of(a)], np.uint64) for name, a in arrays.items()},
        {name: np.array([a.size]) for name, a in arrays.items()},
        [*arrays.values(), *([] if alive is None else [alive])],
    )


def ordered(steps: Sequence[Node], rank: Callable[[Node], float]) -> list[Node]:
    """The steps by rank, lowest first; as they came where a row may have no answer, for then order matters."""
    return list(steps) if any(step.raises for step in steps) else sorted(steps, key=rank)
