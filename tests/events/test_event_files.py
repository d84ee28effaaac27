"""Event lists as files and streams: every form read back, every bad line named, every damage found."""

from __future__ import annotations

import codecs
import io
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot
from hypothesis import given
from hypothesis import strategies as st

from tagsel.errors import EventListError
from tagsel.events import FORMS, EventList, Ledger, Reference, read_events, write_events
from tagsel.events.forms import parse_json, parse_text, to_json
from tagsel.rootio import guid_of

ROOT_LISTS = Path(__file__).parents[1] / "rootio" / "files"
"""Lists that ROOT 6.40 wrote; their files are named a.root and b.root."""

GUIDS = ("0000000A-AAAA-BBBB-CCCC-000000000001", "0000000B-AAAA-BBBB-CCCC-000000000002")
TEXT_FORMS = sorted(FORMS)

rows = st.lists(
    st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1), st.integers(0, 1)),
    unique_by=lambda row: (row[0], row[2]),
    max_size=8,
)


def made(values: list[tuple[int, int, int, int]], **more: object) -> EventList:
    run, lumi, event, file = (np.array(c, np.int64) for c in (zip(*values, strict=True) if values else ((),) * 4))
    return EventList.from_arrays(run, lumi, event, file, GUIDS, np.arange(len(values)), **more)  # type: ignore[arg-type]


def sample() -> EventList:
    return made(
        [(7, 1, 10, 0), (7, 2, 11, 1), (8, 1, 2**53 + 1, 0)],
        ledger=Ledger(accepted=3, rejected=37),
        provenance={"cut": "count(Muon.pt > 10 GeV) >= 2", "datasets": ["data18.DoubleMuon.TAG@1"]},
        references={"raw": Reference.of([0, 0, 1], GUIDS, [5, 6, 7])},
    )


def simulated() -> EventList:
    return EventList.from_arrays([1, 1], [1, 1], [5, 5], [0, 0], GUIDS[:1], [0, 1], simulation=True, sample="mc.zmumu")


# -- the .events file


@pytest.mark.parametrize("make", [sample, simulated, lambda: made([]), lambda: simulated()[:0]])
def test_feature_44_a_saved_list_is_read_back_whole(tmp_path: Path, make: Callable[[], EventList]) -> None:
    events = make()
    events.save(tmp_path / "a.events")
    back = read_events(tmp_path / "a.events")
    assert back == events
    assert back.digest == events.digest
    assert list(back) == list(events)
    assert (back.ledger, back.provenance, back.simulation) == (
        events.ledger,
        events.provenance,
        events.simulation,
    )
    assert list(back.references) == list(events.references)
    for stage, reference in events.references.items():
        assert back.stage(stage).guid.strings() == reference.guid.strings()
        assert back.stage(stage).entry.tolist() == reference.entry.tolist()
    if events.sample is not None and back.sample is not None:
        assert back.sample.strings() == events.sample.strings()


