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
     ├── JobError                pieces, executors, merging
     └── MemoryLimitError        what does not fit into the memory that the process may have

A message says what was given, where, what was expected and what to try. The pieces travel as keyword
`fields`, so that `--json` and callers need not parse the text.

Invariant: this module imports nothing of tagsel.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class TagselError(Exception):
    """Base of all errors that a user can mend; `hint` says what to try, `fields` carry the pieces."""

    def __init__(self, message: str, *, hint: str = "", **fields: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.fields = fields

    def __str__(self) -> str:
        return f"{self.message}\n  try: {self.hint}" if self.hint else self.message


def readable(text: str) -> str:
    r"""Text from a command line that the locale could not decode, as UTF-8; what is none is U+FFFD, one column wide.

    >>> readable("\udcc3\udcbc > 3"), readable("\udcc3 > 3")
    ('ü > 3', '� > 3')
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if _UNDECODED.search(text) else text


_UNDECODED = re.compile("[\udc80-\udcff]")


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
        at = self.position - start
        before, marked, rest = map(readable, (line[:at], line[at : at + self.length], line[at + self.length :]))
        line, column = before + marked + rest, len(before)
        offset = max(0, column - width // 2)
        marks = "^" * max(1, min(len(marked), width // 2))
        return f"  {line[offset : offset + width]}\n  {' ' * (column - offset)}{marks}"

    def __str__(self) -> str:
        lines = [self.message, self.caret(), f"  try: {self.hint}" if self.hint else ""]
        return "\n".join(line for line in lines if line)


@contextmanager
def after(done: str, then: str = "") -> Iterator[None]:
    """Have an error of the block say what was `done` before it, and stays; `then` is added to its hint.

    The one place for what fails behind a commit. The error keeps its class and what it carries.

    >>> with after("d.TAG@3 is committed"):
    ...     raise CatalogError("no space left")
    Traceback (most recent call last):
    tagsel.errors.CatalogError: d.TAG@3 is committed, but then: no space left
    >>> with after("d.TAG is frozen"), after("d.TAG@3 is committed"):
    ...     raise CatalogError("no space left")
    Traceback (most recent call last):
    tagsel.errors.CatalogError: d.TAG is frozen; d.TAG@3 is committed, but then: no space left
    """
    try:
        yield
    except TagselError as error:
        joint = "; " if _BUT_THEN in error.message else _BUT_THEN
        hint = "; ".join(text for text in (error.hint, then) if text)
        raise _reworded(error, f"{done}{joint}{error.message}", hint) from error


_BUT_THEN = ", but then: "


def _reworded(error: TagselError, message: str, hint: str) -> TagselError:
    """A copy of an error with another message and hint; a class may take further arguments, so it is not called."""
    kind = type(error)
    copy = kind.__new__(kind, message)
    vars(copy).update(vars(error))
    copy.message = message
    copy.hint = hint
    return copy


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


class MemoryLimitError(TagselError):
    """An answer or a file that does not fit into the memory that this process may have."""


def nearest(name: str, known: Iterable[str], most: int = 3, cutoff: float = 0.6) -> list[str]:
    """Up to `most` of `known` that look like `name`, best first, letter case ignored; `cutoff` as in difflib.

    >>> nearest("Muon.pT", ["Muon.pt", "Muon.eta", "run"])
    ['Muon.pt', 'Muon.eta']
    """
    by_folded: dict[str, str] = {}
    for candidate in known:
        by_folded.setdefault(candidate.lower(), candidate)
    return [by_folded[m] for m in difflib.get_close_matches(name.lower(), by_folded, n=most, cutoff=cutoff)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that names what exists and looks like `name`; "" when nothing does.

    >>> did_you_mean("nMoun", ["nMuon", "run"])
    'did you mean nMuon?'
    """
    close = nearest(name, known)
    return f"did you mean {' or '.join(close)}?" if close else ""
