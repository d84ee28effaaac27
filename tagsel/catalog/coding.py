"""How a change is written in the journal, and read back: as its class name and fields.

A field that holds its default is left out, one that an older line lacks takes it: fields are only ever added, with a
default. Invariant: `decode(encode(change)) == change`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from tagsel.catalog import changes, conditions, placement, requests, trash
from tagsel.catalog.changes import Change
from tagsel.errors import CatalogError

KINDS: Mapping[str, type[Change]] = {
    kind.__name__: kind for module in (changes, placement, conditions, trash, requests) for kind in module.KINDS
}
"""Every kind of change by the name that the journal gives it."""


def encode(change: Change) -> dict[str, Any]:
    """The form of `change` that goes to JSON; fields that hold their default are left out, those of files too."""
    said = _said(change)
    if isinstance(change, changes.PutFiles):
        said["files"] = [_said(file) for file in change.files]
    return {"do": type(change).__name__, **said}


def _said(record: Any) -> dict[str, Any]:
    values = ((f, getattr(record, f.name)) for f in fields(record))
    return {f.name: value for f, value in values if value != f.default}


def decode(document: Mapping[str, Any]) -> Change:
    """The change that `encode` wrote; CatalogError for one that this version does not know."""
    kind = KINDS.get(str(document.get("do")))
    if kind is None:
        raise CatalogError(f"unknown change {document.get('do')!r:.80}")
    said = {k: v for k, v in document.items() if k != "do"}
    try:
        return kind(**said)
    except (TypeError, ValueError, AttributeError) as error:
        raise CatalogError(f"{kind.__name__}: {error}") from error
