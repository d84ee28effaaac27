"""The journal: whole lines or none, in order of their number, each verifiable."""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagsel.catalog import (
    Catalog,
    Change,
    DropCatalog,
    DropDataset,
    DropDowntime,
    DropFiles,
    DropReplicas,
    DropRule,
    DropSubscription,
    FileRecord,
    LogQuery,
    Pin,
    PutBookkeeping,
    PutCatalog,
    PutConditions,
    PutDataset,
    PutDowntime,
    PutFiles,
    PutJob,
    PutLink,
    PutReplicas,
    PutRetraction,
    PutRule,
    PutRuns,
    PutSite,
    PutSiteTest,
    PutSubscription,
    SetMeta,
    Unpin,
)
from tagsel.catalog.changes import KINDS, AnswerRequest, RecoverDataset, RecoverRows, RequestJob, Stamp
from tagsel.catalog.journal import Position, decode, encode, read, read_line, write_line
from tagsel.catalog.recovery import Recovery, recover
from tagsel.errors import CatalogError

GUID = "00D1B2C3-0000-4000-8000-00000000ABCD"
EXAMPLES: list[Change] = [
    PutDataset(
        "a.TAG",
        type="TAG",
        year=2018,
        meta={"k": 1, "f": 0.5, "t": "ü'\"\n", "b": True},
        parents=("b@3", "c"),
    ),
    SetMeta("a.TAG", {"k": None, "x": "y"}),
    PutFiles(
        "a.TAG",
        [FileRecord(GUID.lower(), "x.root", entries=7), FileRecord(GUID, kind="RAW", simulation=True)],
    ),
    DropFiles("a.TAG", [("RAW", GUID.lower())]),
    PutRetraction("a.TAG", 3, GUID, "x.root", 7, "bad", "2018-06-01", "me@here", "12ab", back=5),
    PutSite("CERN", "/data", {"tier": 0}),
    PutSite("CNAF", "/data", {"tier": 1}, after=""),
    PutReplicas("CERN", [(GUID, "x.root")]),
    DropReplicas("CERN", [(GUID, "x.root")]),
    PutBookkeeping("a.TAG", GUID, {"sumw": 1.5e10, "blocks": [[1, 2], [3, 4]]}),
    PutRuns("a.TAG", [(1, 2, 3), (4, 5, 6)]),
    PutRuns("a.TAG", [(7, 8, 9)], keep=True),
    PutJob("j1", "a.TAG", "done", pieces=3, done=3),
    Pin("a.TAG", 1, "list 12ab"),
    Unpin("a.TAG", 1, "list 12ab"),
    LogQuery("count", "a.TAG", 1, "nMuon >= 2", read=40, accepted=33, seconds=0.1),
    PutCatalog("rucio", "rucio", {"config": "/etc/rucio.cfg"}, ["data18:*.AOD"], "2026-01-01T00:00:00+00:00"),
    DropCatalog("rucio"),
    PutRule("a.TAG", "CERN", "moving", 1, 3, why="a.*"),
    DropRule("a.TAG", "CERN"),
    PutSubscription("a.*", "CERN"),
    DropSubscription("a.*", "CERN"),
    PutLink("CERN", "CERN", 1250.0),
    PutSiteTest("CERN", "2026-01-01T00:00:00+00:00", False, 1.5, "silent"),
    PutConditions([(7, {"magnet": "on", "mu": 1.5, "good": True})]),
    PutDowntime("CERN", "2026-01-01T00:00:00+00:00", reason="power"),
    DropDowntime("CERN", "2026-01-01T00:00:00+00:00"),
    RequestJob("0001", "resplit", {"pieces": [0], "into": 2, "events_per_job": None}),
    AnswerRequest("0001", 1, "refused", "its piece is done"),
    DropDataset("a.TAG"),
    RecoverRows("catalog.duckdb", 9, {"sites": [{"name": "S", "prefix": "", "meta": "{}"}]}, {"sites": [["T"]]}),
    RecoverDataset("r.TAG", {"runs": [{"dataset": "r.TAG", "run": 1, "lumi_blocks": 2, "events": 3}]}),
]


def test_every_kind_of_change_reads_back_as_it_was_written() -> None:
    assert {type(change).__name__ for change in EXAMPLES} == set(KINDS)
    for change in EXAMPLES:
        assert decode(json.loads(json.dumps(encode(change)))) == change


