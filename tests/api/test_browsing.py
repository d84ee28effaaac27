"""What a workspace tells of its datasets: latest versions, pins, provenance, summaries, and whether they are whole."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from builders import GUIDS, build, rows, workspace
from hypothesis import given
from hypothesis import strategies as st

from tagsel.api import Workspace
from tagsel.catalog import DropDataset, FileRecord, Pin, PutDataset, PutFiles, PutReplicas, PutSite
from tagsel.cli.main import run
from tagsel.cli.options import complete_datasets
from tagsel.errors import CatalogError, StoreError
from tagsel.selection.contents import Spans


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    ws = workspace(tmp_path)
    monkeypatch.setenv("TAGSEL_WORKSPACE", str(ws.folder))
    return ws


@pytest.fixture
def tagsel(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """(exit code, standard output, standard error) of a command."""

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


# -- versions and pins


def test_feature_12_feature_14_narrowing_step_by_step(home: Workspace, tagsel: Any) -> None:
    for n, (stream, year) in enumerate([("Muon", 2017), ("Muon", 2018), ("Egamma", 2018)]):
        build(home, f"d{n}.TAG", rows(10 + n, n), type="TAG", stream=stream, year=year, meta={"trigger": n % 2})
    where, left = "", []
    for key in ("year", "stream"):
        choice = home.datasets.facets(where)[key].choices[-1]  # the value of the fewest datasets
        left.append((choice.value, choice.datasets, choice.events))
        where = f"{where} and {choice.condition}" if where else choice.condition
    # 2017 has d0 alone, of 10 events; of its streams there is but Muon
    assert left == [("2017", 1, 10), ("Muon", 1, 10)]
    code, out, err = tagsel("datasets", "facets", "year = 2018", "--by", "stream", "--by", "trigger", "--csv")
    assert code == 0 and "2 datasets with 23 events" in err
    assert list(csv.reader(io.StringIO(out))) == [
        ["key", "value", "datasets", "events", "condition"],
        ["stream", "Egamma", "1", "12", "stream = 'Egamma'"],
        ["stream", "Muon", "1", "11", "stream = 'Muon'"],
        ["trigger", "0", "1", "12", "trigger = 0"],
        ["trigger", "1", "1", "11", "trigger = 1"],
    ]
    code, out, err = tagsel("datasets", "facets", "--most", "1", "--by", "year")
    assert (out, err.splitlines()[0]) == (
        "year\t2018\t2\t23\tyear = 2018\n",
        "year: 1 more values, in 1 of the datasets (--most)",
    )
    assert tagsel("datasets", "facets", "--by", "yaer")[0] == 2


def test_the_datasets_of_a_named_workspace_are_browsed_beside_ones_own(
    home: Workspace, tagsel: Any, tmp_path: Path
) -> None:
    """The group has 3 events in `shared.TAG`, 4 and 5 in two versions; its `mine.TAG` is behind my own, of 2."""
    group = workspace(tmp_path / "group")
    toml = home.folder / "tagsel.toml"
    toml.write_text(f'datasets = ["{group.folder}"]\n{toml.read_text()}')
    build(home, "mine.TAG", rows(2), type="TAG", year=2018)
    build(group, "mine.TAG", rows(6), type="TAG", year=2018)
    build(group, "shared.TAG", rows(3), type="TAG", year=2017)
    for events, version in ((4, "1.0.0"), (5, "1.1.0")):
        build(group, f"data18.{version}.TAG", rows(events), type="TAG", version=version, year=2018)
    mine, theirs = str(home.folder), str(group.folder)
    table = [
        ["data18.1.0.0.TAG", 4, theirs],
        ["data18.1.1.0.TAG", 5, theirs],
        ["mine.TAG", 2, mine],
        ["shared.TAG", 3, theirs],
    ]

    listed = json.loads(tagsel("datasets", "--json")[1])["datasets"]
    assert [[row["name"], row["events"], row["workspace"]] for row in listed] == table
    listed = json.loads(tagsel("datasets", "year = 2018", "--json")[1])["datasets"]
    assert [row["name"] for row in listed] == ["data18.1.0.0.TAG", "data18.1.1.0.TAG", "mine.TAG"]

    query = "SELECT name, events, workspace FROM datasets ORDER BY name"
    assert [list(row.values()) for row in home.sql(query).to_pylist()] == table
    assert home.sql('SELECT count(*) AS n FROM "shared.TAG"').to_pylist() == [{"n": 3}]
    assert home.sql('SELECT count(*) AS n FROM "mine.TAG"').to_pylist() == [{"n": 2}]

    shown = [json.loads(tagsel("datasets", "show", name, "--json")[1]) for name in ("shared.TAG", "mine.TAG")]
    assert [one["events"] for one in shown] == [3, 2]

    assert home.datasets.latest().names() == ["data18.1.1.0.TAG", "mine.TAG", "shared.TAG"]
    assert home.datasets.latest("data18*").names() == ["data18.1.1.0.TAG"]
    assert home.datasets.latest("year = 2017").names() == ["shared.TAG"]

    facets = home.datasets.facets(by=["year"])
    assert (facets.datasets, facets.events) == (4, 4 + 5 + 2 + 3)
    assert [(c.value, c.datasets, c.events) for c in facets["year"].choices] == [("2018", 3, 11), ("2017", 1, 3)]

    context = click.Context(click.Command("count"))
    parameter = click.Argument(["dataset"])
    assert complete_datasets(context, parameter, "") == [row[0] for row in table]
    assert complete_datasets(context, parameter, "mine.TAG,sh") == ["mine.TAG,shared.TAG"]


def test_conditions_on_several_workspaces_are_judged_as_in_one(home: Workspace, tagsel: Any, tmp_path: Path) -> None:
    """The key `period` is only the group's, `colour` is text here and a number there; `mine.TAG` is mine alone.

    Each condition selects, and each facet counts, what one workspace with the same datasets does.
    """
    group, one = workspace(tmp_path / "group"), workspace(tmp_path / "one")
    home_toml = home.folder / "tagsel.toml"
    home_toml.write_text(f'datasets = ["{group.folder}"]\n{home_toml.read_text()}')
    mine = [PutDataset("mine.TAG", events=2), PutDataset("a.TAG", events=1, meta={"colour": "red"})]
    theirs = [
        PutDataset("b.TAG", events=10, meta={"colour": 7, "period": "B"}),
        PutDataset("c.TAG", events=20, meta={"period": "C"}),
    ]
    home.catalog.record(*mine)
    group.catalog.record(*theirs, PutDataset("mine.TAG", events=500, meta={"period": "B"}))
    one.catalog.record(*mine, *theirs)
    expected = {
        "period = 'B'": ["b.TAG"],
        "period is null": ["a.TAG", "mine.TAG"],
        "colour = '7' or colour = 'red'": ["a.TAG", "b.TAG"],
        "colour is null and events > 1": ["c.TAG", "mine.TAG"],
    }
    for where, names in expected.items():
        assert home.datasets.find(where).names() == one.datasets.find(where).names() == names
        assert home.datasets.facets(where).facets == one.datasets.facets(where).facets
    assert [(c.value, c.datasets, c.events) for c in home.datasets.facets()["period"].choices] == [
        ("B", 1, 10),
        ("C", 1, 20),
    ]
    choices = [choice for facet in home.datasets.facets().facets for choice in facet.choices]
    assert all(len(home.datasets.find(choice.condition)) == choice.datasets for choice in choices)
    colours = home.sql("SELECT name, colour, workspace FROM datasets ORDER BY name").to_pylist()
    assert [(row["name"], row["colour"]) for row in colours] == [
        ("a.TAG", "red"),
        ("b.TAG", "7"),
        ("c.TAG", None),
        ("mine.TAG", None),
    ]
    assert [row["workspace"] for row in colours] == [str(w.folder) for w in (home, group, group, home)]
    assert home.sql("SELECT count(*) AS n FROM meta WHERE dataset = 'mine.TAG'").to_pylist() == [{"n": 0}]
    for ask in (home.datasets.find, home.datasets.facets):
        with pytest.raises(CatalogError, match="did you mean colour"):
            ask("color = 'red'")
        with pytest.raises(CatalogError, match=r"read_text|not allowed"):
            ask("exists (select 1 from read_text('/etc/hostname'))")


def test_feature_15_the_latest_version_by_glob_and_by_condition(home: Workspace, tagsel: Any) -> None:
    for version in ("1.9.2", "1.10.0", "1.2.0"):
        home.catalog.record(PutDataset(f"data18.Muon.{version}.TAG", type="TAG", version=version, year=2018, events=7))
    home.catalog.record(PutDataset("data17.Muon.TAG.r99_p4", type="TAG"), PutDataset("data17.Muon.TAG.r123_p2"))
    newest = ["data17.Muon.TAG.r123_p2", "data18.Muon.1.10.0.TAG"]
    assert home.datasets.latest().names() == newest
    assert home.datasets.latest("year = 2018").names() == home.datasets.latest("data18.*").names() == newest[1:]
    assert home.datasets.latest("data18.*, data17.*").names() == newest
    assert home.datasets.latest("year is null").names() == newest[:1]
    assert home.datasets.latest("year = 1999").names() == []
    assert json.loads(tagsel("datasets", "latest", "data18.*", "--json")[1])["latest"] == [
        {
            "name": "data18.Muon.1.10.0.TAG",
            "version": "1.10.0",
            "events": 7,
            "snapshot": 0,
            "older": ["data18.Muon.1.9.2.TAG", "data18.Muon.1.2.0.TAG"],
        }
    ]
    assert tagsel("datasets", "latest") == (0, "".join(f"{n}\n" for n in newest), "2 datasets; 3 older versions\n")
    assert "data18.Muon.1.10.0.TAG,1.10.0,7,0,2" in tagsel("datasets", "latest", "--csv")[1]
    with pytest.raises(CatalogError, match="no dataset matches ''"):
        home.datasets.latest("data18.*,")
    with pytest.raises(CatalogError, match="did you mean data18"):
        home.datasets.latest("data18.Muon.1.10.0.TAGG")


def test_feature_15_an_answer_records_the_snapshot_that_latest_meant(home: Workspace) -> None:
    build(home, "a.TAG", rows(10, 1))
    build(home, "a.TAG", rows(10, 2))
    said = {text: home[text].select("true").provenance["datasets"] for text in ("a.TAG@latest", "a.TAG", "a.TAG@1")}
    assert said == {"a.TAG@latest": ["a.TAG@2"], "a.TAG": ["a.TAG@2"], "a.TAG@1": ["a.TAG@1"]}


def test_feature_15_a_pinned_snapshot_outlives_a_compaction_and_gc(home: Workspace) -> None:
    build(home, "a.TAG", rows(10, 1), rows(10, 2))
    before = home["a.TAG@1"].select("true").digest
    assert home.datasets.pin("a.TAG@1", "paper") == "a.TAG@1"
    home.datasets.compact("a.TAG")
    home.datasets.gc("a.TAG", grace=0)
    assert home["a.TAG@1"].select("true").digest == before
    assert home.datasets.unpin("a.TAG@1") == ["paper"]
    assert home.datasets.gc("a.TAG", grace=0)
    with pytest.raises(StoreError, match="no longer whole"):
        home["a.TAG@1"].select("true")


def test_pins_are_added_listed_and_taken_back_reason_by_reason(home: Workspace, tagsel: Any) -> None:
    build(home, "a.TAG", rows(10, 1))
    build(home, "b.TAG", rows(10, 1))
    assert tagsel("datasets", "pin", "a.TAG", "--reason", "paper")[:2] == (0, "a.TAG@1 is pinned: paper\n")
    tagsel("datasets", "pin", "a.TAG@1", "--reason", "thesis")
    tagsel("datasets", "pin", "a.TAG@1", "--reason", "paper")  # again: nothing new
    tagsel("datasets", "pin", "b.TAG@0", "--reason", "x")
    listed = [(p["dataset"], p["snapshot"], p["reason"]) for p in home.datasets.pins()]
    assert listed == [("a.TAG", 1, "paper"), ("a.TAG", 1, "thesis"), ("b.TAG", 0, "x")]
    assert all(p["when"] and p["who"] for p in home.datasets.pins())
    assert {(p.dataset, p.snapshot, p.reason) for p in home.catalog.pins()} == set(listed)
    assert len(home.datasets.pins("b.TAG")) == 1
    assert home.datasets.unpin("a.TAG@1", "paper") == ["paper"]
    assert home.datasets.unpin("a.TAG@1") == ["thesis"]
    assert [p["dataset"] for p in home.datasets.pins()] == ["b.TAG"] and len(home.catalog.pins()) == 1
    for arguments, said in [
        (("unpin", "a.TAG@1"), "not pinned"),
        (("unpin", "a.TAG"), "names no snapshot"),
        (("pin", "a.TAG@7", "--reason", "x"), "no snapshot 7"),
        (("pin", "A.TAG", "--reason", "x"), "a.TAG"),
        (("pin", "*.TAG", "--reason", "x"), "one dataset"),
        (("pin", "a.TAG", "--reason", " "), "needs a reason"),
        (("pins", "c.TAG"), "no dataset"),
    ]:
        code, _, err = tagsel("datasets", *arguments)
        assert code == 2 and said in err


def test_a_pin_that_only_the_dataset_or_only_the_catalog_has_is_listed(home: Workspace) -> None:
    """A crash came between the two: `gc` heeds both, so both are pins."""
    table = build(home, "a.TAG", rows(10, 1))
    table.pin(1, "lost")
    home.catalog.record(Pin("a.TAG", 1, "only said"))
    assert [row[:3] for row in home.datasets.pins().rows] == [("a.TAG", 1, "lost"), ("a.TAG", 1, "only said")]
    assert home.datasets.pins().rows[0][3:] == ("", "")


# -- provenance


def test_feature_16_the_tree_up_and_down(home: Workspace, tagsel: Any) -> None:
    put = home.catalog.record
    put(PutDataset("raw"), PutDataset("aod", parents=("raw",)), PutDataset("tag", parents=("aod@3", "gone")))
    put(PutDataset("skim", parents=("tag@1",)), PutDataset("plots", parents=("skim",)))
    put(PutDataset("gone"), DropDataset("gone"))
    lines = ["tag", "  < aod@3", "    < raw", "  < gone (not in this catalog)", "  > skim@1", "    > plots"]
    assert home.datasets.tree("tag").text().splitlines() == lines
    assert tagsel("datasets", "tree", "tag", "--up")[1].splitlines() == lines[:4]
    assert tagsel("datasets", "tree", "tag", "--down")[1].splitlines() == [lines[0], *lines[4:]]
    assert tagsel("datasets", "tree", "tag", "--up", "--down")[1].splitlines() == lines
    known = json.loads(tagsel("datasets", "tree", "tag", "--json")[1])
    assert [(n["name"], n["snapshot"], n["known"]) for n in known["up"]["links"]] == [
        ("aod", 3, True),
        ("gone", None, False),
    ]
    assert known["up"]["links"][0]["links"][0]["name"] == "raw"
    assert known["down"]["links"][0]["links"][0]["name"] == "plots"
    assert "down" not in json.loads(tagsel("datasets", "tree", "tag", "--up", "--json")[1])
    assert tagsel("datasets", "tree", "tga")[0] == 2


def test_a_tree_of_many_ways_is_no_larger_than_its_links(home: Workspace) -> None:
    """Of 40 steps, each from both datasets of the step before, there are 2^40 ways."""
    changes = [PutDataset("a0"), PutDataset("b0")]
    for k in range(1, 41):
        changes += [PutDataset(f"{s}{k}", parents=(f"a{k - 1}", f"b{k - 1}")) for s in "ab"]
    home.catalog.record(*changes)
    lines = home.datasets.tree("a40", down=False).text().splitlines()
    assert len(lines) == 1 + 2 + 39 * 4  # a40, its two links, and two of each of the 78 datasets that have parents
    # of the four times that a step from 1 to 38 is reached two are followed; step 39 is reached from a40 alone
    assert len([n for n in lines if n.endswith("(as above)")]) == 38 * 2


# -- summaries


def by_hand(*parts: Any) -> list[tuple[int, int, int, int]]:
    """(run, luminosity blocks, events, files) by run, each part one file."""
    rows = [(int(r), int(b), k) for k, p in enumerate(parts) for r, b in zip(p["run"], p["lumi"], strict=True)]
    return [
        (
            run,
            len({b for r, b, _ in rows if r == run}),
            sum(r == run for r, *_ in rows),
            len({k for r, _, k in rows if r == run}),
        )
        for run in sorted({r for r, *_ in rows})
    ]


@pytest.mark.parametrize("order", ["mixed", "sorted"])
def test_feature_19_events_blocks_and_files_by_run_and_by_file(home: Workspace, order: str, tagsel: Any) -> None:
    parts = [rows(n, n, run=np.random.default_rng(n).integers(7, 10, n).astype(np.int32)) for n in (90, 40, 1)]
    if order == "sorted":  # long stretches, which the store keeps
        for part in parts:
            ranked = np.lexsort((part["lumi"], part["run"]))
            part |= {"run": part["run"][ranked], "lumi": part["lumi"][ranked]}
    build(home, "a.TAG", *parts)
    found = home.datasets.runs("a.TAG")
    expected = by_hand(*parts)
    assert list(found.table.rows) == expected
    assert [(r.run, r.lumi_blocks, r.events) for r in home.catalog.runs("a.TAG")] == [e[:3] for e in expected]
    blocks = {(int(r), int(b)) for p in parts for r, b in zip(p["run"], p["lumi"], strict=True)}
    total = {k: found.total[k] for k in ("runs", "lumi_blocks", "events", "files")}
    assert total == {"runs": len(expected), "lumi_blocks": len(blocks), "events": 131, "files": 3}
    files = home.datasets.runs("a.TAG", by="file").table
    assert [(f["file"], f["events"]) for f in files] == [("a.TAG-0", 90), ("a.TAG-1", 40), ("a.TAG-2", 1)]
    for part, file in zip(parts, files, strict=True):
        one = by_hand(part)
        assert (file["runs"], file["lumi_blocks"]) == (len(one), sum(blocks for _, blocks, *_ in one))
    home.datasets.compact("a.TAG")
    assert home.datasets.runs("a.TAG").table == found.table and home.datasets.runs("a.TAG", by="file").table == files
    _, out, err = tagsel("datasets", "runs", "a.TAG", "--csv")
    assert out.splitlines()[0] == "run,lumi_blocks,events,files" and "131 events, 3 files" in err
    assert json.loads(tagsel("datasets", "runs", "a.TAG", "--by", "file", "--json")[1])["total"]["files"] == 3


def test_feature_19_a_summary_is_of_the_snapshot_asked_for_and_of_empty_datasets(home: Workspace) -> None:
    build(home, "a.TAG", rows(10, 1))
    build(home, "a.TAG", rows(20, 2))
    assert (home.datasets.runs("a.TAG@1").total["events"], home.datasets.runs("a.TAG").total["events"]) == (10, 30)
    assert home.datasets.runs("a.TAG@0").table.rows == () and home.datasets.runs("a.TAG@0").total["files"] == 0
    for wrong, said in (("*.TAG", "one dataset"), ("a.TAG@9", "no snapshot 9"), ("b.TAG", "no dataset")):
        with pytest.raises((CatalogError, StoreError), match=said):
            home.datasets.runs(wrong)
    with pytest.raises(CatalogError, match="no summary by"):
        home.datasets.runs("a.TAG", by="year")


# -- completeness


def whole(home: Workspace, tmp_path: Path, name: str = "a.TAG", n: int = 90, **more: Any) -> dict[str, Any]:
    """A dataset of n rows in three AOD files of n/3 entries each that are there, its blocks processed."""
    columns = rows(n, 1)
    blocks = sorted({(int(r), int(b)) for r, b in zip(columns["run"], columns["lumi"], strict=True)})
    build(
        home, name, columns, bookkeeping={"processed": [list(b) for b in blocks], **more.pop("bookkeeping", {})}, **more
    )
    paths = [tmp_path / f"aod{k}.root" for k in range(3)]
    for path in paths:
        path.write_bytes(b"an AOD")
    home.catalog.record(
        PutFiles(name, [FileRecord(GUIDS[k], f"aod{k}.root", str(p), "AOD", n // 3) for k, p in enumerate(paths)])
    )
    return columns


def said(home: Workspace, names: str = "a.TAG", **options: Any) -> list[tuple[str, int, str]]:
    return [(f.kind, f.count, f.what) for f in home.datasets.check(names, **options).findings]


def test_feature_87_a_whole_dataset_is_sound_and_its_rows_add_up(home: Workspace, tmp_path: Path, tagsel: Any) -> None:
    whole(home, tmp_path)
    for deep in (False, True):
        found = home.datasets.check("a.TAG", deep=deep)
        assert found.sound and found.findings == ()
    assert found.to_json()["datasets"] == {
        "a.TAG@1": {"rows": 90, "known": 90, "unknown": 0, "without": 0, "unreadable": 0}
    }
    assert tagsel("datasets", "check", "a.TAG")[0] == 0


def test_feature_87_files_that_no_catalog_knows_and_rows_without_an_address(home: Workspace, tagsel: Any) -> None:
    columns = rows(30, 1)
    columns["aod_guid"] = np.array(["" if k < 4 else GUIDS[k % 2] for k in range(30)], object)
    build(home, "a.TAG", columns, bookkeeping={"processed": None})
    home.catalog.record(PutFiles("a.TAG", [FileRecord(GUIDS[1], "b.root", "root://far/b.root", "AOD")]))
    found = home.datasets.check("a.TAG")
    # of rows 4 to 29 the 13 even ones are in GUIDS[0], which no catalog knows
    assert said(home) == [
        ("missing", 13, "rows that point to an AOD file no catalog knows"),
        ("missing", 4, "rows without an address in an AOD file"),
        ("remark", 1, "AOD files of an unknown number of entries"),
        ("remark", 1, "copies on other machines, not looked at"),
        ("remark", 1, "files that do not say which luminosity blocks they processed"),
    ]
    assert found.findings[0].names == (f"{GUIDS[0]} (13)",)
    assert found.to_json()["datasets"]["a.TAG@1"] == {
        "rows": 30,
        "known": 13,
        "unknown": 13,
        "without": 4,
        "unreadable": 0,
    }
    code, out, err = tagsel("datasets", "check", "a.TAG", "--csv")
    assert code == 3 and "30 rows = 13 to AOD files that are known + 13 to unknown ones + 4 without" in err
    assert out.splitlines()[1].startswith("missing,a.TAG@1,13,")
    assert (code, json.loads(tagsel("datasets", "check", "a.TAG", "--json")[1])["sound"]) == (3, False)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), max_size=8), st.integers(0, 40))
def test_spans_cover_and_exceed_as_sets_do(spans: list[tuple[int, int]], entries: int) -> None:
    first, length = (np.array([s[k] for s in spans], np.int64) for k in (0, 1))
    rows = [entry for begin, n in spans for entry in range(begin, begin + n)]
    found = Spans(first, length)
    assert (found.rows, found.covered()) == (len(rows), len(set(rows)))
    assert found.beyond(entries) == sum(entry >= entries for entry in rows)


def test_a_row_without_an_entry_has_no_address(home: Workspace, tmp_path: Path) -> None:
    columns = rows(30, 1)
    columns["aod_entry"][:6] = -1
    columns["aod_guid"] = np.array([""] * 3 + [GUIDS[0]] * 27, object)
    build(home, "a.SIM", columns, simulation=True, cut="some", bookkeeping={"processed": None})
    found = home.datasets.check("a.SIM")
    assert found.addressed["a.SIM@1"].without == 6
    entries = columns["aod_entry"][6:].tolist()  # thirds: 2 to 9, three times each
    assert [f.count for f in found.findings if f.kind == "duplicate"] == [len(entries) - len(set(entries))] == [16]


def test_feature_87_entries_that_a_file_lacks_and_entries_without_a_row(home: Workspace, tmp_path: Path) -> None:
    whole(home, tmp_path)  # rows point to entries 0 to 29 of each of three files
    home.catalog.record(
        PutFiles(
            "a.TAG",
            [
                FileRecord(GUIDS[0], "aod0.root", str(tmp_path / "aod0.root"), "AOD", 25),
                FileRecord(GUIDS[1], "aod1.root", str(tmp_path / "aod1.root"), "AOD", 40),
            ],
        )
    )
    assert said(home) == [
        ("corrupt", 5, "rows that point to an entry that the AOD file lacks"),
        ("missing", 10, "entries of the AOD files that no row points to"),
    ]


def test_feature_87_of_a_selection_no_more_entries_are_expected(home: Workspace, tmp_path: Path) -> None:
    whole(home, tmp_path, cut="MET_pt > 20")
    home.catalog.record(PutFiles("a.TAG", [FileRecord(GUIDS[0], "aod0.root", str(tmp_path / "aod0.root"), "AOD", 100)]))
    assert said(home) == [("remark", 70, "entries of the AOD files that no row points to")]
    assert home.datasets.check("a.TAG").sound


def test_feature_87_files_without_copies_and_copies_that_are_gone(home: Workspace, tmp_path: Path) -> None:
    whole(home, tmp_path)
    home.catalog.record(
        PutSite("HERE", str(tmp_path)),
        PutReplicas("HERE", [(GUIDS[0], "aod0.root"), (GUIDS[1], "elsewhere/aod1.root")]),
        PutFiles("a.TAG", [FileRecord(GUIDS[2], "aod2.root", "", "AOD", 30)]),
    )
    (tmp_path / "aod0.root").unlink()  # under two names: its own, and that of the site
    found = home.datasets.check("a.TAG")
    assert said(home) == [
        ("missing", 1, "files without any copy"),
        ("missing", 3, "copies that are not where the catalog says"),
    ]
    assert set(found.findings[1].names) == {str(tmp_path / "aod0.root"), "aod0.root", "elsewhere/aod1.root"}
    assert {r.pfn for r in home.catalog.stale("HERE")} == {"aod0.root", "elsewhere/aod1.root"}


def test_feature_87_feature_47_duplicates_are_said_and_are_no_loss(
    home: Workspace, tmp_path: Path, tagsel: Any
) -> None:
    columns = whole(home, tmp_path)
    build(home, "a.TAG", {n: v[:7] for n, v in columns.items()}, bookkeeping={"processed": []})
    build(
        home,
        "b.TAG",
        {n: v[50:80] for n, v in columns.items()},
        cut="some",
        bookkeeping={"processed": [[r, b] for r in range(7, 10) for b in range(1, 6)]},
    )
    found = home.datasets.check("a.TAG,b.TAG")
    duplicates = [(f.dataset, f.count) for f in found.findings if f.kind == "duplicate"]
    assert duplicates == [("a.TAG@2", 7), ("a.TAG@2, b.TAG@1", 30)]
    assert found.sound and tagsel("datasets", "check", "a.TAG,b.TAG")[0] == 0


def test_feature_47_duplicates_of_simulation_are_those_of_place(home: Workspace) -> None:
    columns = rows(30, 1, run=np.ones(30, np.int32), event=np.arange(30) % 10)  # ids repeat, as in simulation
    build(home, "a.SIM", columns, {n: v[:4] for n, v in columns.items()}, simulation=True)
    build(home, "b.SIM", {n: v[25:] for n, v in columns.items()}, simulation=True)
    found = [(f.dataset, f.count) for f in home.datasets.check("?.SIM").findings if f.kind == "duplicate"]
    assert found == [("a.SIM@1", 4), ("b.SIM@1", 5)]  # four rows twice; five places that a.SIM has, too


@pytest.mark.parametrize("seed", range(5))
def test_feature_47_no_duplicate_goes_unseen(home: Workspace, seed: int) -> None:
    random = np.random.default_rng(seed)
    drawn = [random.integers(0, 60, 40) for _ in range(3)]  # events among 60: many repeat, within and across
    for k, events in enumerate(drawn):
        build(home, f"s{k}.TAG", rows(40, 1, run=np.ones(40, np.int32), lumi=np.ones(40, np.int32), event=events))
    found = {f.what: f.count for f in home.datasets.check("s?.TAG").findings if f.kind == "duplicate"}
    within = {f.dataset: f.count for f in home.datasets.check("s?.TAG").findings if f.what.endswith("of the dataset")}
    assert within == {f"s{k}.TAG@1": n for k, e in enumerate(drawn) if (n := 40 - len(set(e.tolist())))}
    across = found["rows that repeat an event of another of the datasets"]
    seen: set[int] = set()
    expected = 0
    for events in drawn:
        expected += sum(e in seen for e in events.tolist())
        seen |= set(events.tolist())
    assert across == expected


def test_feature_87_an_event_in_two_blocks_is_corrupt(home: Workspace, tmp_path: Path) -> None:
    columns = whole(home, tmp_path)
    build(home, "b.TAG", {**columns, "lumi": columns["lumi"] + 1}, bookkeeping={"processed": None}, cut="x")
    (worst, *_) = home.datasets.check("a.TAG,b.TAG").findings
    assert worst.kind == "corrupt" and "luminosity block" in worst.what


def test_feature_87_processed_blocks_without_events_and_events_without_blocks(home: Workspace, tmp_path: Path) -> None:
    columns = whole(home, tmp_path, bookkeeping={"processed": [[7, 1], [7, 99], [8, 98]]})
    held = {(int(r), int(b)) for r, b in zip(columns["run"], columns["lumi"], strict=True)}
    found = home.datasets.check("a.TAG").findings
    assert (7, 1) in held
    assert [(f.kind, f.count, f.what) for f in found] == [
        ("corrupt", len(held) - 1, "luminosity blocks with events that no file says it processed"),
        ("remark", 2, "processed luminosity blocks without events"),
    ]
    assert found[1].names == ("7:99", "8:98")


def test_feature_87_a_damaged_part_is_named_with_its_rows(home: Workspace, tmp_path: Path, tagsel: Any) -> None:
    whole(home, tmp_path)
    table = build(home, "a.TAG", rows(12, 5), bookkeeping={"processed": [[7, 1]]})
    part = table.snapshot().parts[1]
    part.path.write_bytes(part.path.read_bytes()[:700])
    found = home.datasets.check("a.TAG")
    assert found.findings[0].kind == "corrupt" and found.findings[0].count == 12
    assert found.findings[0].names == (f"{part.name} (12)",)
    assert found.addressed["a.TAG@2"].known == 90 and found.addressed["a.TAG@2"].unreadable == 12
    assert tagsel("datasets", "check", "a.TAG")[0] == 3


def test_feature_87_deep_finds_what_ids_and_addresses_do_not_show(home: Workspace, tmp_path: Path) -> None:
    whole(home, tmp_path)
    part = home.home.table("a.TAG").snapshot().parts[0]
    values = part.read(0, ["MET_pt"])["MET_pt"].tobytes()
    data = bytearray(part.path.read_bytes())
    data[data.index(values[:40])] ^= 1
    part.path.write_bytes(bytes(data))
    assert home.datasets.check("a.TAG").sound
    assert said(home, deep=True)[0] == ("corrupt", 90, "rows of parts that cannot be read")


def test_check_of_empty_and_misspelt_datasets(home: Workspace, tmp_path: Path, tagsel: Any) -> None:
    whole(home, tmp_path)
    assert home.datasets.check("a.TAG@0").sound
    code, _, err = tagsel("datasets", "check", "a.TGA")
    assert code == 2 and "did you mean a.TAG" in err


# -- triggers and overlap on the command line


def test_feature_40_feature_43_counts_as_commands(home: Workspace, tagsel: Any) -> None:
    columns = rows(100, 1)
    build(home, "a.TAG", {n: v[:60] for n, v in columns.items()})
    build(home, "b.TAG", {n: v[50:] for n, v in columns.items()})
    code, out, err = tagsel("triggers", "a.TAG", "HLT_mu10", "--by", "run", "--csv")
    assert code == 0 and out.splitlines()[0] == "chain,run,fired,present,absent,share"
    counted = sum(int(line.split(",")[2]) for line in out.splitlines()[1:])
    assert counted == int((columns["trigger_0"][:60] & 1).sum())
    assert "1 chains, 60 events of 60 read" in err
    assert tagsel("overlap", "a.TAG,b.TAG")[1] == "a.TAG\t60\t50\t0.833333\t60\t10\nb.TAG\t50\t40\t0.8\t10\t50\n"
    known = json.loads(tagsel("overlap", "a.TAG,b.TAG", "--chains", "*", "--json")[1])
    assert (known["kind"], known["names"]) == ("chain", ["HLT_mu10", "HLT_mu20"])
    first, second = (columns["trigger_0"] >> bit & 1 for bit in (0, 3))
    assert known["shared"] == [
        [int(first.sum()), int((first & second).sum())],
        [int((first & second).sum()), int(second.sum())],
    ]
    cuts = ("low: MET_pt < 30", "all: true")
    low = int((columns["MET_pt"][:60] < np.float32(30)).sum())
    assert tagsel("overlap", "a.TAG", *cuts)[1].splitlines() == [
        f"low\t{low}\t0\t0.0\t{low}\t{low}",
        f"all\t60\t{60 - low}\t{round((60 - low) / 60, 6)}\t{low}\t60",
    ]
    for arguments, problem in [
        (("overlap", "a.TAG"), "two datasets"),
        (("overlap", "a.TAG", "x: true", "x: true"), "two cuts have the name x"),
        (("overlap", "a.TAG", "true", "--chains", "*"), "two questions"),
        (("triggers", "a.TAG", "HLT_mu3"), "HLT_mu"),
        (("triggers", "b.TAGG"), "b.TAG"),
    ]:
        code, _, err = tagsel(*arguments)
        assert code == 2 and problem in err
