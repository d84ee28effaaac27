"""The first accepted events with their attributes, as awkward records: a look at what a cut selects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tagsel.engine.row_groups import Columns, Unit
from tagsel.engine.scan import evaluate, visit
from tagsel.errors import SchemaError
from tagsel.language import Block
from tagsel.language.bounds import NONE
from tagsel.schema import Attribute, Schema
from tagsel.selection.query import Query
from tagsel.selection.question import Outcome, question
from tagsel.selection.run import prepare
from tagsel.store import watched


def _outcome(answer: Any) -> Outcome:
    """The log entry of a look at the first events."""
    return Outcome(subject=f"the first {len(answer)}: {', '.join(answer.fields)}")


@question("head", _outcome)
@watched
def head(query: Query, n: int, attributes: Sequence[str]) -> Any:
    """The first `n` accepted events in dataset order: awkward records with the given attributes.

    A value that a part lacks is None. SchemaError, with the nearest names, for an unknown attribute.
    """
    import awkward as ak

    prepared = prepare(query)
    records: list[Any] = []
    left = n
    for unit in prepared.plan.units:
        if left <= 0:
            break
        if unit.verdict == NONE:
            continue
        cut = prepared.inputs[unit.source].cut
        tally = visit(unit, prepared.rows, lambda u, b, a, c=cut: evaluate(c, u, b, a, "interpreter"), False)  # type: ignore[misc]
        if tally.result is None:
            continue
        rows = np.flatnonzero(tally.result)[:left]
        left -= len(rows)
        records.append(_records(unit, rows, attributes, query.inputs[unit.source].snapshot.schema))
    if not records:
        schema = query.inputs[0].snapshot.schema
        return ak.Array({schema[a].name: [] for a in attributes})
    return ak.concatenate(records)


def _records(unit: Unit, rows: Any, attributes: Sequence[str], schema: Schema) -> Any:
    import awkward as ak

    columns = Columns(unit.part, unit.group)
    fields = {}
    for name in attributes:
        attribute = schema.find(name)
        if attribute is None:
            schema[name]  # raises with the nearest names
            raise SchemaError(f"no attribute {name!r}")
        values = _values(columns, Block(unit.rows, columns), attribute, rows)
        fields[attribute.name] = _without_nulls(values, columns, schema, attribute, rows)
    return ak.zip(fields, depth_limit=1)


def _without_nulls(values: Any, columns: Columns, schema: Schema, attribute: Attribute, rows: Any) -> Any:
    """The values with None where a file had a null."""
    import awkward as ak

    null = schema.nulls_of(attribute)
    if null is not None and null.column in columns:
        bits = _values(columns, Block(0, columns), null, rows)
        values = ak.mask(values, bits, valid_when=False)
    counter = schema.by_column.get(attribute.counter) if attribute.is_list else None
    absent = schema.nulls_of(counter) if counter is not None else None
    if absent is not None and absent.column in columns:
        values = ak.mask(values, columns[absent.column][rows], valid_when=False)
    return values


def _values(columns: Columns, block: Block, attribute: Attribute, rows: Any) -> Any:
    import awkward as ak

    if attribute.column not in columns:
        return ak.Array([None] * len(rows))
    values = columns[attribute.column]
    if values.dtype == object:
        return ak.Array([str(v) for v in values[rows]])
    if not attribute.is_list:
        scalars = ak.Array(np.array(values[rows]))
        if not attribute.slot or attribute.counter not in columns:
            return scalars
        return ak.mask(scalars, columns[attribute.counter][rows] >= attribute.slot)
    jagged = ak.unflatten(np.array(values), np.maximum(np.array(columns[attribute.counter]), 0))
    return jagged[rows]
