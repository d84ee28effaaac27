"""Events as the result of a piece: checked against the batch they came from, kept as Parquet.

Invariant: every row of such a file is an event of the piece, at most once, with its ids and its address in
the AOD.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tagsel.errors import JobError, SchemaError
from tagsel.schema.type_union import arrow_union, concatenate

IDS = ("run", "lumi", "event")
ADDRESS = ("aod_guid", "aod_entry")


def checked_events(batch: Any, returned: Any) -> Any:
    """The events that `process` returned for a batch, with run, lumi, event and address first.

    JobError where they lack run or event, where one is not of the batch, or is there twice; where two
    events of the batch share their ids (simulation), `aod_guid` and `aod_entry` must have been kept.
    """
    import awkward as ak

    lacking = [name for name in ("run", "event") if name not in returned.fields]
    if lacking:
        raise JobError(
            f"process returned events without the field {lacking[0]}",
            hint="return events[mask], or keep the fields run, lumi and event in what you build",
        )
    names = next(names for names in _IDENTITIES if set(names) <= set(returned.fields))
    rows = _rows(batch, returned, names)
    columns = {name: batch[name][rows] for name in (*IDS, *ADDRESS)}
    rest = {name: returned[name] for name in returned.fields if name not in columns}
    return ak.zip({**columns, **rest}, depth_limit=1)


_IDENTITIES = ((*ADDRESS,), (*IDS,), ("run", "event"))
"""Fields by which a returned event is looked up in its batch, the best first."""


def _rows(batch: Any, returned: Any, names: Sequence[str]) -> Any:
    """The row of the batch that each returned event is."""
    keys = _keys(batch, names)
    position = {key: i for i, key in enumerate(keys)}
    if len(position) < len(keys) and len(returned):
        raise JobError(
            f"two events of a batch have the same {', '.join(names)}",
            hint="keep the fields aod_guid and aod_entry in what process returns",
        )
    returned_keys = _keys(returned, names)
    rows = [position.get(key, -1) for key in returned_keys]
    if -1 in rows:
        unknown = returned_keys[rows.index(-1)]
        raise JobError(f"process returned an event that was not given: {', '.join(names)} = {unknown}")
    if len(set(rows)) < len(rows):
        repeated = next(key for i, key in enumerate(returned_keys) if key in returned_keys[:i])
        raise JobError(f"process returned an event twice: {', '.join(names)} = {repeated}")
    return np.array(rows, np.int64)


def _keys(events: Any, names: Sequence[str]) -> list[tuple[Any, ...]]:
    """The values of these fields, a tuple an event."""
    fields = [events[name].to_list() for name in names]
    return list(zip(*fields, strict=True))


def write_events(path: Path, arrays: Sequence[Any], metadata: Mapping[bytes, str]) -> None:
    """Write arrays of events, in order, as one Parquet file with page checksums."""
    import awkward as ak
    import pyarrow.parquet as pq

    joined = concatenate(arrays)
    table = ak.to_arrow_table(joined, extensionarray=False, list_to32=True, string_to32=True)
    table = table.replace_schema_metadata(dict(metadata))
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def columns_of(parts: Sequence[Path]) -> list[str]:
    """The names of the columns of files of events, each once."""
    import pyarrow.parquet as pq

    names: dict[str, None] = {}
    for part in parts:
        names.update(dict.fromkeys(pq.read_schema(part).names))
    return list(names)


def join_events(path: Path, parts: Sequence[Path], metadata: Mapping[bytes, str]) -> int:
    """Write the events of several files, in order, as one; how many they are is returned.

    One part is in memory at a time. Types that differ go by `schema.type_union`, an empty part has no say; JobError
    where no type holds all values.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schemas = [pq.read_schema(p).remove_metadata() for p in parts if pq.read_metadata(p).num_rows]
        silent = [pq.read_schema(p).remove_metadata() for p in parts[:1]]
        schema = arrow_union(schemas or silent).with_metadata(dict(metadata))
        count = 0
        with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
            for part in parts:
                with pq.ParquetFile(part, page_checksum_verification=True) as file:
                    for rows in file.iter_batches():
                        if len(rows):
                            writer.write_table(_fitted(pa.Table.from_batches([rows]), schema))
                        count += len(rows)
    except (pa.ArrowException, SchemaError) as error:
        raise JobError(f"events of different pieces do not fit together: {error}") from error
    return count


def _fitted(table: Any, schema: Any) -> Any:
    """The table with exactly the columns of the schema; what it lacks is null."""
    import pyarrow as pa

    columns = [
        table[f.name].cast(f.type) if f.name in table.column_names else pa.nulls(len(table), f.type) for f in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
