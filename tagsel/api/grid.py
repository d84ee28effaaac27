"""What a workspace knows of the world around it: other catalogs, sites, copies that are wished for, other systems.

Invariant: as in `Workspace`, a method does what the verb of its name does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.api.event_lists import load
from tagsel.api.home import Home
from tagsel.base.text_table import Table
from tagsel.catalog import PutConditions, Rule, SharedCatalog, read_conditions
from tagsel.events import EventList

if TYPE_CHECKING:
    from tagsel.api.shared import Published
    from tagsel.bridges import Exported
    from tagsel.catalog.mirror import Synced
    from tagsel.catalog.transfers import Progress


class Grid:
    """The part of `Workspace` that looks beyond its folder."""

    home: Home

    # -- catalogs that others share

    def catalogs(self) -> Table:
        """Other catalogs that are mirrored here, and how old what is known of each is."""
        from tagsel.api import shared

        return shared.table(self.home)

    def add_catalog(
        self,
        kind: str,
        name: str = "",
        datasets: Sequence[str] = (),
        *,
        config: str = "",
        account: str = "",
        scope: str = "",
    ) -> SharedCatalog:
        """Mirror another catalog, kind `rucio`, from now on: those of its datasets that globs (`scope:name`) match.

        `config` is a rucio.cfg, by default the one that Rucio's own commands find; `scope` is for what is published.
        """
        from tagsel.api import shared

        settings = {"config": config, "account": account, "scope": scope}
        return shared.add(self.home, kind, name or kind, datasets, settings)

    def forget_catalog(self, name: str) -> None:
        """Mirror a catalog no more; what was mirrored of it stays."""
        from tagsel.api import shared

        shared.forget(self.home, name)

    def sync(self, name: str = "", datasets: Sequence[str] = ()) -> Synced:
        """Take over what another catalog says now: datasets, files, copies, sites. Work then goes on without it."""
        from tagsel.api import shared

        return shared.mirror(self.home, name, datasets)

    def publish(self, dataset: str, *, site: str, to: str = "", scope: str = "") -> Published:
        """Copy the files of a dataset to a site of another catalog, verified, and register them there, closed."""
        from tagsel.api import shared

        return shared.publish(self.home, dataset, to=to, site=site, scope=scope)

    def explain(self, job: str) -> Table:
        """Where the files of a job are processed, from which copies, and why not elsewhere."""
        from tagsel.api.brokering import explain

        return explain(self.home, job)

    # -- copies that are wished for

    def transfer(
        self, what: EventList | Path | str, site: str, *, cancel: bool = False, progress: Progress = None
    ) -> list[Rule]:
        """Ask for complete copies at a site, and make them; the rule as it is then.

        `what` is a dataset, or an event list (or its file): then just the AOD files of its events are copied. With
        `cancel` the wish is taken back, and the rule is as it was; copies that are there stay.
        """
        from tagsel.api import list_transfers, topology

        events = _list_of(self.home, what)
        if events is None:
            dataset = str(what)
            if cancel:
                return [topology.cancel(self.home, dataset, site)]
            return topology.transfer(self.home, dataset, site, progress)
        if cancel:
            return [list_transfers.cancel_list(self.home, events, site)]
        return list_transfers.transfer_list(self.home, events, site, progress)

    def transfers(self, *, run: bool = False, catalog: str = "", progress: Progress = None) -> tuple[Rule, ...]:
        """All wishes for copies, and how far each is; with `run` those that wait are carried out.

        With `catalog` all rules of the account at another catalog, as they are there now.
        """
        from tagsel.api import topology

        return topology.transfers(self.home, run, progress, catalog)

    def subscribe(self, pattern: str, site: str, *, catalog: str = "") -> None:
        """Ask for copies of every dataset that a glob matches, those to come too."""
        from tagsel.api import topology

        topology.subscribe(self.home, pattern, site, catalog)

    def unsubscribe(self, pattern: str, site: str, *, catalog: str = "") -> None:
        """End a subscription, here or at another catalog; copies and rules that it made stay."""
        from tagsel.api import topology

        topology.unsubscribe(self.home, pattern, site, catalog)

    def subscriptions(self, *, catalog: str = "") -> Table:
        """What is subscribed to, here or at another catalog."""
        from tagsel.api import topology

        return topology.subscriptions(self.home, catalog)

    def conditions(self, path: Path | str) -> int:
        """Take over conditions of runs from a CSV file with a column `run`: they are the table `conditions` of `sql`.

        How many runs it has.
        """
        found = read_conditions(Path(path))
        self.home.catalog.record(PutConditions(found))
        return len(found)

    # -- datasets as they are shared

    def files(self, dataset: str, *, site: str = "") -> Table:
        """The files of a dataset or container, with where each can be read, of one site if it is named."""
        from tagsel.api import topology

        return topology.files(self.home, dataset, site)

    def close(self, dataset: str, *, freeze: bool = False, meta: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Nothing is added to a dataset any more; frozen, it is not dropped either. There is no way back.

        The free keys that it gets by that: `meta`, such as its integrated luminosity; a frozen one also the number of
        its luminosity blocks, and digests of their list and of its events, which `check` compares.
        """
        from tagsel.api.closing import close

        return close(self.home, dataset, freeze, meta)

    # -- other systems

    def export(self, events: EventList | Path | str, system: str, out: Path | str, **options: Any) -> Exported:
        """Write what another system takes as its input for just these events: a folder, or one file.

        `system` is panda, ganga, crab, edmpick or pool. Options: `stage` (aod, esd, raw), `site` (its copies only),
        `run` (the user's program), `events_per_job`, and `settings`, a mapping of what the system calls its own.
        """
        from tagsel.api.exporting import export

        return export(self.home, events, system, Path(out), **options)


def _list_of(home: Home, what: EventList | Path | str) -> EventList | None:
    """The event list that was given, or whose file was named; None where a dataset was."""
    if isinstance(what, EventList):
        return what
    if isinstance(what, Path) or (what not in home and (Path(what).is_file() or what.endswith(".events"))):
        return load(what, home)
    return None
