"""Reading parts: mapped and decoded give the same, damage is found, zones are what the values say."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tagsel.errors import StoreError
from tagsel.schema import Attribute, Schema
from tagsel.store import Part, Table, columns, footers, layout, write_part, zones
from tagsel.store.layout import NewPart
from tagsel.store.mapping import Mapping, identity

UNMAPPABLE = {"Muon_tight"}  # lists of booleans: bits after the levels, at no byte's border


def adopt(folder: Path, schema: Schema, table: pa.Table, **how: object) -> Part:
    """A file that plain pyarrow wrote, put into a new dataset as it is."""
    made = Table.create(folder, schema)
    pq.write_table(table, folder / "x", **how)
    rows = table.num_rows
    name = footers.part_name(footers.read_footer(folder / "x"), rows)
    (folder / "x").rename(folder / name)
    new = NewPart(name, rows, (folder / name).stat().st_size)
    return made.append([new], schema, {}).parts[0]


def same(a: np.ndarray, b: np.ndarray) -> None:
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)  # NaN equals NaN


def forget() -> None:
    """As a new process: no sidecar is remembered."""
    zones._opened.cache_clear()


def whole(part: Part, names: list[str]) -> dict[str, np.ndarray]:
    groups = [part.read(g, names) for g in range(len(part.groups))]
    return {c: np.concatenate([g[c] for g in groups]) for c in names}


def test_every_column_reads_back(maker: ModuleType, table: Table) -> None:
    expected = maker.columns(300)
    read = table.snapshot().parts[0].read(0, list(expected))
    assert list(read) == list(expected)
    for column, values in expected.items():
        same(read[column], values)


def test_a_hot_column_is_mapped_from_the_part_itself(table: Table) -> None:
    part = table.snapshot().parts[0]
    hot = part.read(0, ["event", "MET_pt", "Muon_pt", "trigger_0", "nMuon"])
    for values in hot.values():
        mapping = values
        while isinstance(mapping, np.ndarray):
            mapping = mapping.base
        assert isinstance(mapping, Mapping)
        assert Path(mapping.path) == part.path
        assert not values.flags.writeable
        start = values.ctypes.data - mapping.address
        assert part.path.read_bytes()[start : start + values.nbytes] == values.tobytes()


def test_columns_that_a_part_lacks_are_left_out(table: Table) -> None:
    part = table.snapshot().parts[0]
    assert list(part.read(0, ["run", "nowhere"])) == ["run"]
    assert list(part.zones(["nowhere", "stream", "run"])) == ["run"]
    assert part.read(0, ["nowhere"]) == {}


def test_strings_read_as_codes(maker: ModuleType, table: Table) -> None:
    codes, names = table.snapshot().parts[0].read_codes(0, "aod_guid")
    assert codes.dtype == np.int32
    assert sorted(names) == maker.GUIDS  # 300 rows over 4 GUIDs
    assert [names[c] for c in codes] == list(maker.columns(300)["aod_guid"])


FOREIGN = [
    {"compression": "snappy"},
    {"compression": "zstd", "use_dictionary": True, "data_page_version": "2.0"},
    {"compression": "none", "use_dictionary": False, "data_page_size": 64, "write_batch_size": 16},
    {"compression": "none", "use_dictionary": False},
    {"row_group_size": 70},
]


@pytest.mark.parametrize("how", FOREIGN, ids=lambda h: " ".join(f"{k}={v}" for k, v in h.items()))
def test_any_parquet_is_decoded_to_the_same_values(maker: ModuleType, tmp_path: Path, how: dict) -> None:
    expected = maker.columns(300)
    arrow = pa.Table.from_batches([maker.batch(expected)])
    part = adopt(tmp_path / "ds", maker.SCHEMA, arrow, **how)
    read = whole(part, list(expected))
    for column, values in expected.items():
        same(read[column], values)


def test_a_foreign_part_with_nulls_is_refused(maker: ModuleType, tmp_path: Path) -> None:
    batch = maker.batch(maker.columns(3))
    arrow = pa.Table.from_batches([batch.set_column(10, "MET_pt", pa.array([1.0, None, 2.0], pa.float32()))])
    with pytest.raises(StoreError, match="MET_pt, row group 0: 1 nulls"):
        adopt(tmp_path / "ds", maker.SCHEMA, arrow)


def test_mapping_equals_decoding(maker: ModuleType, table: Table) -> None:
    """The fast path against the general one, chunk by chunk."""
    part = table.snapshot().parts[0]
    file = identity(part.path)
    mapped = 0
    for column, kind in part.kinds.items():
        if kind[0] == "string":
            continue
        block = part._zones.block(column)
        mapped += zones.chunk(block, 0).kind != 0
        decoded = columns.decode(file, 0, column, columns.DTYPES[kind[0]], kind[1])
        same(part.read(0, [column])[column], decoded)
    hot = [a for a in maker.SCHEMA if a.hot and a.type != "string" and a.column not in UNMAPPABLE]
    assert mapped == len(hot)


NUMBERS = {
    "int32": st.integers(-(2**31), 2**31 - 1) | st.just(0),
    "int64": st.integers(-(2**63), 2**63 - 1) | st.just(2**53 + 1),
    "float32": st.floats(width=32) | st.sampled_from([np.nan, np.inf, -np.inf, -0.0]),
    "float64": st.floats() | st.sampled_from([np.nan, np.inf, -np.inf]),
    "bits32": st.integers(0, 2**32 - 1),
    "bits64": st.integers(0, 2**64 - 1),
    "bool": st.booleans(),
}


@st.composite
def tables(draw: st.DrawFn) -> tuple[Schema, dict[str, np.ndarray], int]:
    """A schema with a scalar and a list of each type, hot or cold; its values; and the row group's size."""
    rows = draw(st.integers(1, 12))
    counts = draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows))
    attributes = [Attribute("run", "int32"), Attribute("lumi", "int32"), Attribute("event", "int64")]
    attributes.append(Attribute("nX", "int32", role="counter"))
    values = {
        "run": np.ones(rows, np.int32),
        "lumi": np.array(draw(st.lists(st.integers(1, 3), min_size=rows, max_size=rows)), np.int32),
        "event": np.arange(rows, dtype=np.int64),
        "nX": np.array(counts, np.int32),
    }
    for kind, numbers in NUMBERS.items():
        for name, n in ((kind, rows), (f"X.{kind}", sum(counts))):
            is_list = name.startswith("X.")
            made = Attribute(name, kind, hot=draw(st.booleans()), is_list=is_list, counter="nX" if is_list else "")
            attributes.append(made)
            drawn = draw(st.lists(numbers, min_size=n, max_size=n))
            values[made.column] = np.array(drawn, columns.DTYPES[kind])
    return Schema(tuple(attributes)), values, draw(st.sampled_from([1, 3, 100]))


