"""What a user opens: workspaces, datasets, lazy selections, event lists that know their files."""

from tagsel.api.dataset import Cut, Dataset, Selection
from tagsel.api.lists import Events
from tagsel.api.workspace import Workspace
from tagsel.selection.table import Table

__all__ = ["Cut", "Dataset", "Events", "Selection", "Table", "Workspace"]
