"""tagsel: select the events that matter, say where they live, and get just those processed.

    >>> import tagsel
    >>> ws = tagsel.open("W")                                            # doctest: +SKIP
    >>> ws["data18.DoubleMuon.TAG"].where("count(Muon.pt > 10 GeV) >= 2").count()     # doctest: +SKIP

Everything public stands here, or is reached from what these return. Nothing heavy is loaded before it is needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.errors import (
    AccessError,
    CatalogError,
    CutError,
    EventListError,
    IngestError,
    JobError,
    QualityError,
    SchemaError,
    StoreError,
    TagselError,
)

if TYPE_CHECKING:
    from tagsel.api import Cut, Dataset, Events, Selection, Workspace
    from tagsel.quality import LumiSet

__version__ = "0.1.0"

__all__ = [
    "AccessError",
    "CatalogError",
    "Cut",
    "CutError",
    "Dataset",
    "EventListError",
    "Events",
    "IngestError",
    "JobError",
    "LumiSet",
    "QualityError",
    "SchemaError",
    "Selection",
    "StoreError",
    "TagselError",
    "Workspace",
    "__version__",
    "cut",
    "init",
    "open",
    "read_events",
    "read_lumi",
]

_LAZY = {
    "Cut": "tagsel.api",
    "Dataset": "tagsel.api",
    "Events": "tagsel.api",
    "LumiSet": "tagsel.quality",
    "Selection": "tagsel.api",
    "Workspace": "tagsel.api",
}


def __getattr__(name: str) -> object:
    """Load a public class when it is first asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module 'tagsel' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)


def init(folder: str | Path) -> Workspace:
    """Make a workspace in a missing or empty folder, or open the one that is there."""
    from tagsel.api import Workspace

    return Workspace.init(folder)


def open(place: str | Path | None = None) -> Workspace | Dataset:  # noqa: A001 - the verb users expect
    """The workspace in a folder (default: `TAGSEL_WORKSPACE`, else here), or a ROOT or Parquet file as a dataset."""
    from tagsel.api import Workspace
    from tagsel.api.bare_file import bare_file

    path = Path(place if place is not None else os.environ.get("TAGSEL_WORKSPACE", "."))
    if not path.is_file():
        return Workspace(path)
    _, dataset = bare_file(path)
    return dataset


def read_events(path: str | Path) -> Events:
    """The event list in a file of any form, bound to the workspace of `TAGSEL_WORKSPACE` (or here) if there is one."""
    from tagsel.api.event_lists import load
    from tagsel.api.home import Home

    folder = Path(os.environ.get("TAGSEL_WORKSPACE", "."))
    return load(path, Home(folder) if (folder / "tagsel.toml").is_file() else None)


def read_lumi(path: str | Path) -> LumiSet:
    """The good-run list in an ATLAS XML or CMS JSON file, by its content."""
    from tagsel.quality import read_lumi as read

    return read(path)


def cut(text: str | Callable[..., Any], *, compiled: bool = True) -> Cut:
    """A cut as an object, to combine with `&`, `|` and `~`: a text, or a function of arrays named after attributes.

    A function is compiled by numba, unless not `compiled`: then it runs as NumPy. CutError for text that is no cut.
    """
    from tagsel.api import Cut
    from tagsel.language import parse

    if callable(text):
        return Cut.of(text, compiled=compiled)
    parse(text)
    return Cut(text)
