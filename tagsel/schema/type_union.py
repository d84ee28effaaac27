"""The one rule for an attribute, branch or field that has different types in different files.

Integers widen to an integer that holds both, never to a float; float32 widens to float64 where that is allowed; what is
empty has no say; all other pairs are refused. A uint64 beside signed integers becomes an int64, as in a dataset,
and a value of 2^63 or more is then an error. Invariant: no value changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tagsel.errors import SchemaError

if TYPE_CHECKING:
    import pyarrow as pa

_SIGNED = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}
_UNSIGNED = {"uint8": 8, "uint16": 16, "uint32": 32, "uint64": 64}
_FLOATS = {"float16": 16, "float32": 32, "float64": 64}


def union_type(one: str, other: str, widen_floats: bool = True) -> str | None:
    """The narrowest type that holds the values of both exactly, or None where there is none.

    A bool counts as an integer, 0 or 1.

    >>> union_type("int32", "uint32"), union_type("uint8", "int8"), union_type("int32", "uint64")
    ('int64', 'int16', 'int64')
    >>> union_type("int32", "float64") is None, union_type("float32", "float64")
    (True, 'float64')
    """
    if one == other:
        return one
    if one in _FLOATS and other in _FLOATS:
        wider = max(one, other, key=_FLOATS.__getitem__)
        return wider if widen_floats else None
    if "bool" in (one, other):
        number = other if one == "bool" else one
        return number if number in _SIGNED or number in _UNSIGNED else None
    for kinds in (_SIGNED, _UNSIGNED):
        if one in kinds and other in kinds:
            return max(one, other, key=kinds.__getitem__)
    signed, unsigned = (one, other) if one in _SIGNED else (other, one)
    if signed in _SIGNED and unsigned in _UNSIGNED:
        bits = max(_SIGNED[signed], 2 * _UNSIGNED[unsigned])
        return f"int{min(bits, 64)}"
    return None


def leaf_type(array: Any) -> str:
    """The type of an awkward array's innermost values; "" where it is empty of any type, "?" for records and unions.

    >>> import awkward as ak
    >>> leaf_type(ak.Array([[1.5], []])), leaf_type(ak.Array([])), leaf_type(ak.Array(["a"]))
    ('float64', '', 'string')
    """
    import awkward as ak

    kind: Any = ak.type(array).content
    while isinstance(kind, ak.types.ListType | ak.types.RegularType | ak.types.OptionType):
        if kind.parameters.get("__array__") in ("string", "bytestring"):
            return "string"
        kind = kind.content
    if isinstance(kind, ak.types.UnknownType):
        return ""
    return str(kind.primitive) if isinstance(kind, ak.types.NumpyType) else "?"


def widened(array: Any, kind: str, name: str) -> Any:
    """An awkward array as `kind`, which holds its type; SchemaError for a uint64 value that no int64 holds."""
    import awkward as ak
    import numpy as np

    if leaf_type(array) == "uint64" and kind == "int64":
        largest = ak.max(array, axis=None)
        if largest is not None and int(largest) > np.iinfo(np.int64).max:
            raise SchemaError(
                f"{name}: {int(largest)} is above 2^63 - 1, and other files hold signed integers there",
                hint="leave it out, or take the files apart",
                name=name,
            )
    return ak.values_astype(array, kind)


def concatenate(arrays: Sequence[Any]) -> Any:
    """Record arrays one after another, no value changed; SchemaError names a field whose types do not go together."""
    import awkward as ak

    if len(arrays) == 1:
        return arrays[0]
    speaking = [a for a in arrays if len(a)] or list(arrays[:1])
    kinds: dict[str, str] = {}
    for array in speaking:
        for field in array.fields:
            kinds[field] = _merged(kinds.get(field, ""), leaf_type(array[field]), field)
    return ak.concatenate([with_types(array, kinds) for array in speaking])


def with_types(events: Any, kinds: Mapping[str, str]) -> Any:
    """A record array whose fields have at least the types `kinds`; where they have them it is given back as it is."""
    import awkward as ak

    wrong = [f for f in events.fields if f in kinds and leaf_type(events[f]) not in (kinds[f], "", "?", "string")]
    if not wrong:
        return events
    fields = {f: widened(events[f], kinds[f], f) if f in wrong else events[f] for f in events.fields}
    return ak.zip(fields, depth_limit=1)


def _merged(one: str, other: str, name: str) -> str:
    if not one or not other:
        return one or other
    union = union_type(one, other)
    if union is None:
        raise SchemaError(f"{name} is {one} in one place and {other} in another, and no type holds both", name=name)
    return union


def arrow_union(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """The Arrow schema of tables joined one after another, by the same rule; SchemaError names what does not fit."""
    import pyarrow as pa

    fields: dict[str, pa.Field] = {}
    for schema in schemas:
        for field in schema:
            before = fields.get(field.name)
            kind = field.type if before is None else _arrow_merged(before.type, field.type, field.name)
            fields[field.name] = pa.field(field.name, kind)
    return pa.schema(list(fields.values()))


def _arrow_merged(one: pa.DataType, other: pa.DataType, name: str) -> pa.DataType:
    import pyarrow as pa

    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    lists = [isinstance(kind, pa.ListType | pa.LargeListType) for kind in (one, other)]
    if all(lists):
        inner = _arrow_merged(one.value_type, other.value_type, name)
        return pa.large_list(inner) if isinstance(one, pa.LargeListType) else pa.list_(inner)
    union = None
    if not any(lists):
        union = union_type(_NAMES.get(str(one), str(one)), _NAMES.get(str(other), str(other)))
    if union is None:
        raise SchemaError(f"{name} is {one} in one place and {other} in another, and no type holds both", name=name)
    return pa.bool_() if union == "bool" else getattr(pa, union)()


_NAMES = {"float": "float32", "double": "float64", "halffloat": "float16"}
