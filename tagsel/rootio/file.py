"""A ROOT file opened for reading, here or by URL: its trees by highest cycle, its GUID, its size.

Invariant: every failure to read is an AccessError that names the file.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from tagsel.errors import AccessError, did_you_mean
from tagsel.rootio.metering import metering
from tagsel.rootio.remote import bytes_asked, is_remote, open_remote
from tagsel.rootio.tokens import canonical_guid
from tagsel.rootio.trees import EventTree, TreeOfBaskets, TreeOfClusters, unreadable

EVENT_TREES = ("Events", "EventData", "CollectionTree")
"""Names of the tree of events, in the order of looking: NanoAOD, PHYSLITE RNTuple, xAOD TTree."""

_TREE_CLASSES: dict[str, type[TreeOfBaskets] | type[TreeOfClusters]] = {
    "TTree": TreeOfBaskets,
    "ROOT::RNTuple": TreeOfClusters,
    "ROOT::Experimental::RNTuple": TreeOfClusters,
}


class RootFile:
    """A ROOT file, a path or a URL (`root://`, `https://`), to be used in a `with` statement; `place` is what was
    given.

    Raises AccessError where it is missing, no ROOT file, or shorter than its header says (truncated), and where its
    server does not answer. When it is closed, the meters that were open when it was opened count what it asked for.
    """

    def __init__(self, path: Path | str) -> None:
        self.place = str(path)
        self.path = Path(urlsplit(self.place).path if is_remote(path) else path)
        self._directory: Any = None
        self._meters = metering()
        if is_remote(path):
            with unreadable(self.place, "this ROOT file"):
                self._directory = open_remote(self.place)
                self.bytes = int(self._directory.file.source.num_bytes)
        else:
            _check_magic(self.path)
            import uproot

            with unreadable(self.place, "this ROOT file"):
                self._directory = uproot.open(self.path)
            self.bytes = self.path.stat().st_size
        promised = int(self._directory.file.fEND)
        if promised > self.bytes:
            self.close()
            raise AccessError(
                f"{self.place}: truncated: its header promises {promised} bytes, {self.bytes} are there",
                path=self.place,
                promised=promised,
                bytes=self.bytes,
            )
        self._trees: dict[str, EventTree] = {}

    def __enter__(self) -> RootFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; trees made from it cannot be read any more."""
        for meter in self._meters:
            meter.bytes += self.bytes_asked
        self._meters = ()
        self._directory.close()

    @property
    def bytes_asked(self) -> int:
        """Bytes that were asked of the file so far: by its header, directories and trees, and by what was read."""
        return bytes_asked(self._directory.file.source)

    @cached_property
    def _classes(self) -> dict[str, str]:
        with unreadable(self.place, "the list of objects"):
            found = self._directory.classnames(recursive=True, cycle=True)
        return {name.rsplit(";", 1)[0]: kind for name, kind in sorted(found.items(), key=_cycle)}

    def trees(self) -> list[str]:
        """Names of all trees (folders as `folder/name`), TTree and RNTuple, each once, sorted."""
        return sorted(name for name, kind in self._classes.items() if kind in _TREE_CLASSES)

    def tree(self, name: str) -> EventTree | None:
        """The highest cycle of the tree of this name, or None where the file has none."""
        if name not in self._trees:
            maker = _TREE_CLASSES.get(self._classes.get(name, ""))
            if maker is None:
                return None
            with unreadable(self.place, f"tree {name}"):
                self._trees[name] = maker(self.path, name, self._directory[name], self.place)
        return self._trees[name]

    def events(self, name: str | None = None) -> EventTree:
        """The tree of events: the one called `name`, else the first of `EVENT_TREES` that is there."""
        for candidate in (name,) if name else EVENT_TREES:
            tree = self.tree(candidate)
            if tree is not None:
                return tree
        wanted = name or ", ".join(EVENT_TREES)
        raise AccessError(
            f"{self.place}: no tree of events: looked for {wanted}; there: {', '.join(self.trees()) or 'none'}",
            hint=did_you_mean(name, self.trees()) if name else 'name the tree in a schema file: tree = "…"',
            path=self.place,
        )

    def objects(self, kind: str) -> dict[str, Any]:
        """The objects of this class, each by its name and of the highest cycle."""
        names = [name for name, class_name in self._classes.items() if class_name == kind]
        with unreadable(self.place, f"the objects of class {kind}"):
            return {name: self._directory[name] for name in names}

    def text(self, name: str) -> str | None:
        """The string (TObjString) of this name at the top of the file, or None."""
        if self._classes.get(name) != "TObjString":
            return None
        with unreadable(self.place, f"string {name}"):
            return str(self._directory[name])

    @cached_property
    def uuid(self) -> str:
        """The UUID that ROOT gave the file when it was made, upper-case."""
        return canonical_guid(str(self._directory.file.uuid))

    @cached_property
    def guid(self) -> str:
        """The file's identity, upper-case: POOL's FID in the tree ##Params where there is one, else its UUID."""
        params = self.tree("##Params")
        column = params.find("db_string") if params is not None else None
        if params is None or column is None:
            return self.uuid
        for line in params.arrays([column])[column].to_list():
            if line.startswith("[NAME=FID][VALUE="):
                return canonical_guid(line.removeprefix("[NAME=FID][VALUE=").rstrip("]"))
        return self.uuid


def guid_of(path: Path | str) -> str:
    """The GUID of a ROOT file, see `RootFile.guid`."""
    with RootFile(path) as file:
        return file.guid


def _cycle(item: tuple[str, str]) -> int:
    return int(item[0].rsplit(";", 1)[1])


def _check_magic(path: Path) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise AccessError(f"{path}: cannot be opened: {reason}", path=str(path)) from error
    if magic != b"root":
        what = "is empty" if not magic else "is not a ROOT file"
        raise AccessError(f"{path}: {what}", path=str(path))
