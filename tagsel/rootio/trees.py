"""Trees of events, TTree and RNTuple alike: columns, types, and reading of given entries.

A tree is stored in *blocks*: the baskets of a TTree's branch, the clusters of an RNTuple. Reading an entry
costs its whole block. Invariant: only blocks that `block_runs` names are read, and `bytes_of` counts those.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tagsel.base.memory_limit import is_refusal
from tagsel.errors import AccessError, did_you_mean
from tagsel.rootio.typenames import ColumnType, parse_typename, plain_name

Ints = npt.NDArray[np.int64]

MOST_RUNS = 16
"""More separate reads than this cost more than reading through, once half of the blocks are wanted anyway."""


def block_runs(offsets: Ints, entries: Ints) -> list[tuple[int, int]]:
    """Runs [first, last] of blocks to read for the sorted `entries`: neighbours joined, much scattered read through.

    >>> block_runs(np.array([0, 10, 20, 30, 40]), np.array([3, 12, 35]))
    [(0, 1), (3, 3)]
    """
    if len(entries) == 0:
        return []
    blocks = np.unique(np.searchsorted(offsets, entries, side="right") - 1)
    breaks = np.flatnonzero(np.diff(blocks) > 1)
    firsts, lasts = blocks[np.r_[0, breaks + 1]], blocks[np.r_[breaks, len(blocks) - 1]]
    runs = list(zip(firsts.tolist(), lasts.tolist(), strict=True))
    if len(runs) > MOST_RUNS and 2 * len(blocks) >= len(offsets) - 1:
        return [(runs[0][0], runs[-1][1])]
    return runs


class EventTree(ABC):
    """A tree of a ROOT file; `entries` rows. Made by `RootFile.tree` and `RootFile.events`."""

    def __init__(self, path: Path, name: str, tree: Any, place: str = "") -> None:
        self.path = path
        self.place = place or str(path)  # what messages call the file
        self.name = name
        self.entries = int(tree.num_entries)
        self.bytes_read = 0  # compressed bytes of all blocks that were read, as often as they were
        self._tree = tree
        self._blocks: dict[str, tuple[Ints, Ints]] = {}

    def columns(self) -> list[str]:
        """Names of all columns, in the file's order, readable or not."""
        return list(self._columns)

    @abstractmethod
    def _list_columns(self) -> dict[str, str | None]:
        """All columns in the file's order, with their C++ types where these are known at once."""

    @abstractmethod
    def block_offsets(self, column: str) -> Ints:
        """First entry of each block of a column and, last, the number of entries: (n_blocks + 1,) int64."""

    @abstractmethod
    def block_bytes(self, column: str) -> Ints:
        """Compressed bytes of each block of a column: (n_blocks,) int64."""

    @abstractmethod
    def _read(self, column: str, start: int, stop: int) -> Any:
        """Entries [start, stop) as an awkward array."""

    @cached_property
    def _columns(self) -> dict[str, str | None]:
        with unreadable(self.place, f"the columns of tree {self.name}"):
            return self._list_columns()

    @cached_property
    def _by_plain_name(self) -> dict[str, str]:
        columns: dict[str, str] = {}
        for column in self.columns():
            columns.setdefault(plain_name(column), column)
        return columns

    def find(self, name: str) -> str | None:
        """The column called `name`, or the one whose plain name is `name`; None where there is none."""
        return name if name in self._columns else self._by_plain_name.get(name)

    def nested(self) -> frozenset[str]:
        """Columns that lie in structures, which a schema may spell `Muon_pt` for `Muon.pt`."""
        return frozenset()

    def decoded_rows(self) -> int:
        """Rows that are decoded at the least, whatever few of them are asked for; 0: no more than a basket has."""
        return 0

    def typename(self, column: str) -> str:
        """The C++ type of a column; AccessError with the nearest names where there is none."""
        typename = self._columns[self._known(column)]
        if typename is None:
            with unreadable(self.place, f"the type of column {column} of tree {self.name}"):
                typename = self._columns[column] = self._typename(column)
        return typename

    def _typename(self, column: str) -> str:
        """The C++ type of a column that `_list_columns` did not know at once."""
        return str(self._tree[column].typename)

    def column_type(self, column: str) -> ColumnType | None:
        """What a column holds, or None where that is no scalar and no flat list."""
        return parse_typename(self.typename(column))

    def arrays(self, columns: Sequence[str], start: int = 0, stop: int | None = None) -> dict[str, Any]:
        """Entries [start, stop) of columns: scalars as NumPy arrays, lists and strings as awkward arrays.

        Raises AccessError naming file and column where a column is absent or cannot be read.
        """
        stop = self.entries if stop is None else min(stop, self.entries)
        return {c: _plain(self._read_checked(c, start, stop)) for c in columns}

    def arrays_of(self, columns: Sequence[str], entries: npt.ArrayLike) -> Any:
        """Just these entries, in this order, as one awkward record array with a field for each column.

        `entries`: (n,) integers in [0, self.entries), any order, repeats allowed. Only blocks that hold some
        of them are read, except that much scattered entries are read through (see `bytes_of`).
        """
        import awkward as ak

        wanted, inverse = self._wanted(entries)
        fields = {c: self._take(c, wanted)[inverse] for c in columns}
        if not fields:
            return ak.Array([{}] * len(inverse))
        return ak.zip(fields, depth_limit=1)

    def arrays_at(self, columns: Sequence[str], entries: npt.ArrayLike) -> dict[str, Any]:
        """Just these entries, in this order, as `arrays` gives them."""
        wanted, inverse = self._wanted(entries)
        return {c: _plain(self._take(c, wanted)[inverse]) for c in columns}

    def bytes_of(self, columns: Sequence[str], entries: npt.ArrayLike | None = None) -> int:
        """Compressed bytes that reading these entries (None = all) of these columns touches."""
        if entries is None:
            return sum(int(self._blocks_of(c)[1].sum()) for c in map(self._known, columns))
        wanted, _ = self._wanted(entries)
        total = 0
        for column in map(self._known, columns):
            offsets, sizes = self._blocks_of(column)
            total += sum(int(sizes[a : b + 1].sum()) for a, b in block_runs(offsets, wanted))
        return total

    def _blocks_of(self, column: str) -> tuple[Ints, Ints]:
        """`block_offsets` and `block_bytes` of a column, worked out once."""
        if column not in self._blocks:
            self._blocks[column] = self.block_offsets(column), self.block_bytes(column)
        return self._blocks[column]

    def _wanted(self, entries: npt.ArrayLike) -> tuple[Ints, Ints]:
        wanted, inverse = np.unique(np.asarray(entries, dtype=np.int64), return_inverse=True)
        if len(wanted) and (wanted[0] < 0 or wanted[-1] >= self.entries):
            bad = int(wanted[0] if wanted[0] < 0 else wanted[-1])
            raise AccessError(
                f"{self.place}: entry {bad} asked of tree {self.name}, which has {self.entries} entries",
                hint="is this the file that the TAG means?",
                path=self.place,
                entry=bad,
                entries=self.entries,
            )
        return wanted, inverse.astype(np.int64)

    def _take(self, column: str, wanted: Ints) -> Any:
        """The sorted distinct entries `wanted` of one column."""
        import awkward as ak

        offsets, sizes = self._blocks_of(self._known(column))
        pieces = []
        for first, last in block_runs(offsets, wanted):
            self.bytes_read += int(sizes[first : last + 1].sum())
            start, stop = int(offsets[first]), int(offsets[last + 1])
            inside = wanted[np.searchsorted(wanted, start) : np.searchsorted(wanted, stop)]
            pieces.append(self._read_checked(column, start, stop)[inside - start])
        if not pieces:
            return self._read_checked(column, 0, 0)
        return ak.concatenate(pieces) if len(pieces) > 1 else pieces[0]

    def _known(self, column: str) -> str:
        if column not in self._columns:
            raise AccessError(
                f"{self.place}: tree {self.name} has no column {column!r}",
                hint=did_you_mean(column, self.columns()),
                path=self.place,
                column=column,
            )
        return column

    def _read_checked(self, column: str, start: int, stop: int) -> Any:
        self._known(column)
        with unreadable(self.place, f"column {column} of tree {self.name}"):
            return self._read(column, start, stop)


