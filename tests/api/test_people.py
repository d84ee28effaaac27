"""Several users and one workspace: members of a group, readers, and who did what."""

from __future__ import annotations

import json
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import people
import pytest
from conftest import SAMPLE
from people import ALICE, BOB, GROUP, home_of, python

from tagsel.api import Workspace
from tagsel.errors import CatalogError

pytestmark = pytest.mark.skipif(bool(people.why_not()), reason=people.why_not())

MUON = SAMPLE / "data09_900GeV.physics_Muon.TAG._0001.parquet"
MINBIAS = sorted(SAMPLE.glob("*physics_MinBias.TAG.*"))
SCRIPT = "branches = ['*']\ndef process(events):\n    return {'n': len(events)}\n"

OPEN = f"""
import os, sys, json, tagsel, logging
from pathlib import Path
from tagsel.errors import TagselError
logging.basicConfig(stream=sys.stderr, format="%(message)s")
MUON, SAMPLE = Path({str(MUON)!r}), Path({str(SAMPLE)!r})
MINBIAS = {[str(p) for p in MINBIAS]!r}
def refusal(act):
    try:
        act()
    except TagselError as error:
        return f"{{type(error).__name__}}: {{error.message}}"
    return "done"
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user may enter: tmp_path is closed to others."""
    with tempfile.TemporaryDirectory(prefix="tagsel-people-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def homes(place: Path) -> tuple[Path, Path]:
    """The homes of Alice and of Bob."""
    return home_of(ALICE, place), home_of(BOB, place)


def _said(uid: int, code: str, home: Path, umask: int = 0o022, **more: str) -> dict[str, object]:
    """What a user's code printed, as JSON; the code must succeed."""
    done = python(uid, OPEN + code, home, umask, **more)
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout.splitlines()[-1]), "stderr": done.stderr}


@pytest.fixture
def alices(homes: tuple[Path, Path]) -> Path:
    """A workspace of Alice's with one dataset, that others may read."""
    workspace = Workspace.init(homes[0] / "W")
    workspace.ingest(MUON, dataset="d.Muon.TAG", site="HOME", aod=[SAMPLE / "PoolFileCatalog.xml"], processes=1)
    for path in [workspace.folder, *workspace.folder.rglob("*")]:
        os.chown(path, ALICE, ALICE)
    return workspace.folder


def _tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path below a folder with its time of change and size, but for lock files, which readers sign, too."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        if path.name not in ("catalog.lock", "catalog.gate"):
            found[str(path)] = (status.st_mtime_ns, status.st_size)
    return found


def test_fault_44_members_of_a_group_work_in_one_workspace(homes: tuple[Path, Path], place: Path) -> None:
    """Umask 002 and a folder of the group (2775): each member ingests, selects, compacts and rebuilds after the other.

    Every file is of the group and open to it. Yesterday the journal was made with mode 0644.
    """
    shared = place / "group"
    shared.mkdir()
    os.chown(shared, ALICE, GROUP)
    shared.chmod(0o2775)
    first = f"""
ws = tagsel.Workspace.init({str(shared / "W")!r})
done = ws.ingest(MUON, dataset="d.TAG")
print(json.dumps({{"rows": done.events}}))
"""
    second = f"""
ws = tagsel.open({str(shared / "W")!r})
done = ws.ingest(MINBIAS[1], dataset="d.TAG")
ws["d.TAG"].select("NLooseMuon >= 1").save("mine.events")
ws.datasets.compact("d.TAG")
pins = ws.home.table("d.TAG").pins()
print(json.dumps({{"rows": done.events, "lines": ws.rebuild(), "pins": len(pins)}}))
"""
    third = f"""
ws = tagsel.open({str(shared / "W")!r})
done = ws.ingest(MINBIAS[0], dataset="e.TAG")
print(json.dumps({{"rows": done.events, "count": ws["d.TAG"].count("true").read, "names": ws.catalog.names()}}))
"""
    muon = int(_said(ALICE, first, homes[0], 0o002)["rows"])  # type: ignore[call-overload]
    by_bob = _said(BOB, second, homes[1], 0o002)
    by_alice = _said(ALICE, third, homes[0], 0o002)
    assert by_bob["pins"] == 1
    assert by_alice["count"] == by_bob["rows"]
    assert muon < int(str(by_bob["rows"]))
    assert by_alice["names"] == ["d.TAG", "e.TAG"]
    for path in [shared / "W", *(shared / "W").rglob("*")]:
        status = path.lstat()
        assert status.st_gid == GROUP, path
        assert status.st_mode & stat.S_IWGRP, path


