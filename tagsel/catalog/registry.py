"""What a catalog that others share must be able to do: our own (`embedded.py`) and Rucio (`rucio.py`) are used alike.

Names are as the registry spells them: Rucio's are `scope:name`. Invariant: a method that changes something returns only
when the registry has said that it is done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from tagsel.catalog.records import DatasetFacts, DatasetRecord, FileRecord, Replica, Rule, Site, Subscription
from tagsel.catalog.values import Value

NO_GUID = "files_without_guid"
"""The free key of a dataset that says how many of its files are left out, for no row of a TAG can point to them."""


class Registry(Protocol):
    """Datasets, containers, their files, copies of these at sites, and wishes for copies. Errors are CatalogErrors."""

    def names(self, pattern: str = "*") -> list[str]:
        """Datasets and containers that the glob `pattern` matches, sorted."""

    def datasets(self, names: Sequence[str]) -> list[DatasetRecord]:
        """Their records, in the order asked: `events`, `files` and `bytes` are those of the files."""

    def files(self, names: Sequence[str]) -> dict[str, list[FileRecord]]:
        """The files of each dataset or container, sorted by logical name."""

    def copies(self, names: Sequence[str]) -> dict[str, list[Replica]]:
        """Where the files of datasets are, by GUID, sorted by site and name; a file without any has an empty list."""

    def sites(self) -> list[Site]:
        """All sites, sorted by name."""

    def create(self, name: str, facts: DatasetFacts) -> None:
        """A new dataset, or a container of `facts.members`; refused where the name is taken."""

    def attach(self, name: str, files: Sequence[FileRecord], site: str) -> None:
        """Add files to an open dataset, each with its copy at a site as its `pfn` says ("": as the site does)."""

    def describe(self, name: str, meta: Mapping[str, Value]) -> None:
        """Set free keys of a dataset."""

    def close(self, name: str) -> None:
        """Nothing is added to the dataset any more."""

    def wish(self, name: str, site: str) -> None:
        """Ask for complete copies of a dataset at a site; asked again, nothing changes."""

    def rules(self, name: str) -> list[Rule]:
        """What is wished for of a dataset, and how far it is; sorted by site."""

    def every_rule(self) -> list[Rule]:
        """All that is wished for, by subscriptions too, sorted by dataset and site."""

    def subscribe(self, pattern: str, site: str) -> None:
        """Ask for complete copies, at a site, of all datasets that a glob matches, those to come too."""

    def subscriptions(self) -> list[Subscription]:
        """What is subscribed to, sorted."""

    def unsubscribe(self, pattern: str, site: str) -> None:
        """End a subscription; copies and rules that it made stay. CatalogError where there is none."""
