"""Writing batches of events as a ROOT file or a Parquet file, slimmed to what they hold.

Invariant: rows leave in the order in which they come, values and lengths unchanged; what a format cannot
hold is an error that names the branch, never a branch left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from tagsel.errors import AccessError
from tagsel.rootio import NOTE


class Writer(Protocol):
    """A file being written, in a `with` statement; it is whole when the block ends."""

    def __enter__(self) -> Writer: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def write(self, events: Any) -> None:
        """Append a record array."""


class RootWriter:
    """A TTree: numbers and strings as branches, lists with a counter, those of one collection with one
    counter.

    `like` is an empty record array with the types; `collections` maps a list branch to the collection whose
    counter `n<collection>` it shares (`Muon_pt` → `Muon`).
    """

    def __init__(
        self, path: Path, tree: str, like: Any, collections: Mapping[str, str], note: Mapping[str, object]
    ) -> None:
        import uproot

        self._like = like
        self._groups = _groups(like, collections)
        self._file: Any = uproot.recreate(path)
        self._file[NOTE] = json.dumps(note, sort_keys=True)
        try:
            self._tree = self._file.mktree(tree, {b: a.type.content for b, a in self._columns(like).items()})
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> RootWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, events: Any) -> None:
        """Append a record array."""
        self._tree.extend(self._columns(cast(events, self._like)))

    def _columns(self, events: Any) -> dict[str, Any]:
        """What uproot takes: records for collections, which it writes as `n<name>` and `<name>_<member>`."""
        import awkward as ak

        counters = {f"n{name}" for name in self._groups}
        grouped: set[str] = set()
        for members in self._groups.values():
            grouped.update(members.values())
        columns = {f: events[f] for f in events.fields if f not in grouped | counters}
        for name, members in self._groups.items():
            if list(members) == [""]:
                columns[name] = events[members[""]]
            else:
                columns[name] = ak.zip({m: events[f] for m, f in members.items()}, depth_limit=2)
        return columns


class ParquetWriter:
    """A Parquet file: a column for each branch, lists as lists; page checksums, zstd."""

    def __init__(self, path: Path, like: Any, note: Mapping[str, object]) -> None:
        import pyarrow.parquet as pq

        self._like = like
        schema = self._table(like).schema.with_metadata({NOTE: json.dumps(note, sort_keys=True)})
        self._writer: Any = pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True)

    def __enter__(self) -> ParquetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def write(self, events: Any) -> None:
        """Append a record array."""
        self._writer.write_table(self._table(events).cast(self._writer.schema))

    @staticmethod
    def _table(events: Any) -> Any:
        import awkward as ak

        return ak.to_arrow_table(events, extensionarray=False, list_to32=True, string_to32=True)


def cast(events: Any, like: Any) -> Any:
    """A record array with exactly the types of `like`: joined files may have come out wider."""
    import awkward as ak

    if events.type.content == like.type.content:
        return events
    return ak.enforce_type(events, like.type.content)


def _groups(like: Any, collections: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """collection → {member: branch} of all list branches; a list of its own is the member "" of its own name.

    AccessError for a branch that a TTree cannot hold, with what to do.
    """
    groups: dict[str, dict[str, str]] = {}
    for branch in like.fields:
        depth = _depth(like[branch])
        if depth > 1:
            raise AccessError(
                f"branch {branch} ({like[branch].type.content}) cannot be written to a ROOT tree",
                hint=f"write Parquet (-o NAME.parquet), or leave it out: --branches '…,-{branch}'",
                branch=branch,
            )
        if depth == 1:
            name = collections.get(branch, branch)
            member = branch.removeprefix(name).removeprefix("_")
            groups.setdefault(name, {})[member] = branch
    for members in [m for m in groups.values() if "" in m and len(m) > 1]:
        # A list X beside lists X_y cannot be a record: each gets a counter of its own.
        groups |= {branch: {"": branch} for branch in members.values()}
    return groups


def _depth(array: Any) -> int:
    """0 for a number or a string an event, 1 for a list of numbers, 2 for all that a TTree of uproot cannot
    hold."""
    text = str(array.type.content).replace("string", "str")
    if text.startswith("var *"):
        inner = text.removeprefix("var *").strip()
        return 1 if inner.isidentifier() and inner != "str" else 2
    return 0 if text.isidentifier() else 2


def collections_of(branches: list[str], columns: list[str]) -> dict[str, str]:
    """Branch → collection: the shortest `X` of a branch `X_member` whose counter `nX` the file has.

    A counter of each branch (`nMuon_pt`, as uproot writes them) counts only where there is no other.

    >>> collections_of(["Muon_pt", "LHEPdfWeight"], ["nMuon", "Muon_pt", "nLHEPdfWeight", "LHEPdfWeight"])
    {'Muon_pt': 'Muon', 'LHEPdfWeight': 'LHEPdfWeight'}
    """
    names_there = set(columns)
    collections = {}
    for branch in branches:
        parts = branch.split("_")
        names = ("_".join(parts[:k]) for k in range(1, len(parts) + 1))
        name = next((n for n in names if f"n{n}" in names_there), None)
        if name is not None:
            collections[branch] = name
    return collections