def bounds_oracle(values: list) -> tuple[int, list]:
    """NaN count, and the values that bounds are of."""
    kept = [v for v in values if v == v]
    return len(values) - len(kept), kept


@given(tables())
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
def test_fault_06_any_values_read_back_and_zones_are_their_bounds(
    maker: ModuleType, tmp_path_factory: pytest.TempPathFactory, drawn: tuple
) -> None:
    """NaN, infinities, empty lists, 2^53+1 and signed zeros: values, bounds, NaN counts, both ways of reading."""
    schema, values, size = drawn
    folder = tmp_path_factory.mktemp("any")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "ROW_GROUP", size)
        new = write_part(folder, schema, [maker.batch(values, schema)])
    rows, kinds = new.rows, {a.column: (a.type, a.is_list) for a in schema}
    sizes = tuple(min(size, rows - s) for s in range(0, rows, size))
    part = Part(new.name, folder, rows, new.bytes, sizes, frozenset(kinds), kinds=kinds)
    read = whole(part, list(values))
    for column, expected in values.items():
        same(read[column], expected)
    for column, zone in part.zones(list(values)).items():
        for g in range(len(sizes)):
            nan, kept = bounds_oracle(part.read(g, [column])[column].tolist())
            assert (zone.nan_count[g], zone.values[g]) == (nan, nan + len(kept))
            if kept:
                assert (zone.min[g], zone.max[g]) == (min(kept), max(kept))
            if zone.ored is not None and kept:
                words = [int(v) for v in kept]
                assert int(zone.ored[g]) == np.bitwise_or.reduce(np.array(words, np.uint64))
                assert int(zone.anded[g]) == np.bitwise_and.reduce(np.array(words, np.uint64))


