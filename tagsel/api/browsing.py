"""What a workspace tells of its datasets: facets, versions, pins, provenance, summaries, checks, triggers, overlaps.

Invariant: as in `Workspace`, a method does what the verb of its name does; only `pin` and `unpin` change anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tagsel.api import inventory, pins
from tagsel.api.home import Home
from tagsel.api.inventory import BY_RUN, Latest, Summary, Tree
from tagsel.api.questions import CutLike, Progress
from tagsel.base.text_table import Table
from tagsel.catalog.metadata_query import MOST, Facets
from tagsel.errors import CatalogError
from tagsel.selection import Query

if TYPE_CHECKING:
    from tagsel.api.checking import Checked
    from tagsel.selection.overlap import Overlaps
    from tagsel.selection.triggers import Chains


class Browsing:
    """The part of `Workspace` that says what is there."""

    home: Home
    query: Callable[..., Query]

    def facets(self, where: str = "", *, by: Sequence[str] = (), most: int = MOST) -> Facets:
        """Of the datasets that a metadata query leaves: each key's values, with how many datasets and events have them.

        `by` names the keys, columns or free ones; at most `most` values of each are listed, and the rest counted.
        Datasets of named workspaces are among them.
        """
        return inventory.facets(self.home, where, by=by, most=most)

    def latest(self, what: str = "") -> Latest:
        """The newest version of each family of datasets that a glob or a metadata query selects, older ones counted.

        Datasets of named workspaces are among them.
        """
        return inventory.latest(self.home, what)

    def pin(self, dataset: str, reason: str) -> str:
        """Keep a snapshot, `name@3`, readable for ever, for a reason; `name` is the latest. What was pinned."""
        return pins.pin(self.home, dataset, reason)

    def unpin(self, dataset: str, reason: str = "") -> list[str]:
        """Take back a pin of a snapshot, `name@3`, or without a reason all pins of it; the reasons taken back.

        Somebody who may only read the workspace takes back the pins that they left as a reader, and no others.
        """
        return pins.unpin(self.home, dataset, reason)

    def pins(self, dataset: str = "") -> Table:
        """Pinned snapshots, of one dataset or of all: why, when, and by whom; those that readers pinned, too.

        A pin counts where the dataset's own file or the catalog has it; a warning names a file that lacks some.
        """
        return pins.pin_table(self.home, dataset)

    def tree(self, dataset: str, *, up: bool = True, down: bool = True) -> Tree:
        """The provenance of a dataset: what it was made from, and what was made from it."""
        return inventory.tree(self.home, dataset, up=up, down=down)

    def runs(self, dataset: str, *, by: str = BY_RUN) -> Summary:
        """Events, luminosity blocks and files of a dataset run by run, or with `by="file"` file by file; and totals."""
        return inventory.runs(self.home, dataset, by=by)

    def check(self, datasets: str, *, deep: bool = False) -> Checked:
        """Whether datasets are whole: unknown or missing files, wrong entries, damage, duplicates, luminosity blocks.

        `deep` reads every column of every part, not ids and addresses alone.
        """
        from tagsel.api.checking import check

        return check(self.home, datasets, deep=deep)

    def triggers(
        self, datasets: str, pattern: str = "*", *cuts: CutLike, by: str = "", progress: Progress = None, **options: Any
    ) -> Chains:
        """How often each trigger chain and flag that a glob matches fired, and where a menu lacks it.

        `by` is "run" or "lumi"; cuts and options as `query`.
        """
        from tagsel.selection.triggers import chain_counts

        return chain_counts(self.query(datasets, cuts, **options), pattern, by, progress=progress)

    def overlap(
        self,
        datasets: str,
        *cuts: CutLike,
        chains: str = "",
        regions: Mapping[str, str] | None = None,
        progress: Progress = None,
        **options: Any,
    ) -> Overlaps:
        """The events that each two datasets share; with `chains` (a glob) each two trigger chains, with `regions` cuts.

        Just events that pass all `cuts`; options as `query`.
        """
        from tagsel.selection import overlap

        query = self.query(datasets, cuts, **options)
        if chains and regions:
            raise CatalogError("chains and regions are two questions", hint="ask for one overlap at a time")
        if chains:
            return overlap.chain_overlap(query, chains, progress=progress)
        if regions:
            return overlap.region_overlap(query, regions, progress=progress)
        return overlap.dataset_overlap(query, progress=progress)
