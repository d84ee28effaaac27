"""Where the pieces of a job run."""

from __future__ import annotations

import pytest
from inline_executor import InlineExecutor

from tagsel.jobs import engines


@pytest.fixture(autouse=True)
def _pieces_run_here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pieces of a job run in this process; a test marked `processes` starts one for each, as users do."""
    if request.node.get_closest_marker("processes") is None:
        here = engines.Engine(lambda options, processes: InlineExecutor())
        monkeypatch.setitem(engines.ENGINES, "local", here)
