"""Pinned snapshots: those that a list, an output or a tag names, whose parts are never removed.

Invariant: `pins.json` is changed under the dataset's lock only, and replaced whole; it carries a checksum since version
2 and names its dataset; a damaged one, or that of another dataset, is an error, never no pin.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from tagsel.base.atomic_write import write_bytes
from tagsel.base.checksum import read_sealed, seal
from tagsel.errors import StoreError
from tagsel.store import disk

VERSION = 2
"""Version of the file; one without a version is of the first, which had no checksum."""

REMEDY = "tagsel workspace recover writes it anew from the pins that the catalog's journal records"

Pins = Mapping[int, tuple[str, ...]]
"""Reasons to keep a snapshot, by its number."""


def path_of(folder: Path) -> Path:
    """Where the pins of the dataset in `folder` are kept."""
    return folder / "_tagsel" / "pins.json"


def read(folder: Path) -> dict[int, tuple[str, ...]]:
    """Pinned snapshots and the reasons for each. StoreError: the file is damaged, or that of another dataset."""
    path = path_of(folder)
    if not path.exists():
        return {}
    document = read_sealed(path, StoreError, REMEDY, since=VERSION)
    version = document.get("version", 1)
    entries = document.get("pins") if "version" in document else document
    if version not in (1, VERSION):
        raise StoreError(f"{path} has version {version}; this tagsel reads 1 and {VERSION}", path=str(path))
    dataset = document.get("dataset", folder.name)  # older files do not say
    if dataset != folder.name:
        raise StoreError(f"{path} is damaged: it is that of dataset {dataset}", hint=REMEDY, path=str(path))
    try:
        return {int(number): _reasons(reasons) for number, reasons in entries.items()}  # type: ignore[union-attr]
    except (ValueError, AttributeError, TypeError) as error:
        raise StoreError(f"{path} is damaged: {error}", hint=REMEDY, path=str(path)) from error


def _reasons(reasons: object) -> tuple[str, ...]:
    if not isinstance(reasons, list):
        raise TypeError(f"a list of reasons was expected, not {reasons!r:.80}")
    return tuple(str(reason) for reason in reasons)


def add(folder: Path, number: int, reason: str) -> None:
    """Add a reason to keep a snapshot; one that is there already is no error."""
    pins = read(folder)
    reasons = (*pins.get(number, ()), reason)
    write(folder, {**pins, number: tuple(dict.fromkeys(reasons))})


def remove(folder: Path, number: int, reason: str | None) -> None:
    """Take back a reason (None: all). StoreError: there is no such pin."""
    pins = read(folder)
    if number not in pins or (reason is not None and reason not in pins[number]):
        raise StoreError(
            f"snapshot {number} is not pinned for {reason or 'anything'}", hint=f"pinned: {pins or 'none'}"
        )
    left = tuple(r for r in pins.pop(number) if reason is not None and r != reason)
    write(folder, {**pins, number: left} if left else pins)


def write(folder: Path, pins: Pins) -> None:
    """Replace all pins of a dataset; the caller holds its lock."""
    by_number = {str(number): list(reasons) for number, reasons in sorted(pins.items())}
    document = {"version": VERSION, "dataset": folder.name, "pins": by_number}
    with disk.saying("pin in", folder):
        write_bytes(path_of(folder), seal(document))


def in_words(number: int) -> str:
    """So many pins, in words.

    >>> in_words(1), in_words(2)
    ('1 pin', '2 pins')
    """
    return f"{number:,} pin{'s' if number != 1 else ''}"


def listed(pins: Pins) -> list[tuple[int, str]]:
    """All pins as (snapshot, reason), sorted by snapshot.

    >>> listed({2: ("b",), 1: ("a", "c")})
    [(1, 'a'), (1, 'c'), (2, 'b')]
    """
    pairs: list[tuple[int, str]] = []
    for number, reasons in sorted(pins.items()):
        pairs += [(number, reason) for reason in reasons]
    return pairs


def lacking(pins: Pins, recorded: Iterable[tuple[int, str]]) -> list[tuple[int, str]]:
    """The pins that somebody `recorded`, as (snapshot, reason), and that the file does not have.

    >>> lacking({1: ("a",)}, [(1, "a"), (1, "b"), (2, "a")])
    [(1, 'b'), (2, 'a')]
    """
    return [(number, reason) for number, reason in recorded if reason not in pins.get(number, ())]
