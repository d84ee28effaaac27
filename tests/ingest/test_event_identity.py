"""What makes two rows one event: numbers that start anew in each luminosity block, and files without ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from tagsel.api import Workspace
from tagsel.cli.main import run
from tagsel.errors import EventListError, IngestError, SchemaError
from tagsel.events import read_events
from tagsel.ingest.load import Ingested

LUMI = np.repeat([1, 2, 3], 5)  # 3 blocks of events 1 … 5: 15 events
EVENT = np.tile(np.arange(1, 6), 3)
BY_LUMI = "run lumi event"


def nano(path: Path, lumi: np.ndarray = LUMI, event: np.ndarray = EVENT, *, simulation: bool = False) -> Path:
    kinds = {"run": np.uint32, "luminosityBlock": np.uint32, "event": np.uint64, "MET_pt": np.float32}
    columns = {"run": np.full(len(event), 5000), "luminosityBlock": lumi, "event": event, "MET_pt": event * 10}
    if simulation:
        kinds["genWeight"], columns["genWeight"] = np.float32, np.ones(len(event))
    with uproot.recreate(path) as file:
        file.mktree("Events", {name: np.dtype(kind) for name, kind in kinds.items()})
        file["Events"].extend({name: np.asarray(columns[name]).astype(kind) for name, kind in kinds.items()})
    return path


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    return Workspace.init(tmp_path / "W")


def test_fault_52_an_event_in_two_blocks_is_reported(home: Workspace, tmp_path: Path) -> None:
    """15 rows, 5 distinct (run, event): 10 do not count, and both ingest and check say so."""
    done = home.ingest(nano(tmp_path / "a.root"), dataset="a.TAG")
    assert any("10 rows repeat the (run, event) of a row in another luminosity block" in w for w in done.warnings)
    assert any("MOST ROWS ARE DUPLICATES: 10 of 15" in w for w in done.warnings)
    found = {f.what: (f.count, f.kind) for f in home.datasets.check("a.TAG").findings}
    assert found["rows that repeat an event of another luminosity block"] == (10, "corrupt")
    again = home.ingest(nano(tmp_path / "b.root", np.full(5, 9), np.arange(101, 106)), dataset="a.TAG")
    assert not again.warnings  # said where it came in, and by check from then on


def test_rows_are_counted_that_lie_in_another_block_than_the_one_that_counts(home: Workspace, tmp_path: Path) -> None:
    """One event in blocks 4, 5, 4, 5, 5: the first row counts, and of the four others three are in block 5."""
    done = home.ingest(nano(tmp_path / "a.root", np.array([4, 5, 4, 5, 5]), np.full(5, 7)), dataset="a.TAG")
    assert done.duplicates == 4
    (warning,) = (w for w in done.warnings if "another luminosity block" in w)
    assert warning.startswith("3 rows repeat")
    assert "5000:7, in blocks 4 and 5" in warning


def loud(done: Ingested) -> list[str]:
    """Its warnings of duplicates that begin in capitals."""
    return [w for w in done.warnings if w.startswith("MOST ROWS ARE DUPLICATES")]


def test_a_file_of_duplicates_is_named_however_large_the_dataset(home: Workspace, tmp_path: Path) -> None:
    """10 events of 300 come again in another file. Which file's rows count depends on their random GUIDs, so six copies
    are made: each is named, with all its rows, whichever way that falls."""
    home.ingest(nano(tmp_path / "all.root", np.ones(300), np.arange(300)), dataset="a.TAG")
    for number in range(6):
        path = nano(tmp_path / f"copy{number}.root", np.ones(10), np.arange(100 + 10 * number, 110 + 10 * number))
        (warning,) = loud(home.ingest(path, dataset="a.TAG"))
        assert f"10 of 10 rows of {path} repeat the (run, event) of another row" in warning
        assert "adds 0 events" in warning
        assert f"5000:{100 + 10 * number} is in {tmp_path / 'all.root'}, too" in warning
    assert home["a.TAG"].count("true").accepted == 300


def test_of_two_new_files_the_one_that_repeats_is_named(home: Workspace, tmp_path: Path) -> None:
    """One call brings 300 events and 10 of them again. A file that repeats 4 events of 10 draws no warning."""
    nano(tmp_path / "all.root", np.ones(300), np.arange(300))
    few = nano(tmp_path / "few.root", np.ones(10), np.arange(10))
    (warning,) = loud(home.ingest(tmp_path / "all.root", few, dataset="a.TAG"))
    assert f"10 of 10 rows of {few}" in warning
    some = nano(tmp_path / "some.root", np.ones(10), np.arange(296, 306))
    assert not loud(home.ingest(some, dataset="a.TAG"))
    assert home["a.TAG"].count("true").accepted == 306


def test_many_files_of_duplicates_are_counted_and_three_named(home: Workspace, tmp_path: Path) -> None:
    """Of 6 equal files the rows of one count, and 5 are duplicates."""
    files = [nano(tmp_path / f"{number}.root", np.ones(4), np.arange(4)) for number in range(6)]
    warnings = loud(home.ingest(*files, dataset="a.TAG"))
    assert [w.split(" of ")[0].rsplit(" ", 1)[-1] for w in warnings[:3]] == ["4", "4", "4"]
    assert warnings[3:] == ["MOST ROWS ARE DUPLICATES in 2 more files, too"]


def test_fault_52_rows_of_simulation_that_repeat_numbers_count_and_are_said_to(
    home: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """15 rows of 5 events in 3 blocks: 10 repeat a run and event. Ingest called them duplicates, and count had none."""
    path = nano(tmp_path / "mc.root", simulation=True)
    assert run(["ingest", str(path), "--dataset", "mc.M.TAG", "-w", str(home.folder)]) == 0
    assert "10 rows repeat a run and event, and count" in capsys.readouterr().err
    ledger = home["mc.M.TAG"].count("true").ledger
    assert (ledger.accepted, ledger.duplicate) == (15, 0)


def test_fault_52_identity_settles_it(home: Workspace, tmp_path: Path) -> None:
    """By (run, lumi, event) all 15 count; a file with 5 of them again and 5 new ones adds 5."""
    done = home.ingest(nano(tmp_path / "a.root"), dataset="a.TAG", identity=BY_LUMI)
    assert (done.duplicates, done.warnings) == (0, ())
    assert home["a.TAG"].count("true").accepted == 15
    more = nano(tmp_path / "b.root", np.repeat([3, 4], 5), np.tile(np.arange(1, 6), 2))
    assert home.ingest(more, dataset="a.TAG").duplicates == 5
    assert home["a.TAG"].count("true").accepted == 20
    assert home["a.TAG"].count("MET.pt > 35").accepted == 4 * 2  # events 4 and 5 of each of 4 blocks
    home.datasets.compact("a.TAG")
    assert home["a.TAG"].count("true").accepted == 20
    assert not [f for f in home.datasets.check("a.TAG").findings if f.kind == "corrupt"]
    with pytest.raises(IngestError, match="'run event' was asked for"):
        home.ingest(more, dataset="a.TAG", identity="run event")
    with pytest.raises(SchemaError, match="is no identity of events"):
        home.ingest(more, dataset="c.TAG", identity="event")


def test_fault_52_lists_of_such_events_are_well_defined(home: Workspace, tmp_path: Path) -> None:
    home.ingest(nano(tmp_path / "a.root"), dataset="a.TAG", identity=BY_LUMI)
    every, high = home["a.TAG"].select("true"), home["a.TAG"].select("MET.pt > 45")
    assert (len(every), len(high), len(every & high), len(every - high), len(every | high)) == (15, 3, 3, 12, 15)
    high.save(tmp_path / "high.events")
    back = read_events(tmp_path / "high.events")
    assert (back.digest, len(back - high), len(every - back)) == (high.digest, 0, 12)
    home.ingest(nano(tmp_path / "b.root", np.full(5, 9), np.arange(1, 6)), dataset="b.TAG")
    with pytest.raises(EventListError, match="told apart by run, lumi and event"):
        every & home["b.TAG"].select("true")


def test_fault_52_a_list_of_ids_that_repeat_in_blocks_is_read(home: Workspace, tmp_path: Path) -> None:
    """Entries 2, 7 and 14 are event 3 of blocks 1 and 2, and event 5 of block 3."""
    (tmp_path / "ids.txt").write_text("5000:1:3\n5000:2:3\n5000:3:5\n")
    home.ingest(nano(tmp_path / "a.root"), dataset="a.TAG", identity=BY_LUMI)
    asked = read_events(tmp_path / "ids.txt")
    assert asked.by_lumi and len(asked) == 3
    assert home["a.TAG"].pick(asked).events.entry.tolist() == [2, 7, 14]


def test_fault_52_streams_share_events_by_their_identity(home: Workspace, tmp_path: Path) -> None:
    """Two streams of 15 events share none but those of equal (run, lumi, event): here block 3's 5."""
    home.ingest(nano(tmp_path / "a.root"), dataset="a.TAG", identity=BY_LUMI)
    home.ingest(nano(tmp_path / "b.root", LUMI + 2), dataset="b.TAG", identity=BY_LUMI)
    ledger = home["a.TAG,b.TAG"].count("true").ledger
    assert (ledger.accepted, ledger.duplicate) == (25, 5)


