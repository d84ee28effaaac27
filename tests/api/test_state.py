"""Small state files: damage is named, a missing log entry is no smaller dataset, and what is pinned stays."""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path

import pytest
from nanofile import ingest, nano

from tagsel.api import Workspace
from tagsel.cli.main import run
from tagsel.errors import StoreError
from tagsel.store import Snapshot, log

NAME = "data18.X.TAG"
N = 25
"""Events of each file that `nano` writes."""


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    """A workspace with one dataset: snapshot 1 has one file of 25 events, snapshot 2 a second one of 25."""
    workspace = Workspace.init(tmp_path / "W")
    for first in (1, 1000):
        workspace.ingest(nano(tmp_path / f"{first}.root", first), dataset=NAME)
    return workspace


def folder_of(home: Workspace) -> Path:
    return home.folder / "data" / NAME


def flip(path: Path, bit: int) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(data)


# -- duplicate marks


def test_damaged_duplicate_marks_are_named_by_check_and_made_again(home: Workspace) -> None:
    """The dataset has 2 · 25 different events: no row is marked, whatever the damaged file says."""
    marks = folder_of(home) / "_tagsel" / "duplicates-2.rows"
    whole = marks.read_bytes()
    flip(marks, 8 * 40)
    remarks = [(f.kind, f.count, f.names) for f in home.datasets.check(NAME).findings if "duplicate marks" in f.what]
    assert remarks == [("remark", 1, (str(marks),))]
    unread = Snapshot(folder_of(home), home.home.table(NAME).snapshot().state)
    assert unread.duplicate_rows() == 0
    assert marks.read_bytes() == whole
    assert not [f for f in home.datasets.check(NAME).findings if "duplicate marks" in f.what]


# -- row 38: pins


@pytest.fixture
def pinned(home: Workspace) -> Workspace:
    """Snapshot 1 is pinned, and a compaction took its part out of the newest snapshot."""
    home.datasets.pin(f"{NAME}@1", "thesis")
    home.datasets.compact(NAME)
    return home


def test_fault_38_gc_keeps_what_the_journal_pins_where_the_file_is_gone(pinned: Workspace) -> None:
    pins = folder_of(pinned) / "_tagsel" / "pins.json"
    pins.unlink()
    pinned.datasets.gc(NAME, grace=0)
    assert pinned[f"{NAME}@1"].count("true").accepted == N
    named = [f for f in pinned.datasets.check(NAME).findings if "pins" in f.what]
    assert [(f.kind, f.count, f.names) for f in named] == [("missing", 1, ("@1: thesis",))]


def test_fault_38_gc_keeps_what_the_file_pins_where_the_journal_does_not_say_so(home: Workspace) -> None:
    home.home.table(NAME).pin(1, "by the store alone")
    home.datasets.compact(NAME)
    home.datasets.gc(NAME, grace=0)
    assert home[f"{NAME}@1"].count("true").accepted == N


