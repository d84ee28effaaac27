"""ATLAS DAOD_PHYSLITE, TTree or RNTuple: events, and beside them the TAG of the same events.

A row is one event and carries both, joined by the Token's entry, ids checked equal. Where the ids of the events
cannot be read (EventInfo kept unsplit) the TAG alone is ingested; without one that is an error.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagsel.errors import IngestError
from tagsel.ingest import bookkeeping
from tagsel.ingest.body import body_makers
from tagsel.ingest.columns import Columns
from tagsel.ingest.makers import Maker, Pointer
from tagsel.ingest.plan import Plan, head_makers, says_simulation
from tagsel.ingest.pool import open_pool, own_aod, tag_tree, token_entries
from tagsel.ingest.readers import TAG_PREFIX, JoinedReader, Reader, TreeReader, tree_columns
from tagsel.ingest.remarks import column_lines
from tagsel.ingest.source import TagSource
from tagsel.ingest.xaodtriggers import trigger_makers, xaod_menus
from tagsel.rootio import EventTree, RootFile
from tagsel.schema import IDS, Menu, SourceSchema, base_attributes, load_source_schema

EVENT_TREES = ("EventData", "CollectionTree")


def open_physlite(path: Path, source: SourceSchema) -> TagSource:
    """A PHYSLITE file as TAGs: events joined with the TAG that the file carries, if it does."""
    with RootFile(path) as file:
        events = _event_tree(file, source)
        columns = tree_columns(events)
        tag = tag_tree(file)
        if not all(columns.first(_names(source, i)) for i in IDS):
            if tag is None:
                head_makers(source, columns, file.guid)  # says which id is not there
            return _tag_alone(path, events)
        menus = xaod_menus(file.tree("MetaData"))
        makers, reader = _makers(file, events, columns, tag, source, menus)
        plan = Plan(makers, {m.id: m for m in menus.values()}, source.name)
        lines = () if tag is None else column_lines(tree_columns(tag, TAG_PREFIX), plan, load_source_schema("pool"))
        return TagSource(
            path=path,
            format=source.format,
            guid=file.guid,
            lfn=path.name,
            entries=events.entries,
            plan=plan,
            reader=reader,
            columns=columns,
            lines=lines,
            bookkeeping=bookkeeping.of_physlite(file.tree("MetaData")),
            aod=(own_aod(file),),
            is_simulation=says_simulation(source, columns, events) or (tag is not None and _tag_says(tag)),
        )


def _event_tree(file: RootFile, source: SourceSchema) -> EventTree:
    for name in (source.tree,) if source.tree else EVENT_TREES:
        tree = file.tree(name)
        if tree is not None:
            return tree
    return file.events(source.tree or None)


def _names(source: SourceSchema, name: str) -> tuple[str, ...]:
    names = source.ids[name]
    return () if isinstance(names, int) else names


def _tag_alone(path: Path, events: EventTree) -> TagSource:
    warning = f"{path}: the ids of {events.name} cannot be read (EventInfo is not split): the TAG alone is ingested"
    return replace(open_pool(path, load_source_schema("pool")), warnings=(warning,))


def _tag_says(tag: EventTree) -> bool:
    return says_simulation(load_source_schema("pool"), tree_columns(tag), tag)


def _makers(
    file: RootFile,
    events: EventTree,
    columns: Columns,
    tag: EventTree | None,
    source: SourceSchema,
    menus: dict[int, Menu],
) -> tuple[tuple[Maker, ...], Reader]:
    base = {a.name: a for a in base_attributes(source)}
    triggers, menu = trigger_makers(columns, menus, base["menu"])
    head = head_makers(source, columns, file.guid, menu)
    if tag is None:
        body, _ = body_makers(source, columns, [*head, *triggers])
        return (*head, *triggers, *body), TreeReader(file.path, events.name)
    pool = load_source_schema("pool")
    of_tag = tree_columns(tag, TAG_PREFIX)
    rows_of = _join(events, columns, tag, of_tag, source, pool, file.guid)
    tag_head = head_makers(pool, of_tag, file.guid)
    more = [m for m in tag_head if isinstance(m, Pointer) and m.guid.name != "aod_guid"]
    tag_body, _ = body_makers(pool, of_tag, tag_head)
    body, _ = body_makers(source, columns, [*head, *more, *tag_body, *triggers])
    makers = (*head[:-1], *more, head[-1], *tag_body, *triggers, *body)
    return makers, JoinedReader(file.path, events.name, tag.name, rows_of)


def _join(
    events: EventTree,
    columns: Columns,
    tag: EventTree,
    of_tag: Columns,
    source: SourceSchema,
    pool: SourceSchema,
    guid: str,
) -> tuple[int, ...] | None:
    """The TAG row of each entry, None where they are the same; IngestError where TAG and events do not match."""
    entries = token_entries(tag, of_tag, pool, guid)
    rows = np.full(events.entries, -1, dtype=np.int64)
    inside = (entries >= 0) & (entries < events.entries)
    rows[entries[inside]] = np.flatnonzero(inside)
    if len(entries) != events.entries or (rows < 0).any():
        without = int((rows < 0).sum())
        raise IngestError(
            f"{events.path}: {tag.name} has {len(entries)} rows for the {events.entries} events of {events.name}; "
            f"{without} events have no row",
            hint='ingest the TAG alone: format "pool"',
            path=str(events.path),
            tag=len(entries),
            events=events.entries,
        )
    for name in IDS:
        ours = columns.first(_names(source, name))
        theirs = of_tag.first(_names(pool, name))
        if ours is not None and theirs is not None:
            _check_equal(events, ours, tag, theirs.removeprefix(TAG_PREFIX), rows, name)
    return None if np.array_equal(rows, np.arange(len(rows))) else tuple(rows.tolist())


def _check_equal(
    events: EventTree, ours: str, tag: EventTree, theirs: str, rows: npt.NDArray[np.int64], name: str
) -> None:
    mine = events.arrays([ours])[ours].astype(np.uint64)
    other = tag.arrays([theirs])[theirs].astype(np.uint64)[rows]
    if np.array_equal(mine, other):
        return
    entry = int(np.argmax(mine != other))
    raise IngestError(
        f"{events.path}: entry {entry}: {name} is {mine[entry]} in {events.name} and {other[entry]} in {tag.name}",
        hint="the TAG belongs to another file, or the file is damaged",
        path=str(events.path),
        entry=entry,
        id=name,
    )
