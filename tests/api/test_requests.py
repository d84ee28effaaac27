"""Requests for a job while its process waits: a catalog that does not answer ends no watching."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tagsel.api import Workspace, requests
from tagsel.catalog import Catalog
from tagsel.catalog.changes import RequestJob
from tagsel.errors import CatalogError


@dataclass
class _Job:
    """A job that is killed by its event."""

    folder: Any
    id: str = "0001"
    killed: threading.Event = field(default_factory=threading.Event)

    def kill(self) -> None:
        self.killed.set()


def test_a_busy_catalog_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not answer three times, for two reasons: each is said once, and then the job is killed."""
    home = Workspace.init(tmp_path / "W")
    home.catalog.record(RequestJob("0001", "kill", {}))
    reasons = ["the catalog stays busy", "the catalog stays busy", "the disk is away"]
    answer = Catalog.requests

    def unsure(self: Catalog, job: str) -> Any:
        if reasons:
            raise CatalogError(reasons.pop(0))
        return answer(self, job)

    monkeypatch.setattr(Catalog, "requests", unsure)
    monkeypatch.setattr(requests, "HEED_S", 0.01)
    job: Any = _Job(SimpleNamespace(path=tmp_path))
    with requests.heeding_kills(home.folder, job):
        assert job.killed.wait(20)
    assert [line.message.rpartition(": ")[2] for line in caplog.records] == [
        "the catalog stays busy",
        "the disk is away",
    ]
    assert [request.state for request in home.catalog.requests("0001")] == ["done"]