def _plain(array: Any) -> Any:
    """One-dimensional numbers as NumPy; anything else stays awkward, fixed-size rows as lists."""
    import awkward as ak

    if array.ndim == 1 and not isinstance(array.layout.form, (ak.forms.ListOffsetForm, ak.forms.ListForm)):
        return ak.to_numpy(array, allow_missing=False)
    return ak.from_regular(array, axis=1) if array.ndim > 1 else array


class TreeOfBaskets(EventTree):
    """A TTree: each branch has baskets of its own."""

    def _list_columns(self) -> dict[str, str | None]:
        # A type costs 0.2 ms to find out, and a tree of metadata has thousands of branches.
        return dict.fromkeys(self._tree.keys())

    def _typename(self, column: str) -> str:
        branch = self._tree[column]
        packed = _packed_list(branch)
        return packed or str(branch.typename)

    def block_offsets(self, column: str) -> Ints:
        """First entry of each basket and, last, the number of entries: (n + 1,) int64."""
        return np.asarray(self._branch(column).entry_offsets, dtype=np.int64)

    def block_bytes(self, column: str) -> Ints:
        """Compressed bytes of each basket: (n,) int64."""
        branch = self._branch(column)
        with unreadable(self.place, f"the baskets of column {column} of tree {self.name}"):
            return np.array([_basket_bytes(branch, i) for i in range(branch.num_baskets)], dtype=np.int64)

    def _branch(self, column: str) -> Any:
        return self._tree[self._known(column)]

    def _read(self, column: str, start: int, stop: int) -> Any:
        branch = self._tree[column]
        packed = _packed_list(branch)
        if packed:
            what = f"{self.place}: the branch {column} is a list of packed values ({packed}), which uproot misreads"
            raise AccessError(what, hint="leave it out, or write it as float", path=self.place, column=column)
        if branch.num_entries != self.entries:
            # uproot pads nothing: it would give the rows that are there, or fail beside a longer branch.
            raise AccessError(
                f"{self.place}: the branch {column} has {branch.num_entries:,} entries where the tree {self.name} has "
                f"{self.entries:,}",
                hint="the branch was filled apart from the tree, or its end is lost; a schema may leave it out",
                path=self.place,
                column=column,
            )
        return branch.array(entry_start=start, entry_stop=stop, array_cache=None)


