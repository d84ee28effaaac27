"""Python functions of arrays as cuts: what they take, what tells one from another, how they are compiled and checked.

A function's parameters are named after attributes; it is given one array each, of the events of a block, and answers
with one true or false an event. In a cut's text it is `python("name_hash")`, which means something in the process
that made it a cut. Invariant: equal hashes mean equal code, constants, closures, and global values.
"""

from __future__ import annotations

import dis
import hashlib
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.errors import CutError

Array = npt.NDArray[Any]

DTYPES = {"bool": np.bool_, "int": np.int64, "f32": np.float32, "f64": np.float64}
"""The type of the array of each kind of attribute."""

_known: dict[str, PyFunction] = {}


@dataclass(frozen=True, eq=False)
class PyFunction:
    """A function, the attributes that it takes, the hash of all that decides its answers, and how it runs."""

    function: Callable[..., Any]
    parameters: tuple[str, ...]
    digest: str
    compiled: bool

    @property
    def name(self) -> str:
        """Its name in the text of a cut."""
        return f"{self.function.__name__.strip('<>')}_{self.digest[:16]}"

    @property
    def place(self) -> str:
        """Name, file and line, for people."""
        code = self.function.__code__
        return f"{self.function.__name__} ({Path(code.co_filename).name}:{code.co_firstlineno})"

    @cached_property
    def _dispatcher(self) -> Any:
        import numba

        return numba.njit(nogil=True)(self.function)

    def check(self, kinds: Sequence[str]) -> None:
        """Compile it for arrays of these kinds. CutError: numba cannot, or what it uses has changed since."""
        if digest_of(self.function, self.compiled) != self.digest:
            raise CutError(f"{self.place} has changed since it was made a cut", hint="make it a cut again")
        if not self.compiled:
            return
        from numba import from_dtype
        from numba.core.errors import NumbaError
        from numba.types import Array as NumbaArray
        from numba.types import Omitted

        try:
            arrays = [NumbaArray(from_dtype(np.dtype(DTYPES[k])), 1, "C", readonly=True) for k in kinds]
            left = [Omitted(default) for default in self.function.__defaults__ or ()]
            self._dispatcher.compile((*arrays, *left))
        except Exception as error:  # not all that numba raises is a NumbaError
            said = _one_line(str(error)) if isinstance(error, NumbaError) else f"{type(error).__name__}: {error}"
            raise CutError(
                f"numba cannot compile {self.place}: {said[:200]}",
                hint="tagsel.cut(function, compiled=False) runs it as NumPy, without compiling",
            ) from error

    def __call__(self, arrays: Sequence[Array], rows: int, where: str) -> npt.NDArray[np.bool_]:
        """Its answer for `rows` events, which lie `where`. CutError: it failed, or gave something else."""
        run = self._dispatcher if self.compiled else self.function
        try:
            answer = run(*arrays)
        except Exception as error:
            said = f"{type(error).__name__}: {_one_line(str(error))}"
            raise CutError(f"{self.place} failed on {where}: {said}") from error
        if not (isinstance(answer, np.ndarray) and answer.dtype == np.bool_ and answer.shape == (rows,)):
            got = f"{answer.dtype} of shape {answer.shape}" if isinstance(answer, np.ndarray) else type(answer).__name__
            raise CutError(
                f"{self.place} gave {got} for {rows:,} events: an array of {rows:,} bools was expected",
                hint="compare arrays: return (MET_pt > 30) & (nMuon >= 2)",
            )
        return answer


def register(function: Callable[..., Any], *, compiled: bool = True) -> PyFunction:
    """Make a function known by its name and hash. CutError: it takes or uses what a cut cannot."""
    if not isinstance(function, types.FunctionType):
        raise CutError(f"{function!r:.60} is no Python function", hint="def cut(MET_pt, nMuon): return MET_pt > 30")
    parameters = inspect.signature(function).parameters.values()
    wrong = [p.name for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD, p.KEYWORD_ONLY)]
    asked = tuple(p.name for p in parameters if p.default is p.empty)
    if wrong or not asked:
        what = f"takes {', '.join(wrong)}" if wrong else "takes no attribute"
        hint = "name its parameters after attributes: def cut(MET_pt, nMuon)"
        raise CutError(f"{function.__name__} {what}", hint=hint)
    made = PyFunction(function, asked, digest_of(function, compiled), compiled)
    return _known.setdefault(made.name, made)


