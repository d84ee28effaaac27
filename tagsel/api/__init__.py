"""What a user opens: workspaces, datasets, lazy selections, event lists that know their files."""

from tagsel.api.dataset import Dataset, Selection
from tagsel.api.event_lists import Events
from tagsel.api.questions import Cut
from tagsel.api.workspace import Workspace
from tagsel.base.text_table import Table

__all__ = ["Cut", "Dataset", "Events", "Selection", "Table", "Workspace"]
