"""CMS NanoAOD, TTree or RNTuple: each file is its own AOD. Any other ROOT tree is read the same way, by a schema."""

from __future__ import annotations

from pathlib import Path

from tagsel.ingest import bookkeeping
from tagsel.ingest.body import body_makers
from tagsel.ingest.plan import Plan, head_makers, says_simulation
from tagsel.ingest.readers import TreeReader, tree_columns
from tagsel.ingest.source import AodFile, TagSource
from tagsel.rootio import RootFile
from tagsel.schema import SourceSchema


def open_tree(path: Path, source: SourceSchema) -> TagSource:
    """Any tree of a ROOT file as TAGs, by a source schema; raises IngestError where an id is not there."""
    with RootFile(path) as file:
        tree = file.events(source.tree or None)
        columns = tree_columns(tree)
        body, menus = body_makers(source, columns, head_makers(source, columns, file.guid))
        menu = next(iter(menus), 0)
        plan = Plan((*head_makers(source, columns, file.guid, menu), *body), menus, source.name)
        return TagSource(
            path=path, format=source.format, guid=file.guid, lfn=path.name, entries=tree.entries, plan=plan,
            columns=columns, reader=TreeReader(path, tree.name), bookkeeping=bookkeeping.of_nanoaod(file),
            aod=(AodFile(file.guid, path.name, tree.entries, file.bytes),),
            is_simulation=says_simulation(source, columns, tree),
        )  # fmt: skip