def known(name: str) -> PyFunction:
    """The function of that name. CutError: this process made none a cut."""
    if name not in _known:
        hint = "make it a cut: tagsel.cut(function)"
        raise CutError(f"no Python function {name!r} is known in this process", hint=hint)
    return _known[name]


def digest_of(function: types.FunctionType | Callable[..., Any], compiled: bool) -> str:
    """SHA-256 (hex) over a function's code, constants, defaults, closure and the globals that it uses."""
    said = repr((compiled, list(_pieces(function, set()))))
    return hashlib.sha256(said.encode()).hexdigest()


def _pieces(value: Any, seen: set[int]) -> Iterator[Any]:
    """What decides a value's part in an answer, as plain texts and numbers."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic):
        yield type(value).__name__, repr(value)
    elif isinstance(value, np.ndarray) and value.dtype != object:
        yield "array", str(value.dtype), value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
    elif isinstance(value, tuple | list):
        yield type(value).__name__, [list(_pieces(v, seen)) for v in value]
    elif isinstance(value, dict | set | frozenset):
        items = value.items() if isinstance(value, dict) else value
        yield type(value).__name__, sorted(repr(list(_pieces(v, seen))) for v in items)
    elif isinstance(value, types.CodeType):
        yield value.co_code, value.co_names, value.co_varnames, value.co_freevars
        yield [list(_pieces(c, seen)) for c in value.co_consts]
    elif isinstance(value, types.ModuleType):
        yield value.__name__, str(getattr(value, "__version__", ""))
    elif isinstance(value, types.FunctionType):
        if id(value) not in seen:
            seen.add(id(value))
            yield from _function_pieces(value, seen)
    elif isinstance(value, type | types.BuiltinFunctionType | np.ufunc):
        yield getattr(value, "__module__", ""), getattr(value, "__qualname__", value.__name__)
    else:
        raise CutError(
            f"a cut cannot use {value!r:.60}, a {type(value).__name__}: what it means may change",
            hint="numbers, texts, arrays, tuples, functions and modules may be used",
        )


def _function_pieces(function: types.FunctionType, seen: set[int]) -> Iterator[Any]:
    """What decides a function's part: its code, its defaults, and the values of the names from outside that it uses."""
    code = function.__code__
    yield from _pieces(code, seen)
    yield [list(_pieces(value, seen)) for value in (function.__defaults__, function.__kwdefaults__)]
    outside = {name: function.__globals__[name] for name in _named(code) if name in function.__globals__}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        if cell != types.CellType():
            outside[name] = cell.cell_contents
    yield [(name, list(_outside(value, code, seen))) for name, value in sorted(outside.items())]


def _named(code: types.CodeType, ops: tuple[str, ...] = ("LOAD_GLOBAL", "LOAD_NAME")) -> set[str]:
    """The names that code, and code inside it, loads by one of the ops."""
    found = {str(i.argval) for i in dis.get_instructions(code) if i.opname in ops}
    return found.union(*(_named(c, ops) for c in code.co_consts if isinstance(c, types.CodeType)))


def _outside(value: Any, user: types.CodeType, seen: set[int]) -> Iterator[Any]:
    """A thing from outside a function; of a module of the user's, whatever of it the function names."""
    yield from _pieces(value, seen)
    known = isinstance(value, types.ModuleType) and value.__name__.partition(".")[0] in _KEPT
    if not isinstance(value, types.ModuleType) or known or hasattr(value, "__version__"):
        return
    for name in sorted(_named(user, ("LOAD_ATTR", "LOAD_METHOD")) & set(vars(value))):
        yield name, list(_outside(vars(value)[name], user, seen))


_KEPT = sys.stdlib_module_names
"""Modules that come with Python: what they mean goes with its version."""


def _one_line(text: str) -> str:
    """The line of an error that says most, without numba's headings."""
    lines = [line.strip() for line in text.splitlines() if not line.startswith(("Failed in", "During"))]
    return next((line for line in lines if line), "no reason given")[:200]