def test_feature_101_the_same_list_has_the_same_bytes(tmp_path: Path) -> None:
    """Events in another order, in another process: the same file."""
    values = [(run, 1, event, event % 2) for run in range(3) for event in range(500)]
    random.Random(1).shuffle(values)
    ordered = sorted(values, key=lambda row: (row[3], row[0], row[2]))
    for name, order in (("a", values), ("b", ordered)):
        run, lumi, event, file = (np.array(c, np.int64) for c in zip(*order, strict=True))
        entry = run * 500 + event
        EventList.from_arrays(run, lumi, event, file, GUIDS, entry, provenance={"cut": "true"}).save(tmp_path / name)
    script = "import sys; from tagsel.events import read_events; read_events(sys.argv[1]).save(sys.argv[2])"
    subprocess.run([sys.executable, "-c", script, tmp_path / "a", tmp_path / "c"], check=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


def test_every_damage_to_the_file_is_found(tmp_path: Path) -> None:
    """A bit flipped anywhere, or a file cut anywhere, is refused or changes nothing that is read."""
    sample().save(tmp_path / "a.events")
    whole = (tmp_path / "a.events").read_bytes()
    rng = random.Random(22)
    for _ in range(1500):
        place = rng.randrange(len(whole))
        flipped = bytearray(whole)
        flipped[place] ^= 1 << rng.randrange(8)
        (tmp_path / "b.events").write_bytes(flipped)
        assert _refused_or_equal(tmp_path / "b.events")
    for _ in range(50):
        (tmp_path / "b.events").write_bytes(whole[: rng.randrange(4, len(whole))])
        with pytest.raises(EventListError, match=r"b\.events"):
            read_events(tmp_path / "b.events")


def _refused_or_equal(path: Path) -> bool:
    try:
        back = read_events(path)
    except EventListError as error:
        return str(path) in str(error)
    expected = sample()
    same = list(back) == list(expected) and back.digest == expected.digest
    return same and (back.ledger, back.provenance) == (expected.ledger, expected.provenance)


def test_a_list_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    sample().save(tmp_path / "a.events")
    table = pq.read_table(tmp_path / "a.events")
    newer = table.replace_schema_metadata({**table.schema.metadata, b"tagsel.events.version": b"2"})
    pq.write_table(newer, tmp_path / "a.events")
    with pytest.raises(EventListError, match="version 2; known is 1"):
        read_events(tmp_path / "a.events")


def test_events_exchanged_under_the_header_are_found(tmp_path: Path) -> None:
    sample().save(tmp_path / "a.events")
    table = pq.read_table(tmp_path / "a.events")
    pq.write_table(table.slice(0, 2), tmp_path / "a.events")
    with pytest.raises(EventListError, match="not those that were written"):
        read_events(tmp_path / "a.events")


def test_feature_46_parquet_of_other_programs(tmp_path: Path) -> None:
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"EventNumber": pa.array([11, 10], pa.uint64()), "RunNumber": [7, 7]}), path)
    assert [(e.run, e.lumi, e.event, e.guid) for e in read_events(path)] == [(7, -1, 10, ""), (7, -1, 11, "")]
    pq.write_table(pa.table({"run": [7], "event": [10], "guid": [GUIDS[0]], "entry": [4]}), path)
    assert list(read_events(path)) == [(7, -1, 10, GUIDS[0], 4)]
    pq.write_table(pa.table({"run": [7], "event": [10], "pt": [2.5], "note": [None]}), path)
    assert list(read_events(path)) == [(7, -1, 10, "", -1)], "columns of no meaning here do not matter"
    pq.write_table(pa.table({"run": [7.0], "event": [10]}), path)
    with pytest.raises(EventListError, match="column run holds double"):
        read_events(path)
    pq.write_table(pa.table({"run": [7], "evnt": [10]}), path)
    with pytest.raises(EventListError, match="no column event") as caught:
        read_events(path)
    assert str(path) in str(caught.value)
    pq.write_table(pa.table({"run": [7, None], "event": [10, 11]}), path)
    with pytest.raises(EventListError, match="column run has nulls"):
        read_events(path)


def test_provenance_that_json_cannot_hold(tmp_path: Path) -> None:
    for bad in (float("nan"), {1, 2}):
        for form in ("parquet", "json"):
            with pytest.raises(EventListError, match="provenance that JSON cannot hold"):
                write_events(made([(1, 1, 1, 0)], provenance={"x": bad}), tmp_path / "a.events", form)
    assert list(tmp_path.iterdir()) == []


# -- text


@given(rows, st.sampled_from(TEXT_FORMS))
def test_feature_46_text_is_read_back(values: list[tuple[int, int, int, int]], form: str) -> None:
    events = made(values)
    held = io.StringIO()
    write_events(events, held, form)
    back = parse_text(held.getvalue().encode())
    assert back == events
    kept = FORMS[form].fields
    assert {tuple(getattr(e, f) for f in kept) for e in back} == {tuple(getattr(e, f) for f in kept) for e in events}
    assert [line.split(FORMS[form].separator)[0] for line in held.getvalue().splitlines()] == [
        str(e.run) for e in events
    ], "no header, the list's order"


@given(rows)
def test_feature_46_json_is_read_back(values: list[tuple[int, int, int, int]]) -> None:
    events = made(values, provenance={"cut": "é > 1"})
    back = parse_json(to_json(events).encode())
    assert list(back) == list(events)
    assert (back.digest, back.provenance) == (events.digest, events.provenance)