WITHOUT_IDS = """
name = "mine"
format = "tree"
tree = "mini"
rest = true

[ids]
run = 7
lumi = 1
event = "entry"
"""


def test_fault_53_the_entry_is_the_event_number_of_a_file_without_ids(home: Workspace, tmp_path: Path) -> None:
    """554 events with lepton pt 0 … 553: all count, 54 above 499, and a skim reads just these."""
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mktree("mini", {"lep_pt": np.dtype(np.float32)})
        file["mini"].extend({"lep_pt": np.arange(554, dtype=np.float32)})
    with pytest.raises(IngestError) as caught:
        home.ingest(tmp_path / "a.root", dataset="a.TAG")
    assert "mini" in str(caught.value)
    (tmp_path / "mine.toml").write_text(WITHOUT_IDS)
    done = home.ingest(tmp_path / "a.root", dataset="a.TAG", schema=str(tmp_path / "mine.toml"))
    assert (done.events, done.duplicates) == (554, 0)
    events = home["a.TAG"].select("lep_pt > 499")
    assert events.event.tolist() == list(range(500, 554))
    home.lists[events].skim(tmp_path / "s.root", branches="lep_pt")
    assert uproot.open(tmp_path / "s.root")["mini"]["lep_pt"].array().to_list() == list(range(500, 554))


