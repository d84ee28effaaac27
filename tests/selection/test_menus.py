"""Chains as bits where a row group has one menu: the same answer, without reading the menus."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import MENU, OTHER_MENU, build, rows, workspace

from tagsel.api import Workspace
from tagsel.selection import count, select
from tagsel.store import Part, layout


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Row groups of 50 rows: of one menu, of the other, of both, and of none that is known."""
    monkeypatch.setattr(layout, "ROW_GROUP", 50)
    menus = np.repeat([MENU.id, OTHER_MENU.id, MENU.id, OTHER_MENU.id, 0], [50, 50, 20, 30, 50])
    made = workspace(tmp_path)
    build(made, "a.TAG", rows(200, 3, menu=menus), rows(60, 4))
    return made


CUTS = (
    "HLT_mu10",
    "!HLT_mu10",
    "HLT_mu20 || HLT_mu10 && nMuon >= 1",
    "present(HLT_mu20)",
    "!present(HLT_mu20)",
    "count(Muon.pt > 10 && HLT_mu10) >= 1",
    "HLT_mu10 == true",
    "(HLT_mu20 || HLT_mu10) && MET_pt > 20",
)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("remember", [True, False])
def test_a_chain_by_its_bit_is_a_chain_by_its_menu(home: Workspace, cut: str, remember: bool) -> None:
    query = home["a.TAG"].query([cut], remember=remember)
    plain = select(replace(query, tier="interpreter"))[0]
    for _ in range(2):
        assert [tuple(e) for e in select(replace(query, tier="kernel"))[0]] == [tuple(e) for e in plain]
    assert count(replace(query, tier="kernel")).accepted == len(plain) > 0


def test_menus_are_read_only_where_a_row_group_has_several(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, list[str]]] = []
    read = Part.read
    monkeypatch.setattr(Part, "read", lambda s, g, c: (seen.append((g, list(c))), read(s, g, c))[1])
    count(replace(home["a.TAG"].query(["HLT_mu10"], remember=False), tier="kernel"))
    assert (2, ["menu"]) in seen  # 20 of one, 30 of the other
    assert all(group == 2 for group, columns in seen if columns == ["menu"])
