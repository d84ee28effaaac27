"""Tables at a terminal: what is copied from them stays in one piece."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import console
import pytest

GUID = "A210A3F8-3648-11EA-A29F-F5B55C90BEEF"
FILES = (
    "from tagsel.cli import render; "
    f"render.table(('guid', 'lfn', 'entries'), [('{GUID}', 'data/' * 9 + 'a.root', '1-3,7-8,12,20-99')])"
)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_narrow_terminal_does_not_break_a_guid(width: int, tmp_path: Path) -> None:
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": str(width)}
    code, shown = console.at_a_terminal(f'{sys.executable} -c "{FILES}"', tmp_path, environment)
    assert code == 0
    assert GUID in shown
    assert max(len(line) for line in shown.splitlines()) <= width
    assert "…" not in shown, "the other columns fold, and lose nothing"
