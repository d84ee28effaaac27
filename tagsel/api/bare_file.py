"""A ROOT or Parquet file as a dataset by itself, in a workspace that lasts as long as this process."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from tagsel.api.dataset import Dataset
from tagsel.api.inputs import DATA
from tagsel.api.workspace import Workspace
from tagsel.base import known_workspaces

_bare_files: dict[tuple[str, int, int], tuple[TemporaryDirectory[str], Workspace, Dataset]] = {}
"""Files that were opened, by path, size and time, with the folder that goes when the process ends."""


def bare_file(path: Path) -> tuple[Workspace, Dataset]:
    """A file as a dataset, and the workspace that was made for it."""
    from tagsel.ingest.load import ingest

    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    if key not in _bare_files:
        folder = TemporaryDirectory(prefix="tagsel-")
        workspace = Workspace.init(Path(folder.name) / "W")
        known_workspaces.forget(workspace.folder)
        name = "".join(c if c.isalnum() or c in "._-" else "_" for c in path.name).lstrip(".-") or "file"
        ingest([path], name, workspace.folder / DATA / name, workspace.catalog, {})
        _bare_files[key] = (folder, workspace, workspace[name])
    _, workspace, dataset = _bare_files[key]
    return workspace, dataset
