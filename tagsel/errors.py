"""Every error that tagsel raises on purpose, in one tree.

    TagselError                  anything a user can mend; exit code 2
     ├── CutError                a cut that cannot be read or bound; draws a caret under the place
     ├── SchemaError             attributes, types, units, trigger menus, schema files
     ├── StoreError              datasets on disk: parts, commits, snapshots
     ├── IngestError             an input file that cannot become TAGs
     ├── EventListError          event lists: forms, identities, digests
     ├── QualityError            good-run lists and luminosity blocks
     ├── CatalogError            datasets, files, sites, metadata queries
     ├── AccessError             files that are missing, unreadable, or not the ones meant
     └── JobError                pieces, executors, merging

A message says what was given, where, what was expected and what to try. The pieces travel as keyword
`fields`, so that `--json` and callers need not parse the text.

Invariant: this module imports nothing of tagsel.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TagselError(Exception):
    """Base of all errors that a user can mend; `hint` says what to try, `fields` carry the pieces."""

    def __init__(self, message: str, *, hint: str = "", **fields: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.fields = fields

    def __str__(self) -> str:
        return f"{self.message}\n  try: {self.hint}" if self.hint else self.message


class CutError(TagselError):
    """A cut that cannot be read, bound or evaluated; `cut` is its text, `position` a 0-based offset."""

    def __init__(
        self, message: str, *, cut: str = "", position: int = 0, length: int = 1, hint: str = "", **fields: object
    ) -> None:
        super().__init__(message, hint=hint, cut=cut, position=position, length=length, **fields)
        self.cut = cut
        self.position = position
        self.length = max(1, length)

    def caret(self, width: int = 100) -> str:
        """The cut's line with a caret under the place, cut to `width` characters; "" without a cut."""
        if not self.cut:
            return ""
        start = self.cut.rfind("\n", 0, self.position) + 1
        end = self.cut.find("\n", self.position)
        line = self.cut[start : end if end >= 0 else len(self.cut)].replace("\t", " ")
        column = self.position - start
        offset = max(0, column - width // 2)
        marks = "^" * max(1, min(self.length, len(line) - column, width // 2))
        return f"  {line[offset : offset + width]}\n  {' ' * (column - offset)}{marks}"

    def __str__(self) -> str:
        lines = [self.message, self.caret(), f"  try: {self.hint}" if self.hint else ""]
        return "\n".join(line for line in lines if line)


class SchemaError(TagselError):
    """Attributes, types, units, trigger menus or schema files that do not fit."""


class StoreError(TagselError):
    """A dataset on disk that cannot be read or written as asked."""


class IngestError(TagselError):
    """An input file that cannot become TAGs; the file, field and row are named."""


class EventListError(TagselError):
    """An event list that cannot be read, combined or verified."""


class QualityError(TagselError):
    """A good-run list or luminosity-block set that cannot be read or combined."""


class CatalogError(TagselError):
    """Datasets, files, sites or metadata queries that cannot be answered."""


class AccessError(TagselError):
    """A file that is missing, unreadable, outside its root, or not the one that is meant."""


class JobError(TagselError):
    """A job, a piece or a merge that cannot go on."""


def nearest(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Up to `most` of `known` that look like `name`, best first, letter case ignored.

    >>> nearest("Muon.pT", ["Muon.pt", "Muon.eta", "run"])
    ['Muon.pt', 'Muon.eta']
    """
    by_folded: dict[str, str] = {}
    for candidate in known:
        by_folded.setdefault(candidate.lower(), candidate)
    return [by_folded[m] for m in difflib.get_close_matches(name.lower(), by_folded, n=most, cutoff=0.6)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that names what exists and looks like `name`; "" when nothing does.

    >>> did_you_mean("nMoun", ["nMuon", "run"])
    'did you mean nMuon?'
    """
    close = nearest(name, known)
    return f"did you mean {' or '.join(close)}?" if close else ""
