"""The functions of the cut language: one row each, and nothing about a function stands anywhere else.

Invariant: an empty cell means "not supported there"; code that needs it raises `CutError` by `cell`.
The reference page docs/reference/cut-functions.md is made from this table.

A row's `form` says what binding makes of it (`bind` has one binder per form):

    elementary   call of float64 numbers           object     call of objects' members, in the order of `takes`
    aggregate    aggregate over a collection       same, pick  abs, min2, max2: of the argument's own kind
    test         isnan, isinf, isfinite            present, bit, trigger, in_lumi   as named
    difference   a plain subtraction of one member choice     argmin, argmax: objects, for a `let`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tagsel.errors import CutError, did_you_mean
from tagsel.kernels import elementary, physics

PI = 3.141592653589793
INFINITY = float("inf")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is known of a function of one argument, for pruning: values of the argument in `domain` give no NaN and
    lie in `range`; `trend` is 1 where it rises there, -1 where it falls, 0 where it does neither.

    The exact range, without rounding: our functions are within 2 ulp, so the caller widens it by 4.
    """

    trend: int
    domain: tuple[float, float] = (-INFINITY, INFINITY)
    range: tuple[float, float] = (-INFINITY, INFINITY)


@dataclass(frozen=True, slots=True)
class CutFunction:
    """One function of the language.

    `fewest`, `most`: how many arguments (objects, for objects). `argument`: angle, same (unit as the first), any.
    `result`: the unit: "" none, rad, same, root, or the unit of the first `pt`. `kernel`: its name in
    `tagsel.kernels`, where the NumPy and the numba function are one text. `sql`: DuckDB, by position. `version`
    changes when its values do. Where terms nearly cancel (a mass), SQL on another machine's libm would be off by far
    more than the last bits, and its cell stays empty.
    """

    name: str
    form: str
    signature: str
    help: str
    fewest: int = 1
    most: int = 1
    takes: tuple[str, ...] = ()
    argument: str = "any"
    result: str = ""
    kernel: str = ""
    sql: str = ""
    bounds: Bounds | None = None
    version: int = 1


def _elementary(
    name: str,
    text: str,
    bounds: Bounds | None,
    *,
    sql: str = "",
    argument: str = "any",
    result: str = "",
    arguments: str = "x",
) -> CutFunction:
    count, signature = len(arguments.split(", ")), f"{name}({arguments})"
    return CutFunction(name, "elementary", signature, text, count, count, (), argument, result, name, sql, bounds)


_ANY = (-INFINITY, INFINITY)
_UNIT = (-1.0, 1.0)
_POSITIVE = (0.0, INFINITY)
_KINEMATICS = ("pt", "eta", "phi", "mass")