def test_lumi_counts_are_those_of_the_rows(maker: ModuleType, tmp_path: Path) -> None:
    values = maker.columns(6)
    values["run"] = np.array([5, 5, 4, 5, 4, 4], np.int32)
    values["lumi"] = np.array([1, 2, 9, 1, 9, 8], np.int32)
    made = Table.create(tmp_path / "ds", maker.SCHEMA)
    new = write_part(made.folder, maker.SCHEMA, [maker.batch(values)])
    run, lumi, n = made.append([new], maker.SCHEMA, {}).parts[0].lumi_counts(0)
    counted = list(zip(run.tolist(), lumi.tolist(), n.tolist(), strict=True))
    assert counted == [(4, 8, 1), (4, 9, 2), (5, 1, 2), (5, 2, 1)]
    assert (run.dtype, lumi.dtype, n.dtype) == (np.int32, np.int32, np.int64)


# the sidecar is a cache


def answers(part: Part) -> str:
    names = sorted(part.columns)
    values = [(c, part.read(0, [c])[c].tolist()) for c in names]
    return repr((values, part.zones(names), part.lumi_counts(0), part.places()))


def test_a_deleted_sidecar_is_rebuilt_the_same(table: Table) -> None:
    part = table.snapshot().parts[0]
    before, path = answers(part), zones.sidecar_path(part.path)
    data = path.read_bytes()
    path.unlink()
    forget()
    assert answers(table.snapshot().parts[0]) == before
    assert path.read_bytes() == data


@pytest.mark.parametrize("at", [0, 12, 24, 60, 500, -3])
def test_a_damaged_sidecar_is_rebuilt(table: Table, at: int) -> None:
    part = table.snapshot().parts[0]
    before, path = answers(part), zones.sidecar_path(part.path)
    good = path.read_bytes()
    bad = bytearray(good)
    bad[at] ^= 0x10
    path.write_bytes(bad)
    forget()
    assert answers(table.snapshot().parts[0]) == before
    assert path.read_bytes() == good


def test_another_part_s_sidecar_is_rebuilt(maker: ModuleType, table: Table) -> None:
    """As many rows and columns, other events: only the name of the part in the header tells them apart."""
    table.append([maker.part(table.folder, 300, first_event=1000, run=9)], maker.SCHEMA, {})
    first, second = table.snapshot().parts
    mine, other = (zones.sidecar_path(part.path) for part in (first, second))
    before, good = answers(first), mine.read_bytes()
    assert len(good) == len(other.read_bytes())
    mine.write_bytes(other.read_bytes())
    forget()
    assert answers(table.snapshot().parts[0]) == before
    assert mine.read_bytes() == good


def test_a_sidecar_that_cannot_be_written_is_made_once(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a read-only dataset whose sidecars are of an older tagsel."""
    part = table.snapshot().parts[0]
    before, folder = answers(part), zones.sidecar_path(part.path).parent
    shutil.rmtree(folder)
    folder.write_text("no folder")
    forget()
    made, build = [], zones.build
    monkeypatch.setattr(zones, "build", lambda file, kinds: (made.append(file), build(file, kinds))[1])
    assert answers(table.snapshot().parts[0]) == before
    assert len(made) == 1


def test_a_short_sidecar_is_rebuilt(table: Table) -> None:
    part = table.snapshot().parts[0]
    before, path = answers(part), zones.sidecar_path(part.path)
    path.write_bytes(path.read_bytes()[:100])
    forget()
    assert answers(table.snapshot().parts[0]) == before


def test_planning_reads_no_more_of_a_wide_part(
    maker: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes read for the zones of three columns, in a part of 6 and of 206 columns: 16 B a column of directory."""
    taken = {}
    for width in (0, 200):
        extra = tuple(Attribute(f"x{i}", "float32") for i in range(width))
        schema = Schema((*maker.IDS, *extra))
        values = {**maker.columns(50), **{a.column: np.zeros(50, np.float32) for a in extra}}
        folder = tmp_path / str(width)
        made = Table.create(folder, schema)
        new = write_part(folder, schema, [maker.batch(values, schema)])
        part = made.append([new], schema, {}).parts[0]
        forget()
        read: list[int] = []
        original = zones.Sidecar._bytes
        monkeypatch.setattr(zones.Sidecar, "_bytes", lambda s, o, n, f=original, r=read: r.append(n) or f(s, o, n))
        assert len(part.zones(["run", "event", "aod_entry"])) == 3
        monkeypatch.setattr(zones.Sidecar, "_bytes", original)
        taken[width] = (len(read), sum(read))
    assert taken[200][0] == taken[0][0]
    assert taken[200][1] - taken[0][1] == 200 * 16


# damage


def flipped(path: Path, at: int, bit: int) -> None:
    """Flip one bit in place; the file's time of change moves on, as it does for any writer."""
    before = path.stat().st_mtime_ns
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))
    os.utime(path, ns=(before + 1_000_000, before + 1_000_000))


