"""What scripts/environment leaves alone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_an_environment_behind_a_link_is_never_emptied(tmp_path: Path) -> None:
    """Other checkouts use it: where it is not of the lock, that is said, and nothing in it is touched."""
    shared, checkout = tmp_path / "shared", tmp_path / "checkout"
    (checkout / "scripts").mkdir(parents=True)
    shared.mkdir()
    (shared / "tagsel.stamp").write_text("another lock")
    (checkout / ".venv").symlink_to(shared)
    (checkout / "requirements.lock").write_text("")
    shutil.copy(ROOT / "scripts" / "environment", checkout / "scripts")
    command = ["bash", "-c", "source scripts/environment"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "is a link to" in done.stderr
    assert [p.name for p in shared.iterdir()] == ["tagsel.stamp"]
