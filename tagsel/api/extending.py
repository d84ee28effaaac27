"""`extend`: a user's own attributes beside the official ones, by an expression or from a Parquet file.

Invariant: an extension is one commit, which `datasets restore` undoes; its counts close.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tagsel.api.home import Home
from tagsel.api.inputs import DATA
from tagsel.catalog import LogQuery
from tagsel.errors import AccessError, SchemaError, StoreError, after
from tagsel.ingest.registration import register
from tagsel.schema import USER, Attribute
from tagsel.selection.query import Query, bind_query
from tagsel.selection.user_attributes import Computed, Joined
from tagsel.store import Snapshot, disk
from tagsel.store.extend import concerned, user_attributes

if TYPE_CHECKING:
    import pyarrow as pa


_ASSIGNMENT = re.compile(r"\s*(?:user\.)?(?P<name>[A-Za-z_]\w*)\s*=(?!=)\s*(?P<text>.+)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_]\w*")
_KEYS = ("run", "lumi", "event", "aod_guid", "aod_entry")


@dataclass(frozen=True)
class Extended:
    """What an extension did: `rows = matched + unmatched` of the dataset, `given = used + unused` of the file.

    `rows` are those of parts that lacked the attributes. Of an expression, unmatched rows are those where it is
    missing, and `given`, `used` and `unused` are 0.
    """

    dataset: str
    snapshot: int
    attributes: tuple[str, ...]
    rows: int
    matched: int
    unmatched: int
    given: int = 0
    used: int = 0
    unused: int = 0

    def to_json(self) -> dict[str, object]:
        """What `--json` prints."""
        return asdict(self)


def extend(home: Home, dataset: str, what: str, units: Mapping[str, str], descriptions: Mapping[str, str]) -> Extended:
    """Extend a dataset by what `NAME = EXPRESSION` computes, or by the columns of a Parquet file.

    All is computed first, while others may change the dataset; then its lock is taken, and what was computed is
    committed if it is of the newest snapshot still.
    """
    home.catalog.need_open(dataset)
    with ExitStack() as rights:

        def take_rights() -> None:
            """Keep others from changing the dataset until the catalog knows of the extension."""
            rights.enter_context(disk.changing(home.folder / DATA / dataset))
            home.catalog.need_open(dataset)  # it may have been closed meanwhile
            newest = home.table(dataset).snapshot().number
            if newest != snapshot.number:
                raise StoreError(
                    f"{dataset} was changed while it was extended: it is at snapshot {newest}, and the new attributes "
                    f"are of {snapshot.number}",
                    hint="extend it again",
                    dataset=dataset,
                )

        source = bind_query(Query(home.inputs(dataset), (), named=home.named_cut))
        table = home.table(dataset)
        snapshot = table.snapshot()
        assignment = None if what.endswith(".parquet") else _ASSIGNMENT.fullmatch(what)
        if assignment:
            name = _checked(assignment["name"])
            _known({name}, units, descriptions)
            computed = Computed.of(name, assignment["text"], source[0], units.get(name, ""), descriptions.get(name, ""))
            rows = sum(p.rows for p in concerned(snapshot, computed.attributes))
            said = {"expression": f"{USER}{name} = {computed.bound.text}"}
            done = table.extend(snapshot, computed.attributes, computed, said, take_rights)
            missing = sum(computed.missing)
            report = Extended(dataset, done.number, (f"{USER}{name}",), rows, rows - missing, missing)
        else:
            joined = _read(Path(what), snapshot, units, descriptions)
            attributes = tuple(chain.from_iterable(joined.attributes))
            parts = concerned(snapshot, attributes)
            rows, (matched, used) = sum(p.rows for p in parts), joined.counted(parts, source[0].input.simulation)
            done = table.extend(snapshot, attributes, joined, {"file": str(Path(what).resolve())}, take_rights)
            names = tuple(slot.name for _, slot in joined.attributes)
            given = len(joined.run)
            report = Extended(dataset, done.number, names, rows, matched, rows - matched, given, used, given - used)
        register(home.catalog, dataset, done, {})
        audit = LogQuery("extend", dataset, done.number, what, read=report.rows, accepted=report.matched)
        with after(f"{dataset}@{done.number} is committed"):
            home.catalog.record(audit)
    return report


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name) or name.endswith("_known"):
        raise SchemaError(
            f"{name!r} cannot name an attribute", hint="letters, digits and _, no digit first, no …_known at the end"
        )
    return name


def _known(names: set[str], *texts: Mapping[str, str]) -> None:
    """SchemaError for a unit or description of a name that is none of the new attributes."""
    other = sorted(set(chain.from_iterable(texts)) - names)
    if other:
        raise SchemaError(f"{other[0]} is none of the new attributes", hint=f"they are {', '.join(sorted(names))}")


def _read(path: Path, snapshot: Snapshot, units: Mapping[str, str], descriptions: Mapping[str, str]) -> Joined:
    """The table in a Parquet file; ids go by any name that the dataset knows them by."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        hint = "NAME = EXPRESSION, or the name of a .parquet file"
        if path.suffix == ".parquet":
            raise AccessError(f"no such file: {path}", hint=hint, path=str(path))
        raise AccessError(f"{str(path)!r} is neither a Parquet file nor an assignment", hint=hint, path=str(path))
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise AccessError(f"{path} cannot be read: {error}", path=str(path)) from error
    keys, values = _columns(table, snapshot, path)
    _known({_checked(n) for n in values}, units, descriptions)
    attributes, columns = [], []
    for name, column in values.items():
        kind = _kind(name, column, path)
        attributes.append(user_attributes(name, kind, units.get(name, ""), descriptions.get(name, "")))
        columns.append(_values(column, kind))
    run, event = (_ids(keys[k], k, t, path) for k, t in (("run", np.int32), ("event", np.int64)))
    lumi = _ids(keys["lumi"], "lumi", np.int32, path) if "lumi" in keys else None
    place = None
    if "aod_guid" in keys:
        guids = np.array([str(g).upper() for g in keys["aod_guid"].to_pylist()], object)
        place = guids, _ids(keys["aod_entry"], "aod_entry", np.int64, path)
    return Joined(run, event, lumi, place, tuple(attributes), tuple(columns))


