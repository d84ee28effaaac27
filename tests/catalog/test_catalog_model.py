"""Random changes: the Python state, the DuckDB view, its replay and a slow oracle of plain dictionaries agree."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagsel.catalog import (
    Catalog,
    Change,
    DropDataset,
    DropFiles,
    DropReplicas,
    FileRecord,
    LogQuery,
    Pin,
    PutDataset,
    PutFiles,
    PutReplicas,
    PutRetraction,
    PutRuns,
    PutSite,
    SetMeta,
    Unpin,
)
from tagsel.catalog.changes import KINDS, DropRow, PutRow, RecoverDataset
from tagsel.catalog.journal import decode, encode
from tagsel.catalog.tables import JSON, STAMP, TABLES, Clear, Put, Remove, Rows, from_row, since, table
from tagsel.catalog.view import create, current_version, fetch_rows
from tagsel.errors import CatalogError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NAMES = st.sampled_from(["a.TAG", "b.TAG", "c.AOD"])
GUIDS = st.sampled_from([f"0000000{i}-0000-4000-8000-00000000000A" for i in range(3)])
VALUES = st.one_of(st.integers(-5, 5), st.floats(-1, 1), st.booleans(), st.text(max_size=3).filter(str.isprintable))
META = st.dictionaries(st.sampled_from(["k", "Trigger", "_x"]), VALUES, max_size=2)
FILES = st.builds(FileRecord, GUIDS, kind=st.sampled_from(["AOD", "RAW"]), entries=st.integers(-1, 3))
PAIRS = st.lists(st.tuples(GUIDS, st.sampled_from(["x", "y"])), max_size=2)
CHANGES: st.SearchStrategy[Change] = st.one_of(
    st.builds(
        PutDataset,
        NAMES,
        year=st.none() | st.integers(2009, 2011),
        meta=META,
        events=st.integers(0, 9),
        parents=st.lists(st.sampled_from(["a.TAG@1", "b.TAG", "gone@2"]), max_size=2),
    ),
    st.builds(SetMeta, NAMES, META | st.dictionaries(st.sampled_from(["k", "_x"]), st.none())),
    st.builds(DropDataset, NAMES),
    st.builds(PutFiles, NAMES, st.lists(FILES, max_size=3)),
    st.builds(DropFiles, NAMES, st.lists(st.tuples(st.sampled_from(["AOD", "RAW"]), GUIDS), max_size=2)),
    st.builds(PutRetraction, NAMES, st.integers(1, 2), GUIDS, back=st.none() | st.integers(3, 4)),
    st.builds(
        PutRuns,
        NAMES,
        st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3), st.integers(0, 3)), max_size=2),
        st.booleans(),
    ),
    st.builds(PutSite, st.sampled_from(["S", "T"]), st.sampled_from(["", "/p"])),
    st.builds(PutReplicas, st.sampled_from(["S", "T"]), PAIRS),
    st.builds(DropReplicas, st.sampled_from(["S", "T"]), PAIRS),
    st.builds(Pin, NAMES, st.integers(1, 2), st.sampled_from(["r", "s"])),
    st.builds(Unpin, NAMES, st.integers(1, 2), st.sampled_from(["r", "s"])),
    st.builds(LogQuery, st.just("count"), NAMES),
)


class Oracle:
    """Names, free keys, parents, files, runs, replicas and pins as a person would keep them on paper."""

    def __init__(self) -> None:
        self.datasets: dict[str, dict[str, Any]] = {}
        self.sites: set[str] = set()
        self.replicas: set[tuple[str, str, str]] = set()
        self.pins: set[tuple[str, int, str]] = set()
        self.queries = 0

    def make(self, change: Change) -> None:
        """Do what the change says; KeyError where it may not be made."""
        if isinstance(change, PutDataset):
            old = self.datasets.get(change.name, {"files": {}, "runs": {}, "retractions": {}})
            now = {
                "year": change.year,
                "events": change.events,
                "meta": dict(change.meta),
                "parents": list(change.parents),
            }
            self.datasets[change.name] = {**old, **now}
        elif isinstance(change, SetMeta):
            meta = self.datasets[change.name]["meta"]
            for key, value in change.meta.items():
                meta.pop(key, None)
                if value is not None:
                    meta[key] = value
        elif isinstance(change, DropDataset):
            if any(pin[0] == change.name for pin in self.pins):
                raise KeyError(change.name)
            del self.datasets[change.name]
        elif isinstance(change, PutFiles):
            self.datasets[change.dataset]["files"] |= {(f.kind, f.guid): f.entries for f in change.files}
        elif isinstance(change, DropFiles):
            held = self.datasets[change.dataset]["files"]
            for key in change.files:
                held.pop(key, None)
        elif isinstance(change, PutRetraction):
            self.datasets[change.dataset]["retractions"][change.snapshot] = (change.guid, change.back)
        elif isinstance(change, PutRuns):
            assert change.dataset in self.datasets or self._missing(change.dataset)
            others = self.datasets[change.dataset]["runs"] if change.keep else {}
            self.datasets[change.dataset]["runs"] = {**others, **{r[0]: tuple(r) for r in change.runs}}
        elif isinstance(change, PutSite):
            self.sites.add(change.name)
        elif isinstance(change, PutReplicas):
            if change.site not in self.sites:
                raise KeyError(change.site)
            triples = {(g, change.site, p) for g, p in change.replicas}
            self.replicas = self.replicas - triples if isinstance(change, DropReplicas) else self.replicas | triples
        elif isinstance(change, Pin):
            self.datasets[change.dataset]
            pin = {(change.dataset, change.snapshot, change.reason)}
            self.pins = self.pins - pin if isinstance(change, Unpin) else self.pins | pin
        else:
            self.queries += 1

    def _missing(self, name: str) -> bool:
        raise KeyError(name)


def _agree(catalog: Catalog, oracle: Oracle) -> None:
    records = catalog.datasets()
    assert records == catalog.datasets("true")
    said = {d.name: (d.year, d.events, dict(d.meta), list(d.parents)) for d in records}
    assert said == {n: (d["year"], d["events"], d["meta"], d["parents"]) for n, d in oracle.datasets.items()}
    types = {d.name: {k: type(v) for k, v in d.meta.items()} for d in records}
    assert types == {n: {k: type(v) for k, v in d["meta"].items()} for n, d in oracle.datasets.items()}
    files = {(f.dataset, f.kind, f.guid): f.entries for f in catalog.files()}
    assert files == {(n, *key): e for n, d in oracle.datasets.items() for key, e in d["files"].items()}
    for name, dataset in oracle.datasets.items():
        assert {r.run: (r.run, r.lumi_blocks, r.events) for r in catalog.runs(name)} == dataset["runs"]
        assert {r.snapshot: (r.guid, r.back) for r in catalog.retractions(name)} == dataset["retractions"]
    taken = catalog.sql("SELECT dataset, snapshot, guid, back FROM retractions").to_pylist()
    assert {(r["dataset"], r["snapshot"]): (r["guid"], r["back"]) for r in taken} == {
        (name, snapshot): row for name, d in oracle.datasets.items() for snapshot, row in d["retractions"].items()
    }
    found = catalog.sql("SELECT guid, site, pfn FROM replicas").to_pylist()
    assert len(found) == len(oracle.replicas)
    assert {(r["guid"], r["site"], r["pfn"]) for r in found} == oracle.replicas
    assert {(p.dataset, p.snapshot, p.reason) for p in catalog.pins()} == oracle.pins
    assert len(catalog.history(1000)) == oracle.queries


@settings(max_examples=12)
@given(st.lists(st.lists(CHANGES, min_size=1, max_size=4), max_size=8))
def test_state_view_replay_and_oracle_agree(batches: list[list[Change]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        catalog, oracle = Catalog(Path(folder)), Oracle()
        for batch in batches:
            before = (
                dict(oracle.datasets),
                set(oracle.sites),
                set(oracle.replicas),
                set(oracle.pins),
                oracle.queries,
            )
            try:
                trial = _copy(oracle)
                for change in batch:
                    trial.make(change)
            except KeyError:
                with pytest.raises(CatalogError):
                    catalog.record(*batch)
                assert before[0] == oracle.datasets
                continue
            oracle = trial
            catalog.record(*batch)
        _agree(catalog, oracle)
        _agree(Catalog(Path(folder)), oracle)
        if catalog.datasets() or oracle.sites or oracle.queries:
            Catalog(Path(folder)).rebuild()
        _agree(catalog, oracle)


def _copy(oracle: Oracle) -> Oracle:
    import copy

    return copy.deepcopy(oracle)


KEYS = st.sampled_from("kl")
OPS = st.one_of(
    st.builds(
        lambda d, k, v: Put("meta", {"dataset": d, "key": k, "kind": "int", "value": v}),
        NAMES,
        KEYS,
        st.sampled_from("12"),
    ),
    st.builds(lambda d, k: Remove("meta", (d, k)), NAMES, KEYS),
    st.builds(lambda d: Clear("meta", d), NAMES),
)


@given(st.lists(OPS, max_size=12), st.lists(OPS, max_size=12))
def test_a_delta_applied_to_a_state_is_the_state_folded_on(first: list[Any], second: list[Any]) -> None:
    whole, state, delta = Rows(), Rows(), Rows(delta=True)
    whole.fold([*first, *second])
    state.fold(first)
    delta.fold(second)
    kept = {TABLES["meta"].key_of(r): r for r in state.all("meta") if r["dataset"] not in delta.cleared["meta"]}
    for owned in delta.rows["meta"].values():
        for key, row in owned.items():
            kept.pop(key, None)
            if row is not None:
                kept[key] = row
    assert kept == {TABLES["meta"].key_of(r): r for r in whole.all("meta")}


def _columns_of(connection: DuckDBPyConnection) -> dict[str, list[tuple[str, str]]]:
    """The columns of each table of a view, with their types, in order."""
    rows = fetch_rows(
        connection,
        "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE schema_name = 'main' "
        "AND NOT internal ORDER BY table_name, column_index",
    )
    columns: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        columns.setdefault(row["table_name"], []).append((row["column_name"], row["data_type"]))
    return columns


def test_the_records_make_the_tables_of_version_6_and_a_change_of_them_needs_another_number() -> None:
    import duckdb

    text = (Path(__file__).parent / "view_6.sql").read_text(encoding="utf-8")
    with duckdb.connect() as expected, duckdb.connect() as view:
        expected.execute(text)
        create(view)
        assert _columns_of(view) == _columns_of(expected)
        versions = [c.execute("SELECT version FROM view_state").fetchall() for c in (view, expected)]
    assert versions == [[(6,)], [(6,)]]
    assert current_version() == 6


@pytest.fixture
def shifts() -> Iterator[tuple[type[Any], type[Any]]]:
    """A table that this test adds, by its dataclass alone, and the changes that put and remove its rows."""

    @table("shifts", "run", "crew", light=True, since=7)
    @dataclass(frozen=True)
    class Shift:
        run: int
        crew: str
        hours: float = 8.0
        notes: Mapping[str, Any] = field(default_factory=dict, metadata=JSON)
        seq: int = field(default=0, metadata=STAMP)
        leader: str = field(default="nobody", metadata=since(8))

    @dataclass(frozen=True)
    class PutShift(Shift, PutRow):
        """Put one shift."""

    @dataclass(frozen=True)
    class DropShift(DropRow):
        """Remove one shift."""

        table: ClassVar[str] = "shifts"
        run: int
        crew: str

    yield PutShift, DropShift
    del TABLES["shifts"], KINDS["PutShift"], KINDS["DropShift"]


def test_a_table_is_one_dataclass(tmp_path: Path, shifts: tuple[type[Any], type[Any]]) -> None:
    put_shift, drop_shift = shifts
    shift = TABLES["shifts"]
    assert shift.columns == {
        "run": "BIGINT",
        "crew": "VARCHAR",
        "hours": "DOUBLE",
        "notes": "VARCHAR",
        "seq": "BIGINT",
        "leader": "VARCHAR",
    }
    assert shift.key == ("run", "crew")
    assert shift.create(7) == (
        'CREATE TABLE shifts ("run" BIGINT, "crew" VARCHAR, "hours" DOUBLE, "notes" VARCHAR, "seq" BIGINT);'
    )
    assert shift.migrate(8) == "ALTER TABLE shifts ADD COLUMN \"leader\" VARCHAR DEFAULT 'nobody';"
    assert current_version() == 8
    first, second = put_shift(7, "owls", 6, {"beam": "on"}), put_shift(8, "larks")
    assert encode(first) == {"do": "PutShift", "run": 7, "crew": "owls", "hours": 6, "notes": {"beam": "on"}}
    assert decode(encode(first)) == first
    catalog = Catalog(tmp_path)
    catalog.record(first, second)
    catalog.record(drop_shift(8, "larks"))
    expected = {"run": 7, "crew": "owls", "hours": 6.0, "notes": '{"beam": "on"}', "seq": 1, "leader": "nobody"}
    for again in (catalog, Catalog(tmp_path)):
        assert again.sql("FROM shifts").to_pylist() == again.rows("shifts", {}, "run") == [expected]
    assert from_row(put_shift, expected) == replace(first, hours=6.0, seq=1)
    with pytest.raises(CatalogError, match="hours = 'long' does not fit its type, DOUBLE"):
        catalog.record(put_shift(9, "owls", "long"))


def test_an_older_view_gets_a_new_table_and_a_new_column(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    import duckdb

    catalog = Catalog(tmp_path)
    catalog.record(PutDataset("a.TAG"))
    inode = (tmp_path / "catalog.duckdb").stat().st_ino
    put_shift, _ = request.getfixturevalue("shifts")
    assert Catalog(tmp_path).rows("shifts", {}, "run") == []
    Catalog(tmp_path).record(put_shift(7, "owls"))
    assert [row["leader"] for row in Catalog(tmp_path).rows("shifts", {}, "run")] == ["nobody"]
    assert (tmp_path / "catalog.duckdb").stat().st_ino == inode  # migrated, not made anew
    with duckdb.connect(str(tmp_path / "catalog.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT version FROM view_state").fetchall() == [(8,)]


def test_a_row_of_an_older_version_gets_the_default_of_a_column_that_it_lacks(tmp_path: Path) -> None:
    guid = "00000001-0000-4000-8000-00000000000A"
    catalog = Catalog(tmp_path)
    catalog.record(PutDataset("a.TAG"), PutFiles("a.TAG", [FileRecord(guid)]))
    rows = catalog.owned_rows("a.TAG")
    old = [{name: value for name, value in row.items() if name != "checksum"} for row in rows["files"]]
    catalog.record(DropDataset("a.TAG"), RecoverDataset("a.TAG", {**rows, "files": old}))
    assert [f.checksum for f in Catalog(tmp_path).files("a.TAG")] == [""]


@pytest.mark.parametrize(
    "changes",
    [
        [PutDataset("a.TAG"), PutFiles("b.TAG", [])],
        [PutDataset("a.TAG", year="2018")],  # type: ignore[arg-type]
        [PutDataset("a.TAG", events=1 << 63)],
        [PutDataset("a.TAG", cut="a\0b")],
        [PutDataset("a.TAG", sample=b"x")],  # type: ignore[arg-type]
        [PutDataset("../x")],
        [PutDataset("a.TAG", parents=("b*",))],
        [PutReplicas("nowhere", [])],
        [PutSite("S", meta={"name ": 1})],
        [PutDataset("a.TAG"), SetMeta("a.TAG", {"k": 1}), Pin("a.TAG", 1, "r"), DropDataset("a.TAG")],
        [LogQuery("count", text="\udcff")],
    ],
)
def test_what_may_not_be_recorded_leaves_nothing(tmp_path: Path, changes: list[Change]) -> None:
    catalog = Catalog(tmp_path)
    with pytest.raises(CatalogError):
        catalog.record(*changes)
    assert catalog.names() == Catalog(tmp_path).names() == []
    assert not (tmp_path / "catalog.journal").exists()


def test_feature_16_provenance_up_and_down(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    catalog.record(
        PutDataset("raw.RAW"),
        PutDataset("one.TAG", parents=("raw.RAW@1", "lost.RAW@2")),
        PutDataset("two.TAG", parents=("raw.RAW@2",)),
        PutDataset("out.EVENTS", cut="nMuon >= 2", lumi="grl.xml", parents=("one.TAG@4", "two.TAG@1")),
        PutDataset("loop.TAG", parents=("loop.TAG@1",)),
    )
    up = [(depth, node.name, node.snapshot, node.known) for depth, node in catalog.parents("out.EVENTS").walk()]
    assert up == [
        (0, "out.EVENTS", None, True),
        (1, "one.TAG", 4, True),
        (2, "raw.RAW", 1, True),
        (2, "lost.RAW", 2, False),
        (1, "two.TAG", 1, True),
        (2, "raw.RAW", 2, True),
    ]
    down = [(depth, node.name, node.snapshot) for depth, node in catalog.children("raw.RAW").walk()]
    assert down == [
        (0, "raw.RAW", None),
        (1, "one.TAG", 1),
        (2, "out.EVENTS", 4),
        (1, "two.TAG", 2),
        (2, "out.EVENTS", 1),
    ]
    assert [node.name for _, node in catalog.parents("loop.TAG").walk()] == ["loop.TAG"]


def test_feature_73_an_output_is_a_dataset_with_parents_cut_lumi_and_counts(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    catalog.record(
        PutDataset("in.TAG", snapshot=3),
        PutDataset("out.TAG", state="output", cut="nMuon >= 2", lumi="sha256:12", events=33, parents=("in.TAG@3",)),
    )
    out = Catalog(tmp_path).dataset("out.TAG")
    assert (out.cut, out.lumi, out.events, out.parents) == ("nMuon >= 2", "sha256:12", 33, ("in.TAG@3",))
    assert [d.name for d in catalog.datasets("state = 'output' and events = 33")] == ["out.TAG"]


def test_feature_15_one_name_a_snapshot_and_globs_resolve_once_each(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    catalog.record(*[PutDataset(n) for n in ("a1.TAG", "a2.TAG", "b.TAG")])
    assert [(d.name, s) for d, s in catalog.resolve("b.TAG@2,a*")] == [
        ("b.TAG", 2),
        ("a1.TAG", None),
        ("a2.TAG", None),
    ]
    assert [d.name for d, _ in catalog.resolve("a1.TAG,a*,*")] == ["a1.TAG", "a2.TAG", "b.TAG"]
    for text in ("c*", "a3.TAG", "b.TAG@1,b.TAG@2", "b.TAG@1,*"):
        with pytest.raises(CatalogError):
            catalog.resolve(text)


def test_feature_2_files_of_every_stage_are_chosen_by_kind(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    guid = "00000001-0000-4000-8000-00000000000A"
    kinds = ("TAG", "AOD", "ESD", "RAW")
    catalog.record(PutDataset("a.TAG"), PutFiles("a.TAG", [FileRecord(guid, kind=k, lfn=k) for k in kinds]))
    for kind in kinds:
        assert [f.lfn for f in catalog.files("a.TAG", [guid.lower()], kind)] == [kind]
    assert len(catalog.files(guids=[guid])) == 4
    assert catalog.files(guids=[]) == []
