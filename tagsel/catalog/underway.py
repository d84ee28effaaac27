"""Whether a process carries out a wish for copies now: that process holds the wish's lock in `transfers/`.

Invariant: the lock is the truth. A rule that the catalog calls `moving` and that nobody holds was interrupted.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from tagsel.base.lock_file import holder
from tagsel.catalog.catalog import Catalog
from tagsel.catalog.records import Rule

FOLDER = "transfers"
"""The folder of these locks, beside the catalog; there is one only while it is held, or where its holder was killed."""

INTERRUPTED = "interrupted"
"""The error of a rule whose copies were being made when their process ended."""


def lock_of(folder: Path, rule: Rule) -> Path:
    """The lock of a rule of the catalog in `folder`."""
    name = hashlib.sha256(f"{rule.dataset}\0{rule.site}".encode()).hexdigest()[:32]
    return folder / FOLDER / f"{name}.lock"


def as_it_is(catalog: Catalog, rule: Rule) -> Rule:
    """A rule of the catalog as it is now: `waiting` where it was interrupted."""
    if not _left(catalog, rule):
        return rule
    now = recorded(catalog, rule) or rule  # it may have ended between the two looks
    return replace(now, state="waiting", error=INTERRUPTED) if _left(catalog, now) else now


def recorded(catalog: Catalog, rule: Rule) -> Rule | None:
    """What the catalog says now of a rule; None where its dataset was dropped."""
    return next((known for known in catalog.rules(rule.dataset) if known.site == rule.site), None)


def _left(catalog: Catalog, rule: Rule) -> bool:
    return rule.state == "moving" and holder(lock_of(catalog.folder, rule)) is None
