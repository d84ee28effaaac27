"""POOL collections: trees of TAGs whose rows point to events of other files by Tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tagsel.errors import IngestError
from tagsel.ingest import bookkeeping
from tagsel.ingest.body import body_makers
from tagsel.ingest.columns import Columns
from tagsel.ingest.convert import strings
from tagsel.ingest.makers import Chunk, read_tokens
from tagsel.ingest.plan import Plan, head_makers, says_simulation
from tagsel.ingest.readers import TreeReader, tree_columns
from tagsel.ingest.source import AodFile, TagSource, files_of
from tagsel.rootio import EVENT_TREES, EventTree, RootFile
from tagsel.schema import SourceSchema

TAG_TREES = ("POOLCollectionTree", "EventTag")
"""Names of the tree of TAGs: TTree, RNTuple."""


def tag_tree(file: RootFile, name: str = "") -> EventTree | None:
    """The file's tree of TAGs, or None."""
    for candidate in (name,) if name else TAG_TREES:
        tree = file.tree(candidate)
        if tree is not None:
            return tree
    return None


def open_pool(path: Path, source: SourceSchema) -> TagSource:
    """A POOL collection as TAGs: its attributes, and the files that its Tokens point to."""
    with RootFile(path) as file:
        tree = tag_tree(file, source.tree)
        if tree is None:
            wanted = source.tree or " or ".join(TAG_TREES)
            raise IngestError(f"{path}: no tree of TAGs: looked for {wanted}", path=str(path))
        columns = tree_columns(tree)
        head = head_makers(source, columns, file.guid, own=False)
        body, menus = body_makers(source, columns, head)
        if menus:
            head = head_makers(source, columns, file.guid, next(iter(menus)), own=False)
        reader = TreeReader(path, tree.name)
        return TagSource(
            path=path,
            format=source.format,
            guid=file.guid,
            lfn=path.name,
            entries=tree.entries,
            plan=Plan((*head, *body), menus, source.name),
            reader=reader,
            bookkeeping=bookkeeping.nothing("a POOL collection holds no bookkeeping"),
            columns=columns,
            aod=files_of(head, reader, own_aod(file)),
            is_simulation=says_simulation(source, columns, tree),
        )


def own_aod(file: RootFile) -> AodFile:
    """A file that holds TAGs and, perhaps, events, as an AOD file."""
    trees = [tree for name in EVENT_TREES if (tree := file.tree(name)) is not None]
    return AodFile(file.guid, file.path.name, trees[0].entries if trees else -1, file.bytes)


def token_entries(tag: EventTree, columns: Columns, source: SourceSchema, guid: str) -> np.ndarray:
    """The entry that each TAG row points to, (n_rows,) int64; IngestError where a row points to another file."""
    token = columns.first(source.references.get("aod", ()))
    if token is None:
        raise IngestError(f"{tag.path}: the TAG in {tag.name} has no Tokens", path=str(tag.path))
    name = token.removeprefix(columns.prefix)
    texts = strings(tag.arrays([name])[name]).to_pylist()
    guids, entries = read_tokens(texts, Chunk(tag.path, 0, len(texts), {}), name)
    elsewhere = [i for i, g in enumerate(guids) if g != guid]
    if elsewhere:
        raise IngestError(
            f"{tag.path}: row {elsewhere[0]} of the TAG in {tag.name} points to file {guids[elsewhere[0]] or 'none'}, "
            f"and this is {guid}; so do {len(elsewhere) - 1} other rows",
            hint='ingest the TAG alone: format "pool"',
            path=str(tag.path),
            row=elsewhere[0],
        )
    return np.array(entries, dtype=np.int64)
