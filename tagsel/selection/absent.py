"""Chains that a cut uses and the menus of some rows lack; there the chain is missing, which is not false.

The ledger of a count states in how many events, and in which runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import cast

import numpy as np

from tagsel.errors import StoreError
from tagsel.schema import NO_MENU, Menu
from tagsel.selection.query import BoundInput
from tagsel.store import Frame, watched


def triggers_absent(inputs: Sequence[BoundInput], allow_losses: bool = False) -> dict[str, dict[str, object]]:
    """For each chain in the cut: rows and runs whose menu lacks it (there it is missing, not false)."""
    absent: dict[str, dict[str, object]] = {}
    for bound in inputs:
        snapshot = bound.input.snapshot
        for chain in bound.cut.triggers:
            lacking = [NO_MENU, *(i for i, menu in snapshot.menus.items() if not _has(menu, chain))]
            rows, runs = _tried(snapshot.frame, lacking, allow_losses)
            if rows:
                before = absent.get(chain, {"events": 0, "runs": []})
                absent[chain] = {
                    "events": cast(int, before["events"]) + rows,
                    "runs": sorted(runs.union(cast("list[int]", before["runs"]))),
                }
    return absent


def _has(menu: Menu, chain: str) -> bool:
    """Whether a menu has a chain, or, for a pattern (`HLT_Mu50_v*`), one that matches."""
    if "*" not in chain and "?" not in chain:
        return chain in menu.bits
    return any(fnmatchcase(name, chain) for name in menu.bits)


def _tried(frame: Frame, menus: Sequence[int], allow_losses: bool) -> tuple[int, set[int]]:
    """`_rows_of_menus`; where losses are allowed, without damaged parts, whose rows the ledger has as unreadable."""
    try:
        return _rows_of_menus(frame, menus)
    except StoreError:
        if not allow_losses:
            raise
    rows, runs = 0, set[int]()
    for at in range(len(frame.parts)):
        try:
            rows_of_part, runs_of_part = _rows_of_menus(Frame(frame.parts[at : at + 1]), menus)
        except StoreError:
            continue
        rows += rows_of_part
        runs |= runs_of_part
    return rows, runs


@watched
def _rows_of_menus(frame: Frame, menus: Sequence[int]) -> tuple[int, set[int]]:
    """Rows with one of these menus, and their runs; where the zones know both, nothing is read."""
    rows, runs = 0, set[int]()
    for columns, members in frame.kinds:
        whole, some = members, members[:0]
        if "menu" in columns:
            zone = frame.zone("menu", members)
            assert zone is not None  # it is a number
            near = np.logical_or.reduce([(zone.min <= menu) & (menu <= zone.max) for menu in menus])
            one = zone.min == zone.max
            whole, some = members[near & one], members[near & ~one]
        rows += int(frame.rows[whole].sum())
        runs |= _runs(frame, whole)
        for group in some.tolist():
            ids = frame.part(group).read(int(frame.group_of[group]), ["run", "menu"])
            lacks = np.isin(ids["menu"], menus)
            rows += int(np.count_nonzero(lacks))
            runs.update(np.unique(ids["run"][lacks]).tolist())
    return rows, runs


def _runs(frame: Frame, groups: np.ndarray[tuple[int], np.dtype[np.int64]]) -> set[int]:
    """The runs in some row groups."""
    zone = frame.zone("run", groups)
    if zone is None:
        return set()
    one = zone.min == zone.max
    runs = set(zone.min[one].tolist())
    for group in groups[~one].tolist():
        runs.update(frame.part(group).lumi_counts(int(frame.group_of[group]))[0].tolist())
    return runs