@given(st.integers(1, 10**9), st.text(max_size=20), st.dictionaries(st.text("abc", min_size=1), st.integers()))
def test_a_line_reads_back(seq: int, who: str, meta: dict[str, Any]) -> None:
    change = PutDataset("d", meta=meta)
    before = Position(seq - 1, 10, "9" * 64)
    try:
        line = write_line(before.check, Stamp(seq, "2026-01-01T00:00:00+00:00", who), [change, *EXAMPLES])
    except CatalogError:
        assert any(0xD800 <= ord(c) < 0xE000 for c in who)
        return
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    entry = read_line(line, Path("journal"), before)
    assert entry.changes == (change, *EXAMPLES)
    assert (entry.stamp.seq, entry.stamp.who, entry.end.seq, entry.end.offset) == (
        seq,
        who,
        seq,
        10 + len(line),
    )


@settings(max_examples=300)
@given(st.data())
def test_a_flipped_bit_anywhere_in_a_line_is_found(data: st.DataObject) -> None:
    line = write_line("", Stamp(1, "2026-01-01T00:00:00+00:00", "me"), EXAMPLES)
    at = data.draw(st.integers(0, len(line) - 2))
    damaged = bytearray(line)
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(CatalogError, match="line 1 is damaged"):
        read_line(bytes(damaged), Path("journal"), Position())


def _three(folder: Path) -> tuple[Catalog, bytes]:
    catalog = Catalog(folder)
    for name in ("a.TAG", "b.TAG", "c.TAG"):
        catalog.record(PutDataset(name))
    return catalog, (folder / "catalog.journal").read_bytes()


def test_fault_17_a_line_cut_off_at_any_byte_is_passed_over_and_the_others_stay(tmp_path: Path) -> None:
    _, whole = _three(tmp_path)
    start = whole.rindex(b"\n", 0, -1) + 1
    path = tmp_path / "cut.journal"
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end])
        assert [entry.stamp.seq for entry in read(path)] == [1, 2]
    path.write_bytes(whole)
    assert [entry.stamp.seq for entry in read(path)] == [1, 2, 3]


def test_fault_17_a_cut_off_line_is_said_and_removed_by_the_next_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, whole = _three(tmp_path)
    for path in tmp_path.glob("catalog.*"):
        path.unlink()
    (tmp_path / "catalog.journal").write_bytes(whole[:-10])  # nobody knew of line 3
    catalog = Catalog(tmp_path)
    assert catalog.names() == ["a.TAG", "b.TAG"]
    with caplog.at_level(logging.WARNING, "tagsel"):
        catalog.record(PutDataset("d.TAG"))
    assert "line 3 was cut off" in caplog.text
    assert Catalog(tmp_path).names() == ["a.TAG", "b.TAG", "d.TAG"]
    assert [d.name for d in Catalog(tmp_path).datasets("true")] == ["a.TAG", "b.TAG", "d.TAG"]


@pytest.mark.parametrize("line", [1, 2, 3])
def test_fault_17_a_damaged_whole_line_is_an_error_with_its_number(tmp_path: Path, line: int) -> None:
    _, whole = _three(tmp_path)
    lines = whole.splitlines(keepends=True)
    lines[line - 1] = lines[line - 1].replace(b".TAG", b".TAC")
    (tmp_path / "catalog.journal").write_bytes(b"".join(lines))
    for ask in (lambda c: c.names(), lambda c: c.rebuild(), lambda c: c.record(PutDataset("x"))):
        with pytest.raises(CatalogError, match=rf"line {line} is damaged") as caught:
            ask(Catalog(tmp_path))
        assert caught.value.fields["line"] == line


def test_a_line_that_is_missing_repeated_or_of_a_newer_format_is_an_error(tmp_path: Path) -> None:
    _, whole = _three(tmp_path)
    one, two, three = whole.splitlines(keepends=True)
    journal = tmp_path / "catalog.journal"
    for lines, number in ((one + three, 2), (one + two + two + three, 3), (two + three, 1)):
        journal.write_bytes(lines)
        with pytest.raises(CatalogError, match=f"line {number} is damaged"):
            Catalog(tmp_path).names()
    body = one.partition(b',"sha256"')[0].replace(b'"v":2', b'"v":3')
    journal.write_bytes(b'%s,"sha256":"%s"}\n' % (body, hashlib.sha256(body).hexdigest().encode()))
    with pytest.raises(CatalogError, match="newer tagsel"):
        Catalog(tmp_path).names()