_ROWS = (
    _elementary("sqrt", "Square root; NaN below 0.", Bounds(1, _POSITIVE, _POSITIVE), sql="sqrt({0})", result="root"),
    _elementary("exp", "e to the power of x.", Bounds(1, _ANY, _POSITIVE), sql="exp({0})"),
    _elementary("expm1", "exp(x) - 1, exact near 0.", Bounds(1, _ANY, (-1.0, INFINITY))),
    _elementary("log", "Natural logarithm; -inf at 0, NaN below.", Bounds(1, _POSITIVE, _ANY), sql="ln({0})"),
    _elementary("log10", "Logarithm to base 10; -inf at 0, NaN below.", Bounds(1, _POSITIVE, _ANY), sql="log10({0})"),
    _elementary("log2", "Logarithm to base 2; -inf at 0, NaN below.", Bounds(1, _POSITIVE, _ANY), sql="log2({0})"),
    _elementary("log1p", "log(1 + x), exact near 0; NaN below -1.", Bounds(1, (-1.0, INFINITY), _ANY)),
    _elementary("cos", "Cosine of an angle.", Bounds(0, (-1e300, 1e300), _UNIT), sql="cos({0})", argument="angle"),
    _elementary("sin", "Sine of an angle.", Bounds(0, (-1e300, 1e300), _UNIT), sql="sin({0})", argument="angle"),
    _elementary("tan", "Tangent of an angle.", None, sql="tan({0})", argument="angle"),
    _elementary("acos", "Angle in [0, π] of a cosine.", Bounds(-1, _UNIT, (0.0, PI)), sql="acos({0})", result="rad"),
    _elementary(
        "asin", "Angle in [-π/2, π/2] of a sine.", Bounds(1, _UNIT, (-PI / 2, PI / 2)), sql="asin({0})", result="rad"
    ),
    _elementary(
        "atan", "Angle in [-π/2, π/2] of a tangent.", Bounds(1, _ANY, (-PI / 2, PI / 2)), sql="atan({0})", result="rad"
    ),
    _elementary(
        "atan2",
        "Angle in [-π, π] of the point (x, y).",
        None,
        sql="atan2({0}, {1})",
        argument="same",
        result="rad",
        arguments="y, x",
    ),
    _elementary("cosh", "Hyperbolic cosine.", Bounds(0, _ANY, (1.0, INFINITY)), sql="cosh({0})"),
    _elementary("sinh", "Hyperbolic sine.", Bounds(1), sql="sinh({0})"),
    _elementary("tanh", "Hyperbolic tangent.", Bounds(1, _ANY, _UNIT), sql="tanh({0})"),
    _elementary("acosh", "Inverse of cosh; NaN below 1.", Bounds(1, (1.0, INFINITY), _POSITIVE), sql="acosh({0})"),
    _elementary("asinh", "Inverse of sinh.", Bounds(1), sql="asinh({0})"),
    _elementary("atanh", "Inverse of tanh; NaN outside [-1, 1].", Bounds(1, _UNIT, _ANY), sql="atanh({0})"),
    _elementary("hypot", "√(x² + y²), without overflow.", None, argument="same", result="same", arguments="x, y"),
    _elementary("pow", "x to the power of y; `x ** y` is the same.", None, sql="pow({0}, {1})", arguments="x, y"),
    CutFunction(
        "mass",
        "object",
        "mass(a, b, …)",
        "Invariant mass of the objects together.",
        1,
        16,
        _KINEMATICS,
        result="pt",
        kernel="mass",
    ),
    CutFunction(
        "mt",
        "object",
        "mt(a, b)",
        "Transverse mass √(2 pt pt (1 - cos Δφ)) of a lepton and the missing pt, say.",
        2,
        2,
        ("pt", "phi"),
        result="pt",
        kernel="mt",
    ),
    CutFunction(
        "pt",
        "object",
        "pt(a, b, …)",
        "Transverse momentum of the objects together.",
        2,
        16,
        ("pt", "phi"),
        result="pt",
        kernel="sum_pt",
    ),
    CutFunction(
        "eta",
        "object",
        "eta(a, b, …)",
        "Pseudorapidity of the objects together.",
        1,
        16,
        _KINEMATICS,
        kernel="sum_eta",
    ),
    CutFunction(
        "rapidity",
        "object",
        "rapidity(a, b, …)",
        "Rapidity of the objects together.",
        1,
        16,
        _KINEMATICS,
        kernel="rapidity",
    ),
    CutFunction(
        "px",
        "object",
        "px(a)",
        "Momentum along x, pt cos φ.",
        1,
        1,
        ("pt", "phi"),
        result="pt",
        kernel="px",
        sql="{0} * cos({1})",
    ),
    CutFunction(
        "py",
        "object",
        "py(a)",
        "Momentum along y, pt sin φ.",
        1,
        1,
        ("pt", "phi"),
        result="pt",
        kernel="py",
        sql="{0} * sin({1})",
    ),
    CutFunction(
        "pz",
        "object",
        "pz(a)",
        "Momentum along the beam, pt sinh η.",
        1,
        1,
        ("pt", "eta"),
        result="pt",
        kernel="pz",
        sql="{0} * sinh({1})",
    ),
    CutFunction(
        "energy",
        "object",
        "energy(a)",
        "Energy √(p² + m²).",
        1,
        1,
        ("pt", "eta", "mass"),
        result="pt",
        kernel="energy",
        sql="sqrt({0} * {0} + pow({0} * sinh({1}), 2) + {2} * {2})",
    ),
    CutFunction(
        "deltaR",
        "object",
        "deltaR(a, b)",
        "Distance √(Δη² + Δφ²) of two objects.",
        2,
        2,
        ("eta", "phi"),
        kernel="delta_r",
        sql="sqrt(({0} - {2}) * ({0} - {2}) + "
        "pow({1} - {3} - 6.283185307179586 * floor(({1} - {3}) / 6.283185307179586 + 0.5), 2))",
    ),
    CutFunction(
        "deltaPhi",
        "object",
        "deltaPhi(a, b)",
        "Angle φ(a) - φ(b) in [-π, π), of two objects or two angles.",
        2,
        2,
        ("phi",),
        result="rad",
        kernel="delta_phi",
        sql="({0} - {1} - 6.283185307179586 * floor(({0} - {1}) / 6.283185307179586 + 0.5))",
    ),
    CutFunction("deltaEta", "difference", "deltaEta(a, b)", "η(a) - η(b) of two objects.", 2, 2, ("eta",)),
    _elementary(
        "floor",
        "The largest whole number that is not above x.",
        Bounds(1),
        sql="floor({0})",
        result="same",
    ),
    _elementary(
        "ceil",
        "The smallest whole number that is not below x.",
        Bounds(1),
        sql="ceil({0})",
        result="same",
    ),
    _elementary(
        "round",
        "The nearest whole number; halves go away from 0, as in C.",
        Bounds(1),
        sql="round({0})",
        result="same",
    ),
    _elementary(
        "rint",
        "The nearest whole number; halves go to the even one, as `TMath::Nint`.",
        Bounds(1),
        sql="round_even({0}, 0)",
        result="same",
    ),
    CutFunction("abs", "same", "abs(x)", "Size without sign; of a float32 a float32."),
    CutFunction("min2", "pick", "min2(x, y)", "The smaller of two values; a NaN loses.", 2, 2),
    CutFunction("max2", "pick", "max2(x, y)", "The larger of two values; a NaN loses.", 2, 2),
    CutFunction("isnan", "test", "isnan(x)", "True for a stored NaN."),
    CutFunction("isinf", "test", "isinf(x)", "True for ±inf."),
    CutFunction("isfinite", "test", "isfinite(x)", "True for what is neither NaN nor ±inf."),
    CutFunction("present", "present", "present(x)", "True where x is not missing: `present(Muon.pt[1])`."),
    CutFunction("bit", "bit", "bit(word, n)", "True where bit n (0 = lowest) of a word is set.", 2, 2),
    CutFunction("trigger", "trigger", 'trigger("name")', "Decision of a chain, for names of any form."),
    CutFunction("in_lumi", "in_lumi", 'in_lumi("file")', "True where run and luminosity block are in a good-run list."),
    CutFunction("python", "python", 'python("name")', "A Python function that `tagsel.cut` made a cut."),
    CutFunction("count", "aggregate", "count(condition)", "How many objects pass; `count(Muon)` is all; 0 of none."),
    CutFunction("any", "aggregate", "any(condition)", "Whether some object passes; false of none."),
    CutFunction("all", "aggregate", "all(condition)", "Whether every object passes; true of none."),
    CutFunction("sum", "aggregate", "sum(value)", "Sum over the objects, in list order; 0 of none."),
    CutFunction("min", "aggregate", "min(value)", "Smallest over the objects, NaN skipped; missing of none."),
    CutFunction("max", "aggregate", "max(value)", "Largest over the objects, NaN skipped; missing of none."),
    CutFunction("argmin", "choice", "argmin(vars in Coll: value)", "Objects of the smallest value, for `let`."),
    CutFunction("argmax", "choice", "argmax(vars in Coll: value)", "Objects of the largest value, for `let`."),
)

