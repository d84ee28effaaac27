"""Numbers as people write them: exact from text to the one rounding at the end.

Invariant: a literal holds exactly what was written; `to_f32` and `to_f64` round it once, to nearest, ties to even.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from tagsel.errors import CutError

MAX_LITERAL = 100
"""Longest literal, in characters."""

_F32_MAX = Fraction(2**128 - 2**104)


@dataclass(frozen=True, slots=True)
class Literal:
    """A number of a cut: its exact value, whether it was written as an integer, its unit's symbol ("" for none).

    `pattern`: it was written in bits, as 0x1F or 0b101, and is written so again.

    >>> Literal(Decimal("0.10"), False, "GeV").text()
    '0.1 GeV'
    """

    value: int | Decimal
    integer: bool
    unit: str = ""
    pattern: bool = False

    @property
    def exact(self) -> Fraction:
        """The value as a fraction."""
        return Fraction(self.value)

    def text(self) -> str:
        """The shortest text that reads back as this literal."""
        if isinstance(self.value, int):
            number = f"0x{self.value:X}" if self.pattern else str(self.value)
        else:
            number = _decimal_text(self.value)
        return f"{number} {self.unit}" if self.unit else number


def _decimal_text(value: Decimal) -> str:
    """Plain digits between 1e-5 and 1e16, scientific outside; always with a point or an exponent."""
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits)).lstrip("0").rstrip("0")
    exponent += len("".join(map(str, digits)).lstrip("0")) - len(text)
    if not text:
        return "0.0"
    point = len(text) + exponent  # digits before the decimal point
    if -5 < point <= 16:
        if point <= 0:
            return "0." + "0" * -point + text
        whole, part = text[:point].ljust(point, "0"), text[point:]
        return f"{whole}.{part or '0'}"
    mantissa = f"{text[0]}.{text[1:]}" if len(text) > 1 else text
    return f"{mantissa}e{point - 1}"


def read_number(text: str, position: int, unit: str = "") -> Literal:
    """The literal that `text` (a NUMBER of the grammar) writes; CutError where no 64-bit number can hold it.

    >>> read_number("0x10", 0).value, read_number("2.50", 0).text()
    (16, '2.5')
    """
    if len(text) > MAX_LITERAL:
        raise CutError(
            f"a number of {len(text)} characters; the limit is {MAX_LITERAL}", position=position, length=len(text)
        )
    digits = text.lower()
    if digits[:2] in ("0x", "0b"):
        return Literal(int(digits, 0), True, unit, pattern=True)
    if digits.isdigit():
        if len(digits) > 1 and digits[0] == "0":
            raise CutError(
                f"{text}: a decimal number does not start with 0",
                position=position,
                length=len(text),
                hint=f"{digits.lstrip('0') or '0'}, or 0x… for a hexadecimal number",
            )
        return Literal(int(digits), True, unit)
    return Literal(_read_decimal(digits, position), False, unit)


def _read_decimal(text: str, position: int) -> Decimal:
    mantissa, _, exponent = text.partition("e")
    zero = not mantissa.strip("0.")
    if zero:
        return Decimal(0)
    if len(exponent) > 6 or not -400 <= int(exponent or 0) <= 400:
        raise _out_of_range(text, position)
    value = Decimal(text)
    try:
        rounded = to_f64(Fraction(value))
    except OverflowError:
        rounded = math.inf
    if math.isinf(rounded) or rounded == 0:
        raise _out_of_range(text, position)
    return value


def _out_of_range(text: str, position: int) -> CutError:
    return CutError(
        f"{text} does not fit a 64-bit float",
        position=position,
        length=len(text),
        hint="numbers are 0, or between 5e-324 and 1.797e308 in size",
    )


def to_f64(exact: Fraction) -> float:
    """The float64 nearest to `exact`; OverflowError past the largest."""
    return exact.numerator / exact.denominator


def to_f32(exact: Fraction) -> float:
    """The float32 nearest to `exact`, as a Python float; ±inf past the largest (IEEE round to nearest).

    Rounding by way of float64 could be off by one ulp; so the two float32 neighbours are compared exactly.

    >>> to_f32(Fraction("0.1"))
    0.10000000149011612
    """
    if abs(exact) >= _F32_MAX + Fraction(2**103):
        return math.inf if exact > 0 else -math.inf
    if abs(exact) > _F32_MAX:
        return float(_F32_MAX) if exact > 0 else -float(_F32_MAX)
    guess: float = struct.unpack("<f", struct.pack("<f", to_f64(exact)))[0]
    if guess == exact:
        return guess
    return min((_step(guess, -1), guess, _step(guess, 1)), key=lambda x: _distance(x, exact))


def _step(value: float, direction: int) -> float:
    """The next float32 up or down."""
    if value == 0:
        return direction * 2.0**-149
    bits: int = struct.unpack("<i", struct.pack("<f", value))[0]
    bits += direction if value > 0 else -direction
    stepped: float = struct.unpack("<f", struct.pack("<i", bits))[0]
    return stepped


def _distance(value: float, exact: Fraction) -> tuple[Fraction, int]:
    """How far `value` is, and whether its last bit is odd: ties go to even."""
    if math.isinf(value):
        return Fraction(2**200), 0
    odd: int = struct.unpack("<I", struct.pack("<f", value))[0] & 1
    return abs(Fraction(value) - exact), odd
