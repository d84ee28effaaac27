"""Where a part's rows come from, in stretches: rows of one run and luminosity block; rows whose entries in one file
rise by one. So a row's ids and place are known without reading its columns.

Invariant: a stretch says of each of its rows what the columns say; a kind of which there would be too many stretches
to pay is not kept, and is read from the columns.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tagsel.schema import STAGES

Array = np.ndarray[Any, np.dtype[Any]]

IDS = "ids"
KINDS = (IDS, *STAGES)
ROWS_A_STRETCH = 8
"""Stretches are kept where they are at least so long on average."""

_LENGTH = struct.Struct("<I")
_TYPES = {"starts": "<i8", "run": "<i4", "lumi": "<i4", "code": "<i4", "entry": "<i8"}


@dataclass(frozen=True)
class Stretches:
    """Stretches of rows, n of them: `starts` (n,) int64, rising from 0, and what holds from there on.

    Of ids: `run`, `lumi` (n,) int32. Of a stage: `code` (n,) int32 into `names` (GUIDs), and `entry` (n,) int64 of the
    stretch's first row.
    """

    starts: Array
    fields: Mapping[str, Array]
    names: tuple[str, ...] = ()

    def of(self, rows: Array) -> Array:
        """The stretch that each row lies in, (len(rows),) int64."""
        return np.searchsorted(self.starts, rows, side="right") - 1

    def check(self, rows: int) -> None:
        """ValueError unless these are stretches of so many rows: they begin at row 0 and rise; codes have a name."""
        starts, code = self.starts, self.fields.get("code")
        rise = len(starts) == 0 or (starts[0] == 0 and starts[-1] < rows and bool((starts[1:] > starts[:-1]).all()))
        named = code is None or not len(code) or (code.min() >= 0 and code.max() < len(self.names))
        if not rise or not named or (rows > 0 and not len(starts)):
            raise ValueError(f"the stretches are not those of {rows:,} rows")


def stretches(columns: Mapping[str, Array], rising: str = "") -> Array:
    """First rows of the stretches in which `columns` are constant (and `rising` rises by one): (n,) int64, from 0."""
    changed: Array | None = None
    for name, values in columns.items():
        differs = values[1:] != values[:-1] if name != rising else values[1:] - values[:-1] != 1
        changed = differs if changed is None else changed | differs
    if changed is None:
        return np.zeros(0, np.int64)
    return np.concatenate([[0], np.flatnonzero(changed) + 1]).astype(np.int64)


class Collected:
    """The stretches of a part in the making, row group by row group."""

    def __init__(self) -> None:
        self.rows = 0
        self.found: dict[str, list[dict[str, Array]]] = {kind: [] for kind in KINDS}
        self.names: dict[str, dict[str, int]] = {stage: {} for stage in STAGES}

    def add(self, rows: int, read: Callable[[str], Array | None], codes: Callable[[str], Any]) -> None:
        """The next row group: `read(column)` gives its values, `codes(column)` (codes, names) of a text column."""
        run, lumi = read("run"), read("lumi")
        assert run is not None and lumi is not None  # every part has them
        self._keep(IDS, {"run": run, "lumi": lumi})
        for stage in STAGES:
            text, entry = codes(f"{stage}_guid"), read(f"{stage}_entry")
            if text is not None and entry is not None:
                table = self.names[stage]
                known = np.array([table.setdefault(name, len(table)) for name in text[1]], np.int32)
                self._keep(stage, {"code": known[text[0]] if len(known) else text[0], "entry": entry}, "entry")
        self.rows += rows

    def _keep(self, kind: str, columns: Mapping[str, Array], rising: str = "") -> None:
        starts, rows = stretches(columns, rising), len(next(iter(columns.values())))
        if kind in self.found and len(starts) * ROWS_A_STRETCH <= max(rows, ROWS_A_STRETCH):
            fields = {name: values[starts] for name, values in columns.items()}
            self.found[kind].append({"starts": starts + self.rows, **fields})
        else:
            self.found.pop(kind, None)

    def result(self) -> dict[str, Stretches]:
        """The kinds that are kept."""
        kept = {}
        for kind, pieces in self.found.items():
            if pieces:
                joined = {}
                for name in pieces[0]:
                    joined[name] = np.concatenate([piece[name] for piece in pieces])
                kept[kind] = Stretches(joined.pop("starts"), joined, tuple(self.names.get(kind, ())))
        return kept


def encode(places: Mapping[str, Stretches]) -> bytes:
    """Stretches as bytes, the same for equal ones."""
    head = {}
    body = []
    for kind, stretches in sorted(places.items()):
        fields = sorted(stretches.fields)
        head[kind] = {"n": len(stretches.starts), "fields": fields, "names": stretches.names}
        body.append(stretches.starts.astype(_TYPES["starts"]).tobytes())
        body += [stretches.fields[name].astype(_TYPES[name]).tobytes() for name in fields]
    text = json.dumps(head, separators=(",", ":")).encode()
    return b"".join([_LENGTH.pack(len(text)), text, *body])


def decode(data: bytes, rows: int) -> dict[str, Stretches]:
    """What `encode` made bytes of. ValueError: no stretches of so many rows; machine code goes by them."""
    (length,) = _LENGTH.unpack_from(data)
    at = _LENGTH.size + length
    found = {}
    for kind, head in json.loads(data[_LENGTH.size : at]).items():
        arrays = {}
        for name in ("starts", *head["fields"]):
            arrays[name] = np.frombuffer(data, _TYPES[name], head["n"], at)
            at += arrays[name].nbytes
        found[kind] = Stretches(arrays.pop("starts"), arrays, tuple(head["names"]))
        found[kind].check(rows)
    return found


def joined(kind: str, parts: Iterable[tuple[int, Mapping[str, Stretches]]]) -> Stretches | None:
    """The stretches of several parts, each with its first row, as one; None where one of them keeps none."""
    names: dict[str, int] = {}
    starts: list[Array] = []
    fields: dict[str, list[Array]] = {}
    for first_row, places in parts:
        if kind not in places:
            return None
        one = places[kind]
        starts.append(one.starts + first_row)
        for name, values in one.fields.items():
            fields.setdefault(name, []).append(_renamed(values, one.names, names) if name == "code" else values)
    if not starts:
        return None
    return Stretches(np.concatenate(starts), {n: np.concatenate(v) for n, v in fields.items()}, tuple(names))


def _renamed(codes: Array, names: Sequence[str], table: dict[str, int]) -> Array:
    """Codes into `names` as codes into `table`, which grows."""
    return np.array([table.setdefault(name, len(table)) for name in names], np.int32)[codes]