@pytest.mark.parametrize("witness", ["catalog.tip", "catalog.duckdb"])
def test_fault_41_a_journal_that_lost_lines_is_damage(tmp_path: Path, witness: str) -> None:
    """Cut by a whole line; then with another line in its place, of the same length. Nothing is overwritten."""
    catalog, whole = _three(tmp_path)
    for name in {"catalog.tip", "catalog.duckdb"} - {witness}:
        (tmp_path / name).unlink()
    journal = tmp_path / "catalog.journal"
    two = whole[: whole.rindex(b"\n", 0, -1) + 1]
    other = tmp_path / "other"
    other.mkdir()
    (other / "catalog.journal").write_bytes(two)
    Catalog(other).record(PutDataset("d.TAG"))
    elsewhere = (other / "catalog.journal").read_bytes()
    assert len(elsewhere) == len(whole)
    for cut in (two, elsewhere):
        journal.write_bytes(cut)
        before = {path.name: path.read_bytes() for path in tmp_path.glob("catalog.*") if path.suffix != ".lock"}
        asks = [lambda c: c.datasets("true"), lambda c: c.record(PutDataset("x")), lambda c: c.rebuild()]
        if witness == "catalog.tip":
            asks.append(lambda c: c.names())
        for ask in asks:
            for asking in (catalog, Catalog(tmp_path)):
                with pytest.raises(CatalogError, match=r"journal is damaged: catalog\.\w+ knew 3 lines") as caught:
                    ask(asking)
                assert "workspace recover" in caught.value.hint
        for name, content in before.items():
            if name != "catalog.gate":
                assert (tmp_path / name).read_bytes() == content, name


def _sources(recovery: Recovery) -> list[tuple[str, int | None]]:
    """Which files gave lost lines, up to which number."""
    return [(restored.source, restored.lines) for restored in recovery.restored]


def _known(catalog: Catalog) -> list[tuple[str, int | None]]:
    return [(record.name, record.year) for record in catalog.datasets("true")]


@pytest.mark.parametrize("cut", [7, 10])
def test_fault_41_what_the_view_knew_is_recovered(tmp_path: Path, cut: int) -> None:
    """Of ten changes the last seven are cut away, or all; some of them change or drop what lines before them made."""
    catalog = Catalog(tmp_path)
    for number in range(8):
        catalog.record(PutDataset(f"d{number}.TAG", year=2010 + number))
    catalog.record(PutDataset("d0.TAG", year=2030))
    catalog.record(DropDataset("d1.TAG"))
    before = _known(catalog)
    assert len(before) == 7
    journal = tmp_path / "catalog.journal"
    whole = journal.read_bytes()
    journal.write_bytes(b"".join(whole.splitlines(keepends=True)[: 10 - cut]))
    said = recover(tmp_path, dry_run=True)
    assert (said.lines, said.known, _sources(said), said.lost) == (10 - cut, 10, [("catalog.duckdb", 10)], ())
    with pytest.raises(CatalogError, match="knew 10 lines"):
        Catalog(tmp_path).names()
    done = recover(tmp_path)
    assert (tmp_path / done.kept).read_bytes() == b"".join(whole.splitlines(keepends=True)[: 10 - cut])
    assert _known(Catalog(tmp_path)) == before
    assert Catalog(tmp_path).names() == [name for name, _ in before]
    Catalog(tmp_path).rebuild()  # from the journal alone
    assert _known(Catalog(tmp_path)) == before
    assert not recover(tmp_path).needed
    Catalog(tmp_path).record(PutDataset("e.TAG"))


