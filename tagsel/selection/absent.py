"""Chains that a cut uses and some rows' menus lack: stated beside the ledger, for there they are missing, not false."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from tagsel.errors import StoreError
from tagsel.schema import NO_MENU
from tagsel.selection.query import BoundInput
from tagsel.store import Part


def triggers_absent(inputs: Sequence[BoundInput], allow_losses: bool = False) -> dict[str, dict[str, object]]:
    """For each chain in the cut: rows and runs whose menu lacks it (there it is missing, not false)."""
    absent: dict[str, dict[str, object]] = {}
    for bound in inputs:
        snapshot = bound.input.snapshot
        for chain in bound.cut.triggers:
            lacking = [NO_MENU, *(i for i, menu in snapshot.menus.items() if chain not in menu.bits)]
            found = [_tried(part, lacking, allow_losses) for part in snapshot.parts]
            rows = sum(n for n, _ in found)
            if rows:
                known = absent.setdefault(chain, {"events": 0, "runs": []})
                runs = {run for _, runs in found for run in runs}
                absent[chain] = {
                    "events": cast(int, known["events"]) + rows,
                    "runs": sorted(runs.union(cast("list[int]", known["runs"]))),
                }
    return absent


def _tried(part: Part, menus: Sequence[int], allow_losses: bool) -> tuple[int, set[int]]:
    """The same, nothing for a damaged part whose rows the ledger counts as unreadable."""
    try:
        return _rows_of_menus(part, menus)
    except StoreError:
        if allow_losses:
            return 0, set()
        raise


def _rows_of_menus(part: Part, menus: Sequence[int]) -> tuple[int, set[int]]:
    """Rows of a part with one of these menus, and their runs; row groups whose zone excludes them are not read."""
    if "menu" not in part.columns:
        runs = {run for group in range(len(part.groups)) for run in part.lumi_counts(group)[0].tolist()}
        return part.rows, runs
    zone = part.zones(["menu"]).get("menu")
    rows, runs = 0, set[int]()
    for group in range(len(part.groups)):
        if zone is not None and not any(zone.min[group] <= menu <= zone.max[group] for menu in menus):
            continue
        if zone is not None and zone.min[group] == zone.max[group]:  # one menu, which lacks it: no row need be read
            rows += part.groups[group]
            runs.update(part.lumi_counts(group)[0].tolist())
            continue
        ids = part.read(group, ["run", "menu"])
        lacks = np.isin(ids["menu"], menus)
        rows += int(np.count_nonzero(lacks))
        runs.update(np.unique(ids["run"][lacks]).tolist())
    return rows, runs
