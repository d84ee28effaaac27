"""Pieces and batches of compiled steps: the same events wherever they are cut, whether few pass or all."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from builders import build, rows, workspace
from hypothesis import given
from hypothesis import strategies as st

from tagsel.engine import compiled_scan
from tagsel.quality import LumiSet
from tagsel.selection import select

GOOD = LumiSet.from_ranges([(7, 1, 3), (8, 1, 9), (9, 2, 4)])

CUTS = ["MET_pt > 1e9", "MET_pt > 150", "MET_pt > 20", "MET_pt >= 0", "menu > 0 && nMuon >= 1"]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("cut", CUTS)
def test_events_do_not_depend_on_where_rows_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: str, threads: int
) -> None:
    """Five parts, some events twice, some masked: pieces of a row group each, batches of two, and all at once."""
    home = workspace(tmp_path)
    parts = [rows(n, k) for k, n in enumerate((90, 30, 120, 60, 45), 1)]
    build(home, "a.TAG", *parts, {name: values[:40] for name, values in parts[2].items()})
    query = home["a.TAG"].query([cut], lumi=GOOD, threads=threads, remember=False)
    expected, told = select(replace(query, tier="interpreter"))
    for piece, mapped, decoded in [(1 << 20, 1 << 25, 1 << 19), (1, 1 << 25, 1 << 19), (100, 200, 100), (1, 1, 1)]:
        monkeypatch.setattr(compiled_scan, "PIECE_ROWS", piece)
        monkeypatch.setattr(compiled_scan, "MAPPED_AT_ONCE", mapped)
        monkeypatch.setattr(compiled_scan, "DECODED_AT_ONCE", decoded)
        monkeypatch.setattr(compiled_scan, "LITTLE", 0)
        found, counted = select(replace(query, tier="kernel"), zones=False)
        assert [tuple(e) for e in found] == [tuple(e) for e in expected]
        assert counted.ledger == told.ledger
        again, _ = select(replace(query, tier="kernel"), zones=False)  # rooms that were used, or given away
        assert found.digest == again.digest == expected.digest
        assert [tuple(e) for e in found] == [tuple(e) for e in expected]


@given(sizes=st.lists(st.integers(1, 300_000), min_size=1, max_size=60), threads=st.integers(1, 5))
def test_pieces_are_all_row_groups_in_order_and_bounded(sizes: list[int], threads: int) -> None:
    cut = compiled_scan.pieces(np.array(sizes), threads)
    assert cut[0][0] == 0 and cut[-1][1] == len(sizes)
    assert all(a[1] == b[0] for a, b in pairwise(cut)) and all(begin < end for begin, end in cut)
    for begin, end in cut:
        assert sum(sizes[begin:end]) < compiled_scan.PIECE_ROWS + max(sizes)