def test_fault_44_a_reader_asks_everything_and_writes_elsewhere(homes: tuple[Path, Path], alices: Path) -> None:
    """Bob counts, selects, fills, maps and skims; nothing in Alice's workspace changes, and his list says what it is.

    4,517 rows of which 3 are duplicates: `true` accepts 4,514.
    """
    before = _tree(alices)
    code = f"""
ws = tagsel.open({str(alices)!r})
events = ws["d.Muon.TAG"].select("true")
events.save("mine.events")
again = tagsel.read_events("mine.events")
h = ws["d.Muon.TAG"].hist("NLooseMuon: 5, 0, 5")
print(json.dumps({{
    "count": ws["d.Muon.TAG"].count("true").accepted, "saved": len(again), "same": again.digest == events.digest,
    "sum": float(h.sum(flow=True).value if hasattr(h.sum(flow=True), "value") else h.sum(flow=True)),
    "not_pinned": again.provenance["not_pinned"], "touched": len(events.map().files),
    "skimmed": events.skim("mine.root").ledger.delivered,
    "parts": [p.path.name for p in ws["d.Muon.TAG"].inputs[0].snapshot.parts],
    "sql": ws.sql("SELECT count(*) AS n FROM datasets").to_pylist()[0]["n"],
}}))
"""
    said = _said(BOB, code, homes[1])
    assert (said["count"], said["saved"], said["same"], said["sum"]) == (4514, 4514, True, 4514.0)
    assert (said["touched"], said["skimmed"], said["sql"]) == (2, 4514, 1)
    record = said["not_pinned"]["d.Muon.TAG@1"]  # type: ignore[index]
    assert record["parts"] == said["parts"]
    assert (alices / "data" / "d.Muon.TAG" / "_tagsel" / "commits" / f"{record['commit']}.json").is_file()
    assert "d.Muon.TAG@1 is not pinned" in str(said["stderr"])
    assert _tree(alices) == before


def test_fault_44_rights_are_checked_before_anything_is_written(homes: tuple[Path, Path], alices: Path) -> None:
    """Whatever would change the workspace is refused by the path that is closed; no file of it is new or changed.

    The journal alone is closed in the second half, as in a workspace of yesterday: ingest used to commit, then fail.
    """
    code = f"""
ws = tagsel.open({str(alices)!r})
Path("job.py").write_text({SCRIPT!r})
events = ws["d.Muon.TAG"].select("true")
print(json.dumps({{
    "ingest": refusal(lambda: ws.ingest(MINBIAS[0], dataset="d.new.TAG")),
    "ingest more": refusal(lambda: ws.ingest(MINBIAS[0], dataset="d.Muon.TAG")),
    "compact": refusal(lambda: ws.datasets.compact("d.Muon.TAG")),
    "restore": refusal(lambda: ws.datasets.restore("d.Muon.TAG@0")),
    "extend": refusal(lambda: ws.datasets.extend("d.Muon.TAG", "twice = 2 * NLooseMuon")),
    "pin": refusal(lambda: ws.datasets.pin("d.Muon.TAG@1", "mine")),
    "drop": refusal(lambda: ws.datasets.drop("d.Muon.TAG")),
    "expire": refusal(lambda: ws.datasets.expire("d.Muon.TAG", after="2030-01-01")),
    "gc": refusal(lambda: ws.datasets.gc("d.Muon.TAG")),
    "gc of all": refusal(lambda: ws.datasets.gc()),
    "rebuild": refusal(lambda: ws.rebuild()),
    "close": refusal(lambda: ws.datasets.close("d.Muon.TAG")),
    "submit": refusal(lambda: ws.lists[events].submit("job.py")),
}}))
"""
    before = _tree(alices)
    said = _said(BOB, code, homes[1])
    said.pop("stderr")
    for verb, refusal in said.items():
        assert str(refusal).startswith("AccessError: you ("), (verb, refusal)
        assert str(alices) in str(refusal), verb
    assert _tree(alices) == before
    for path in [alices, *alices.rglob("*")]:
        os.chown(path, ALICE, GROUP)
        path.chmod(path.stat().st_mode | stat.S_IWGRP)
    journal = alices / "catalog.journal"
    journal.chmod(0o644)
    before = _tree(alices)
    said = _said(BOB, code, homes[1])
    said.pop("stderr")
    for verb, refusal in said.items():
        assert f"{journal} belongs to uid {ALICE}," in str(refusal), (verb, refusal)
    assert _tree(alices) == before


