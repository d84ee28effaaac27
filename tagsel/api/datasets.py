"""The datasets of a workspace: find and describe them, keep them right, close them, drop them.

Invariant: only `drop` takes a dataset away, and the trash keeps it; every other change is a new snapshot or a record of
the catalog.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.api import healing, inventory, named_cuts, pins, upkeep
from tagsel.api.dataset import Dataset
from tagsel.api.home import Home
from tagsel.api.inventory import BY_RUN, Latest, Summary, Tree
from tagsel.base.text_table import Table
from tagsel.catalog.metadata_query import MOST, Facets
from tagsel.store import CompactPlan, Snapshot

if TYPE_CHECKING:
    from tagsel.api.checking import Checked
    from tagsel.api.extending import Extended
    from tagsel.api.retracting import Retracted
    from tagsel.api.trash_folder import Dropped


class Datasets:
    """The datasets of a workspace, and of those that it names; `ws.datasets`."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def __getitem__(self, name: str) -> Dataset:
        """One or several datasets: a name, `name@3`, a glob, or several with commas."""
        return Dataset(self._home, name, self._home.inputs(name))

    def __contains__(self, name: object) -> bool:
        return name in self._home

    def __iter__(self) -> Iterator[str]:
        return iter(self._home.names())

    def __len__(self) -> int:
        return len(self._home.names())

    def _ipython_key_completions_(self) -> list[str]:
        return self._home.names()

    # -- what is there

    def find(self, where: str = "") -> Table:
        """Find the datasets that a metadata query selects: `"type = 'TAG' and year = 2018"`, any free key too."""
        home = self._home
        if home.catalog.may_write():
            healing.settle(home.folder, home.catalog)
        return inventory.listed(home, named_cuts.sql_text(where, home.folder, "condition"))

    def show(self, dataset: str) -> dict[str, Any]:
        """Show all that the catalog has of a dataset: facts, runs, files, bookkeeping, parents, snapshots, pins."""
        return inventory.describe(self._home, dataset)

    def attributes(self, dataset: str, pattern: str = "*") -> Table:
        """List the attributes whose name matches a glob: name, type, unit, role, description.

        SchemaError, with the nearest names, for a pattern that matches none.
        """
        return self[dataset].attributes(pattern)

    def files(self, dataset: str, *, site: str = "") -> Table:
        """List the files of a dataset or container, with where each can be read, of one site if it is named."""
        from tagsel.api import topology

        return topology.files(self._home, dataset, site)

    def runs(self, dataset: str, *, by: str = BY_RUN) -> Summary:
        """Sum up events, luminosity blocks and files of a dataset run by run, or with `by="file"` file by file."""
        return inventory.runs(self._home, dataset, by=by)

    def facets(self, where: str = "", *, by: Sequence[str] = (), most: int = MOST) -> Facets:
        """Count, for each key and value, the datasets and events that a metadata query leaves.

        `by` names the keys, columns or free ones; at most `most` values of each are listed, and the rest counted.
        Datasets of named workspaces are among them.
        """
        return inventory.facets(self._home, where, by=by, most=most)

    def latest(self, what: str = "") -> Latest:
        """List the newest version of each family of datasets that a glob or a metadata query selects.

        Older versions are counted. Datasets of named workspaces are among them.
        """
        return inventory.latest(self._home, what)

    def tree(self, dataset: str, *, up: bool = True, down: bool = True) -> Tree:
        """Show the provenance of a dataset: what it was made from, and what was made from it."""
        return inventory.tree(self._home, dataset, up=up, down=down)

    def check(self, dataset: str, *, deep: bool = False) -> Checked:
        """Check that datasets are whole: unknown or missing files, wrong entries, damage, duplicates, blocks.

        `deep` reads every column of every part, not ids and addresses alone.
        """
        from tagsel.api.checking import check

        return check(self._home, dataset, deep=deep)

    # -- snapshots

    def pin(self, dataset: str, reason: str) -> str:
        """Keep a snapshot, `name@3`, readable for ever, for a reason; `name` is the latest. Returns what is pinned."""
        return pins.pin(self._home, dataset, reason)

    def unpin(self, dataset: str, reason: str = "") -> list[str]:
        """Take back a pin of a snapshot, `name@3`, or without a reason all pins of it. Returns their reasons.

        Somebody who may only read the workspace takes back the pins that they left as a reader, and no others.
        """
        return pins.unpin(self._home, dataset, reason)

    def pins(self, dataset: str = "") -> Table:
        """List the pinned snapshots of a dataset, or of all: why, when, and by whom; those of readers, too.

        A pin counts where the dataset's own file or the catalog has it; a warning names a file that lacks some.
        """
        return pins.pin_table(self._home, dataset)

    def restore(self, dataset: str) -> Snapshot:
        """Make a new snapshot with the content of an old one, `name@3`."""
        return upkeep.restore(self._home, dataset)

    def close(self, dataset: str, *, meta: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Close a dataset: nothing is added to it any more, and there is no way back.

        Returns the free keys that it got by that: `meta`, such as its integrated luminosity.
        """
        from tagsel.api.closing import close

        return close(self._home, dataset, False, meta)

    def freeze(self, dataset: str, *, meta: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Freeze a dataset: it is closed, and never dropped.

        Returns the free keys that it got by that: `meta`, the number of its luminosity blocks, and digests of their
        list and of its events, which `check` compares.
        """
        from tagsel.api.closing import close

        return close(self._home, dataset, True, meta)

    # -- changes

    def extend(
        self,
        dataset: str,
        what: Path | str,
        *,
        units: Mapping[str, str] | None = None,
        descriptions: Mapping[str, str] | None = None,
    ) -> Extended:
        """Add attributes of your own, `user.NAME`: `"NAME = EXPRESSION"`, or columns of a Parquet file by identity.

        `units` and `descriptions` are by NAME. One commit, undone by `restore`; rows without a match are missing.
        """
        from tagsel.api.extending import extend

        return extend(self._home, dataset, str(what), units or {}, descriptions or {})

    def retract(self, file: Path | str, *, reason: str, dataset: str = "", dry_run: bool = False) -> Retracted:
        """Take the rows of a file (path, logical name, GUID) out of a dataset, or of every one that has it.

        An ingested file, or an AOD that rows point to. One commit a dataset, which `restore` undoes; with `dry_run`
        nothing is done, and the answer says what would go. CatalogError: no dataset has the file, or the name is that
        of several.
        """
        from tagsel.api.retracting import retract

        return retract(self._home, str(file), dataset, reason, dry_run=dry_run)

    def compact(self, dataset: str, *, dry_run: bool = False) -> CompactPlan | Snapshot:
        """Pack small parts of a dataset into larger ones; no digest changes."""
        return upkeep.compact(self._home, dataset, dry_run=dry_run)

    def gc(self, dataset: str = "", *, dry_run: bool = False, grace: float = 3600.0) -> list[Path]:
        """Remove files that no snapshot in use needs, and what killed submitters of jobs left; pinned ones stay.

        Files younger than `grace` seconds stay. Without a dataset those of all, and what an ingest that was killed
        before its first commit left.
        """
        from tagsel.jobs import clean

        files = upkeep.gc(self._home, dataset, dry_run=dry_run, grace_s=grace)
        return [*files, *clean(self._home.folder / "jobs", dry_run=dry_run)]

    # -- the end

    def expire(self, dataset: str, *, after: date | str) -> str:
        """Set the last day (UTC) on which a dataset is wanted, "never" for none; `expired` lists it from then on.

        Nothing is dropped by that. Returns the day, "" for none.
        """
        from tagsel.api import trash

        return trash.expire(self._home, dataset, after)

    @property
    def expired(self) -> dict[str, str]:
        """The datasets whose last day is over, each with what keeps it all the same (a pin, a container), or ""."""
        from tagsel.api import trash

        return trash.expired(self._home)

    def drop(self, *datasets: str, dry_run: bool = False) -> list[Dropped]:
        """Move datasets into the trash, all or none; `ws.trash.recover` puts one back.

        With `dry_run` nothing is moved, and the answer is what would be. CatalogError for one that is frozen, pinned,
        held by a container, or another catalog's.
        """
        from tagsel.api import trash

        return trash.drop(self._home, datasets, dry_run=dry_run)

    def __repr__(self) -> str:
        return f"<Datasets of {self._home.folder}>"