def test_json_written_by_hand() -> None:
    events = parse_json(b'{"list": [{"event": 11, "run": 7}, {"run": 7, "event": 10}]}')
    assert [(e.run, e.lumi, e.event) for e in events] == [(7, -1, 10), (7, -1, 11)]


def test_json_holds_all_that_the_list_does() -> None:
    for events in (sample(), simulated(), simulated()[:0]):
        document = json.loads(to_json(events))
        assert document["digest"] == events.digest
        assert len(document["list"]) == len(events)
        back = parse_json(to_json(events).encode())
        assert (back, back.ledger, list(back.references)) == (events, events.ledger, list(events.references))


@pytest.mark.parametrize("form", [*TEXT_FORMS, "json", "parquet"])
def test_any_form_is_read_by_its_content(tmp_path: Path, form: str) -> None:
    write_events(sample(), tmp_path / "list", form)
    assert read_events(tmp_path / "list") == sample()
    write_events(made([]), tmp_path / "none", form)
    assert read_events(tmp_path / "none") == made([]), "fault 25: no events in any form"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["list", "none"]


def test_fault_24_comments_blank_lines_and_repeats() -> None:
    text = b"\xef\xbb\xbf# picked by hand\r\n\r\n7:1:11\r\n  7 : 1 : 10  # the best\n\n7:1:11\n"
    events = parse_text(text)
    assert [(e.run, e.lumi, e.event, e.guid, e.entry) for e in events] == [
        (7, 1, 10, "", -1),
        (7, 1, 11, "", -1),
    ]
    assert events.provenance == {"imported": {"lines": 3, "repeated": 1}}


