"""The examples of docs/understand/semantics.md run, one after the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "docs" / "understand" / "semantics.md"


def test_the_page_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 6
    names: dict[str, Any] = {"__name__": "semantics"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