def test_a_lock_that_may_not_be_taken_says_whose_it_is_and_what_to_try(homes: tuple[Path, Path], alices: Path) -> None:
    """Bob may look at Alice's workspace, and asks for what locks it without changing it; then one dataset alone is
    closed to the group."""
    code = f"""
ws = tagsel.open({str(alices)!r})
def hint(act):
    try:
        act()
    except TagselError as error:
        return [error.message, error.hint]
print(json.dumps({{
    "recover": hint(lambda: ws.recover(dry_run=True)),
    "gc": hint(lambda: ws.datasets.gc("d.Muon.TAG", dry_run=True)),
    "compact": hint(lambda: ws.home.table("d.Muon.TAG").unpin(1)),
}}))
"""
    said = _said(BOB, code, homes[1])
    gate, lock = alices / "catalog.gate", alices / "data" / "d.Muon.TAG" / "_tagsel" / "lock"
    for verb, path in (("recover", gate), ("gc", lock), ("compact", lock)):
        message, hint = said[verb]  # type: ignore[misc]
        assert f"cannot lock {path}: Permission denied: " in message, verb
        assert f"{path} belongs to uid {ALICE}, who gave you (uid {BOB}) no right to write it" in message, verb
        assert hint == f"chmod g+w {path} opens it to its group; tagsel init makes a workspace of your own", verb


def test_fault_46_who_did_it_is_the_kernels_user(homes: tuple[Path, Path]) -> None:
    """No variable of the environment is asked: Alice stays Alice, whatever LOGNAME, USER or LNAME say."""
    code = """
ws = tagsel.Workspace.init("W")
ws.ingest(MUON, dataset="d.TAG")
print(json.dumps({"who": ws.catalog.dataset("d.TAG").who}))
"""
    convener = dict.fromkeys(("LOGNAME", "USER", "LNAME", "USERNAME"), "convener")
    said = _said(ALICE, code, homes[0], **convener)
    assert str(said["who"]).startswith(f"uid {ALICE}@")
    lines = [json.loads(line) for line in (homes[0] / "W" / "catalog.journal").read_text().splitlines()]
    assert {line["who"] for line in lines} == {said["who"]}


def test_fault_44_a_reader_submits_into_a_workspace_of_their_own(homes: tuple[Path, Path], alices: Path) -> None:
    """`datasets = ["…/W"]` in its tagsel.toml: Bob's jobs are Bob's, with Alice's datasets and files, all delivered.

    4,517 rows of which 3 are duplicates; Alice's workspace stays as it is, though Bob's list is mapped through it.
    """
    before = _tree(alices)
    code = f"""
ws = tagsel.Workspace.init("MINE")
toml = Path("MINE/tagsel.toml")
toml.write_text('datasets = ["{alices}"]\\n' + toml.read_text())
ws = tagsel.open("MINE")
Path("job.py").write_text({SCRIPT!r})
events = ws["d.Muon.TAG"].select("true")
events.save("mine.events")
job = ws.lists["mine.events"].submit("job.py")
job.wait()
print(json.dumps({{
    "count": ws["d.Muon.TAG@1"].count("true").accepted, "ledger": job.ledger.to_json(), "n": job.result().value["n"],
    "names": ws.catalog.names(),
    "unknown": refusal(lambda: ws["d.Muo.TAG"].count("true")),
    "not_pinned": list(tagsel.read_events("mine.events").provenance["not_pinned"]),
}}))
"""
    said = _said(BOB, code, homes[1])
    assert said["count"] == said["n"] == 4514
    assert said["ledger"] == {"accepted": 4514, "delivered": 4514, "unreadable": 0, "failed": 0}
    assert said["names"] == ["jobs.0001.NUMBERS"]
    assert said["not_pinned"] == ["d.Muon.TAG@1"]
    assert str(said["unknown"]).startswith("CatalogError: no dataset 'd.Muo.TAG'")
    assert _tree(alices) == before


