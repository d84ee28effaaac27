"""What a workspace knows of files that no output may replace: those that its catalog has registered.

Invariant: a file counts under every name that leads to it: links, other spellings of its path, sites' prefixes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tagsel.catalog import Catalog
from tagsel.errors import TagselError


class RegisteredFiles:
    """The files that a workspace has registered: TAG sources, AOD and other files, outputs of jobs, replicas."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def reason(self, path: Path) -> str:
        """What an existing file is to the workspace; "" for one that it does not know."""
        wanted = path.stat()
        for place, role in self._places():
            try:
                same = os.path.samestat(place.stat(), wanted)
            except OSError:  # registered, and not there now
                continue
            if same:
                return f"{role} of the workspace {self.folder}"
        return ""

    def _places(self) -> Iterator[tuple[Path, str]]:
        """Local paths of all files that the catalog knows, and what they are."""
        catalog = Catalog(self.folder)
        names = {}
        for file in catalog.files():
            names[file.guid] = file.lfn
            if local := _local(file.pfn):
                yield local, f"a registered file ({file.kind} of {file.dataset})"
        for site in catalog.sites():
            for replica in catalog.site_replicas(site.name):
                role = f"a registered copy at {site.name}"
                if local := _local(replica.pfn):
                    yield local, role
                try:
                    placed = catalog.local_path(replica, names.get(replica.guid, ""))
                except TagselError:  # a name that the site's rules refuse leads to no file
                    continue
                if placed is not None:
                    yield placed, role


def _local(pfn: str) -> Path | None:
    """The absolute path that a physical name says; None for one on a server, or none."""
    path = pfn.removeprefix("file://")
    return Path(path) if path.startswith("/") else None