def test_fault_38_every_flipped_bit_of_the_pins_stops_gc_and_is_named_by_check(pinned: Workspace) -> None:
    pins = folder_of(pinned) / "_tagsel" / "pins.json"
    whole = pins.read_bytes()
    parts = {path.name for path in folder_of(pinned).glob("*.parquet")}
    for bit in range(0, 8 * len(whole), 7):  # of every byte some bit
        flip(pins, bit)
        with pytest.raises(StoreError, match=r"pins\.json is damaged") as caught:
            pinned.home.table(NAME).gc(dry_run=False, grace_s=0)
        assert "workspace recover" in caught.value.hint
        pins.write_bytes(whole)
    assert {path.name for path in folder_of(pinned).glob("*.parquet")} == parts
    flip(pins, 8 * (len(whole) // 2))
    checked = pinned.datasets.check(NAME)
    assert not checked.sound
    assert any("pins.json is damaged" in f.what for f in checked.findings)
    assert pinned[f"{NAME}@1"].count("true").accepted == N


def test_fault_38_pins_without_a_checksum_are_damaged_but_those_of_the_first_format_are_read(home: Workspace) -> None:
    table = home.home.table(NAME)
    table.pin(1, "thesis")
    pins = folder_of(home) / "_tagsel" / "pins.json"
    document = json.loads(pins.read_bytes())
    del document["sha256"]
    pins.write_text(json.dumps(document))
    with pytest.raises(StoreError, match="it has no checksum"):
        table.pins()
    pins.write_text(json.dumps(document["pins"]))  # as the first format was
    assert table.pins() == {1: ("thesis",)}
    table.pin(2, "paper")
    assert table.pins() == {1: ("thesis",), 2: ("paper",)}
    assert json.loads(pins.read_bytes())["version"] == 2


def test_pins_whose_file_is_gone_are_listed_and_taken_back_by_the_catalog(
    pinned: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    """Two pins of snapshot 1, `thesis` and `paper`; the file is gone. One of them is taken back, the other stays."""
    pinned.datasets.pin(f"{NAME}@1", "paper")
    pins = folder_of(pinned) / "_tagsel" / "pins.json"
    pins.unlink()
    for dataset in (NAME, ""):
        caplog.clear()
        rows = pinned.datasets.pins(dataset).rows
        assert sorted(row[:3] for row in rows) == [(NAME, 1, "paper"), (NAME, 1, "thesis")]
        assert f"{pins} lacks 2 pins that the catalog has: tagsel workspace recover" in caplog.text
    assert pinned.datasets.unpin(f"{NAME}@1", "paper") == ["paper"]
    with pytest.raises(StoreError, match="is not pinned for paper") as caught:
        pinned.datasets.unpin(f"{NAME}@1", "paper")
    assert "thesis" in caught.value.hint
    assert run(["workspace", "recover", "--yes", "-w", str(pinned.folder)]) == 0
    assert pinned.home.table(NAME).pins() == {1: ("thesis",)}
    caplog.clear()
    assert [row[2] for row in pinned.datasets.pins().rows] == ["thesis"]
    assert not caplog.text


def test_pins_of_another_dataset_are_damage_and_the_journal_gives_the_right_ones(
    pinned: Workspace, tmp_path: Path
) -> None:
    """The other dataset's snapshot 2 is pinned; here snapshot 1 is, and stays so."""
    other = "data18.Y.TAG"
    for first in (2000, 3000):
        pinned.ingest(nano(tmp_path / f"{first}.root", first), dataset=other)
    pinned.datasets.pin(f"{other}@2", "paper")
    there = pinned.folder / "data" / other / "_tagsel" / "pins.json"
    here = folder_of(pinned) / "_tagsel" / "pins.json"
    here.write_bytes(there.read_bytes())
    with pytest.raises(StoreError, match=rf"pins\.json is damaged: it is that of dataset {other}"):
        pinned.datasets.gc(NAME, grace=0)
    assert any("pins.json is damaged" in f.what for f in pinned.datasets.check(NAME).findings)
    assert run(["workspace", "recover", "--yes", "-w", str(pinned.folder)]) == 0
    assert pinned.home.table(NAME).pins() == {1: ("thesis",)}
    assert pinned.home.table(other).pins() == {2: ("paper",)}
    pinned.datasets.gc(NAME, grace=0)
    assert pinned[f"{NAME}@1"].count("true").accepted == N


def test_a_commit_beside_damaged_pins_lands_and_says_so(
    home: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home.datasets.pin(f"{NAME}@1", "thesis")
    (folder_of(home) / "_tagsel" / "pins.json").write_text("{")
    home.ingest(nano(tmp_path / "third.root", 2000), dataset=NAME)
    assert home[NAME].count("true").accepted == 3 * N
    assert "pins.json is damaged" in caplog.text


# -- row 40: entries of the log


@pytest.mark.parametrize("caches", [True, False], ids=["with caches", "without caches"])
def test_fault_40_no_snapshot_without_its_log_entry(
    home: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], caches: bool
) -> None:
    entry = log.entry_path(folder_of(home), 2)
    entry.unlink()
    if not caches:
        for path in (folder_of(home) / "_tagsel").glob("manifest-*.json"):
            path.unlink()
    parts = {path.name for path in folder_of(home).glob("*.parquet")}
    commits = sorted(folder_of(home).glob("_delta_log/*"))
    place = ["-w", str(home.folder)]
    verbs = [
        ["count", NAME, "true"],
        ["datasets", "retract", str(tmp_path / "1.root"), "--reason", "bad"],
        ["datasets", "compact", NAME],
        ["datasets", "extend", NAME, "twice = 2 * MET_pt"],
        ["datasets", "gc", NAME, "--grace", "0", "--yes"],
    ]
    for verb in verbs:
        assert run([*verb, *place]) == 2, verb
        message = capsys.readouterr().err
        assert (str(entry) if caches else "_delta_log") in message, verb
        assert "workspace recover" in message, verb
    assert {path.name for path in folder_of(home).glob("*.parquet")} == parts
    assert sorted(folder_of(home).glob("_delta_log/*")) == commits
    assert run(["datasets", "check", NAME, *place]) == 3
    assert "missing" in capsys.readouterr().out


def test_fault_40_an_entry_missing_between_others_stops_every_commit(home: Workspace, tmp_path: Path) -> None:
    log.entry_path(folder_of(home), 1).unlink()
    assert home[NAME].count("true").accepted == 2 * N  # snapshot 2 has its entry, and its manifest is bound to that
    with pytest.raises(StoreError, match=r"00001\.json is missing: the log goes on to version 2"):
        home.datasets.retract(str(tmp_path / "1.root"), reason="bad")
    assert log.versions(folder_of(home)) == [0, 2]
    assert any("is missing" in f.what for f in home.datasets.check(NAME).findings)


def test_an_entry_missing_between_others_is_named_by_extend(
    home: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = log.entry_path(folder_of(home), 1)
    entry.unlink()
    assert run(["datasets", "extend", NAME, "twice = 2 * MET_pt", "-w", str(home.folder)]) == 2
    message = capsys.readouterr().err
    assert f"{entry} is missing" in message
    assert "workspace recover" in message


def test_no_commit_builds_on_a_log_that_lost_a_part(
    home: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line of the second part is taken out of its entry, which stays valid JSON: other engines read 25 events."""
    entry = log.entry_path(folder_of(home), 2)
    lines = entry.read_text().splitlines()
    kept = [line for line in lines if "add" not in json.loads(line)]
    (gone,) = [json.loads(line)["add"]["path"] for line in lines if line not in kept]
    entry.write_text("\n".join(kept))
    third = nano(tmp_path / "third.root", 2000)
    verbs = [
        ["datasets", "extend", NAME, "twice = 2 * MET_pt"],
        ["datasets", "retract", str(tmp_path / "1.root"), "--reason", "bad", "--yes"],
        ["datasets", "compact", NAME],
        ["ingest", str(third), "--dataset", NAME],
        ["datasets", "restore", f"{NAME}@1"],
    ]
    parts = {path.name for path in folder_of(home).glob("*.parquet")}
    for verb in verbs:
        assert run([*verb, "-w", str(home.folder)]) == 2, verb
        message = capsys.readouterr().err
        assert "its Delta log and tagsel's records differ in 1 part" in message, verb
        assert gone in message, verb
    assert log.versions(folder_of(home)) == [0, 1, 2]
    assert parts <= {path.name for path in folder_of(home).glob("*.parquet")}
    assert not home.datasets.check(NAME).sound


@pytest.mark.parametrize("content", [b"\xff\xfe", b"not json", b"[1]", b""])
def test_fault_40_an_entry_that_is_no_text_or_no_json_is_named(home: Workspace, content: bytes) -> None:
    entry = log.entry_path(folder_of(home), 2)
    entry.write_bytes(content)
    with pytest.raises(StoreError, match="damaged") as caught:
        home[NAME].count("true")
    assert caught.value.fields["path"] == str(entry)


@pytest.mark.parametrize("caches", [True, False], ids=["with caches", "without caches"])
def test_fault_40_an_entry_that_repeats_another_is_named(home: Workspace, caches: bool) -> None:
    """The first entry's events would count twice, and the second one's not at all."""
    if not caches:
        for path in (folder_of(home) / "_tagsel").glob("manifest-*.json"):
            path.unlink()
    entry = log.entry_path(folder_of(home), 2)
    entry.write_bytes(log.entry_path(folder_of(home), 1).read_bytes())
    with pytest.raises(StoreError, match="it repeats the commit of an earlier entry") as caught:
        home[NAME].count("true")
    assert caught.value.fields["path"] == str(entry)


def test_fault_40_a_manifest_of_another_history_is_not_believed(home: Workspace, tmp_path: Path) -> None:
    """Two copies of a workspace went two ways; the log of one with the manifests of the other is the log's dataset."""
    import shutil

    other = tmp_path / "other"
    shutil.copytree(home.folder, other)
    home.ingest(nano(tmp_path / "third.root", 2000, 10), dataset=NAME)
    Workspace(other).ingest(nano(tmp_path / "fourth.root", 3000, 5), dataset=NAME)
    shutil.copy(log.manifest_path(folder_of(home), 3), log.manifest_path(other / "data" / NAME, 3))
    assert log.latest(other / "data" / NAME).rows == 2 * N + 5


def test_a_manifest_of_another_dataset_is_no_evidence_of_a_missing_entry(home: Workspace, tmp_path: Path) -> None:
    """The other dataset has a third snapshot; here the log is whole and ends at the second."""
    import shutil

    other = "data18.Y.TAG"
    for first in (2000, 3000, 4000):
        home.ingest(nano(tmp_path / f"{first}.root", first), dataset=other)
    shutil.copy(log.manifest_path(home.folder / "data" / other, 3), log.manifest_path(folder_of(home), 3))
    again = Workspace(home.folder)
    assert again[NAME].count("true").accepted == 2 * N
    assert not [finding for finding in again.datasets.check(NAME).findings if finding.kind == "corrupt"]
    again.ingest(nano(tmp_path / "fifth.root", 5000), dataset=NAME)
    assert Workspace(home.folder)[NAME].count("true").accepted == 3 * N


def test_a_manifest_of_version_1_of_another_dataset_is_not_believed(home: Workspace, tmp_path: Path) -> None:
    """Version 1 does not say which log entry it belongs to."""
    other = "data18.Y.TAG"
    for first, events in ((2000, 7), (3000, 11)):
        home.ingest(nano(tmp_path / f"{first}.root", first, events), dataset=other)
    state = json.loads(log.manifest_path(home.folder / "data" / other, 2).read_bytes())["state"]
    body = json.dumps(state, separators=(",", ":")).encode()
    check = hashlib.sha256(body).hexdigest()
    old = b'{"format":1,"check":"%s","state":%s}' % (check.encode(), body)
    path = log.manifest_path(home.folder / "data" / other, 2)
    good = path.read_bytes()
    path.write_bytes(old)
    assert log.latest(home.folder / "data" / other).rows == 18
    assert path.read_bytes() == good
    log.manifest_path(folder_of(home), 2).write_bytes(old)
    assert log.latest(folder_of(home)).rows == 2 * N


def test_a_dataset_whose_log_is_gone_is_not_made_anew(home: Workspace, tmp_path: Path) -> None:
    import shutil

    shutil.rmtree(folder_of(home) / "_delta_log")
    with pytest.raises(StoreError, match="_delta_log, is gone"):
        home.ingest(nano(tmp_path / "third.root", 2000), dataset=NAME)
    home.datasets.gc("", grace=0)
    assert len(list(folder_of(home).glob("*.parquet"))) == 2
    assert log.manifests(folder_of(home)) == [0, 1, 2]


@pytest.mark.parametrize(("right", "wrong"), [("numRecords", N - 1), ("minValues", 7), ("maxValues", 7), ("size", 1)])
def test_statistics_of_the_log_that_are_not_those_of_the_part_are_found(
    home: Workspace, right: str, wrong: int
) -> None:
    """The part has 25 rows; the entry that says otherwise is JSON, and of a length that the parts do not tell."""
    entry = log.entry_path(folder_of(home), 2)
    actions = [json.loads(line) for line in entry.read_text().splitlines()]
    (added,) = [action["add"] for action in actions if "add" in action]
    statistics = json.loads(added["stats"])
    assert statistics["numRecords"] == N
    assert home.datasets.check(NAME).sound
    if right == "size":
        added["size"] = wrong
    elif right == "numRecords":
        statistics[right] = wrong
    else:
        statistics[right]["event"] = wrong
    added["stats"] = json.dumps(statistics)
    entry.write_text("\n".join(json.dumps(action) for action in actions))
    corrupt = [(f.count, f.names) for f in home.datasets.check(NAME).findings if "Delta log states" in f.what]
    assert corrupt == [(1, (added["path"],))]
    assert not home.datasets.check(NAME).sound


# -- row 43: between the commit and the catalog


@pytest.mark.parametrize("step", ["store.logged", "store.manifest", "catalog.journal"])
def test_fault_43_killed_between_commit_and_catalog_all_verbs_tell_one_number(
    home: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], step: str
) -> None:
    """`datasets` is asked first, and nothing opens the dataset before."""
    third = nano(tmp_path / "third.root", 2000)
    assert ingest(home.folder, third, NAME, TAGSEL_KILL_AT=step).returncode == -signal.SIGKILL
    assert run(["datasets", "--json", "-w", str(home.folder)]) == 0
    (record,) = json.loads(capsys.readouterr().out)["datasets"]
    assert (record["events"], record["snapshot"]) == (3 * N, 3)
    assert home.datasets.find().rows[0][5] == 3 * N  # of a workspace that was open before
    assert Workspace(home.folder)[NAME].count("true").accepted == 3 * N
    assert not list((home.folder / "data").glob(".unsettled-*"))


def test_fault_43_killed_before_the_commit_nothing_changes(home: Workspace, tmp_path: Path) -> None:
    third = nano(tmp_path / "third.root", 2000)
    assert ingest(home.folder, third, NAME, TAGSEL_KILL_AT="store.commit").returncode == -signal.SIGKILL
    assert Workspace(home.folder).datasets.find().rows[0][5] == 2 * N
    assert ingest(home.folder, third, NAME).returncode == 0
    assert Workspace(home.folder).datasets.find().rows[0][5] == 3 * N
    assert not list((home.folder / "data").glob(".unsettled-*"))


# -- row 55: sizes


def test_fault_55_an_aod_cut_to_half_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = Workspace.init(tmp_path / "W")
    path = nano(tmp_path / "a.root", 1)
    home.ingest(path, dataset=NAME, site="HERE", aod=[path])
    assert home.datasets.check(NAME).sound
    assert home.catalog.stale("HERE") == []
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[: size // 2])
    (finding,) = [f for f in home.datasets.check(NAME).findings if f.kind == "corrupt"]
    assert (finding.count, finding.names) == (1, (f"{path}: {size // 2:,} of {size:,} bytes",))
    assert [replica.pfn for replica in home.catalog.stale("HERE")] == [str(path)]
    assert run(["datasets", "check", NAME, "-w", str(home.folder)]) == 3
    assert "another size" in capsys.readouterr().out


# -- what can be had again


def test_fault_40_a_snapshot_whose_entry_is_lost_comes_back_from_its_manifest(
    home: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    log.entry_path(folder_of(home), 2).unlink()
    place = ["-w", str(home.folder)]
    assert run(["workspace", "recover", "--dry-run", *place]) == 0
    assert "goes on with 50 events from the manifest of snapshot 2" in capsys.readouterr().out
    assert run(["count", NAME, "true", *place]) == 2  # a dry run changes nothing
    assert run(["workspace", "recover", "--yes", *place]) == 0
    again = Workspace(home.folder)
    assert again[NAME].count("true").accepted == again.datasets.find().rows[0][5] == 2 * N
    assert again.datasets.check(NAME).sound
    assert run(["workspace", "recover", "--yes", *place]) == 0
    assert "nothing to recover" in capsys.readouterr().out


def test_fault_40_a_snapshot_that_cannot_be_had_is_said_to_be_lost(
    home: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    log.entry_path(folder_of(home), 2).unlink()
    log.manifest_path(folder_of(home), 2).unlink()
    place = ["-w", str(home.folder)]
    assert run(["workspace", "recover", "--yes", *place]) == 3
    assert "lost: data18.X.TAG: 25 events of snapshot 2" in capsys.readouterr().out
    again = Workspace(home.folder)
    assert again[NAME].count("true").accepted == again.datasets.find().rows[0][5] == N
    assert again.datasets.check(NAME).sound


def test_fault_38_damaged_pins_come_back_from_the_journal(pinned: Workspace) -> None:
    flip(folder_of(pinned) / "_tagsel" / "pins.json", 100)
    assert run(["workspace", "recover", "--yes", "-w", str(pinned.folder)]) == 0
    assert pinned.home.table(NAME).pins() == {1: ("thesis",)}
    pinned.datasets.gc(NAME, grace=0)
    assert pinned[f"{NAME}@1"].count("true").accepted == N


def test_a_verb_that_fails_after_its_commit_says_that_it_committed(
    home: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tagsel.catalog import journal
    from tagsel.errors import CatalogError

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    third = nano(tmp_path / "third.root", 2000)
    with monkeypatch.context() as patch:
        patch.setattr(journal, "_write_and_sync", full)
        with pytest.raises(CatalogError, match=r"X.TAG@3 is committed with 75 events, but then: .* No space left"):
            home.ingest(third, dataset=NAME)
    assert home.datasets.find().rows[0][5] == 3 * N