def test_a_named_workspace_that_is_none_is_an_error(tmp_path: Path) -> None:
    ws = Workspace.init(tmp_path / "W")
    toml = ws.folder / "tagsel.toml"
    text = toml.read_text()
    for value, message in (('["/nowhere"]', "which is no workspace"), ("3", "a list of folders was expected")):
        toml.write_text(f"datasets = {value}\n{text}")
        with pytest.raises(CatalogError, match=message):
            ws["d.TAG"].count("true")


@pytest.fixture
def pins(alices: Path, place: Path) -> Path:
    """The folder that Alice's workspace names for readers' pins, and opens to all (1777)."""
    folder = place / "pins"
    folder.mkdir()
    os.chown(folder, ALICE, ALICE)
    folder.chmod(0o1777)
    toml = alices / "tagsel.toml"
    toml.write_text(f'pins = "{folder}"\n' + toml.read_text())
    return folder


_REPLACE = """
ws = tagsel.open("W")
ws.datasets.restore("d.Muon.TAG@0")
removed = ws.datasets.gc("d.Muon.TAG", grace=0.0)
"""


def test_a_readers_pin_keeps_a_snapshot_from_the_owners_gc(homes: tuple[Path, Path], alices: Path, pins: Path) -> None:
    """Alice empties her dataset and cleans up twice: with Bob's pin all 4,514 events stay, without it they go.

    Bob pins twice: by saving a list, and by name. Only he, or Alice, who owns the folder, takes them back. A pin whose
    content is damaged keeps its snapshot by its name.
    """
    before = _tree(alices)
    said = _said(
        BOB,
        f"""
ws = tagsel.open({str(alices)!r})
events = ws["d.Muon.TAG"].select("true")
events.save("mine.events")
print(json.dumps({{
    "pinned": ws.datasets.pin("d.Muon.TAG@1", "my thesis"),
    "table": [list(row) for row in ws.datasets.pins("d.Muon.TAG").rows],
    "not_pinned": "not_pinned" in tagsel.read_events("mine.events").provenance,
}}))
""",
        homes[1],
    )
    assert said["pinned"] == "d.Muon.TAG@1"
    assert said["not_pinned"] is False
    assert "not pinned" not in str(said["stderr"])
    assert _tree(alices) == before
    table = said["table"]
    assert isinstance(table, list)
    assert sorted(row[2].split()[0] for row in table) == ["event", "my"]
    assert {row[4] for row in table} == {f"uid {BOB}"}
    for file in pins.iterdir():
        assert (file.stat().st_uid, stat.S_IMODE(file.stat().st_mode)) == (BOB, 0o644)
    first = next(pins.iterdir())
    first.write_text(first.read_text().replace('"reason":"', '"reason":"x'))
    kept = _said(
        ALICE,
        _REPLACE
        + """
print(json.dumps({
    "removed": [str(p) for p in removed if p.suffix == ".parquet"], "count": ws["d.Muon.TAG@1"].count("true").accepted,
    "drop": refusal(lambda: ws.datasets.drop("d.Muon.TAG")),
}))
""",
        homes[0],
    )
    assert (kept["removed"], kept["count"]) == ([], 4514)
    assert f"is pinned by uid {BOB}" in str(kept["drop"])
    assert "is damaged: its content does not match its checksum; its snapshot is kept" in str(kept["stderr"])
    gone = _said(
        BOB,
        f"""
ws = tagsel.open({str(alices)!r})
print(json.dumps({{"gone": len(ws.datasets.unpin("d.Muon.TAG@1")), "left": len(ws.datasets.pins("d.Muon.TAG").rows)}}))
""",
        homes[1],
    )
    assert (gone["gone"], gone["left"]) == (2, 0)
    removed = _said(
        ALICE,
        """
ws = tagsel.open("W")
removed = ws.datasets.gc("d.Muon.TAG", grace=0.0)
print(json.dumps({"removed": len([p for p in removed if p.suffix == ".parquet"])}))
""",
        homes[0],
    )["removed"]
    assert removed == 1


