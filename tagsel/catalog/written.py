"""How the journal writes a change: its class name and its fields, as JSON.

Invariant: what `encode` wrote, `decode` reads, for ever: a field that an older line lacks takes its default, so fields
are only ever added, with a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from tagsel.catalog.changes import (
    Change,
    DropDataset,
    DropFiles,
    DropReplicas,
    LogQuery,
    Pin,
    PutBookkeeping,
    PutDataset,
    PutFiles,
    PutJob,
    PutReplicas,
    PutRetraction,
    PutRuns,
    PutSite,
    SetMeta,
    Unpin,
)
from tagsel.errors import CatalogError

KINDS: Mapping[str, type[Change]] = {
    kind.__name__: kind
    for kind in (PutDataset, SetMeta, DropDataset, PutFiles, DropFiles, PutSite, PutReplicas, DropReplicas,
                 PutBookkeeping, PutRuns, PutRetraction, PutJob, Pin, Unpin, LogQuery)
}  # fmt: skip
"""Every kind of change by the name that the journal gives it."""


def encode(change: Change) -> dict[str, Any]:
    """The form of `change` that goes to JSON; fields that hold their default are left out, those of files too."""
    said = _said(change)
    if isinstance(change, PutFiles):
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
