"""What there is to say of a file that was opened: its columns, names that no cut can write, rows without an AOD.

Invariant: a remark does not name the file, so that a thousand files of one kind say it once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tagsel.ingest.columns import MOST_LISTED, Columns, more
from tagsel.ingest.makers import Chunk, Pointer, RowNumber, makers_of
from tagsel.ingest.plan import Plan
from tagsel.ingest.report import NO_TYPE, ReportLine
from tagsel.ingest.source import BATCH_ROWS, TagSource
from tagsel.schema import Schema, SourceSchema

_NAME = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]*(\.(?!__)[A-Za-z_][A-Za-z0-9_]*)*")
_WORDS = frozenset({"and", "or", "not", "in", "if", "let", "true", "false"})


def remarks(opened: TagSource, source: SourceSchema) -> tuple[str, ...]:
    """Warnings about a file opened by a source schema."""
    return (*_left_out(opened, source), *_nameless(opened.schema), *_homeless(opened))


def writable(name: str) -> bool:
    """Whether the cut language can write this name: it has no quotes for others.

    >>> writable("Muon.pt"), writable("my col"), writable("not")
    (True, False, False)
    """
    return name not in _WORDS and _NAME.fullmatch(name) is not None


def column_lines(columns: Columns, plan: Plan, source: SourceSchema) -> tuple[ReportLine, ...]:
    """What became of each column of a tree or Parquet file that `plan` reads by a source schema."""
    joined = _joined(source)
    uses = {column: joined[columns.name(column)] for column in columns.types if columns.name(column) in joined}
    for maker in plan.makers:
        for column, attribute, kind in maker.uses():
            uses[column] = attribute, kind
    lines = []
    for column, column_type in columns.types.items():
        name = column.removeprefix(columns.prefix)
        if column in uses:
            attribute, kind = uses[column]
            lines.append(ReportLine(name, kind, str(column_type), attribute))
            continue
        reason, remedy = f"the schema {source.name} does not ask for them", _REMEDY
        if source.name == "nanoaod" and source.profile != "full":
            reason, remedy = f"the profile {source.profile} leaves them", _FULL
        if columns.name(column) in source.ignore:
            reason, remedy = f"the schema {source.name} ignores them", ""
        lines.append(ReportLine(name, "column", str(column_type), reason=reason, remedy=remedy))
    for column, spelled in columns.odd.items():
        lines.append(ReportLine(column.removeprefix(columns.prefix), "column", spelled, reason=NO_TYPE))
    return tuple(lines)


def _joined(source: SourceSchema) -> dict[str, tuple[str, str]]:
    """Columns by name that are read to join a TAG with the events beside it: ids and Tokens, made of the events."""
    joined = {}
    for attribute, names in source.ids.items():
        if not isinstance(names, int):
            joined.update(dict.fromkeys(names, (attribute, "column")))
    for stage, names in source.references.items():
        joined.update(dict.fromkeys(names, (f"{stage}_entry", "column")))
    return joined


_FULL = "--profile full, into a new dataset, takes them"
_REMEDY = "a schema of your own may: tagsel schema derive drafts one"


def _left_out(opened: TagSource, source: SourceSchema) -> Iterator[str]:
    """Columns that the schema names and no attribute can hold."""
    columns = opened.columns
    branches = _branches(source)
    odd = [c for c in columns.odd if columns.name(c) in branches and columns.name(c) not in source.ignore]
    if odd:
        yield f"left out, as {NO_TYPE}: {columns.listed(odd)}"


def _branches(source: SourceSchema) -> set[str]:
    """The names of branches that a schema spells out."""
    branches: set[str] = set()
    for attribute in source.attributes:
        branches.update(attribute.branches)
    for collection in source.collections:
        branches.update(collection.branches())
    for names in source.ids.values():
        if not isinstance(names, int):
            branches.update(names)
    for tokens in source.references.values():
        branches.update(tokens)
    return branches


def _nameless(schema: Schema) -> Iterator[str]:
    names = [a.name for a in schema if not any(map(writable, (a.name, *a.aliases)))]
    if names:
        listed = ", ".join(map(repr, names[:MOST_LISTED])) + more(names)
        yield (
            f"no cut can use {listed}: a name is letters, digits and _, and no word of the cut language; a schema "
            "may give other names: tagsel schema derive drafts one"
        )


def _homeless(opened: TagSource) -> Iterator[str]:
    if opened.entries and not _has_aod(opened):
        yield "rows name no AOD: map, skim and submit will not work for this dataset"


def _has_aod(opened: TagSource) -> bool:
    """Whether some row says in which file, and where in it, its event lies."""
    makers = makers_of(opened.plan.makers, ("aod_guid", "aod_entry"))
    if not opened.aod or any(isinstance(m, RowNumber | Pointer) for m in makers):
        return bool(opened.aod)
    plan = Plan(makers, {})
    return any(_some_address(plan, chunk) for chunk in opened.reader.chunks(plan.columns, BATCH_ROWS))


def _some_address(plan: Plan, chunk: Chunk) -> bool:
    import pyarrow.compute as pc

    rows = plan.batch(chunk)
    return bool(pc.any(pc.and_(pc.not_equal(rows["aod_guid"], ""), pc.greater_equal(rows["aod_entry"], 0))).as_py())