@pytest.mark.parametrize("view", [True, False])
def test_fault_41_lines_after_a_damaged_one_are_kept(tmp_path: Path, view: bool) -> None:
    """With the view nothing is lost; without it line 2 is, and said so."""
    catalog, whole = _three(tmp_path)
    catalog.record(LogQuery("count", "a.TAG"))  # quiet: the view has three lines, the journal four
    whole = (tmp_path / "catalog.journal").read_bytes()
    (tmp_path / "catalog.journal").write_bytes(whole.replace(b"b.TAG", b"B.TAG"))
    if not view:
        (tmp_path / "catalog.duckdb").unlink()
    done = recover(tmp_path)
    assert (done.damaged, done.later, done.lost) == ((2, 1, ()) if view else (2, 2, (2,)))
    names = ["a.TAG", "b.TAG", "c.TAG"] if view else ["a.TAG", "c.TAG"]
    assert Catalog(tmp_path).names() == names
    assert [q.verb for q in Catalog(tmp_path).history()] == ["count"]


def test_fault_41_a_loss_that_nothing_makes_good_is_said(tmp_path: Path) -> None:
    _, whole = _three(tmp_path)
    (tmp_path / "catalog.journal").write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1])
    (tmp_path / "catalog.duckdb").unlink()
    done = recover(tmp_path)
    assert (done.lines, done.known, _sources(done), done.lost) == (2, 3, [], (3,))
    assert Catalog(tmp_path).names() == ["a.TAG", "b.TAG"]


@pytest.mark.parametrize("view", [None, 2, 3, 6])
def test_fault_41_a_line_that_is_missing_between_others(tmp_path: Path, view: int | None) -> None:
    """Line 3 of six is taken out; the view has all lines up to a number, or there is none.

    Line 4 continues line 3, so without a file that knows line 3 it cannot be checked. Lines 5 and 6 can: each continues
    what the line before it states.
    """
    catalog, journal, database = Catalog(tmp_path), tmp_path / "catalog.journal", tmp_path / "catalog.duckdb"
    views: dict[int | None, bytes] = {}
    for number in range(1, 7):
        catalog.record(PutDataset(f"d{number}.TAG"))
        views[number] = database.read_bytes()
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:2] + lines[3:]))
    database.unlink()
    if view is not None:
        database.write_bytes(views[view])
    lost = () if view in (3, 6) else (3, 4)
    sources = [("catalog.duckdb", view)] if view in (3, 6) else []
    later = 6 - max(2, view or 0) - len(lost)
    said = recover(tmp_path, dry_run=True)
    assert (said.lines, said.known, said.damaged, said.instead) == (2, 6, 3, 4)
    assert (_sources(said), said.later, said.lost, said.without) == (sources, later, lost, ())
    assert recover(tmp_path).lost == lost
    assert Catalog(tmp_path).names() == [f"d{number}.TAG" for number in range(1, 7) if number not in lost]
    assert not recover(tmp_path).needed


@pytest.mark.parametrize("left", [0, 2])
def test_fault_41_what_the_checkpoint_knew_is_recovered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    """Six lines, a checkpoint after the fourth; the journal is gone, or has two lines, and there is no view.

    The checkpoint keeps datasets, but no files: those of line 1 are in the journal's first two lines, or nowhere.
    """
    catalog, journal = Catalog(tmp_path), tmp_path / "catalog.journal"
    catalog.record(PutDataset("d1.TAG"), PutFiles("d1.TAG", [FileRecord(GUID)]))
    for number in (2, 3):
        catalog.record(PutDataset(f"d{number}.TAG", year=2000 + number))
    with monkeypatch.context() as patch:
        patch.setattr("tagsel.catalog.state._TAIL", 0)
        catalog.record(DropDataset("d2.TAG"))
    for number in (5, 6):
        catalog.record(PutDataset(f"d{number}.TAG"))
    assert catalog.names() == ["d1.TAG", "d3.TAG", "d5.TAG", "d6.TAG"]
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:left]))
    if not left:
        journal.unlink()
    (tmp_path / "catalog.duckdb").unlink()
    said = recover(tmp_path, dry_run=True)
    assert (said.lines, said.known, _sources(said)) == (left, 6, [("catalog.json", 4)])
    assert (said.lost, said.partly, said.losses) == ((5, 6), tuple(range(left + 1, 5)), True)
    assert "files" in said.without
    assert recover(tmp_path) == replace(said, kept="catalog.journal.damaged-1" if left else "")
    again = Catalog(tmp_path)
    assert again.names() == ["d1.TAG", "d3.TAG"]
    assert again.dataset("d3.TAG").year == 2003
    assert len(again.files("d1.TAG")) == (1 if left else 0)
    assert not recover(tmp_path).needed