def test_fault_01_a_part_cut_short_at_any_byte_is_refused(table: Table) -> None:
    part = table.snapshot().parts[0]
    data = part.path.read_bytes()
    for size in [*range(0, len(data), 97), len(data) - 1]:
        part.path.write_bytes(data[:size])
        with pytest.raises(StoreError, match=f"{part.name}.*cut short") as caught:
            part.read(0, ["run"])
        assert caught.value.fields["path"] == str(part.path)
        with pytest.raises(StoreError, match=r"cut short|damaged"):  # and where no log knows its size
            columns.open_part(identity(part.path))


def test_fault_02_a_flipped_bit_in_a_page_is_found_and_named(maker: ModuleType, table: Table) -> None:
    part = table.snapshot().parts[0]
    data = part.path.read_bytes()
    rng = np.random.default_rng(2)
    for column in ("run", "event", "MET_pt", "Muon_pt", "good", "trigger_0", "weight", "stream", "Muon_charge"):
        chunk = pq.read_metadata(part.path).row_group(0).column(list(part.kinds).index(column))
        first = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
        end = first + chunk.total_compressed_size
        for at in rng.integers(end - min(40, chunk.total_compressed_size // 2), end, 4):
            flipped(part.path, int(at), int(rng.integers(8)))
            with pytest.raises(StoreError) as caught:
                part.read(0, [column])
            fields = caught.value.fields
            assert (fields["path"], fields["column"], fields["group"]) == (str(part.path), column, 0)
            part.path.write_bytes(data)
            os.utime(part.path, ns=(at, at))  # a state of its own
    expected = maker.columns(300)
    same(part.read(0, ["MET_pt"])["MET_pt"], expected["MET_pt"])


def test_fault_02_no_flip_anywhere_gives_another_answer(maker: ModuleType, table: Table) -> None:
    """400 random flips in the whole file, with its sidecar and without: an error or the right values, never others."""
    part = table.snapshot().parts[0]
    data, names, sidecar = part.path.read_bytes(), list(part.kinds), zones.sidecar_path(part.path)
    zoned = sidecar.read_bytes()
    right = {c: v.tolist() for c, v in maker.columns(300).items()}
    rng = np.random.default_rng(3)
    found = 0
    for k in range(400):
        flipped(part.path, int(rng.integers(len(data))), int(rng.integers(8)))
        sidecar.write_bytes(zoned)
        if k % 2:
            sidecar.unlink()
        forget()
        for column in names:
            try:
                read = part.read(0, [column])[column].tolist()
            except StoreError:
                found += 1
                break
            assert repr(read) == repr(right[column]), (k, column)
        part.path.write_bytes(data)
        os.utime(part.path, ns=(k, k))
    assert found > 300  # a flip in the header of a mapped page harms nothing where the sidecar is


def test_fault_03_a_flipped_bit_in_the_footer_is_found_before_it_is_parsed(table: Table) -> None:
    part = table.snapshot().parts[0]
    data = part.path.read_bytes()
    footer = len(footers.read_footer(part.path))
    rng = np.random.default_rng(4)
    zones.sidecar_path(part.path).unlink()
    for k, at in enumerate(rng.integers(len(data) - footer, len(data), 200)):
        flipped(part.path, int(at), int(rng.integers(8)))
        forget()
        with pytest.raises(StoreError, match=r"footer of .* is damaged|is not a whole Parquet file"):
            part.read(0, ["run"])
        part.path.write_bytes(data)
        os.utime(part.path, ns=(k, k))


def test_fault_04_an_empty_file_is_refused(table: Table) -> None:
    part = table.snapshot().parts[0]
    part.path.write_bytes(b"")
    with pytest.raises(StoreError, match="0 bytes"):
        part.read(0, ["run"])