def without_ids(path: Path, values: range) -> Path:
    """A tree `mini` of one column and no ids."""
    with uproot.recreate(path) as file:
        file.mktree("mini", {"x": np.dtype(np.float32)})
        file["mini"].extend({"x": np.array(values, np.float32)})
    return path


def schema_of_run(folder: Path, run: int, lumi: int = 1) -> str:
    path = folder / f"run{run}_{lumi}.toml"
    path.write_text(WITHOUT_IDS.replace("run = 7", f"run = {run}").replace("lumi = 1", f"lumi = {lumi}"))
    return str(path)


def test_two_files_numbered_by_entry_never_share_events(home: Workspace, tmp_path: Path) -> None:
    """Of two files of 6 rows each, 6 of 12 counted. The second is refused in one call and in the next, and in a run of
    its own all 12 count: 6 of x < 6, 6 from 6 on."""
    one, two = without_ids(tmp_path / "one.root", range(6)), without_ids(tmp_path / "two.root", range(6, 12))
    done = home.ingest(one, two, dataset="a.TAG", schema=schema_of_run(tmp_path, 7))
    (failure,) = done.failed
    assert failure.path == str(two)
    assert f"{two} and {one}, which a.TAG has, are both of run 7" in failure.reason
    assert "[ids] run = 8" in failure.reason
    with pytest.raises(IngestError, match="are both of run 7"):
        home.ingest(two, dataset="a.TAG", schema=schema_of_run(tmp_path, 7))
    done = home.ingest(two, dataset="a.TAG", schema=schema_of_run(tmp_path, 8))
    assert (done.events, done.duplicates) == (12, 0)
    assert [home["a.TAG"].count(cut).accepted for cut in ("x < 6", "x >= 6")] == [6, 6]
    home.datasets.compact("a.TAG")
    with pytest.raises(IngestError, match="are both of run 8"):
        home.ingest(without_ids(tmp_path / "c.root", range(3)), dataset="a.TAG", schema=schema_of_run(tmp_path, 8))


