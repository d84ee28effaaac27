"""Trigger decisions of ATLAS xAOD files: words of bits in the events, menus in the tree MetaData, joined by the SMK.

A chain's decision is bit `counter % 32` of word `counter // 32` of `efPassedRaw`; a level-1 item's is the bit of its
CTP id in `tav` (trigger after veto). Invariant: a file without menus has no trigger columns; its triggers are missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tagsel.errors import IngestError
from tagsel.ingest.columns import Columns
from tagsel.ingest.makers import Maker, MenuOfKey, Same, Words
from tagsel.rootio import EventTree
from tagsel.schema import NO_MENU, Attribute, Menu

_WORDS = (
    ("trigger", "xTrigDecisionAux.efPassedRaw", "High-level trigger chains, word {}."),
    ("l1", "xTrigDecisionAux.tav", "Level-1 items after veto, word {}."),
)
_SMK = "xTrigDecisionAux.smk"

_JSON_MENUS = (
    ("trigger", "TriggerMenuJson_HLTAux", "chains", "counter"),
    ("l1", "TriggerMenuJson_L1Aux", "items", "ctpid"),
)
"""Menus of Run 3 files: words, container, section of the JSON, field with the number."""

_LIST_MENUS = (
    ("trigger", "chainNames", "chainIds"),
    ("l1", "itemNames", "itemCtpIds"),
)
"""Menus of older files, all in TriggerMenuAux: words, names, numbers."""


def xaod_menus(metadata: EventTree | None) -> dict[int, Menu]:
    """Menus by super master key; empty where the file has none."""
    if metadata is None:
        return {}
    bits: dict[int, dict[str, tuple[str, int]]] = {}
    for words, smk, names in (*_json_menus(metadata), *_list_menus(metadata)):
        of_menu = bits.setdefault(smk, {})
        for name, number in names.items():
            of_menu[name] = f"{words}_{number // 32}", number % 32
    return {smk: Menu(of_menu, key=str(smk)) for smk, of_menu in bits.items()}


def _json_menus(metadata: EventTree) -> Iterator[tuple[str, int, dict[str, int]]]:
    for words, container, section, number in _JSON_MENUS:
        for key, payload in _rows(metadata, container, "key", "payload"):
            try:
                entries = json.loads(payload)[section]
                yield words, key, {name: int(entry[number]) for name, entry in entries.items()}
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise IngestError(
                    f"{metadata.path}: the trigger menu {container} of key {key} cannot be read: {error!r}",
                    path=str(metadata.path),
                    container=container,
                    key=key,
                ) from error


def _list_menus(metadata: EventTree) -> Iterator[tuple[str, int, dict[str, int]]]:
    for words, names, numbers in _LIST_MENUS:
        for smk, chains, ids in _rows(metadata, "TriggerMenuAux", "smk", names, numbers):
            yield words, smk, dict(zip(chains, ids, strict=True))


def _rows(metadata: EventTree, container: str, *members: str) -> Iterator[tuple[Any, ...]]:
    """The members of each object of a metadata container, over all entries of the tree."""
    names = [metadata.find(f"{container}.{m}") for m in members]
    columns = [n for n in names if n is not None]
    if len(columns) < len(members):
        return
    for entry in zip(*(values.to_list() for values in metadata.arrays(columns).values()), strict=True):
        yield from zip(*entry, strict=True)


def trigger_makers(columns: Columns, menus: Mapping[int, Menu], menu: Attribute) -> tuple[list[Maker], Maker]:
    """Makers of the words that the menus name, and the maker of the column `menu`."""
    smk = columns.first([_SMK])
    makers: list[Maker] = []
    for prefix, name, text in _WORDS:
        column = columns.first([name], is_list=True)
        if column is not None:
            makers += _words(prefix, column, text, menus)
    if not makers or smk is None:
        return [], Same(menu, NO_MENU)
    return makers, MenuOfKey(menu, smk, tuple((key, m.id) for key, m in menus.items()))


def _words(prefix: str, column: str, text: str, menus: Mapping[int, Menu]) -> list[Maker]:
    """The maker of as many words as the longest menu names, or none where no menu names any."""
    places = []
    for menu in menus.values():
        places += [word.rpartition("_") for word, _ in menu.bits.values()]
    count = 1 + max((int(number) for words, _, number in places if words == prefix), default=-1)
    names = [(f"{prefix}_{i}", text.format(i)) for i in range(count)]
    words = tuple(Attribute(name, "bits32", role="trigger", description=about) for name, about in names)
    return [Words(words, column)] if words else []
