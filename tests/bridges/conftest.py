"""Lists whose truth is known, in a workspace whose catalog knows their files."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import GUIDS, build, rows, workspace

from tagsel.api import Workspace
from tagsel.catalog import FileRecord, PutFiles, PutReplicas, PutSite


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """`a.TAG`: 60 events in the files GUIDS[0] to [2], `d/f0.root` to `d/f2.root`, at two sites. Not to be changed."""
    return _made(tmp_path_factory.mktemp("bridges"))


@pytest.fixture
def own(tmp_path: Path) -> Workspace:
    """The same, to be changed."""
    return _made(tmp_path)


def _made(folder: Path) -> Workspace:
    ws = workspace(folder)
    build(ws, "a.TAG", rows(60, 3))
    files = [FileRecord(GUIDS[k], f"d/f{k}.root", "", "AOD", 20, 1000) for k in range(3)]
    ws.catalog.record(
        PutFiles("a.TAG", files),
        PutSite("EOS", "root://eos.example.org//eos/atlas"),
        PutSite("TAPE"),
        PutReplicas("EOS", [(g, "") for g in GUIDS[:3]]),
        PutReplicas("TAPE", [(g, f"srm://tape.example.org/f{k}.root") for k, g in enumerate(GUIDS[:2])]),
    )
    return ws
