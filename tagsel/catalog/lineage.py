"""Provenance as a tree: what a dataset was made from, and what was made from it.

Invariant: a dataset that would be its own ancestor appears once on any path, so every tree ends; one that is reached
in several ways is followed once, so a tree is no larger than the links that it shows.
"""

from __future__ import annotations

from collections.abc import Callable

from tagsel.catalog.records import Lineage
from tagsel.catalog.tables import Rows

_Links = Callable[[str], list[tuple[str, int | None]]]


def ancestors(state: Rows, name: str) -> Lineage:
    """The tree of parents of `name`; a node's snapshot is the one that was used."""

    def links(child: str) -> list[tuple[str, int | None]]:
        rows = sorted(state.of("parents", child), key=lambda r: int(r["position"]))
        return [(r["parent"], r["snapshot"]) for r in rows]

    return _grow(state, links, name, None, frozenset(), set())


def descendants(state: Rows, name: str) -> Lineage:
    """The tree of children of `name`, sorted; a node's snapshot is the one of its parent that it was made from."""
    children: dict[str, list[tuple[str, int | None]]] = {}
    for row in state.all("parents"):
        children.setdefault(row["parent"], []).append((row["dataset"], row["snapshot"]))

    def links(parent: str) -> list[tuple[str, int | None]]:
        return sorted(children.get(parent, []), key=lambda link: (link[0], link[1] or 0))

    return _grow(state, links, name, None, frozenset(), set())


def _grow(state: Rows, links: _Links, name: str, snapshot: int | None, path: frozenset[str], told: set[str]) -> Lineage:
    """The tree from `name` on; what stands in `told` was followed before, and is not again."""
    below = path | {name}
    further = [(n, s) for n, s in links(name) if n not in below]
    if name in told and further:
        return Lineage(name, snapshot, name in state.rows["datasets"], (), again=True)
    told.add(name)
    grown = tuple(_grow(state, links, n, s, below, told) for n, s in further)
    return Lineage(name, snapshot, name in state.rows["datasets"], grown)