def test_a_reader_takes_back_their_own_pin_beside_the_owners(
    homes: tuple[Path, Path], alices: Path, pins: Path
) -> None:
    """Alice and Bob pin one snapshot for one reason: Bob takes his back, Alice's own stays, and is not his to take."""
    assert (
        _said(
            ALICE,
            """
ws = tagsel.open("W")
ws.catalog.need_writable()
ws.home.table("d.Muon.TAG").pin(1, "the paper")
print(json.dumps({"pins": len(ws.datasets.pins("d.Muon.TAG").rows)}))
""",
            homes[0],
        )["pins"]
        == 1
    )
    said = _said(
        BOB,
        f"""
ws = tagsel.open({str(alices)!r})
ws.datasets.pin("d.Muon.TAG@1", "the paper")
pinned = len(ws.datasets.pins("d.Muon.TAG").rows)
gone = ws.datasets.unpin("d.Muon.TAG@1")
left = [list(row) for row in ws.datasets.pins("d.Muon.TAG").rows]
again = refusal(lambda: ws.datasets.unpin("d.Muon.TAG@1"))
print(json.dumps({{"pinned": pinned, "gone": gone, "left": left, "again": again}}))
""",
        homes[1],
    )
    assert (said["pinned"], said["gone"]) == (2, ["the paper"])
    assert list(pins.iterdir()) == []
    assert isinstance(said["left"], list)
    assert [row[:3] for row in said["left"]] == [["d.Muon.TAG", 1, "the paper"]]
    assert str(said["again"]).startswith(f"AccessError: you (uid {BOB}) may not change the workspace")


def test_a_pins_folder_that_is_away_stops_gc(tmp_path: Path) -> None:
    """Nobody knows then what readers pinned: nothing is removed, and the error names the folder and the key."""
    ws = Workspace.init(tmp_path / "W")
    ws.ingest(MUON, dataset="d.TAG", processes=1)
    toml = ws.folder / "tagsel.toml"
    toml.write_text('pins = "../away"\n' + toml.read_text())
    with pytest.raises(CatalogError, match="where readers leave pins, cannot be read: No such file") as error:
        ws.datasets.gc("d.TAG", grace=0.0)
    assert "take pins out of" in str(error.value.hint)


_WAITS_FOR_GO = """
import os, time
branches = ['*']
def process(events):
    while not os.path.exists({go!r}):
        time.sleep(0.05)
    return {{'n': len(events)}}
"""


def test_members_of_a_group_act_on_anothers_job_by_the_journal(homes: tuple[Path, Path], place: Path) -> None:
    """Bob kills Alice's job, which her process waits for, and has its piece split anew; its folder is closed to him.

    He sees that it is killed, and his request answered, before he asks for more.
    The journal says that he asked and that she did it. The 4,514
    events of one piece become two pieces of 2,257.
    """
    shared, go = place / "group", place / "go"
    shared.mkdir()
    os.chown(shared, ALICE, GROUP)
    shared.chmod(0o2775)
    (homes[0] / "job.py").write_text(_WAITS_FOR_GO.format(go=str(go)))
    alice = people.start(
        ALICE,
        [
            sys.executable,
            "-c",
            OPEN
            + f"""
ws = tagsel.Workspace.init({str(shared / "W")!r})
ws.ingest(MUON, dataset="d.TAG", aod=[SAMPLE / "PoolFileCatalog.xml"], processes=1)
job = ws["d.TAG"].select("true").submit("job.py", events_per_job=10_000)
job.wait()
import time
while not [r for r in job.requests if r.verb == "resplit"]:
    time.sleep(0.1)
job = ws.jobs["1"]
status = job.wait()
answers = [[r.verb, r.state, r.note, r.who.partition("@")[0]] for r in job.requests]
print(json.dumps({{"state": status.state, "n": job.result().value["n"], "answers": answers,
                   "pieces": [[p.number, p.events] for p in job.pieces]}}))
""",
        ],
        homes[0],
        0o002,
    )
    bob = people.start(
        BOB,
        [
            sys.executable,
            "-c",
            OPEN
            + f"""
import time
folder = Path({str(shared / "W")!r})
while not list((folder / "jobs").glob("0001/outputs/*.run")):
    time.sleep(0.1)
ws = tagsel.open(folder)
job = ws.jobs["1"].kill()
asked = [[r.verb, r.state] for r in job.requests]
while job.status().state != "killed" or job.requests[0].state == "open":
    time.sleep(0.1)
owner = job.owner
ws.jobs["1"].resplit([0], into=2)
print(json.dumps({{"asked": asked, "owner": owner, "may": os.access(folder / "jobs" / "0001", os.W_OK)}}))
""",
        ],
        homes[1],
        0o002,
    )
    said, complaints = bob.communicate(timeout=120)
    assert bob.returncode == 0, complaints
    assert json.loads(said) == {"asked": [["kill", "open"]], "owner": f"uid {ALICE}", "may": False}
    go.touch()
    said, complaints = alice.communicate(timeout=120)
    assert alice.returncode == 0, complaints
    done = json.loads(said)
    assert (done["state"], done["n"]) == ("done", 4514)
    assert done["pieces"] == [[1, 2257], [2, 2257]]
    assert done["answers"] == [["kill", "done", "", f"uid {BOB}"], ["resplit", "done", "", f"uid {BOB}"]]
    lines = [json.loads(line) for line in (shared / "W" / "catalog.journal").read_text().splitlines()]
    acts = [(line["who"].partition("@")[0], change["do"]) for line in lines for change in line["what"]]
    assert [act for act in acts if act[1] in ("RequestJob", "AnswerRequest")] == [
        (f"uid {BOB}", "RequestJob"),
        (f"uid {ALICE}", "AnswerRequest"),
        (f"uid {BOB}", "RequestJob"),
        (f"uid {ALICE}", "AnswerRequest"),
    ]


