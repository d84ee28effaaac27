"""The sites of a workspace: where copies are, how they are named there, and whether a site can be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.api.home import Home
from tagsel.catalog import Downtime, Site, SiteTest

if TYPE_CHECKING:
    from tagsel.base.text_table import Table


class Sites:
    """The sites that a workspace knows; `ws.sites`."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def list(self) -> Table:
        """The sites, the files that are said to be at each, and whether it is up."""
        from tagsel.api import topology

        return topology.table(self._home)

    def show(self, site: str, *, lfn: str = "") -> dict[str, Any]:
        """All that is known of a site, with copies whose file is not where it is said to be (`stale`).

        With `lfn` the physical names, `pfns`, that it makes of a logical one.
        """
        from tagsel.api import topology

        return topology.show(self._home, site, lfn)

    def add(
        self,
        site: str,
        prefix: str | None = None,
        meta: Mapping[str, Any] | None = None,
        *,
        rules: Path | str | None = None,
        volume: str = "",
    ) -> Site:
        """Make a site known, or change what is given of one: the prefix of its files' names, keys, and its rules.

        `rules` is a storage.json or storage.xml; `volume` chooses where it describes several.
        """
        from tagsel.api.siterules import put_site

        return put_site(self._home, site, prefix, meta or {}, rules, volume)

    def load(self, path: Path | str) -> Sequence[str]:
        """Take over sites and links from a TOML file; the names of its sites."""
        from tagsel.api import topology

        return topology.load(self._home, Path(path))

    def down(self, site: str, *, begins: str = "", ends: str = "", reason: str = "") -> Downtime:
        """Do not use a site for a time (ISO 8601, with a time zone), from now on if no begin is given."""
        from tagsel.api import topology

        return topology.down(self._home, site, begins, ends, reason)

    def up(self, site: str) -> int:
        """Use a site again: take back its downtimes and exclusion; how many there were."""
        from tagsel.api import topology

        return topology.up(self._home, site)

    def exclude(self, site: str, reason: str = "") -> None:
        """Send no job to a site until it is `up` again."""
        from tagsel.api import topology

        topology.exclude(self._home, site, reason)

    def test(self, *sites: str) -> Sequence[SiteTest]:
        """Open one file at each site, or at those named, as a job would; sites that fail again and again are excluded.

        One that tests excluded and that is good again is used again. Where most sites fail none is excluded.
        """
        from tagsel.api.sitetests import test_sites

        return test_sites(self._home, sites)

    def __repr__(self) -> str:
        return f"<Sites of {self._home.folder}>"
