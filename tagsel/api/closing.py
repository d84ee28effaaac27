"""Datasets that do not change any more: closed, or frozen with what they held then.

Invariant: what a frozen dataset is said to hold was read after it was frozen, so that it is what it holds for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from tagsel.api.dataset import Dataset
from tagsel.api.home import Home
from tagsel.api.ingestion import refuse_keys
from tagsel.api.inputs import DATA
from tagsel.catalog import SetMeta
from tagsel.errors import CatalogError, after
from tagsel.quality import LumiSet, format_lumi
from tagsel.selection.contents import contents
from tagsel.store import Table, disk

LUMI_BLOCKS, LUMI, EVENTS = "frozen_lumi_blocks", "frozen_lumi", "frozen_events"
"""Free keys of a frozen dataset: how many luminosity blocks have events in it, SHA-256 of their list (CMS JSON), and
the digest of the list of its events. They are those of any other dataset with the same blocks, and the same events."""


def close(home: Home, dataset: str, freeze: bool = False, meta: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Close a dataset, or freeze it; the free keys that it got: `meta`, such as its integrated luminosity, and, frozen,
    what it holds."""
    given = dict(meta or {})
    if taken := sorted({LUMI_BLOCKS, LUMI, EVENTS} & set(given)):
        raise CatalogError(f"{taken[0]} is worked out from the content", hint="another key", dataset=dataset)
    refuse_keys(given)
    catalog, folder = home.catalog, home.folder / DATA / dataset
    if owner := catalog.dataset(dataset).meta.get("catalog"):
        raise CatalogError(
            f"dataset {dataset} is {owner}'s: it is closed there, and the next sync says so here", dataset=dataset
        )
    catalog.need_writable()
    with disk.changing(folder):  # a process that adds to it has finished, or will be refused
        catalog.check(SetMeta(dataset, given))
        state = "frozen" if freeze else "closed"
        record = catalog.alter(dataset, state=state)
        with after(f"{dataset} is {state}", "the same command again says the rest"):
            if freeze and EVENTS not in record.meta and Table.exists(folder):  # else what it held is known already
                given |= held(home, dataset)
            catalog.record(SetMeta(dataset, given))
    return given


def held(home: Home, dataset: str) -> dict[str, Any]:
    """What a dataset holds now, under the keys that say what a frozen one held."""
    (source,) = home.inputs(dataset)
    blocks = LumiSet.from_blocks(*contents(source.snapshot).blocks().T)
    lumi = hashlib.sha256(format_lumi(blocks, "json").encode()).hexdigest()
    return {
        LUMI_BLOCKS: len(blocks),
        LUMI: lumi,
        EVENTS: Dataset(home, dataset, (source,)).where("true").events().digest,
    }


def changed(home: Home, dataset: str) -> list[str]:
    """What of a frozen dataset is not any more as it was: the keys; none of one that is not frozen."""
    known = home.catalog.dataset(dataset).meta
    now = held(home, dataset) if EVENTS in known else {}
    return [key for key, value in now.items() if known.get(key) != value]