@pytest.mark.skipif(bool(people.why_not_closed()), reason=people.why_not_closed())
def test_other_users_of_these_tests_may_read_what_a_plain_user_may(homes: tuple[Path, Path], place: Path) -> None:
    """A file of mode 0600 and those in a folder of mode 0700 are closed to all but the owner; none has a capability."""
    private = place / "private"
    private.mkdir(mode=0o700)
    for path in (place / "own", private / "inside"):
        path.write_text("text")
        path.chmod(0o600 if path.name == "own" else 0o644)
        os.chown(path, ALICE, ALICE)
    os.chown(private, ALICE, ALICE)
    code = f"""
import os
from pathlib import Path
for path in ({str(place / "own")!r}, {str(private / "inside")!r}):
    try:
        print(Path(path).read_text())
    except PermissionError:
        print("closed")
lines = Path("/proc/self/status").read_text().splitlines()
print([line.split()[1] for line in lines if line.startswith(("CapEff", "CapPrm", "CapAmb"))])
"""
    said = {uid: python(uid, code, home).stdout.splitlines() for uid, home in zip((ALICE, BOB), homes, strict=True)}
    none = str(["0" * 16] * 3)
    assert said == {ALICE: ["text", "text", none], BOB: ["closed", "closed", none]}


_DENIED = """
import ctypes, importlib.readers
import tagsel.api, tagsel.ingest, tagsel.selection, tagsel.events, tagsel.quality, pyarrow.parquet, deltalake, duckdb
from tagsel.cli.main import run
from tagsel.language import parse
parse("a > 1")
head, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None).capset(head, none) == 0
print(json.dumps({{"code": run({words!r})}}))
"""


def test_fault_19_what_may_not_be_read_is_named(homes: tuple[Path, Path], alices: Path) -> None:
    """Of each file or folder that is closed to Bob (mode 0) the error names the path; exit code 2, nothing is written.

    Where he keeps the right to read everything (`people.why_not_closed`), he gives it up once all is imported.
    """
    part = next((alices / "data" / "d.Muon.TAG").glob("*.parquet"))
    home = homes[1]
    good, events = home / "good.json", home / "a.events"
    good.write_text('{"142193": [[1, 5]]}')
    Workspace(alices)["d.Muon.TAG"].select("NLooseMuon >= 3").save(events)
    for path in (good, events):
        os.chown(path, ALICE, ALICE)
    count = ["count", "d.Muon.TAG", "NLooseMuon >= 1"]
    cases = [
        (good, [*count, "--lumi", str(good)]),
        (events, ["lists", "show", str(events)]),
        (part, ["select", *count[1:], "-o", "new.events", "--no-remember"]),
        (alices / "data" / "d.Muon.TAG" / "_delta_log", ["select", *count[1:], "-o", "new.events"]),
        (alices / "catalog.journal", count),
        (alices / "tagsel.toml", count),
    ]
    for closed, words in cases:
        mode = closed.stat().st_mode
        closed.chmod(0)
        done = python(BOB, OPEN + _DENIED.format(words=["-w", str(alices), *words]), home)
        closed.chmod(mode)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == {"code": 2}, (closed, done.stderr)
        assert str(closed) in done.stderr
    assert not (home / "new.events").exists()
