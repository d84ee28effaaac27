"""The journal: whole lines or none, in order of their number, each verifiable."""

from __future__ import annotations

import json
import logging
import zlib
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
from tagsel.catalog.changes import Stamp
from tagsel.catalog.coding import KINDS, decode, encode
from tagsel.catalog.journal import Position, read, read_line, write_line
from tagsel.catalog.trash import RecoverDataset
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
    DropDataset("a.TAG"),
    RecoverDataset("r.TAG", {"runs": [{"dataset": "r.TAG", "run": 1, "lumi_blocks": 2, "events": 3}]}),
]


def test_every_kind_of_change_reads_back_as_it_was_written() -> None:
    assert {type(change).__name__ for change in EXAMPLES} == set(KINDS)
    for change in EXAMPLES:
        assert decode(json.loads(json.dumps(encode(change)))) == change


@given(st.integers(1, 10**9), st.text(max_size=20), st.dictionaries(st.text("abc", min_size=1), st.integers()))
def test_a_line_reads_back(seq: int, who: str, meta: dict[str, Any]) -> None:
    change = PutDataset("d", meta=meta)
    before = Position(seq - 1, 10, 99)
    try:
        line = write_line(before, Stamp(seq, "2026-01-01T00:00:00+00:00", who), [change, *EXAMPLES])
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
    line = write_line(Position(), Stamp(1, "2026-01-01T00:00:00+00:00", "me"), EXAMPLES)
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
    (tmp_path / "catalog.journal").write_bytes(whole[:-10])
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
    body = one.partition(b',"crc"')[0].replace(b'"v":1', b'"v":2')
    journal.write_bytes(b'%s,"crc":"%08x"}\n' % (body, zlib.crc32(body)))
    with pytest.raises(CatalogError, match="newer tagsel"):
        Catalog(tmp_path).names()


def test_fault_17_a_view_ahead_of_a_journal_that_was_put_back_is_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Same length, same number of lines, another past: the view's own position must not fit by accident."""
    catalog, whole = _three(tmp_path)
    two = whole[: whole.rindex(b"\n", 0, -1) + 1]
    (tmp_path / "catalog.journal").write_bytes(two)
    other = Catalog(tmp_path)
    other.record(PutDataset("d.TAG"))
    assert (tmp_path / "catalog.journal").stat().st_size == len(whole)
    assert "another way than the journal" in caplog.text
    for asking in (catalog, other, Catalog(tmp_path)):
        assert asking.names() == [d.name for d in asking.datasets("true")] == ["a.TAG", "b.TAG", "d.TAG"]
    for name in ("catalog.journal", "catalog.lock"):
        (tmp_path / name).unlink()
    for asking in (catalog, other, Catalog(tmp_path)):
        with pytest.raises(CatalogError, match="the journal is gone"):
            asking.names()
        with pytest.raises(CatalogError, match="the journal is gone"):
            asking.record(PutDataset("x"))


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
        line = write_line(end, Stamp(seq, when, "me"), [PutDataset("a.TAG", year=year)])
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
