"""Copies that are asked for: of datasets and lists at a site, once or, by a subscription, of every dataset to come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tagsel.api import list_transfers, transfer_rules
from tagsel.api.event_lists import load
from tagsel.api.home import Home
from tagsel.base.text_table import Table
from tagsel.catalog import Rule
from tagsel.catalog.transfers import Progress
from tagsel.events import EventList


class Transfers:
    """The copies that are asked for in a workspace; `ws.transfers`."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def request(self, what: EventList | Path | str, site: str, *, progress: Progress = None) -> list[Rule]:
        """Ask for complete copies at a site, and make them; returns the rule as it is then.

        `what` is a dataset, or an event list (or its file): then just the AOD files of its events are copied.
        """
        events = _list_of(self._home, what)
        if events is None:
            return transfer_rules.request(self._home, str(what), site, progress)
        return list_transfers.request_list(self._home, events, site, progress)

    def cancel(self, what: EventList | Path | str, site: str) -> Rule:
        """Take a request back; copies that are there stay. Returns the rule as it was."""
        events = _list_of(self._home, what)
        if events is None:
            return transfer_rules.cancel(self._home, str(what), site)
        return list_transfers.cancel_list(self._home, events, site)

    def run(self, *, progress: Progress = None) -> tuple[Rule, ...]:
        """Make the copies that wait, those of new datasets of subscriptions, too; returns all rules."""
        return transfer_rules.run(self._home, progress)

    def list(self, *, catalog: str = "") -> tuple[Rule, ...]:
        """List the copies that were asked for, and how far each is.

        With `catalog` all rules of the account at another catalog, as they are there now.
        """
        return transfer_rules.rules(self._home, catalog)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.list())

    def __len__(self) -> int:
        return len(self.list())

    def __repr__(self) -> str:
        return f"<Transfers of {self._home.folder}>"


class Subscriptions:
    """Requests for copies of every dataset that a glob matches, those to come, too; `ws.subscriptions`."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def add(self, pattern: str, site: str, *, catalog: str = "") -> None:
        """Ask for copies at a site of every dataset that a glob matches, here or by another catalog."""
        transfer_rules.subscribe(self._home, pattern, site, catalog)

    def end(self, pattern: str, site: str, *, catalog: str = "") -> None:
        """End a subscription, here or at another catalog; copies and rules that it made stay."""
        transfer_rules.unsubscribe(self._home, pattern, site, catalog)

    def list(self, *, catalog: str = "") -> Table:
        """List what is subscribed to, here or at another catalog."""
        return transfer_rules.subscriptions(self._home, catalog)

    def __repr__(self) -> str:
        return f"<Subscriptions of {self._home.folder}>"


def _list_of(home: Home, what: EventList | Path | str) -> EventList | None:
    """The event list that was given, or whose file was named; None where a dataset was."""
    if isinstance(what, EventList):
        return what
    if isinstance(what, Path) or (what not in home and (Path(what).is_file() or what.endswith(".events"))):
        return load(what, home)
    return None
