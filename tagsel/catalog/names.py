"""Names of datasets: what may be one, what a name says of itself, and how several are asked for at once.

Invariant: pure functions on text; nothing here knows which datasets exist.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass

from tagsel.errors import CatalogError

KNOWN_TYPES = (
    "TAG",
    "AOD",
    "ESD",
    "RAW",
    "DAOD",
    "DPD",
    "DESD",
    "DRAW",
    "EVNT",
    "HITS",
    "RDO",
    "HIST",
    "NTUP",
    "NANOAOD",
    "NANOAODSIM",
    "MINIAOD",
    "MINIAODSIM",
    "AODSIM",
    "EVENTS",
)
"""Last parts of a dataset's name that say its type; `DAOD_PHYSLITE` counts as `DAOD`."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_PATTERN = re.compile(r"[A-Za-z0-9_*?\[][A-Za-z0-9._*?\[\]!-]*")
_YEAR = re.compile(r"(?:data|Run)_?(\d{2}|\d{4})(?!\d)")
_WILD = frozenset("*?[")
LONGEST = 200


@dataclass(frozen=True)
class DatasetSpec:
    """One of the datasets asked for: a name or glob, and a snapshot; None means the latest."""

    pattern: str
    snapshot: int | None = None

    @property
    def is_glob(self) -> bool:
        """Whether `pattern` may stand for several datasets."""
        return bool(_WILD & set(self.pattern))

    def __str__(self) -> str:
        return self.pattern if self.snapshot is None else f"{self.pattern}@{self.snapshot}"


@dataclass(frozen=True)
class NameFacts:
    """What a dataset's name says: `type` ("" when it says none), `year` (None) and `stream` ("")."""

    type: str = ""
    year: int | None = None
    stream: str = ""


def check_dataset_name(name: str) -> str:
    """Return `name` if it may name a dataset: letters, digits, `.`, `_`, `-`, not starting with `.` or `-`.

    A name is also a folder's name, so `..` can never be one. Raises CatalogError.
    """
    if not is_dataset_name(name):
        raise CatalogError(
            f"{name[:80]!r} cannot name a dataset: letters, digits, '.', '_' and '-' are allowed, "
            f"at most {LONGEST}, and the first is a letter, a digit or '_'",
            hint="for example data18.DoubleMuon.TAG",
            name=name,
        )
    return name


def is_dataset_name(name: str) -> bool:
    """Whether `check_dataset_name` takes a name."""
    return bool(_NAME.fullmatch(name)) and len(name) <= LONGEST


def parse_dataset_spec(text: str) -> list[DatasetSpec]:
    """The datasets asked for by `name`, `name@3`, `name@latest`, a glob, or several of these with commas.

    >>> [str(s) for s in parse_dataset_spec("data18.DoubleMuon.TAG@3, data17.*")]
    ['data18.DoubleMuon.TAG@3', 'data17.*']
    """
    return [_one(part.strip(), text) for part in text.split(",")]


def _one(part: str, text: str) -> DatasetSpec:
    pattern, at, snapshot = part.partition("@")
    if not _PATTERN.fullmatch(pattern) or len(pattern) > LONGEST:
        raise CatalogError(
            f"{part[:80]!r} in {text[:120]!r} names no dataset",
            hint="a name (letters, digits, '.', '_', '-'), name@3, a glob like data18.*, or several with commas",
            dataset=text,
        )
    if not at or snapshot == "latest":
        return DatasetSpec(pattern)
    if not re.fullmatch(r"[0-9]{1,9}", snapshot):
        raise CatalogError(
            f"{part[:80]!r}: {snapshot!r} is no snapshot", hint=f"a number, as in {pattern}@3", dataset=text
        )
    return DatasetSpec(pattern, int(snapshot))


def parse_reference(text: str) -> tuple[str, int | None]:
    """A parent's `name` or `name@3` as (name, snapshot or None); globs are not allowed.

    >>> parse_reference("data18.DoubleMuon.TAG@3")
    ('data18.DoubleMuon.TAG', 3)
    """
    spec = _one(text, text)
    return check_dataset_name(spec.pattern), spec.snapshot


def derive_facts(name: str) -> NameFacts:
    """Type, year and stream that `name` states by itself; nothing is demanded of a name.

    The type is the last part where that is a known type; the year comes from `dataYY` or `RunYYYY`; the
    stream is the part after the year's where parts remain between it and the type.

    >>> derive_facts("data18.DoubleMuon.TAG")
    NameFacts(type='TAG', year=2018, stream='DoubleMuon')
    """
    parts = name.split(".")
    head = parts[-1].split("_")[0]
    kind = next((k for k in (parts[-1], head) if k in KNOWN_TYPES), "")
    dated = next(((i, m) for i, p in enumerate(parts) if (m := _YEAR.match(p))), None)
    if dated is None:
        return NameFacts(kind)
    where, match = dated
    digits = match.group(1)
    last = len(parts) - 1 if kind else len(parts)
    between = [p for p in parts[where + 1 : last] if not p.isdigit()]
    return NameFacts(kind, int(digits) if len(digits) == 4 else 2000 + int(digits), between[0] if between else "")


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """Those of `names` that the glob `pattern` matches, letter case kept, sorted."""
    return sorted(n for n in names if fnmatch.fnmatchcase(n, pattern))
