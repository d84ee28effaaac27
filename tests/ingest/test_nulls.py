"""Nulls of Parquet files are missing, in every engine and verb, and the ingest says how many there are.

The oracle is a plain loop over the rows that were written, with None where a value is null.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tagsel.api import Workspace
from tagsel.engine.sql import to_sql
from tagsel.errors import CutError, IngestError
from tagsel.schema import Menu
from tagsel.selection import count
from tagsel.selection.query import bind_query

Row = dict[str, Any]
NAME = "data.N.TAG"
ROWS = 200


def some_rows() -> list[Row]:
    """Rows in which each value, and each list, is null now and then."""
    random = np.random.default_rng(7)

    def maybe(value: Any) -> Any:
        return None if random.random() < 0.25 else value

    rows = []
    for number in range(ROWS):
        size = int(random.integers(0, 4))
        pts = [maybe(float(np.float32(random.exponential(20)))) for _ in range(size)]
        charges = [maybe(int(random.choice([-1, 1]))) for _ in range(size)]
        rows.append(
            {
                "run": 5,
                "lumi": 1,
                "event": number + 1,
                "met": maybe(float(np.float32(random.exponential(30)))),
                "nvtx": maybe(int(random.integers(0, 40))),
                "good": maybe(bool(random.integers(2))),
                "tag": maybe(str(random.choice(["a", "b"]))),
                "plain": int(random.integers(0, 10)),
                "Muon_pt": maybe(pts),
                "Muon_charge": maybe(charges),
            }
        )
    return rows


TYPES = pa.schema(
    {
        "run": pa.int32(),
        "lumi": pa.int32(),
        "event": pa.int64(),
        "met": pa.float32(),
        "nvtx": pa.int32(),
        "good": pa.bool_(),
        "tag": pa.string(),
        "plain": pa.int32(),
        "Muon_pt": pa.list_(pa.float32()),
        "Muon_charge": pa.list_(pa.int32()),
    }
)


def written(path: Path, rows: list[Row], types: pa.Schema = TYPES) -> Path:
    pq.write_table(pa.Table.from_pylist(rows, types), path)
    return path


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return some_rows()


@pytest.fixture(scope="module")
def home(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A dataset of two files: one with nulls in all columns, one of the last 20 rows, which has no null at all."""
    folder = tmp_path_factory.mktemp("nulls")
    home = Workspace.init(folder / "W")
    full = {"met": 1.0, "nvtx": 1, "good": True, "tag": "a", "Muon_pt": [30.0], "Muon_charge": [1]}
    rows[-20:] = [{**row, **full} for row in rows[-20:]]
    home.ingest(written(folder / "holes.parquet", rows[:-20]), dataset=NAME)
    home.ingest(written(folder / "whole.parquet", rows[-20:]), dataset=NAME)
    return home


def muons(row: Row) -> list[tuple[Any, Any]] | None:
    """(pt, charge) of each muon; None where neither list is there. The values of one null list are null."""
    pts, charges = row["Muon_pt"], row["Muon_charge"]
    if pts is None and charges is None:
        return None
    size = len(charges if pts is None else pts)
    return list(zip(pts or [None] * size, charges or [None] * size, strict=True))


def above(value: Any, limit: float) -> bool:
    return value is not None and value > limit


def leading(row: Row) -> Any:
    found = muons(row)
    return found[0][0] if found else None


def n_above(row: Row, limit: float) -> int | None:
    found = muons(row)
    return None if found is None else sum(above(pt, limit) for pt, _ in found)


def total(row: Row) -> float | None:
    found = muons(row)
    return None if found is None else float(sum(pt for pt, _ in found if pt is not None))


