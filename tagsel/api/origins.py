"""The datasets that an event list was made from: which snapshot of which dataset, in which workspace.

Invariant: two datasets of one name are told apart by the content of the snapshot, where the list records it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tagsel.api.home import Home
from tagsel.api.inputs import DATA
from tagsel.catalog import Catalog, others, parse_dataset_spec
from tagsel.errors import TagselError
from tagsel.events import EventList
from tagsel.store import Table

CONTENTS = "parent_contents"
"""The free key of a dataset that says the content of each of its parents: `d.TAG@1=59ab…, e.TAG@4=03fc…`."""


@dataclass(frozen=True)
class Origin:
    """A snapshot of a dataset, `content` as `Snapshot.content`; "" where the list does not record it."""

    name: str
    snapshot: int | None
    content: str = ""

    def __str__(self) -> str:
        return self.name if self.snapshot is None else f"{self.name}@{self.snapshot}"


def origins(provenance: Mapping[str, object]) -> list[Origin]:
    """The datasets in a list's provenance, and in that of the lists it was made from, each once."""
    return list(dict.fromkeys(_origins(provenance)))


def _origins(provenance: Mapping[str, object]) -> Iterator[Origin]:
    names, contents = provenance.get("datasets", []), provenance.get("contents", {})
    for text in names if isinstance(names, list) else ():
        spec = parse_dataset_spec(str(text))[0]
        content = str(contents.get(text, "")) if isinstance(contents, Mapping) else ""
        yield Origin(spec.pattern, spec.snapshot, content)
    lists = provenance.get("lists", {})
    for inner in lists.values() if isinstance(lists, Mapping) else ():
        if isinstance(inner, Mapping):
            yield from _origins(inner)


def home_of_origin(home: Home, origin: Origin) -> tuple[Path, Catalog]:
    """The workspace that has an origin: this one or one that it names.

    Of several datasets of its name the one with its content; the first of them where none has it.
    """
    for folder, catalog in others.homes(home.folder, home.catalog):
        if origin.name in catalog.names() and is_in(folder, origin):
            return folder, catalog
    return others.home_of(home.folder, home.catalog, origin.name)


def is_in(folder: Path, origin: Origin) -> bool:
    """Whether the dataset of that name in a workspace's folder is the origin, as far as its content is known."""
    table = folder / DATA / origin.name
    if not origin.content or origin.snapshot is None or not Table.exists(table):
        return True
    try:
        return Table.open(table).snapshot(origin.snapshot).content == origin.content
    except TagselError:  # it has no such snapshot
        return False


def contents(parents: Iterable[Origin]) -> dict[str, str]:
    """The free key that says the content of a dataset's parents; {} where none is known."""
    text = ", ".join(f"{origin}={origin.content}" for origin in parents if origin.content)
    return {CONTENTS: text} if text else {}


def is_parent(home: Home, child: str, parent: str, snapshot: int | None) -> bool:
    """Whether the dataset of this workspace named as the parent of another is the one that it was made from.

    A text of another form, which a user of an older tagsel could record under this key, says nothing of it.
    """
    recorded = str(home.catalog.dataset(child).meta.get(CONTENTS, ""))
    content = ""
    for pair in recorded.split(", "):
        pinned, _, digest = pair.rpartition("=")
        if pinned == f"{parent}@{snapshot}":
            content = digest
    return is_in(home.folder, Origin(parent, snapshot, content))


def snapshots_of(provenance: Mapping[str, object]) -> list[str]:
    """`name@snapshot` of all datasets in a list's provenance, those of the lists it was made from too."""
    return list(dict.fromkeys(map(str, origins(provenance))))


def own_snapshots(events: EventList) -> list[str]:
    """`name@snapshot` of the datasets that a list itself is of: by its own record, else by those of its parents."""
    return snapshots_of({"datasets": events.provenance.get("datasets", [])}) or snapshots_of(events.provenance)
