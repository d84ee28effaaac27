"""One type and one column for each attribute of all files that come in together, before any of them is written.

The rule of types is `schema.type_union`, that of columns `ingest.physical_names`. Invariant: a dataset that has an
attribute keeps its type and its column; a file that does not fit is named with both types, and the others come in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tagsel.ingest.makers import Lists, Maker, Scalar
from tagsel.ingest.physical_names import ColumnNames, with_columns
from tagsel.ingest.source import TagSource
from tagsel.schema import Attribute, Schema
from tagsel.schema.type_union import union_type


@dataclass(frozen=True)
class _Agreed:
    """The type of an attribute so far, and whose it is."""

    type: str
    where: str
    is_fixed: bool = False


def agree_on_types(
    sources: Sequence[TagSource], dataset: str, held: Schema | None, evolve: bool
) -> tuple[list[TagSource], list[tuple[TagSource, str]]]:
    """The files with one type and one column for each attribute, and files that do not fit, with the reason.

    `held` is the schema of a dataset that exists; floats of two widths go together with `evolve` alone.
    """
    agreed = {a.name: _Agreed(a.type, dataset, is_fixed=True) for a in held or ()}
    fitting: list[TagSource] = []
    refused: list[tuple[TagSource, str]] = []
    for source in sources:
        unions: dict[str, _Agreed] = {}
        reason = ""
        for attribute in source.schema:
            union, reason = _union(attribute, agreed.get(attribute.name), source, evolve)
            if reason:
                break
            unions[attribute.name] = union
        if reason:
            refused.append((source, reason))
        else:
            agreed |= unions
            fitting.append(source)
    types = {name: a.type for name, a in agreed.items()}
    columns = ColumnNames(held or ())
    for source in fitting:
        columns.add(source.schema)
    return [_with_columns(_retyped(source, types), columns) for source in fitting], refused


def _union(attribute: Attribute, before: _Agreed | None, source: TagSource, evolve: bool) -> tuple[_Agreed, str]:
    """The type that holds an attribute's values here and there, or the reason why there is none."""
    mine = _Agreed(attribute.type, str(source.path))
    if before is None or before.type == mine.type:
        return before or mine, ""
    message = f"attribute {attribute.name} is {before.type} in {before.where} and {mine.type} in {mine.where}"
    union = union_type(before.type, mine.type, widen_floats=evolve)
    if union is None:
        floats = union_type(before.type, mine.type) if not before.is_fixed or before.type == "float64" else None
        return mine, message + ("; --evolve widens float32 to float64" if floats else ", and no type holds both")
    if before.is_fixed and union != before.type:
        return mine, f"{message}, and a dataset that exists keeps its types: ingest all files into a new one"
    return replace(before, type=union), ""


def _retyped(source: TagSource, types: Mapping[str, str]) -> TagSource:
    """The file with the attributes' types as agreed."""
    if all(types[a.name] == a.type for a in source.schema):
        return source
    makers = tuple(_retyped_maker(maker, types) for maker in source.plan.makers)
    return replace(source, plan=replace(source.plan, makers=makers))


def _with_columns(source: TagSource, columns: ColumnNames) -> TagSource:
    """The file with the attributes' columns as agreed."""
    makers = with_columns(source.plan.makers, columns)
    return source if makers == source.plan.makers else replace(source, plan=replace(source.plan, makers=makers))


def _retyped_maker(maker: Maker, types: Mapping[str, str]) -> Maker:
    if isinstance(maker, Scalar):
        return replace(maker, attribute=replace(maker.attribute, type=types[maker.attribute.name]))
    if isinstance(maker, Lists):
        members = (replace(m, attribute=replace(m.attribute, type=types[m.attribute.name])) for m in maker.members)
        return replace(maker, members=tuple(members))
    return maker