CUTS: dict[str, Callable[[Row], bool]] = {
    "met > 20": lambda r: above(r["met"], 20),
    "!(met > 20)": lambda r: not above(r["met"], 20),
    "met != 20": lambda r: r["met"] is not None,
    "met < 1e9": lambda r: r["met"] is not None,
    "nvtx == 0": lambda r: r["nvtx"] == 0,
    "nvtx >= 0 && plain > 4": lambda r: r["nvtx"] is not None and r["plain"] > 4,
    "nvtx + plain > 20": lambda r: r["nvtx"] is not None and r["nvtx"] + r["plain"] > 20,
    "present(nvtx) || plain == 3": lambda r: r["nvtx"] is not None or r["plain"] == 3,
    "good": lambda r: r["good"] is True,
    "!good": lambda r: r["good"] is not True,
    'tag == "a"': lambda r: r["tag"] == "a",
    'tag != "a"': lambda r: r["tag"] == "b",
    "nMuon == 0": lambda r: muons(r) == [],
    "count(Muon) >= 0": lambda r: muons(r) is not None,
    "count(Muon.pt > 10) == 0": lambda r: n_above(r, 10) == 0,
    "count(Muon.pt > 10) < 2 && met > 5": lambda r: n_above(r, 10) in (0, 1) and above(r["met"], 5),
    "any(Muon.pt > 10)": lambda r: (n_above(r, 10) or 0) > 0,
    "all(Muon.pt > 10)": lambda r: muons(r) is not None and all(above(pt, 10) for pt, _ in muons(r) or []),
    "any(m in Muon: m.pt > 10 && m.charge == 1)": lambda r: any(
        above(pt, 10) and charge == 1 for pt, charge in muons(r) or []
    ),
    "any(a, b in Muon: a.charge != b.charge)": lambda r: (
        len({charge for _, charge in muons(r) or [] if charge is not None}) == 2
    ),
    "sum(Muon.pt) < 40": lambda r: (total(r) or 0) < 40 and total(r) is not None,
    "max(Muon.pt) > 15": lambda r: any(above(pt, 15) for pt, _ in muons(r) or []),
    "Muon.pt[0] > 10": lambda r: above(leading(r), 10),
    "present(Muon.pt[0])": lambda r: leading(r) is not None,
    "let m = argmax(m in Muon: m.pt); m.pt > 25": lambda r: any(above(pt, 25) for pt, _ in muons(r) or []),
}


def passing(rows: list[Row], cut: str) -> list[int]:
    return [row["event"] for row in rows if CUTS[cut](row)]


@pytest.mark.parametrize("cut", CUTS)
def test_nulls_are_missing_in_the_interpreter_and_in_sql(home: Workspace, rows: list[Row], cut: str) -> None:
    right = passing(rows, cut)
    assert 0 < len(right) < ROWS
    query = replace(home[NAME].query([cut]), tier="interpreter")
    assert count(query).accepted == len(right)
    (bound,) = bind_query(query)
    if "argmax" in cut:
        with pytest.raises(CutError, match="not supported in SQL"):
            to_sql(bound.cut.node)
        return
    paths = [str(part.path) for part in bound.input.snapshot.parts]
    scan = f"read_parquet({paths!r}, union_by_name = true)"
    with duckdb.connect() as connection:
        answer = connection.execute(f"SELECT event FROM {scan} WHERE {to_sql(bound.cut.node)} ORDER BY event")
        assert [event for (event,) in answer.fetchall()] == right


def test_nulls_are_missing_in_kernels(home: Workspace, rows: list[Row]) -> None:
    """Cuts of several shapes at once, so that few kernels are compiled."""
    cuts = ["nvtx + plain > 20", "any(m in Muon: m.pt > 10 && m.charge == 1)"]
    right = [row for row in rows if all(CUTS[cut](row) for cut in cuts)]
    assert right
    assert count(replace(home[NAME].query(cuts), tier="kernel")).accepted == len(right)


