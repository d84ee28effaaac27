"""The home of a workspace: its folder, its catalog and its settings, which every function of this room takes.

Invariant: a folder of a format that this tagsel does not know is not opened.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from tagsel.api import named_cuts
from tagsel.api.guard import RegisteredFiles
from tagsel.api.healing import opened
from tagsel.api.inputs import DATA, inputs
from tagsel.base import known_workspaces, settings
from tagsel.base.atomic_write import atomic_write
from tagsel.base.documents import read_toml
from tagsel.base.local_path import local_path
from tagsel.base.output_file import add_guard
from tagsel.catalog import Catalog, others
from tagsel.errors import AccessError, CatalogError
from tagsel.selection import Input
from tagsel.store import Table, at_least

LOCAL = "a workspace is a folder of a local or mounted file system"
"""What to say where a URL is given for a workspace."""


_HEAD = """# A tagsel workspace. Settings may stand below, e.g. threads = 2; `tagsel workspace config` lists them.
format = {format}

[settings]
"""


class Home:
    """A workspace's folder with its catalog, datasets and settings; `Home.make` makes one."""

    def __init__(self, folder: Path | str) -> None:
        """Open the workspace in `folder`; CatalogError where there is none."""
        self.folder = local_path(folder, LOCAL).resolve()
        if not (self.folder / settings.WORKSPACE_FILE).is_file():
            raise CatalogError(
                f"{folder} is no workspace (it has no {settings.WORKSPACE_FILE})",
                hint=f"tagsel init {folder}, or name one with -w, --workspace or TAGSEL_WORKSPACE",
                path=str(folder),
            )
        check_format(self.folder)
        self._guard = RegisteredFiles(self.folder)  # the registry of guards keeps no reference of its own
        add_guard(self._guard)
        known_workspaces.record(self.folder)

    @cached_property
    def catalog(self) -> Catalog:
        """The catalog of datasets, files and sites."""
        return opened(self.folder)

    def names(self) -> list[str]:
        """The datasets of this workspace and of those that it names."""
        return others.names(self.folder, self.catalog)

    def __contains__(self, dataset: object) -> bool:
        return dataset in self.names()

    def inputs(self, datasets: str) -> tuple[Input, ...]:
        """The datasets of a query, pinned to snapshots."""
        return inputs(self.folder, self.catalog, datasets)

    def table(self, dataset: str) -> Table:
        """The dataset on disk. StoreError: its log lacks what the catalog knows."""
        record = self.catalog.dataset(dataset)
        table = Table.open(self.folder / DATA / dataset)
        at_least(table.snapshot(), record.snapshot, record.events)
        return table

    def setting(self, name: str) -> Any:
        """The value of one setting."""
        return settings.resolve(name, None, self.folder).value

    def named_cut(self, name: str) -> str:
        """The text of the named cut `@name`."""
        return named_cuts.cut_text(name, self.folder)

    def __repr__(self) -> str:
        return f"<Home {self.folder}>"


def make_workspace(folder: Path) -> bool:
    """Make `folder` a workspace; False where it is one already. CatalogError for a folder that holds other things."""
    local_path(folder, LOCAL)
    marker = folder / settings.WORKSPACE_FILE
    if marker.is_file():
        return False
    if folder.is_dir() and any(folder.iterdir()):
        raise CatalogError(
            f"{folder} is not empty and no workspace", hint="name a missing or empty folder", path=str(folder)
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / DATA).mkdir(exist_ok=True)
        with atomic_write(marker) as temporary:
            temporary.write_text(_HEAD.format(format=settings.FORMAT), encoding="utf-8")
    except OSError as error:
        raise AccessError(f"cannot make a workspace in {folder}: {error.strerror}", path=str(folder)) from error
    return True


def check_format(folder: Path) -> None:
    """CatalogError for a workspace of a version that this tagsel does not know."""
    path = folder / settings.WORKSPACE_FILE
    try:
        version = read_toml(path).get("format")
    except (OSError, ValueError) as error:
        raise CatalogError(f"{path} cannot be read: {error}", path=str(path)) from error
    if version is None:
        hint = f"its first line is: format = {settings.FORMAT}"
        raise CatalogError(f"{path} says no format", hint=hint, path=str(path))
    if version != settings.FORMAT:
        raise CatalogError(
            f"{path} has format {version!r}; this tagsel reads format {settings.FORMAT}",
            hint="use a newer tagsel",
        )