def test_numbers_of_entries_and_of_events_do_not_meet_in_one_run(home: Workspace, tmp_path: Path) -> None:
    """A file with event numbers of run 5000 beside one whose entries are its numbers, in either order."""
    columns = {"run": np.dtype(np.int32), "luminosityBlock": np.dtype(np.int32), "event": np.dtype(np.int64)}
    with uproot.recreate(tmp_path / "own.root") as file:
        file.mktree("mini", columns | {"x": np.dtype(np.float32)})
        ids = {"run": np.full(3, 5000), "luminosityBlock": np.ones(3), "event": [70, 80, 90]}
        file["mini"].extend(ids | {"x": [1, 2, 3]})
    text = WITHOUT_IDS.replace("= 7", '= "run"').replace("= 1", '= "luminosityBlock"')
    (tmp_path / "own.toml").write_text(text.replace('"entry"', '"event"'))
    own, own_schema = tmp_path / "own.root", str(tmp_path / "own.toml")
    entries = without_ids(tmp_path / "entries.root", range(3))
    home.ingest(own, dataset="a.TAG", schema=own_schema)
    with pytest.raises(IngestError, match="are both of run 5000"):
        home.ingest(entries, dataset="a.TAG", schema=schema_of_run(tmp_path, 5000))
    home.ingest(entries, dataset="b.TAG", schema=schema_of_run(tmp_path, 5000))
    with pytest.raises(IngestError, match=f"the events of {entries} are numbered by their entries"):
        home.ingest(own, dataset="b.TAG", schema=own_schema)
    assert home.ingest(own, dataset="c.TAG", schema=own_schema, identity=BY_LUMI).events == 3
    in_block_2 = home.ingest(entries, dataset="c.TAG", schema=schema_of_run(tmp_path, 5000, 2))
    assert (in_block_2.events, in_block_2.duplicates) == (6, 0)


def test_fault_53_one_number_for_all_events_is_refused(home: Workspace, tmp_path: Path) -> None:
    """The hint had led to 1 where the truth is 554: it says `entry`, and the constant is refused."""
    (tmp_path / "mine.toml").write_text(WITHOUT_IDS.replace('"entry"', "0"))
    with pytest.raises(SchemaError, match=r"ids\.event is 0: all rows would be one event"):
        home.ingest(nano(tmp_path / "a.root"), dataset="a.TAG", schema=str(tmp_path / "mine.toml"))
    table = pa.table({"run": pa.array([5], pa.int32()), "luminosityBlock": [1], "MET_pt": [1.0]})
    pq.write_table(table, tmp_path / "noid.parquet")
    with pytest.raises(IngestError, match="nothing was ingested") as caught:
        home.ingest(tmp_path / "noid.parquet", dataset="b.TAG")
    assert 'event = "entry"' in str(caught.value)


@pytest.mark.parametrize(
    ("values", "kind", "fits"),
    [
        ([1.0, 2**53 - 1], "float64", True),
        ([1.0, 2**53], "float64", False),
        ([2**24], "float32", False),
        ([1.0, 2.5], "float64", False),
    ],
)
def test_fault_52_ids_kept_as_floats_are_checked_to_be_exact(
    home: Workspace, tmp_path: Path, values: list[float], kind: str, fits: bool
) -> None:
    """float64 holds every integer up to 2^53, float32 up to 2^24: from there a number may be its neighbour."""
    n = len(values)
    event = pa.array(np.array(values, kind))
    pq.write_table(pa.table({"run": [5] * n, "luminosityBlock": [1] * n, "event": event}), tmp_path / "f.parquet")
    if fits:
        assert home.ingest(tmp_path / "f.parquet", dataset="a.TAG").events == n
    else:
        with pytest.raises(IngestError, match=r"f\.parquet: event, row [01]"):
            home.ingest(tmp_path / "f.parquet", dataset="a.TAG")