def test_verbs_show_nulls_as_missing(home: Workspace, rows: list[Row]) -> None:
    """Row 3 of the table has null for met and no muons; row 2 has no list of muons at all."""
    assert (rows[2]["met"], rows[2]["Muon_pt"], rows[1]["Muon_pt"], rows[1]["Muon_charge"]) == (None, [], None, None)
    columns = ("event", "met", "nMuon", "Muon.pt")
    head = home[NAME].where("event in (2, 3)").head(2, columns).to_list()
    assert [row["nMuon"] for row in head] == [None, 0]
    assert [row["Muon.pt"] for row in head] == [None, []]
    assert head[1]["met"] is None
    (reason,) = home[NAME].where("met > 20").why(5, 3).rows
    assert reason.cuts[0].values == (("met", "missing"),)
    answer = home.sql(f'SELECT nMuon, Muon_pt, met FROM "{NAME}" WHERE event IN (2, 3) ORDER BY event').to_pylist()
    assert [row["nMuon"] for row in answer] == [None, 0]
    assert [row["Muon_pt"] for row in answer] == [None, []]
    assert answer[1]["met"] is None
    stored = set(home.sql(f'SELECT * FROM "{NAME}" LIMIT 1').column_names)
    assert stored >= {"met", "Muon_pt"} and not any("null" in name for name in stored)
    assert "met__null" not in str(home[NAME].attributes())
    filled = home[NAME].where("true").hist("met", (1, -1.0, 1e6))
    assert filled.sum() == sum(row["met"] is not None for row in rows)


def test_an_ingest_says_how_many_nulls_there_are(tmp_path: Path) -> None:
    home = Workspace.init(tmp_path / "W")
    rows = [{"run": 5, "lumi": 1, "event": n, "met": None if n < 3 else 1.0, "Muon_pt": [None, 1.0]} for n in range(4)]
    rows[3]["Muon_pt"] = None
    done = home.ingest(
        written(tmp_path / "a.parquet", rows, pa.schema([TYPES.field(n) for n in rows[0]])), dataset=NAME
    )
    assert done.report.to_json()["nulls"] == {"met": {"values": 3, "lists": 0}, "Muon_pt": {"values": 3, "lists": 1}}
    assert "missing, as the files have nulls: Muon_pt (3 and 1 whole lists), met (3)" in str(done.report)


def test_a_null_id_refuses_the_file(tmp_path: Path) -> None:
    home = Workspace.init(tmp_path / "W")
    rows = [{"run": 5, "lumi": 1, "event": 1}, {"run": None, "lumi": 1, "event": 2}]
    path = written(tmp_path / "a.parquet", rows, pa.schema([TYPES.field(n) for n in rows[0]]))
    with pytest.raises(IngestError, match="run has no value in row 1, and an id must have one"):
        home.ingest(path, dataset=NAME)


CHAINS = ("HLT_a", "HLT_b", "HLT_whole", "Flag_c")


def rows_of_chains() -> list[Row]:
    """500 rows whose chains, but for HLT_whole, are null now and then."""
    random = np.random.default_rng(21)
    rows = []
    for number in range(500):
        row: Row = {"run": 5, "lumi": 1, "event": number, "met": float(number)}
        for chain in CHAINS:
            is_null = chain != "HLT_whole" and random.random() < 0.3
            row[chain] = None if is_null else bool(random.integers(2))
        rows.append(row)
    return rows


def file_of_chains(path: Path, rows: list[Row]) -> Path:
    bits = {"HLT_a": pa.bool_(), "HLT_b": pa.uint8(), "HLT_whole": pa.bool_(), "Flag_c": pa.bool_()}
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    schema = pa.schema([*(TYPES.field(name) for name in ("run", "lumi", "event", "met")), *bits.items()])
    columns["HLT_b"] = [None if bit is None else int(bit) for bit in columns["HLT_b"]]
    pq.write_table(pa.table(columns, schema), path)
    return path


