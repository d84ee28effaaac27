"""Values of files as values of attributes: every number checked to fit, every misfit named by file, column and row.

Invariant: a value is stored exactly, or refused; only float64 → float32, asked for by a schema, rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tagsel.errors import IngestError

if TYPE_CHECKING:
    import pyarrow as pa

Values = npt.NDArray[Any]

NATURAL = {
    "bool": "bool",
    "int8": "int32",
    "uint8": "int32",
    "int16": "int32",
    "uint16": "int32",
    "int32": "int32",
    "uint32": "int64",
    "int64": "int64",
    "uint64": "int64",
    "float32": "float32",
    "float64": "float64",
    "string": "string",
}
"""The attribute type that holds each type of a file, where a schema promises nothing narrower."""

_STORED = {"bool": "bool", "int32": "int32", "int64": "int64", "float32": "float32", "float64": "float64"}
_WORDS = {"bits32": ("uint32", "int32"), "bits64": ("uint64", "int64")}


@dataclass(frozen=True, slots=True)
class Place:
    """Where values come from, for messages: file, column, first row, and for lists the length of each row's list."""

    path: Path
    column: str
    start: int = 0
    counts: npt.NDArray[np.int64] | None = None

    def row(self, index: int) -> int:
        """The row of the file that holds the value of this index."""
        if self.counts is None:
            return self.start + index
        return self.start + int(np.searchsorted(np.cumsum(self.counts), index, side="right"))

    def refuse(self, bad: npt.NDArray[np.bool_], values: Values, why: str, hint: str = "") -> None:
        """Raise IngestError for the first bad value, if there is one."""
        if not bad.any():
            return
        index = int(np.argmax(bad))
        row, value = self.row(index), values[index].item()
        raise IngestError(
            f"{self.path}: {self.column}, row {row}: {value} {why}",
            hint=hint,
            path=str(self.path),
            column=self.column,
            row=row,
            value=value,
        )


def fit(values: Values, kind: str, place: Place, unknown: int | None = None) -> Values:
    """`values` as an attribute of type `kind` stores them (words of bits as their signed pattern), same shape.

    `unknown` becomes -1 first. Raises IngestError where a value does not fit.

    >>> fit(np.array([1, 4294967295], dtype=np.uint32), "int32", Place(Path("f"), "bcid"), unknown=4294967295)
    array([ 1, -1], dtype=int32)
    """
    if kind in _WORDS:
        return _as_word(values, kind, place)
    dtype = np.dtype(_STORED[kind])
    hidden = values == unknown if unknown is not None else np.zeros(0, dtype=bool)
    if values.dtype != dtype and dtype.kind in "bi":
        shown = values[~hidden] if hidden.any() else values
        _check_range(shown, dtype, kind, place)
    elif dtype.kind == "f" and values.dtype.kind in "iu":
        most = 1 << np.finfo(dtype).nmant + 1  # from there on not every integer is one
        beyond = (values > most) | (values < -most)
        wider = 'give the attribute type = "int64"' if dtype == np.float64 else 'give the attribute type = "float64"'
        place.refuse(beyond & ~hidden if hidden.any() else beyond, values, f"is not exact as {kind}", wider)
    with np.errstate(invalid="ignore", over="ignore"):
        stored: Values = values.astype(dtype, copy=False)
    return np.where(hidden, dtype.type(-1), stored) if hidden.any() else stored


def _check_range(values: Values, dtype: np.dtype[Any], kind: str, place: Place) -> None:
    if values.dtype.kind == "f":
        whole = np.isfinite(values) & (np.trunc(values) == values)
        place.refuse(~whole, values, f"is no whole number, as {kind} wants", 'give the attribute type = "float64"')
    low, high = (0, 1) if kind == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    # Python compares NumPy integers with its own exactly; float64 would round 2**63 - 1 up.
    limit = 2.0 ** (8 * dtype.itemsize - 1)
    bad = (values < low) | ((values >= limit) if values.dtype.kind == "f" and kind != "bool" else (values > high))
    wider = "" if kind == "int64" else 'give the attribute type = "int64"'
    place.refuse(bad, values, f"does not fit {kind}", wider)


def _as_word(values: Values, kind: str, place: Place) -> Values:
    unsigned, signed = _WORDS[kind]
    if values.dtype.kind not in "iub":
        first = np.ones(values.shape, dtype=bool)
        place.refuse(first, values, f"is {values.dtype}, and {kind} wants whole numbers")
    if values.dtype.kind == "u" and values.dtype.itemsize > np.dtype(unsigned).itemsize:
        place.refuse(values > np.iinfo(unsigned).max, values, f"does not fit {kind}")
    elif values.dtype.kind == "i" and values.dtype.itemsize != np.dtype(signed).itemsize:
        bad = (values < 0) | (values > min(np.iinfo(unsigned).max, np.iinfo(np.int64).max))
        place.refuse(bad, values, f"does not fit {kind}")
    if values.dtype == np.dtype(signed):
        return values
    return values.astype(unsigned, copy=False).view(signed)


def fit_id(values: Values, name: str, kind: str, place: Place) -> Values:
    """Run, luminosity block or event numbers: whole, not negative, and at most what `kind` holds.

    >>> fit_id(np.array([7, 2**31]), "run", "int32", Place(Path("f"), "RunNumber"))
    Traceback (most recent call last):
    tagsel.errors.IngestError: f: RunNumber, row 1: 2147483648 is above 2^31 - 1, the largest run number
      try: is this branch the right one? [ids] in a schema file names another
    """
    if values.dtype.kind == "f":
        is_whole = np.isfinite(values) & (np.trunc(values) == values)
        place.refuse(~is_whole, values, f"is no whole number, and no {name} number", _OTHER_BRANCH)
        exact = 2.0 ** (np.finfo(values.dtype).nmant + 1)  # from there on not every integer is a float
        place.refuse(
            values >= exact,
            values,
            f"is a float, which may be another {name} number rounded",
            "write the ids as integers",
        )
    if values.dtype.kind in "if":
        place.refuse(values < 0, values, f"is negative, and is no {name} number", _OTHER_BRANCH)
    bits = 8 * np.dtype(_STORED[kind]).itemsize - 1
    # Python compares NumPy integers with its own exactly; floats are below 2^53 here.
    place.refuse(values > 2**bits - 1, values, f"is above 2^{bits} - 1, the largest {name} number", _OTHER_BRANCH)
    return fit(values, kind, place)


_OTHER_BRANCH = "is this branch the right one? [ids] in a schema file names another"


def strings(values: Any) -> pa.Array:
    """Strings, from awkward or Arrow, as an Arrow array of type string."""
    import awkward as ak
    import pyarrow as pa

    if isinstance(values, ak.Array):
        values = ak.to_arrow(values, extensionarray=False)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    return values.cast(pa.string())


def lists(values: Values | pa.Array, counts: npt.NDArray[np.int64], kind: pa.ListType) -> pa.Array:
    """Flat values and the length of each row's list, as an Arrow list array of type `kind`."""
    import pyarrow as pa

    offsets = np.zeros(len(counts) + 1, dtype=np.int32)
    np.cumsum(counts, out=offsets[1:])
    flat = values if isinstance(values, pa.Array) else pa.array(values, type=kind.value_type)
    return pa.ListArray.from_arrays(pa.array(offsets), flat, type=kind)