FUNCTIONS: Mapping[str, CutFunction] = {row.name: row for row in _ROWS}
"""The table, by name."""


_OF_C = (
    "sqrt",
    "exp",
    "expm1",
    "log",
    "log10",
    "log2",
    "log1p",
    "cos",
    "sin",
    "tan",
    "acos",
    "asin",
    "atan",
    "atan2",
    "cosh",
    "sinh",
    "tanh",
    "acosh",
    "asinh",
    "atanh",
    "hypot",
    "pow",
    "floor",
    "ceil",
    "round",
    "rint",
    "abs",
    "isnan",
    "isinf",
    "isfinite",
)
_OF_ROOT = {
    "Abs": "abs",
    "Sqrt": "sqrt",
    "Exp": "exp",
    "Log": "log",
    "Log10": "log10",
    "Log2": "log2",
    "Power": "pow",
    "Sin": "sin",
    "Cos": "cos",
    "Tan": "tan",
    "ASin": "asin",
    "ACos": "acos",
    "ATan": "atan",
    "ATan2": "atan2",
    "SinH": "sinh",
    "CosH": "cosh",
    "TanH": "tanh",
    "ASinH": "asinh",
    "ACosH": "acosh",
    "ATanH": "atanh",
    "Hypot": "hypot",
    "Floor": "floor",
    "Ceil": "ceil",
    "Nint": "rint",
    "Min": "min2",
    "Max": "max2",
    "IsNaN": "isnan",
    "Finite": "isfinite",
}
FOREIGN: Mapping[str, str] = {
    **{f"std::{name}": name for name in _OF_C},
    **{f"TMath::{name}": ours for name, ours in _OF_ROOT.items()},
    **dict.fromkeys(("fabs", "std::fabs"), "abs"),
    **dict.fromkeys(("fmin", "std::fmin"), "min2"),
    **dict.fromkeys(("fmax", "std::fmax"), "max2"),
    "nearbyint": "rint",
    "std::nearbyint": "rint",
}
"""Functions in the words of C, C++ and ROOT, by what we call them: they mean the same."""

CONSTANTS: Mapping[str, float] = {"pi": PI, "M_PI": PI}
"""Numbers with a name, where no attribute has it."""


def cell(name: str, column: str, where: str) -> Any:
    """A cell of the table; CutError "not supported in `where`" when it is empty."""
    found = getattr(function(name), column)
    if not found:
        raise CutError(f"{name} is not supported in {where}", function=name)
    return found


def function(name: str) -> CutFunction:
    """The row of a function; CutError with the nearest names when there is none."""
    row = FUNCTIONS.get(name)
    if row is None:
        hint = did_you_mean(name, FUNCTIONS) or "docs/reference/cut-functions.md lists all"
        raise CutError(f"no function {name!r}", hint=hint, function=name)
    return row


def numpy_function(name: str) -> Callable[..., Any]:
    """The NumPy function of a `call`: float64 arrays that broadcast in, float64 out.

    >>> float(numpy_function("cos")(0.0))
    1.0
    """
    kernel = cell(name, "kernel", "NumPy")
    return (physics.FUNCTIONS if kernel in physics.FUNCTIONS else elementary.FUNCTIONS)[kernel]
