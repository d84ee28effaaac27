"""CMS NanoAOD, TTree or RNTuple: each file is its own AOD. Any other ROOT tree is read the same way, by a schema."""

from __future__ import annotations

from pathlib import Path

from tagsel.errors import IngestError
from tagsel.ingest import bookkeeping
from tagsel.ingest.body import body_makers
from tagsel.ingest.plan import Plan, head_makers, says_simulation
from tagsel.ingest.readers import TreeReader, tree_columns
from tagsel.ingest.report import ReportLine
from tagsel.ingest.source import AodFile, TagSource
from tagsel.rootio import EventTree, RootFile
from tagsel.schema import SourceSchema


def open_tree(path: Path, source: SourceSchema) -> TagSource:
    """Any tree of a ROOT file as TAGs, by a source schema; raises IngestError where an id is not there."""
    with RootFile(path) as file:
        tree = file.events(source.tree or None)
        columns = tree_columns(tree)
        if not tree.entries and not columns.types and not columns.odd:
            hint = "leave the file out: there is nothing in it to lose"
            raise IngestError(f"{path}: holds no events: the tree {tree.name} has 0 entries and no branches", hint=hint)
        body, menus = body_makers(source, columns, head_makers(source, columns, file.guid))
        menu = next(iter(menus), 0)
        plan = Plan((*head_makers(source, columns, file.guid, menu), *body), menus, source.name)
        return TagSource(
            path=path,
            format=source.format,
            guid=file.guid,
            lfn=path.name,
            entries=tree.entries,
            plan=plan,
            columns=columns,
            reader=TreeReader(path, tree.name),
            bookkeeping=bookkeeping.of_nanoaod(file),
            aod=(AodFile(file.guid, path.name, tree.entries, file.bytes),),
            is_simulation=says_simulation(source, columns, tree),
            lines=_other_trees(file, tree),
        )


_USUAL = frozenset({"LuminosityBlocks", "Runs", "MetaData", "ParameterSets"})
"""Trees of a NanoAOD beside the events, which hold no columns of events."""


def _other_trees(file: RootFile, events: EventTree) -> tuple[ReportLine, ...]:
    """Trees with as many entries as there are events, as a friend tree has, whose columns are not read."""
    others = [n for n in file.trees() if n != events.name and n not in _USUAL and not n.startswith("##")]
    reason = f"only columns of the tree {events.name} are read"
    alike = [n for n in others if (tree := file.tree(n)) is not None and tree.entries == events.entries]
    return tuple(ReportLine(name, "tree", "as many entries", reason=reason) for name in alike)
