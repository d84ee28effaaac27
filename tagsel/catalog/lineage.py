"""Provenance as a tree: what a dataset was made from, and what was made from it.

Invariant: a dataset that would be its own ancestor appears once on any path, so every tree ends; one that is reached
in several ways is followed once, so a tree is no larger than the links that it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tagsel.catalog.tables import Rows


@dataclass(frozen=True)
class Lineage:
    """A dataset in a tree of provenance; `links` are its parents (or children), `known` is false once it is gone.

    `again`: it stands in the tree before, and its links are there.
    """

    name: str
    snapshot: int | None
    known: bool
    links: tuple[Lineage, ...] = ()
    again: bool = False

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Lineage]]:
        """(depth, node) of the whole tree, a node before its links."""
        yield depth, self
        for link in self.links:
            yield from link.walk(depth + 1)


_Link = tuple[str, int | None, bool]
"""The dataset at the other end of a link, the snapshot, and whether it is the dataset of this catalog with its name."""

_Links = Callable[[str], list[_Link]]

IsParent = Callable[[str, str, int | None], bool]
"""Whether the catalog's dataset that is named as the parent of another, at a snapshot, is its parent."""


def by_name(child: str, parent: str, snapshot: int | None) -> bool:
    """A dataset is the parent that its name says it is."""
    return True


def ancestors(state: Rows, name: str, is_parent: IsParent = by_name) -> Lineage:
    """The tree of parents of `name`; a node's snapshot is the one that was used."""

    def links(child: str) -> list[_Link]:
        rows = sorted(state.of("parents", child), key=lambda r: int(r["position"]))
        return [(r["parent"], r["snapshot"], is_parent(child, r["parent"], r["snapshot"])) for r in rows]

    return _grow(state, links, name, None, frozenset(), set())


def descendants(state: Rows, name: str, is_parent: IsParent = by_name) -> Lineage:
    """The tree of children of `name`, sorted; a node's snapshot is the one of its parent that it was made from."""
    children: dict[str, list[tuple[str, int | None]]] = {}
    for row in state.all("parents"):
        children.setdefault(row["parent"], []).append((row["dataset"], row["snapshot"]))

    def links(parent: str) -> list[_Link]:
        ordered = sorted(children.get(parent, []), key=lambda link: (link[0], link[1] or 0))
        return [(child, snapshot, True) for child, snapshot in ordered if is_parent(child, parent, snapshot)]

    return _grow(state, links, name, None, frozenset(), set())


def _grow(
    state: Rows, links: _Links, name: str, snapshot: int | None, path: frozenset[str], visited: set[str]
) -> Lineage:
    """The tree from `name` on; what stands in `told` was followed before, and is not again."""
    below = path | {name}
    further = [link for link in links(name) if link[0] not in below]
    if name in visited and further:
        return Lineage(name, snapshot, name in state.rows["datasets"], (), again=True)
    visited.add(name)
    grown = []
    for other, at, here in further:
        grown.append(_grow(state, links, other, at, below, visited) if here else Lineage(other, at, False))
    return Lineage(name, snapshot, name in state.rows["datasets"], tuple(grown))