_PACKED_LEAVES = {"TLeafD32": "Double32_t", "TLeafF16": "Float16_t"}


def _packed_list(branch: Any) -> str:
    """The type of a list whose values are packed into few bits, else "".

    uproot 5.7 reads such a list as plain floats: other values, without an error. Double32_t without a range is stored
    as float, and is read right; Float16_t always is packed.
    """
    leaves = branch.member("fLeaves", none_if_missing=True)
    kind = _PACKED_LEAVES.get(leaves[0].classname, "") if leaves else ""
    if not kind:
        return ""
    title = str(leaves[0].member("fTitle"))
    is_list = leaves[0].member("fLeafCount", none_if_missing=True) is not None
    brackets = title.count("[")
    is_packed = kind == "Float16_t" or brackets > 1
    return f"packed {kind} {title[title.index('[') :]}" if is_list and is_packed else ""


def _basket_bytes(branch: Any, number: int) -> int:
    # A basket that ROOT embedded in the tree's own record has no compressed size of its own.
    return int(branch.basket_compressed_bytes(number) or branch.basket(number).uncompressed_bytes)


_COLLECTION, _RECORD = 1, 2
"""Roles of fields that group others, in the RNTuple format: a list, whose one field below is its items; a record."""


@dataclass(frozen=True)
class _Group:
    """A field that groups others: its name, whether it is a list, and whether what is below it lies in a list."""

    name: str
    is_collection: bool = False
    in_list: bool = False