def test_a_chain_that_is_null_is_missing_in_that_row(tmp_path: Path) -> None:
    """As where the menu lacks it: `present` is false, no cut on it passes, and a guard leaves the row out."""
    home, rows = Workspace.init(tmp_path / "W"), rows_of_chains()
    done = home.ingest(file_of_chains(tmp_path / "a.parquet", rows), dataset=NAME)
    assert (done.events, done.failed) == (500, ())
    for chain in CHAINS:
        values = [row[chain] for row in rows]
        assert home[NAME].count(chain).accepted == values.count(True)
        assert home[NAME].count(f"present({chain})").accepted == 500 - values.count(None)
        assert home[NAME].count(f"present({chain}) && !{chain}").accepted == values.count(False)
    both = [row for row in rows if row["HLT_a"] and row["HLT_b"] and row["met"] > 100]
    assert home[NAME].select("HLT_a && HLT_b && met > 100").event.tolist() == [row["event"] for row in both]
    nulls = {chain: sum(row[chain] is None for row in rows) for chain in CHAINS if chain != "HLT_whole"}
    assert done.report.to_json()["nulls"] == {name: {"values": n, "lists": 0} for name, n in nulls.items()}


def test_a_file_whose_nulls_would_make_too_many_menus_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three chains with nulls come in 8 combinations, and 7 menus are too few: no chain loses values that it has."""
    home = Workspace.init(tmp_path / "W")
    path = file_of_chains(tmp_path / "a.parquet", rows_of_chains())
    monkeypatch.setattr("tagsel.ingest.nulls.MOST_MENUS", 7)
    with pytest.raises(IngestError, match="HLT_a, HLT_b, Flag_c are null in more than 7 combinations.* of each period"):
        home.ingest(path, dataset=NAME)
    assert not home.catalog.names()
    monkeypatch.setattr("tagsel.ingest.nulls.MOST_MENUS", 8)
    assert home.ingest(path, dataset=NAME).events == 500


def test_a_chain_in_1500_menus_is_one_place_to_look_at(tmp_path: Path) -> None:
    """Eight files of 240 rows and 12 chains, each null in half of the rows at random: by the kernel as by a loop.

    All these menus have a chain at one bit of one word, so its code does not grow with them.
    """
    home, chance = Workspace.init(tmp_path / "W"), np.random.default_rng(5)
    chains = [f"HLT_c{number}" for number in range(12)]
    passes, nulls = chance.random((8, 240, 12)) < 0.5, chance.random((8, 240, 12)) < 0.5
    for number in range(8):
        ids = {"run": [number + 1] * 240, "lumi": [1] * 240, "event": list(range(240))}
        columns = {
            name: pa.array(passes[number, :, k], pa.bool_(), mask=nulls[number, :, k]) for k, name in enumerate(chains)
        }
        pq.write_table(pa.table({**ids, **columns}), tmp_path / f"{number}.parquet")
    home.ingest(*sorted(tmp_path.glob("*.parquet")), dataset=NAME)
    (snapshot,) = [one.snapshot for one in home[NAME].inputs]
    assert len(snapshot.menus) > 1_500
    query = home[NAME].query(["HLT_c3 || HLT_c7"])
    right = np.count_nonzero((passes & ~nulls)[:, :, [3, 7]].any(axis=2))
    assert count(replace(query, tier="kernel")).accepted == right
    assert count(replace(query, tier="interpreter")).accepted == right


def test_chains_of_a_word_that_is_null_are_missing(tmp_path: Path) -> None:
    """A file with words and menus of its own: HLT_x is bit 0 of trigger_0, HLT_y bit 1 of trigger_1."""
    menu = Menu({"HLT_x": ("trigger_0", 0), "HLT_y": ("trigger_1", 1)})
    words = {"trigger_0": pa.array([1, None, 1, 0], pa.int32()), "trigger_1": pa.array([2, 2, 0, 2], pa.int32())}
    ids = {"run": [5] * 4, "lumi": [1] * 4, "event": [1, 2, 3, 4], "menu": pa.array([menu.id] * 4, pa.int64())}
    metadata = {"tagsel.menus": json.dumps({menu.id: menu.to_json()})}
    pq.write_table(pa.table({**ids, **words}).replace_schema_metadata(metadata), tmp_path / "a.parquet")
    (tmp_path / "words.toml").write_text(
        'name = "words"\nformat = "parquet"\n[ids]\nrun = "run"\nlumi = "lumi"\nevent = "event"\n'
        + "".join(f'[[attributes]]\nname = "trigger_{n}"\ntype = "bits32"\nrole = "trigger"\n' for n in (0, 1))
    )
    home = Workspace.init(tmp_path / "W")
    home.ingest(tmp_path / "a.parquet", dataset=NAME, schema=str(tmp_path / "words.toml"))
    answers = {cut: home[NAME].select(cut).event.tolist() for cut in ("HLT_x", "present(HLT_x)", "HLT_y")}
    assert answers == {"HLT_x": [1, 3], "present(HLT_x)": [1, 3, 4], "HLT_y": [1, 2, 4]}


def test_files_without_nulls_have_no_bitmaps(tmp_path: Path, home: Workspace, rows: list[Row]) -> None:
    other = Workspace.init(tmp_path / "W")
    other.ingest(written(tmp_path / "whole.parquet", rows[-20:]), dataset=NAME)
    (snapshot,) = [one.snapshot for one in other[NAME].inputs]
    assert not [a.name for a in snapshot.schema if a.role == "null"]
    whole = home[NAME].inputs[0].snapshot.parts[1]
    assert not [name for name in whole.columns if "null" in name]


def test_parts_with_and_without_nulls_are_packed(tmp_path: Path) -> None:
    """Three files: nulls in met and in a list; no null; nulls in a list's values and not in met. Answers stay.

    met > 20: events 3 and 4 (50, 60); met < 1e9: 1, 3, 4 and 5; muons above 20 GeV: 1 (30) and 5 (40); no muon that is
    known: 2, so nMuon >= 0 leaves four.
    """
    home = Workspace.init(tmp_path / "W")
    ids = {"run": 5, "lumi": 1}
    files = [
        [{**ids, "event": 1, "met": 10.0, "Muon_pt": [30.0]}, {**ids, "event": 2, "met": None, "Muon_pt": None}],
        [{**ids, "event": 3, "met": 50.0, "Muon_pt": [5.0, 6.0]}, {**ids, "event": 4, "met": 60.0, "Muon_pt": []}],
        [{**ids, "event": 5, "met": 20.0, "Muon_pt": [None, 40.0]}],
    ]
    for number, rows in enumerate(files):
        columns = pa.schema([TYPES.field(name) for name in rows[0]])
        home.ingest(written(tmp_path / f"{number}.parquet", rows, columns), dataset=NAME)
    right = {"met > 20": [3, 4], "met < 1e9": [1, 3, 4, 5], "any(Muon.pt > 20)": [1, 5], "nMuon >= 0": [1, 3, 4, 5]}

    def answers() -> dict[str, list[int]]:
        return {cut: sorted(home[NAME].select(cut).event.tolist()) for cut in right}

    def shown() -> list[Row]:
        return home[NAME].where("true").head(5, ("event", "met", "nMuon", "Muon.pt")).to_list()

    before = shown()
    bitmaps = [{name for name in part.columns if "null" in name} for part in home[NAME].inputs[0].snapshot.parts]
    assert bitmaps[0] and bitmaps[2] and not bitmaps[1] and bitmaps[0] != bitmaps[2]
    assert answers() == right
    home.datasets.compact(NAME)
    (part,) = home[NAME].inputs[0].snapshot.parts
    assert part.rows == 5
    assert answers() == right
    assert shown() == before
    assert [row["nMuon"] for row in before] == [1, None, 2, 0, 2]
    assert "corrupt" not in {finding.kind for finding in home.datasets.check(NAME, deep=True).findings}
