"""From a bound cut to machine code: the compiled meaning of a cut, equal to the interpreter's row by row.

    >>> from tagsel.expr import Block, Node
    >>> n, two = Node("column", value="n", kind="int"), Node("const", value=2, kind="int")
    >>> cut = compile(Node("cmp", (n, two), ">=", "bool"))
    >>> cut(Block(3, {"n": np.array([1, 2, 3], np.int32)}))
    array([False,  True,  True])

A kernel is one loop over the rows of a block (`emit`), made for the columns that the block has and their types, and
kept: in the process, and on disk (`kernel_cache`). Cuts that differ in constants only share it. Columns are read
where they lie, aligned or not. A kernel runs without the GIL and may run in several threads at once.
Invariant: nothing outside the arrays of the block is read: sizes are checked before or in the kernel.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Lock

import numpy as np
import numpy.typing as npt

from tagsel.errors import CutError, StoreError
from tagsel.expr import kernel_cache
from tagsel.expr.emit import emit
from tagsel.expr.interpret import interpret
from tagsel.expr.nodes import BOOLEAN_OPS, Block, Node, columns_of
from tagsel.expr.source import LOADS, NO_ERROR, SHORT, Source

MOST_ATOMS = 64
"""Longer cuts are interpreted: a kernel of 400 atoms takes seconds to compile."""
MOST_NODES, MOST_LEVELS, MOST_LOOPS = 1000, 90, 8
_KEPT = 64
"""Cuts whose kernels stay in the process."""

Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[np.generic]


def fits(node: Node) -> bool:
    """Whether a kernel can be made of a bound boolean tree: not of long or deep ones, texts, Python functions."""
    atoms = nodes = 0
    stack = [(node, 1, 0)]
    while stack:
        top, levels, loops = stack.pop()
        atoms += top.op in BOOLEAN_OPS and top.op not in ("and", "or", "not")
        nodes += 1 + (len(top.value.bits) if top.op == "trigger" else 0)
        loops += top.op == "aggregate"
        long = atoms > MOST_ATOMS or nodes > MOST_NODES or levels > MOST_LEVELS or loops > MOST_LOOPS
        if long or top.kind == "str" or top.op == "python":
            return False
        stack.extend((arg, levels + 1, loops) for arg in top.args)
    return True


def compile_cut(node: Node) -> Callable[[Block, Mask | None], Mask]:
    """Whatever evaluates a bound boolean tree fastest: its kernel, or where it does not fit one the interpreter."""
    return compile(node) or partial(interpret, node)


def compile(node: Node) -> Kernel | None:  # noqa: A001
    """The kernel of a bound boolean tree, the same one again for the same tree; None if it does not fit one."""
    with _lock:
        found = _kernels.pop(id(node), None)
        if found is None:
            if not fits(node):
                return None
            found = Kernel(node)
        _kernels[id(node)] = found  # holds the node, so that its id stays its own
        while len(_kernels) > _KEPT:
            _kernels.popitem(last=False)
        return found


class Kernel:
    """A bound cut as machine code, one function for each set of column types that it has met."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.columns = sorted(columns_of(node))
        self._made: dict[tuple[str, ...], _Made] = {}

    def __call__(self, block: Block, alive: Mask | None = None) -> Mask:
        """Which rows of the block pass, of those alive: `(rows,) bool`; errors as `interpret`'s."""
        arrays = {name: _plain(name, block.columns[name]) for name in self.columns if name in block.columns}
        made = self._for(arrays)
        out = np.empty(block.rows, np.bool_)
        rows = None if alive is None else np.ascontiguousarray(alive, np.bool_)
        limits = [min(arrays[name].size for name in names) for names in made.source.lists.values()]
        _check_sizes(made.source, arrays, block.rows)
        addresses = [_address(out), 0 if rows is None else _address(rows), _address(made.source.constants), *limits]
        addresses += [_address(arrays[name]) for name in made.source.columns]
        addresses += [_address(table) for table in made.source.tables]
        table = np.array(addresses, np.uint64)
        result = made.function(_address(table), block.rows)
        if result != NO_ERROR:
            self._raise(result, made.source, block, alive)
        return out

    def _for(self, arrays: dict[str, Array]) -> _Made:
        key = tuple(f"{name} {a.dtype.str[1:]}" for name, a in arrays.items())
        made = self._made.get(key)
        if made is None:
            source = emit(self.node, {name: a.dtype.str[1:] for name, a in arrays.items()})
            made = self._made[key] = _Made(source, kernel_cache.function(source.text))
        return made

    def _raise(self, result: int, source: Source, block: Block, alive: Mask | None) -> None:
        """The error of a row is told by the interpreter, which finds the same one."""
        if result <= SHORT:
            counter = list(source.lists)[SHORT - result]
            raise StoreError(f"the lists of {counter} have fewer values than it says", column=counter)
        interpret(self.node, block, alive)
        raise RuntimeError(f"the kernel has an error at row {result}, the interpreter has none")


@dataclass(frozen=True)
class _Made:
    source: Source
    function: Callable[[int, int], int]


_kernels: OrderedDict[int, Kernel] = OrderedDict()
_lock = Lock()


def _plain(name: str, array: Array) -> Array:
    """The array as kernels read it: contiguous, in the machine's byte order."""
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    if plain.dtype.str[1:] not in LOADS:
        raise CutError(f"column {name} holds {plain.dtype}, which kernels do not read", column=name)
    return plain


def _check_sizes(source: Source, arrays: dict[str, Array], rows: int) -> None:
    """Every column of one value an event has `rows` values; lists are checked by the kernel."""
    lists = {name for names in source.lists.values() for name in names}
    for name in source.columns:
        if name not in lists and arrays[name].size != rows:
            raise StoreError(f"column {name} has {arrays[name].size} values for {rows} rows", column=name)


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])