@pytest.fixture(scope="module")
def six_lines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, bytes]]:
    """Line k makes the dataset dk.TAG with a file: the journal, and the view and checkpoint as of each line."""
    folder = tmp_path_factory.mktemp("six")
    catalog = Catalog(folder)
    states: dict[str, dict[int, bytes]] = {"catalog.duckdb": {}, "catalog.json": {}, "catalog.journal": {}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tagsel.catalog.state._TAIL", 0)
        for number in range(1, 7):
            (folder / "catalog.json").unlink(missing_ok=True)  # it is written where the journal has grown beyond it
            catalog.record(PutDataset(f"d{number}.TAG"), PutFiles(f"d{number}.TAG", [FileRecord(GUID)]))
            for name, kept in states.items():
                kept[number] = (folder / name).read_bytes()
    return states


@pytest.mark.parametrize(
    ("damaged", "view", "checkpoint"),
    [
        *(({3}, view, checkpoint) for view, checkpoint in [(None, None), (None, 5), (2, 5), (3, 5), (5, 3), (6, 6)]),
        *(({3, 4}, view, checkpoint) for view, checkpoint in [(3, 5), (5, 3), (3, 3)]),
        *(({3, 5}, view, checkpoint) for view, checkpoint in [(None, 4), (4, 6), (2, 6), (4, 4)]),
    ],
)
def test_fault_41_view_and_checkpoint_give_what_each_knows_more(
    six_lines: dict[str, dict[int, bytes]], tmp_path: Path, damaged: set[int], view: int | None, checkpoint: int | None
) -> None:
    """The view has datasets and files of the lines up to its own, the checkpoint datasets only; what neither has of a
    damaged line is lost, and whole lines are kept."""
    lines = six_lines["catalog.journal"][6].splitlines(keepends=True)
    for number in damaged:
        lines[number - 1] = lines[number - 1].replace(b".TAG", b".TAC")
    (tmp_path / "catalog.journal").write_bytes(b"".join(lines))
    for name, state in (("catalog.duckdb", view), ("catalog.json", checkpoint)):
        if state is not None:
            (tmp_path / name).write_bytes(six_lines[name][state])
    lost_files = sorted(number for number in damaged if number > (view or 0))
    lost = [number for number in lost_files if number > (checkpoint or 0)]
    partly = [number for number in lost_files if number not in lost]
    sources = [("catalog.duckdb", view)] * (view is not None and view >= 3)
    sources += [("catalog.json", checkpoint)] * bool(partly)

    said = recover(tmp_path, dry_run=True)
    assert (_sources(said), list(said.lost), list(said.partly)) == (sources, lost, partly)
    assert ("files" in said.without) == bool(partly)
    done = recover(tmp_path)
    assert replace(done, kept="") == said
    again = Catalog(tmp_path)
    assert again.names() == [f"d{number}.TAG" for number in range(1, 7) if number not in lost]
    with_files = [number for number in range(1, 7) if again.files(f"d{number}.TAG")]
    assert with_files == [number for number in range(1, 7) if number not in lost_files]
    assert not recover(tmp_path).needed


def test_a_journal_that_is_gone_is_an_error(tmp_path: Path) -> None:
    catalog, _ = _three(tmp_path)
    for name in ("catalog.journal", "catalog.lock"):
        (tmp_path / name).unlink()
    for asking in (catalog, Catalog(tmp_path)):
        with pytest.raises(CatalogError, match="the journal is gone"):
            asking.names()
        with pytest.raises(CatalogError, match="the journal is gone"):
            asking.record(PutDataset("x"))


def _line_of_version_1(seq: int, name: str, before: int) -> tuple[bytes, int]:
    what = [{"do": "PutDataset", "name": name}]
    document = {"v": 1, "seq": seq, "who": "me", "when": "2026-01-01T00:00:00+00:00", "what": what}
    body = json.dumps(document, separators=(",", ":"))[:-1].encode()
    crc = zlib.crc32(body, before)
    return b'%s,"crc":"%08x"}\n' % (body, crc), crc


def test_fault_46_a_journal_of_version_1_goes_on_chained_by_sha256(tmp_path: Path) -> None:
    """Its first new line continues the SHA-256 of all old bytes: no old line can be changed with its CRC any more."""
    journal = tmp_path / "catalog.journal"
    one, crc = _line_of_version_1(1, "a.TAG", 0)
    two, _ = _line_of_version_1(2, "b.TAG", crc)
    journal.write_bytes(one + two)
    assert Catalog(tmp_path).names() == ["a.TAG", "b.TAG"]
    Catalog(tmp_path).record(PutDataset("c.TAG"))
    Catalog(tmp_path).record(PutDataset("d.TAG"))
    old, three, four = one + two, *journal.read_bytes()[len(one + two) :].splitlines(keepends=True)
    body, _, check = three.rpartition(b',"sha256":')
    first = hashlib.sha256(hashlib.sha256(old).hexdigest().encode() + body).hexdigest()
    assert check == b'"%s"}\n' % first.encode()
    body, _, check = four.rpartition(b',"sha256":')
    assert check == b'"%s"}\n' % hashlib.sha256(first.encode() + body).hexdigest().encode()
    assert [d.name for d in Catalog(tmp_path).datasets("true")] == ["a.TAG", "b.TAG", "c.TAG", "d.TAG"]
    forged, crc = _line_of_version_1(1, "A.TAG", 0)
    journal.write_bytes(forged + _line_of_version_1(2, "b.TAG", crc)[0] + three + four)
    for path in tmp_path.glob("catalog.[!j]*"):
        path.unlink()
    with pytest.raises(CatalogError, match="line 3 is damaged: its checksum does not fit"):
        Catalog(tmp_path).names()
    journal.write_bytes(old + three + _line_of_version_1(4, "e.TAG", 0)[0])
    with pytest.raises(CatalogError, match="line 4 is damaged: it is of an older format"):
        Catalog(tmp_path).names()


def test_a_journal_whose_lines_lack_later_fields_is_replayed(tmp_path: Path) -> None:
    """What a first version would have written: no `lumi`, no `sample`, files with a GUID alone."""
    what = [
        {"do": "PutDataset", "name": "old.TAG", "type": "TAG"},
        {"do": "PutFiles", "dataset": "old.TAG", "files": [{"guid": GUID}]},
    ]
    body = json.dumps({"v": 1, "seq": 1, "who": "me", "when": "2026-01-01T00:00:00+00:00", "what": what})[:-1].encode()
    (tmp_path / "catalog.journal").write_bytes(b'%s,"crc":"%08x"}\n' % (body, zlib.crc32(body)))
    catalog = Catalog(tmp_path)
    assert catalog.dataset("old.TAG").lumi == ""
    assert catalog.files("old.TAG") == [FileRecord(GUID, dataset="old.TAG")]


def test_fault_18_order_is_by_number_never_by_time(tmp_path: Path) -> None:
    lines, end = b"", Position()
    for seq, (when, year) in enumerate([("2026-06-01", 2001), ("2025-01-01", 2002), ("1970-01-01", 2003)], 1):
        line = write_line(end.check, Stamp(seq, when, "me"), [PutDataset("a.TAG", year=year)])
        lines, end = lines + line, read_line(line, Path("journal"), end).end
    (tmp_path / "catalog.journal").write_bytes(lines)
    catalog = Catalog(tmp_path)
    assert catalog.dataset("a.TAG").year == 2003
    assert [d.year for d in catalog.datasets("year > 0")] == [2003]
    catalog.record(PutDataset("a.TAG", year=2004))
    assert [(d.year, d.seq) for d in catalog.datasets("year > 0")] == [(2004, 4)]


def test_feature_104_the_journal_and_the_history_say_who_did_what(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path)
    catalog.record(PutDataset("a.TAG", snapshot=3))
    for accepted in (1, 2, 3):
        catalog.record(LogQuery("count", "a.TAG", 3, "nMuon >= 2", read=40, accepted=accepted, digest="d"))
    newest = catalog.history(2)
    assert [(q.verb, q.dataset, q.snapshot, q.text, q.read, q.accepted) for q in newest] == [
        ("count", "a.TAG", 3, "nMuon >= 2", 40, 3),
        ("count", "a.TAG", 3, "nMuon >= 2", 40, 2),
    ]
    assert all("@" in q.who and q.updated.endswith("+00:00") for q in newest)
    assert catalog.sql("SELECT sum(accepted)::BIGINT AS n FROM queries").to_pylist() == [{"n": 6}]