def _columns(table: pa.Table, snapshot: Snapshot, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The columns that identify events, by their canonical names, and the others."""
    keys: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for name in table.column_names:
        attribute: Attribute | None = snapshot.schema.find(name)
        canonical = name if name in _KEYS else attribute.name if attribute else ""
        keep, key = (keys, canonical) if canonical in _KEYS else (values, name.removeprefix(USER))
        if key in keep:
            raise SchemaError(f"{path} has two columns for {key}", path=str(path))
        keep[key] = table.column(name)
    lacking = [k for k in ("run", "event") if k not in keys] + (
        ["aod_guid and aod_entry together"] if ("aod_guid" in keys) != ("aod_entry" in keys) else []
    )
    if lacking or not values:
        what = f"lacks {', '.join(lacking)}" if lacking else "has no column beside those that identify events"
        hint = "run, event, and where needed lumi, or aod_guid and aod_entry; every other column is an attribute"
        raise SchemaError(f"{path} {what}", hint=hint, path=str(path))
    return keys, values


def _ids(column: pa.ChunkedArray, name: str, dtype: Any, path: Path) -> Any:
    """A column of ids as NumPy; SchemaError for nulls, what is no whole number, or out of range."""
    import pyarrow as pa
    import pyarrow.compute as pc

    limit = np.iinfo(dtype).max
    if not pa.types.is_integer(column.type) or column.null_count:
        what = "nulls" if column.null_count else f"type {column.type}"
        raise SchemaError(f"column {name} of {path} has {what}: whole numbers are expected", column=name)
    low, high = pc.min_max(column).values() if len(column) else (pa.scalar(0), pa.scalar(0))
    if low.as_py() < 0 or high.as_py() > limit:
        raise SchemaError(f"column {name} of {path} goes from {low} to {high}: 0 to {limit} is expected", column=name)
    return column.cast(pa.int64()).to_numpy().astype(dtype)


def _kind(name: str, column: pa.ChunkedArray, path: Path) -> str:
    """The attribute type that holds a column's values. SchemaError: none does."""
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    found = _KINDS.get(str(kind))
    if found is None:
        hint = "numbers, true and false, and texts; a list is no attribute of this kind"
        raise SchemaError(f"column {name} of {path} is {kind}", hint=hint, column=name)
    return found


_KINDS = {
    "bool": "bool",
    "int8": "int32",
    "int16": "int32",
    "int32": "int32",
    "int64": "int64",
    "uint8": "int32",
    "uint16": "int32",
    "uint32": "int64",
    "halffloat": "float32",
    "float": "float32",
    "double": "float64",
    "string": "string",
    "large_string": "string",
}


def _values(column: pa.ChunkedArray, kind: str) -> tuple[Any, Any]:
    """Values as NumPy, and where there is one: nulls are missing, NaN stays."""
    import pyarrow as pa
    import pyarrow.compute as pc

    known = column.is_valid().to_numpy().astype(np.bool_)
    if kind == "string":
        return np.array(pc.fill_null(column.cast(pa.string()), "").to_pylist(), object), known
    plain = column.cast(getattr(pa, "bool_" if kind == "bool" else kind)())
    blank = pa.scalar(False if kind == "bool" else 0, plain.type)
    return pc.fill_null(plain, blank).to_numpy(), known