class TreeOfClusters(EventTree):
    """An RNTuple: all fields share the clusters."""

    def __init__(self, path: Path, name: str, tree: Any, place: str = "") -> None:
        super().__init__(path, name, tree, place)
        self._nested: set[str] = set()
        # uproot looks through all fields to find that one has no children, at each reading: seconds for a NanoAOD.
        parents = {int(f.parent_field_id) for i, f in enumerate(tree.field_records) if f.parent_field_id != i}
        for number, field in enumerate(tree.all_fields):
            if number not in parents:
                field._fields = []

    def _list_columns(self) -> dict[str, str | None]:
        # For the same reason the types are not asked of uproot.
        groups: dict[int, _Group] = {}  # by the number of a field: records, and lists of records
        types: dict[str, str | None] = {}
        for number, field in enumerate(self._tree.field_records):
            name, parent, role = str(field.field_name), int(field.parent_field_id), int(field.struct_role)
            if parent == number:
                group, full = _Group(""), name
            elif parent in groups:
                group = groups[parent]
                full = f"{group.name}.{name}"
            else:
                continue  # the items of a list
            if full.startswith("_collection"):
                continue  # an importer's: its lists are shown again under their own names
            if group.is_collection:  # the one field below it stands for its items
                if role == _RECORD:
                    groups[number] = _Group(group.name, in_list=True)
                continue
            types[full] = f"std::vector<{field.type_name}>" if group.in_list else str(field.type_name)
            if group.name and ":" not in full:
                self._nested.add(full)
            if role == _RECORD:
                groups[number] = _Group(full, in_list=group.in_list)
            elif role == _COLLECTION and not group.in_list:
                groups[number] = _Group(full, is_collection=True)
        return types

    def decoded_rows(self) -> int:
        """The rows of the largest cluster: uproot decodes clusters whole."""
        return max((int(cluster.num_entries) for cluster in self._tree.cluster_summaries), default=0)

    def nested(self) -> frozenset[str]:
        """Columns that lie in records, or in lists of records: `Muon.pt` of a list `Muon`."""
        self.columns()
        return frozenset(self._nested)

    def block_offsets(self, column: str) -> Ints:
        """First entry of each cluster and, last, the number of entries: (n + 1,) int64."""
        ends = [c.num_first_entry + c.num_entries for c in self._tree.cluster_summaries]
        return np.array([0, *ends], dtype=np.int64)

    def block_bytes(self, column: str) -> Ints:
        """Compressed bytes of each cluster: (n,) int64."""
        wanted = self._columns_of(self._known(column))
        clusters = self._tree.page_link_list
        return np.array([_cluster_bytes(pages, wanted) for pages in clusters], dtype=np.int64)

    def _columns_of(self, column: str) -> list[int]:
        """Numbers of the physical columns that hold a field and everything below it."""
        records = self._tree.field_records
        fields = {self._tree[column].field_id}
        before = 0
        while len(fields) > before:
            before = len(fields)
            fields |= {i for i, f in enumerate(records) if f.parent_field_id in fields}
        own = {i for i, c in enumerate(self._tree.column_records) if c.field_id in fields}
        # A projected field (Muon_pt of an importer's _collection6) borrows the columns of another.
        lent = {a.physical_id for a in self._tree.header.alias_column_records if a.field_id in fields}
        return sorted(own | lent)

    def _read(self, column: str, start: int, stop: int) -> Any:
        return self._tree[column].array(entry_start=start, entry_stop=stop)


def _cluster_bytes(column_pages: Any, wanted: Sequence[int]) -> int:
    """Compressed bytes of these physical columns in one cluster.

    A column that was added after the cluster was written (a deferred column) has no pages in it.
    """
    size = 0
    for column in wanted:
        if column < len(column_pages):
            size += sum(int(page.locator.num_bytes) for page in column_pages[column].pages)
    return size


@contextmanager
def unreadable(path: Path | str, what: str) -> Iterator[None]:
    """Turn whatever ROOT's readers and decompressors raise into one AccessError that names file and place."""
    try:
        yield
    except (AccessError, KeyboardInterrupt):
        raise
    except Exception as error:
        if is_refusal(error):  # a file is not damaged because a thread gets no stack
            raise
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        cause = type(error).__name__
        raise AccessError(f"{path}: cannot read {what}: {first}", path=str(path), cause=cause) from error
