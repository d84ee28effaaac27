"""Event lists that know their workspace: map, read, skim and submit just these events.

Invariant: an `Events` is an `EventList` in every way; algebra on it gives `Events` of the same workspace.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.errors import CatalogError, after
from tagsel.events import EventList, read_events

if TYPE_CHECKING:
    from tagsel.aod import EventMap, SkimReport
    from tagsel.api.rebasing import Rebased
    from tagsel.api.retracting import Touched
    from tagsel.api.workspace import Workspace
    from tagsel.bridges import Exported


log = logging.getLogger("tagsel")


class Events(EventList):
    """Selected events of a workspace; see `tagsel.events.EventList` for identities, algebra, digest and forms."""

    workspace: Workspace | None = None

    @classmethod
    def of(cls, events: EventList, workspace: Workspace | None) -> Events:
        """`events` with a workspace to resolve files in."""
        made = cls(*(getattr(events, f.name) for f in fields(EventList)))
        object.__setattr__(made, "workspace", workspace)
        return made

    def _rows(self, *arguments: Any) -> EventList:
        return Events.of(EventList._rows(self, *arguments), self.workspace)

    def _combine(self, *arguments: Any) -> EventList:
        return Events.of(EventList._combine(self, *arguments), self.workspace)

    def _home(self) -> Workspace:
        if self.workspace is None:
            raise CatalogError(
                "this list knows no workspace to find its files in",
                hint='open one: tagsel.open("W").read_events(path), or set TAGSEL_WORKSPACE',
            )
        return self.workspace

    def save(self, path: Path | str, *, force: bool = False) -> None:
        """Write the list as a `.events` file, and pin the snapshots that it came from.

        A file that exists is refused (AccessError); `force` replaces an event list that tagsel wrote. Where this user
        may not pin the snapshots, the list carries their commit records, and the log says that they are not pinned.
        """
        if self.workspace is None:
            super().save(path, force=force)
            return
        records = self.workspace.not_pinned(self)
        if not records:
            super().save(path, force=force)
            with after(f"{path} is written"):
                self.workspace.pin_list(self)
            return
        provenance = {**self.provenance, "not_pinned": records}
        EventList.save(replace(self, provenance=provenance), path, force=force)
        with after(f"{path} is written"):
            self.workspace.pin_list(self)
        for name in records:
            log.warning(
                "%s is not pinned: you may not write where it is. %s carries its commit record; once its owner expires "
                "that snapshot, the same cut cannot be asked of it again",
                name,
                path,
            )

    def retracted(self) -> tuple[Touched, ...]:
        """The retracted files that the list still points to: how many events, why, since when."""
        return self._home().retracted(self)

    def rebase(self, onto: str) -> Rebased:
        """The same events where they are now, in the dataset `onto`; see `Workspace.rebase`."""
        return self._home().rebase(self, onto)

    def map(self, stage: str = "aod") -> EventMap:
        """Files, entries and sites of these events, and whether reading them is worth it against a full scan."""
        return self._home().map(self, stage=stage)

    def arrays(self, branches: str | Sequence[str] = "*") -> Any:
        """AOD branches of just these events as an awkward array, in the list's order, ids beside them."""
        from tagsel.aod import arrays

        return arrays(self.map(), self, branches)

    def iterate(self, branches: str | Sequence[str] = "*", batch: int = 10_000) -> Iterator[Any]:
        """The same as `arrays`, at most `batch` events at a time: memory is bounded."""
        from tagsel.aod import iterate

        return iterate(self.map(), self, branches, batch)

    def skim(
        self, out: Path | str, branches: str | Sequence[str] = "*", *, dry_run: bool = False, force: bool = False
    ) -> SkimReport:
        """Write the selected entries of the AOD as ROOT or Parquet (by suffix), and check what was written.

        A file that exists is refused (AccessError); `force` replaces one that tagsel wrote and no workspace registered.
        """
        return self._home().skim(self, out, branches=branches, dry_run=dry_run, force=force)

    def export(self, system: str, out: Path | str, **options: Any) -> Exported:
        """Write what another system (panda, ganga, crab, edmpick, pool) takes as its input; see `Workspace.export`."""
        return self._home().export(self, system, out, **options)

    def submit(self, run: Path | str, **options: Any) -> Any:
        """Run `process(events)` of a script over these events as a job; see `Workspace.submit`."""
        return self._home().submit(self, run, **options)


def load(path: Path | str, workspace: Workspace | None = None) -> Events:
    """The event list in a file of any form, bound to a workspace where one is given."""
    return Events.of(read_events(path), workspace)


OPERATIONS: Mapping[str, Callable[[EventList, EventList], EventList]] = {
    "union": lambda a, b: a | b,
    "intersect": lambda a, b: a & b,
    "minus": lambda a, b: a - b,
    "xor": lambda a, b: a ^ b,
}
"""What can be done with two event lists, or two good-run lists, by name."""


def reduced(operation: str, operands: Sequence[Any]) -> Any:
    """`show` of one operand, or an operation over all, left to right; CatalogError for neither."""
    if operation == "show" and len(operands) == 1:
        return operands[0]
    if operation not in OPERATIONS or not operands:
        raise CatalogError(
            f"{operation} of {len(operands)} lists is nothing that can be done",
            hint=f"show of one list, or {', '.join(OPERATIONS)} of two or more",
        )
    combined = operands[0]
    for operand in operands[1:]:
        combined = OPERATIONS[operation](combined, operand)
    return combined
