"""Numbers of events, or of their objects, by machine code: equal to the interpreter's as float64.

Invariant: rows that are not asked for are not looked at; a row without an answer gives none at all, and the
interpreter tells its error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagsel.engine.chain import Chain, Words
from tagsel.engine.codegen_number import emit_objects, emit_value
from tagsel.engine.compiler import check_sizes, fits_one, plain, unit_of
from tagsel.engine.source import GONE, OUT
from tagsel.kernels import driver, kernel_cache
from tagsel.kernels.memory import address_of
from tagsel.language.tree import Block, Node, columns_of

Array = npt.NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class Measured:
    """A number of some rows of a block: `values`, (rows,) float64, of those whose bits are set in `there`.

    Of a number of objects `values`, (objects of all rows,), stand in list order, and `gone`, uint8, is 1 for an object
    of these rows that has none.
    """

    values: npt.NDArray[np.float64]
    there: Words
    gone: npt.NDArray[np.uint8] | None = None


class Measure:
    """A bound number as machine code, made for each set of column types that it meets."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.columns = sorted(columns_of(node))
        self._made: dict[tuple[str, ...], Chain] = {}

    @classmethod
    def of(cls, node: Node) -> Measure | None:
        """Of a bound number; None where it does not fit a kernel."""
        return cls(node) if fits_one(node) else None

    def __call__(self, block: Block, bits: Words, at_hand: Callable[..., bool]) -> Measured | None:
        """The number in those rows of a block whose bits are set, or of their objects; None where the interpreter must
        tell it, and where `at_hand` says that its kernels are not."""
        arrays = {name: plain(name, block.columns[name]) for name in self.columns if name in block.columns}
        chain = self._for(arrays, at_hand)
        if chain is None:
            return None
        check_sizes(chain, arrays, block.rows)
        found = self._room(block.rows, arrays, np.zeros_like(bits))
        columns = {**arrays, OUT: found.values} | ({} if found.gone is None else {GONE: found.gone})
        place = np.array([address_of(found.there)], np.uint64)
        job = chain.job(
            unit_of(block.rows, columns, None), left=np.array([address_of(bits)], np.uint64), accepted=place
        )
        return found if job.run(0, 1) >= 0 else None

    def _room(self, rows: int, arrays: Mapping[str, Array], there: Words) -> Measured:
        """Where the numbers are written."""
        if self.node.op != "objects":
            return Measured(np.empty(rows), there)
        size = int(np.maximum(arrays[self.node.value.counter], 0).sum(dtype=np.int64))
        return Measured(np.empty(size), there, np.zeros(size, np.uint8))

    def _for(self, arrays: Mapping[str, Array], at_hand: Callable[..., bool]) -> Chain | None:
        key = tuple(f"{name} {a.dtype.str[1:]}" for name, a in arrays.items())
        if key not in self._made:
            types = {name: a.dtype.str[1:] for name, a in arrays.items()}
            emit = emit_objects if self.node.op == "objects" else emit_value
            source = emit(self.node, types)
            if source is None or not at_hand(source.text, *source.functions, driver.run_steps):
                return None
            self._made[key] = Chain.of([self.node], [source], types, kernel_cache.function)
        return self._made[key]