def test_lower_case_guids_are_taken() -> None:
    assert [e.guid for e in parse_text(f"7\t10  {GUIDS[0].lower()}\n".encode())] == [GUIDS[0]]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (b"7:1:10\n7:1\n", 2, "2 fields; expected '315267:93:197818706'"),
        (b"# c\n\n7:1:10\n7:1:10:9\n", 4, "4 fields"),
        (b"7:1:10\n7 10\n", 2, "1 fields"),
        (b"7 10\n7 10 " + GUIDS[0].encode() + b"\n", 2, "3 fields; expected '315267 197818706'"),
        (b"run:lumi\n", 1, "the header 'run:lumi' names no event"),
        (b"run,event,Event\n", 1, "names the event twice"),
        (b"event,run\n10,7\n10\n", 3, "1 fields; expected 'event,run'"),
        (b"* Row * run * event *\n* 0 * 7 * 1.97e+08 *\n", 2, "event '1.97e+08' is not"),
        (b"7\n", 1, "'7' is no event; expected one of"),
        (b"7:1:10,,\n", 1, "event '10,' is not a whole number"),
        (b"7:1:10,\n7:1:11,7:1:12\n", 2, "5 fields; expected '315267:93:197818706'"),
        (b"7,1,10,\n7,1,11,5\n", 2, "4 fields; expected '315267,93,197818706'"),
        (b"7:1:10\n/* picked\n7:1:11\n", 2, "the comment /* does not end"),
        (b"/* one */ 7:1:10 /* two */ 9\n", 1, "is not a whole number"),
        (b"7:1:10\x00\n", 1, "event '10\\x00' is not"),
        ("7:1:10\n7:1:\u0661\n".encode("utf-16"), 2, "not plain text"),
        (b"7:1:-10\n", 1, "event '-10' is not"),
        (b"7:1:1e3\n", 1, "event '1e3' is not"),
        (b"7:1:1_0\n", 1, "event '1_0' is not"),
        (b"7:1:" + b"9" * 10_000 + b"\n", 1, "event '9999999999999999999999999999999999999999' is not"),
        (b"7:1:9223372036854775808\n", 1, "from 0 to 9223372036854775807"),
        (b"2147483648 1\n", 1, "run '2147483648' is not a whole number from 0 to 2147483647"),
        (b"7:2147483648:1\n", 1, "lumi '2147483648' is not"),
        (b"7 10 GUID\n", 1, "'GUID' is no GUID"),
        ("7:1:١٠\n".encode(), 1, "not plain text"),
        (b"7:1:10\n\x00\xff\n", 2, "not plain text"),
    ],
)
def test_fault_24_a_bad_line_is_named(tmp_path: Path, text: bytes, line: int, message: str) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(text)
    with pytest.raises(EventListError) as caught:
        read_events(path)
    assert str(caught.value).startswith(f"event list {path}: line {line}: ")
    assert message in str(caught.value)
    assert (caught.value.fields["line"], caught.value.fields["path"]) == (line, str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "no event list in JSON"),
        (b"{}", 'no event list in JSON: it has no "list" of events'),
        (b'{"name": "mine"}', 'no event list in JSON: it has no "list" of events'),
        (b'{"315267": [[1, 50]], "315270": []}', "this is a good-run list"),
        (b'<?xml version="1.0" ?><LumiRangeCollection/>', "this is XML"),
        (b'{"list": [{"run": 1}]}', "no column event"),
        (b'{"list": [{"run": 1, "event": "2"}]}', "record 0: event is '2'"),
        (b'{"list": [{"run": 1, "event": 2}, {"run": true, "event": 2}]}', "record 1: run is True"),
        (b'{"list": [{"run": 1, "event": 2}, {"run": 1}]}', "a record has no 'event', which the first one has"),
        (b'{"list": [{"run": 1, "event": 9223372036854775808}]}', "record 0: event is 9223372036854775808"),
        (b'{"list": [{"run": 1, "event": 2}], "digest": "00"}', "expected 00"),
        (b'{"list": [], "ledger": {"accepted": 0, "lost": 1}}', "ledger has other counts"),
        (b'{"list": [], "ledger": [1]}', r"ledger is \[1\]"),
        (b'{"list": [], "provenance": "mine"}', "provenance is mine"),
        (b'{"list": [5]}', "a record is no table of run, event"),
        (b'{"list": {}}', 'it has no "list" of events'),
        (b"[]", "is no event"),
        (b'{"list":' * 100_000, "no event list in JSON: it is nested too deeply"),
    ],
)
def test_json_that_is_no_list(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(EventListError, match=message):
        read_events(tmp_path / "a.json")


@given(st.one_of(st.binary(max_size=60), st.text('0123456789:# \n-{}[]",AF', max_size=60).map(str.encode)))
def test_fault_24_any_bytes_are_a_list_or_an_error(content: bytes) -> None:
    for parse in (parse_text, parse_json):
        try:
            events = parse(content)
        except EventListError as error:
            assert error.message
        else:
            assert isinstance(events, EventList)


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    bare = EventList.from_arrays([7], [-1], [10])
    with pytest.raises(EventListError, match="1 of 1 events do not know their lumi"):
        write_events(bare, tmp_path / "a", "run:lumi:event")
    with pytest.raises(EventListError, match="1 of 1 events do not know their guid"):
        write_events(bare, tmp_path / "a", "run event guid")
    with pytest.raises(EventListError, match="unknown form 'run-event'"):
        write_events(bare, tmp_path / "a", "run-event")
    with pytest.raises(EventListError, match="Parquet needs a file name"):
        write_events(bare, io.StringIO(), "parquet")
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(EventListError, match="No such file"):
        read_events(tmp_path / "absent.events")
    (tmp_path / "empty").write_bytes(b"")
    assert len(read_events(tmp_path / "empty")) == 0


@pytest.mark.real
def test_a_published_list(real: Callable[[str], Path]) -> None:
    events = read_events(real("bmm5RunLumiEventListFile.txt"))
    assert len(events) == 15
    assert (events[0].run, events[0].lumi) == (315642, 58)


def test_text_needs_no_arrow(tmp_path: Path) -> None:
    script = """if True:
        import sys
        from tagsel.events import EventList, read_events, write_events
        events = EventList.from_arrays([7], [1], [10])
        for form in ("run:lumi:event", "run event", "json"):
            write_events(events, sys.argv[1] + form, form)
            assert read_events(sys.argv[1] + form) == events
        assert "pyarrow" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", script, tmp_path / "a"], check=True)


# -- streams


def test_feature_97_arrow_without_a_copy() -> None:
    events = sample()
    table = pa.table(events)
    assert table.column_names == ["run", "lumi", "event", "guid", "entry", "raw_guid", "raw_entry"]
    for name, array in (("run", events.run), ("event", events.event), ("entry", events.entry)):
        data = table[name].chunk(0).buffers()[1]
        assert data is not None
        assert data.address == array.ctypes.data
    assert table["guid"].to_pylist() == [e.guid for e in events]


def test_feature_46_tables_of_other_libraries() -> None:
    events = sample()
    assert list(read_events(pl.DataFrame(events))) == list(events)
    assert list(read_events(pa.table(events).slice(1))) == list(events)[1:]
    assert [e.event for e in read_events(pl.DataFrame({"runNumber": [1], "eventNumber": [5], "pt": [0.5]}))] == [5]
    with pytest.raises(EventListError, match="no column run"):
        read_events(pl.DataFrame({"event": [5]}))


def test_feature_97_polars_and_duckdb_read_it() -> None:
    events = sample()
    frame = pl.DataFrame(events)
    assert frame["event"].to_list() == events.event.tolist()
    assert frame["guid"].to_list() == [e.guid for e in events]
    found = duckdb.sql("select run, count(*) as n from events group by run order by run").fetchall()
    assert found == [(7, 2), (8, 1)]


@pytest.mark.parametrize("empty", [made([]), simulated()[:0]])
def test_fault_25_an_empty_list_streams(empty: EventList) -> None:
    assert pa.table(empty).num_rows == 0
    assert pl.DataFrame(empty).height == 0
    assert duckdb.sql("select count(*) from empty").fetchall() == [(0,)]


# -- lists as people have them

SCAN = b"""************************************************
*    Row   *       run * luminosit *     event *
************************************************
*        0 *         7 *         1 *        20 *
*        1 *         7 *         2 *        10 *
************************************************
==> 2 selected entries
"""
"""What ROOT prints for `tree->Scan("run:luminosityBlock:event")`, names cut off at 9 characters."""


@pytest.mark.parametrize(
    "text",
    [
        b"7:1:20\n7:2:10\n",
        b"7 1 20\n7 2 10\n",
        b"7\t1\t20\n7\t2\t10\n",
        b"7,1,20\n7,2,10\n",
        b"7, 1, 20\r\n7, 2, 10\r\n",
        b"7:1:20\r7:2:10\r",
        b"run lumi event\n7 1 20\n7 2 10\n",
        b"event,luminosityBlock,run\n20,1,7\n10,2,7\n",
        b'"RunNumber","MET_pt","lumiBlock","EventNumber"\n7,50.1,1,20\n7,60.2,2,10\n',
        b"EventInfo.runNumber:EventInfo.lumiBlock:EventInfo.eventNumber\n7:1:20\n7:2:10\n",
        SCAN,
        SCAN + b"(long long) 2\n",
        b"7:1:20,\n7:2:10,\n",
        b"7:1:20,\r\n7:2:10\r\n",
        b"7 1 20,\n7 2 10,\n",
        b"7,1,20,\n7,2,10,\n",
        b"run,lumi,event\n7,1,20,\n7,2,10,\n",
        b"/* picked */\n7:1:20 /* best */\n/* list #2\n7:3:30\n*/ 7:2:10\n",
        b"# files /store/*/a.root\n7:1:20 # /* mine\n7:2:10\n",
        "7:1:20\r\n7:2:10\r\n".encode("utf-16"),
        codecs.BOM_UTF16_BE + "# Z \u2192 \u03bc\u03bc\n7:1:20\n7:2:10".encode("utf-16-be"),
    ],
)
def test_fault_59_lists_with_luminosity_blocks_as_people_have_them(text: bytes) -> None:
    events = parse_text(text)
    assert sorted((e.run, e.lumi, e.event, e.guid) for e in events) == [(7, 1, 20, ""), (7, 2, 10, "")]
    assert events.provenance == {"imported": {"lines": 2, "repeated": 0}}


@pytest.mark.parametrize(
    "text",
    [
        b"7:20\n7:10\n",
        b"7 20\n7 10\n",
        b"7,20\n7,10\n",
        b"event run\n20 7\n10 7\n",
        SCAN.replace(b"luminosit", b"   MET_pt"),
    ],
)
def test_lists_without_luminosity_blocks_as_people_have_them(text: bytes) -> None:
    assert sorted((e.run, e.lumi, e.event) for e in parse_text(text)) == [(7, -1, 10), (7, -1, 20)]


def test_fault_59_a_utf16_list_that_breaks_off_is_refused() -> None:
    whole = "7:1:20\n7:2:10".encode("utf-16")
    with pytest.raises(EventListError, match="^this is no whole UTF-16 text"):
        parse_text(whole[:-1])


@pytest.mark.parametrize("separator", [":", " ", ",", "\t"])
def test_a_guid_may_follow_either(separator: str) -> None:
    for numbers in (("7", "20"), ("7", "1", "20")):
        (event,) = parse_text(separator.join((*numbers, GUIDS[0])).encode())
        assert (event.run, event.event, event.guid) == (7, 20, GUIDS[0])


def test_scan_that_rounds_says_how_to_print_whole_numbers() -> None:
    with pytest.raises(EventListError) as caught:
        parse_text(SCAN.replace(b"  10 *", b"1e+09 *"))
    assert "precision=20" in caught.value.hint
    assert caught.value.fields["line"] == 5


def ids_file(path: Path, run: int, entries: int = 6) -> str:
    """A tree whose entry k is luminosity block 1 + k // 3 and event 100 + k of one run; returns the file's GUID."""
    entry = np.arange(entries)
    columns = {
        "run": np.full(entries, run, np.uint32),
        "luminosityBlock": (1 + entry // 3).astype(np.uint32),
        "event": (100 + entry).astype(np.uint64),
    }
    with uproot.recreate(path) as file:
        file.mktree("Events", {name: values.dtype for name, values in columns.items()})
        file["Events"].extend(columns)
    return guid_of(path)


def test_fault_59_an_entry_list_of_root_is_a_list_of_its_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ROOT's list chain.root has entries 2 and 5 of a.root, and entries 0 and 2 of b.root."""
    monkeypatch.chdir(tmp_path)
    a, b = ids_file(Path("a.root"), 7), ids_file(Path("b.root"), 8)
    events = read_events(ROOT_LISTS / "chain.root")
    expected = {(7, 1, 102, a, 2), (7, 2, 105, a, 5), (8, 1, 100, b, 0), (8, 1, 102, b, 2)}
    assert {tuple(e) for e in events} == expected
    assert (len(events), events.provenance["imported"]["lines"]) == (4, 4)
    shutil.copy("a.root", "b.root")
    copied = read_events(ROOT_LISTS / "chain.root")
    assert [e.entry for e in copied] == [0, 2, 5], "entry 2 of the same file counts once"
    assert copied.provenance["imported"]["repeated"] == 1
    ids_file(Path("b.root"), 8, entries=2)
    with pytest.raises(EventListError, match="b.root: the list has entry 2, and its tree Events ends at 1"):
        read_events(ROOT_LISTS / "chain.root")
    Path("b.root").unlink()
    with pytest.raises(EventListError, match="b.root: cannot be opened: No such file") as caught:
        read_events(ROOT_LISTS / "chain.root")
    assert "SetEntryList" in caught.value.hint


def test_fault_59_a_root_file_without_one_entry_list_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(EventListError, match="elist holds numbers of entries") as caught:
        read_events(ROOT_LISTS / "event_list.root")
    assert "SetEventList" in caught.value.hint
    with pytest.raises(EventListError, match="5 lists: bits, blocks, excluded, listed, none"):
        read_events(ROOT_LISTS / "entry_lists.root")
    ids_file(tmp_path / "a.root", 7)
    with pytest.raises(EventListError, match="no TEntryList"):
        read_events(tmp_path / "a.root")
    whole = (ROOT_LISTS / "chain.root").read_bytes()
    (tmp_path / "a.root").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EventListError, match="a.root"):
        read_events(tmp_path / "a.root")
