"""Users' own attributes: by expression and by file, over data and simulation; what is missing, refused, undone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import GUIDS, build, rows, workspace

from tagsel.api import Workspace
from tagsel.catalog import Catalog, Change, LogQuery
from tagsel.cli.main import run
from tagsel.errors import AccessError, CatalogError, CutError, SchemaError, StoreError, TagselError
from tagsel.store import disk
from tagsel.store import extend as extending


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


def file(home: Workspace, **columns: Any) -> Path:
    path = home.folder / "mine.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def values(home: Workspace, attribute: str) -> dict[tuple[int, int], Any]:
    """The attribute of every row that has it, by (run, event), as the parts hold it."""
    found = {}
    column = f"user_{attribute}"
    for part in home["a.TAG"].inputs[0].snapshot.parts:
        for group in range(len(part.groups)):
            read = part.read(group, ["run", "event", column, f"{column}_known"])
            if column in read:
                known = read[f"{column}_known"] == 1
                ids = zip(read["run"][known].tolist(), read["event"][known].tolist(), strict=True)
                found.update(zip(ids, read[column][known].tolist(), strict=True))
    return found


def test_feature_06_an_expression_becomes_an_attribute(home: Workspace) -> None:
    """Twice MET_pt in every row; the leading muon's pt where there is one: what a loop over the rows says."""
    parts = [rows(60, 1), rows(40, 2)]
    build(home, "a.TAG", *parts)
    digest = home["a.TAG"].select("true").digest
    double = home.datasets.extend("a.TAG", "double = 2 * MET_pt")
    lead = home.datasets.extend("a.TAG", "user.lead = Muon.pt[0]", descriptions={"lead": "of the leading muon"})
    with_muon = sum(int((r["nMuon"] > 0).sum()) for r in parts)
    assert (double.rows, double.matched, double.unmatched, double.snapshot) == (100, 100, 0, 2)
    assert (lead.rows, lead.matched, lead.unmatched) == (100, with_muon, 100 - with_muon)
    loop = [(int(r["run"][i]), int(r["event"][i]), r, i) for r in parts for i in range(len(r["run"]))]
    assert values(home, "double") == {(run, e): 2.0 * float(r["MET_pt"][i]) for run, e, r, i in loop}
    assert values(home, "lead") == {(run, e): float(r["Muon_pt"][i][0]) for run, e, r, i in loop if r["nMuon"][i]}
    hard = sum(float(r["Muon_pt"][i][0]) > 20 for _, _, r, i in loop if r["nMuon"][i])
    assert 0 < hard < with_muon
    assert home["a.TAG"].count("user.lead > 20 GeV").accepted == hard
    assert home["a.TAG"].count("user_lead > 0.02 TeV").accepted == hard
    assert home["a.TAG"].count("present(user.lead)").accepted == with_muon
    assert home["a.TAG"].select("true").digest == digest
    units = {r["name"]: (r["type"], r["unit"], r["description"]) for r in home["a.TAG"].attributes("user.*")}
    assert units["user.double"] == ("float64", "GeV", "2 * MET_pt")
    assert units["user.lead"] == ("float32", "GeV", "of the leading muon")


def test_feature_06_a_file_joins_by_identity(home: Workspace) -> None:
    """Rows 0-29 of 60 in another order, one with a null, and two that the dataset does not have: 30 + 30, 30 + 2."""
    part = rows(60, 1)
    build(home, "a.TAG", part)
    order = np.random.default_rng(3).permutation(30)
    ids = {c: np.concatenate([part[c][order], [7, 7]]).astype(part[c].dtype) for c in ("run", "event")}
    ids["event"][-2:] = 10**9, 10**9 + 1
    score = [None if k == 4 else k / 8 for k in order] + [9.0, 9.0]
    given = file(home, **ids, dnn=pa.array(score, pa.float32()), word=["b"] * 32)
    done = home.datasets.extend("a.TAG", given, units={"dnn": "GeV"})
    assert done.attributes == ("user.dnn", "user.word")
    assert (done.rows, done.matched, done.unmatched) == (60, 30, 30)
    assert (done.given, done.used, done.unused) == (32, 30, 2)
    expected = {(int(part["run"][k]), int(part["event"][k])): k / 8 for k in range(30) if k != 4}
    assert values(home, "dnn") == expected
    assert home["a.TAG"].count("user.dnn > 1 GeV").accepted == sum(v > 1 for v in expected.values())
    assert home["a.TAG"].count('user.word == "b"').accepted == 30
    assert home["a.TAG"].count("!present(user.dnn)").accepted == 31


def test_the_luminosity_block_is_asked_for_where_the_file_has_it(home: Workspace) -> None:
    """Of 20 ids half are in another block than the file says: 10 match."""
    part = rows(20, 1)
    build(home, "a.TAG", part)
    lumi = part["lumi"] + (np.arange(20) % 2)  # by the name that the schema gives it, too
    given = file(home, run=part["run"], luminosityBlock=lumi, event=part["event"], x=np.arange(20))
    done = home.datasets.extend("a.TAG", given)
    assert (done.matched, done.unmatched, done.used, done.unused) == (10, 10, 10, 10)
    assert sorted(values(home, "x").values()) == list(range(0, 20, 2))


def test_ids_are_exact_and_ints_stay_ints(home: Workspace) -> None:
    event = np.array([2**53, 2**53 + 1, 2**63 - 1], np.int64)
    build(home, "a.TAG", rows(3, 1, run=np.full(3, 7, np.int32), event=event))
    home.datasets.extend("a.TAG", file(home, run=[7, 7], event=event[1:], n=np.array([2**53 + 1, -(2**63)])))
    assert values(home, "n") == {(7, 2**53 + 1): 2**53 + 1, (7, 2**63 - 1): -(2**63)}


def test_an_event_twice_in_the_file_is_ambiguous(home: Workspace) -> None:
    part = rows(10, 1)
    build(home, "a.TAG", part)
    ids = {c: np.concatenate([part[c], part[c][3:4]]) for c in ("run", "event")}
    before = sorted(p.name for p in (home.folder / "data" / "a.TAG").iterdir())
    with pytest.raises(StoreError, match="1 events are ambiguous: several rows of the table") as caught:
        home.datasets.extend("a.TAG", file(home, **ids, x=np.arange(11)))
    assert f"{part['run'][3]}:{part['event'][3]}" in caught.value.message
    assert caught.value.fields["ambiguous"] == 1
    assert sorted(p.name for p in (home.folder / "data" / "a.TAG").iterdir()) == before


def test_simulation_needs_what_identifies_it(home: Workspace) -> None:
    """Events 0-4 of run 1 in two files: by run and event ambiguous, by GUID and entry each has its value."""
    parts = [
        rows(
            5,
            k,
            run=np.ones(5, np.int32),
            event=np.arange(5),
            aod_guid=np.array([GUIDS[k]] * 5, object),
            aod_entry=np.arange(5) + 10,
        )
        for k in (1, 2)
    ]
    build(home, "a.TAG", *parts, simulation=True, sample="mc")
    ids = {"run": np.ones(5, np.int32), "event": np.arange(5)}
    with pytest.raises(StoreError, match="5 events are ambiguous: several rows of the dataset") as caught:
        home.datasets.extend("a.TAG", file(home, **ids, x=np.arange(5)))
    assert "aod_guid and aod_entry" in caught.value.hint
    given = file(home, **ids, aod_guid=[GUIDS[2].lower()] * 5, aod_entry=[10, 11, 12, 99, 14], x=np.arange(5) * 2)
    done = home.datasets.extend("a.TAG", given)
    assert (done.matched, done.unmatched, done.used, done.unused) == (4, 6, 4, 1)
    first, second = home["a.TAG"].inputs[0].snapshot.parts
    assert first.read(0, ["user_x_known"])["user_x_known"].tolist() == [0] * 5
    assert second.read(0, ["user_x"])["user_x"].tolist() == [0, 2, 4, 0, 8]


def test_a_repeated_event_of_data_has_its_value_in_every_row(home: Workspace) -> None:
    once = rows(6, 1)
    build(home, "a.TAG", once, {**rows(6, 2), **{c: once[c] for c in ("run", "lumi", "event")}})
    done = home.datasets.extend("a.TAG", file(home, run=once["run"], event=once["event"], x=np.arange(6)))
    assert (done.rows, done.matched, done.used) == (12, 12, 6)
    assert home["a.TAG"].count("user.x >= 3").accepted == 3


def test_feature_06_an_extension_is_undone_and_said(home: Workspace) -> None:
    build(home, "a.TAG", rows(10, 1))
    done = home.datasets.extend("a.TAG", "far = MET_pt > 30 GeV")
    assert home["a.TAG@2"].count("user.far").accepted == home["a.TAG"].count("MET_pt > 30 GeV").accepted
    home.datasets.restore(f"a.TAG@{done.snapshot - 1}")
    with pytest.raises(CutError, match=r"user\.far"):
        home["a.TAG"].count("user.far")
    assert home["a.TAG@2"].count("user.far").read == 10
    with pytest.raises(StoreError, match="in an earlier snapshot"):
        home.datasets.extend("a.TAG", "far = MET_pt")
    home.datasets.extend("a.TAG", "far = MET_pt > 40 GeV")
    assert home["a.TAG"].count("user.far").accepted == home["a.TAG"].count("MET_pt > 40 GeV").accepted
    lines = [json.loads(line) for line in (home.folder / "catalog.journal").read_text().splitlines()]
    said = [c for line in lines for c in line["what"] if c.get("verb") == "extend"]
    assert [c["text"] for c in said] == ["far = MET_pt > 30 GeV", "far = MET_pt > 40 GeV"]
    assert all(line["who"] and line["when"] for line in lines)


def test_new_rows_lack_it_until_they_are_extended_too(home: Workspace) -> None:
    build(home, "a.TAG", rows(10, 1))
    home.datasets.extend("a.TAG", "twice = nMuon * 2")
    build(home, "a.TAG", rows(5, 2))
    assert home["a.TAG"].count("present(user.twice)").accepted == 10
    with pytest.raises(SchemaError, match=r"user\.twice is int64"):
        home.datasets.extend("a.TAG", "twice = nMuon * 2.0")
    done = home.datasets.extend("a.TAG", "twice = nMuon * 2")
    assert (done.rows, done.matched) == (5, 5)
    assert home["a.TAG"].count("user.twice == 2 * nMuon").accepted == 15
    with pytest.raises(StoreError, match=r"has user\.twice already"):
        home.datasets.extend("a.TAG", "twice = nMuon * 2")
    home.datasets.compact("a.TAG")
    assert home["a.TAG"].count("user.twice == 2 * nMuon").accepted == 15


REFUSED = [
    ({"what": "x = Muon.pt"}, CutError, "list"),
    ({"what": "x = nowhere + 1"}, CutError, "nowhere"),
    ({"what": "x_known = nMuon"}, SchemaError, "cannot name"),
    ({"what": "x = nMuon", "units": {"y": "GeV"}}, SchemaError, "none of the new"),
    ({"what": "x = MET_pt", "units": {"x": "MeV"}}, SchemaError, "comes out in GeV"),
    ({"what": "nMuon >= 2"}, AccessError, "neither a Parquet file nor an assignment"),
    ({"what": "absent.parquet"}, AccessError, "no such file: absent.parquet"),
    ({"run": [1], "x": [1]}, SchemaError, "lacks event"),
    ({"run": [1], "event": [1]}, SchemaError, "no column beside"),
    ({"run": [1], "event": [-1], "x": [1]}, SchemaError, "column event"),
    ({"run": [2**31], "event": [1], "x": [1]}, SchemaError, "column run"),
    ({"run": [1.5], "event": [1], "x": [1]}, SchemaError, "whole numbers"),
    ({"run": [1], "event": [1], "x": [[1, 2]]}, SchemaError, "list"),
    ({"run": [1], "event": [1], "aod_entry": [1], "x": [1]}, SchemaError, "together"),
    ({"run": [1], "event": [1], "a b": [1]}, SchemaError, "cannot name"),
]


@pytest.mark.parametrize(("given", "error", "said"), REFUSED, ids=[said for _, _, said in REFUSED])
def test_what_means_nothing_is_refused(
    home: Workspace, given: dict[str, Any], error: type[TagselError], said: str
) -> None:
    build(home, "a.TAG", rows(5, 1))
    call = given if "what" in given else {"what": file(home, **given)}
    with pytest.raises(error, match=said):
        home.datasets.extend("a.TAG", **call)
    assert home["a.TAG"].inputs[0].snapshot.number == 1


def test_the_command_and_other_engines(home: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    build(home, "a.TAG", rows(8, 1))
    tagsel = ["-w", str(home.folder), "datasets", "extend", "a.TAG"]
    assert run([*tagsel, "lead = Muon.pt[0]", "--describe", "lead=leading", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["rows"] == document["matched"] + document["unmatched"] == 8
    assert run([*tagsel, "other = nMuon"]) == 0
    assert "a.TAG@3: user.other" in capsys.readouterr().out
    assert run([*tagsel, "z = nMuon", "--unit", "GeV"]) == 2
    paths = [str(p.path) for p in home["a.TAG"].inputs[0].snapshot.parts]
    seen = duckdb.sql(f"select count(*) from read_parquet({paths!r}) where user_lead_known = 1").fetchall()
    assert seen == [(document["matched"],)]


def test_an_extension_computes_before_it_takes_the_datasets_lock(
    home: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that come while it computes are committed at once; then it is refused, and none of its parts is left."""
    build(home, "a.TAG", rows(60, 1))
    write = extending.write_part
    appended: list[int] = []

    def write_while_others_append(*arguments: Any) -> Any:
        written = write(*arguments)
        if not appended:
            with disk.changing(home.folder / "data" / "a.TAG"):  # as an ingest does
                appended.append(build(home, "a.TAG", rows(40, 2)).snapshot().number)
        return written

    monkeypatch.setattr(extending, "write_part", write_while_others_append)
    with pytest.raises(StoreError, match="a.TAG was changed while it was extended: it is at snapshot 2") as error:
        home.datasets.extend("a.TAG", "double = 2 * MET_pt")
    assert error.value.hint == "extend it again"
    parts = {part.name for part in home["a.TAG"].inputs[0].snapshot.parts}
    assert {path.name for path in (home.folder / "data" / "a.TAG").glob("*.parquet")} == parts
    assert home.datasets.extend("a.TAG", "double = 2 * MET_pt").matched == 100


def test_what_fails_behind_a_commit_says_that_it_is_committed(home: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal refuses the line of the audit alone, which comes after the commit and its registration."""
    build(home, "a.TAG", rows(60, 1))
    record = Catalog.record

    def refuse_audits(self: Catalog, *changes: Change) -> None:
        if any(isinstance(change, LogQuery) for change in changes):
            raise CatalogError("the journal cannot be written: No space left on device", hint="free some space")
        record(self, *changes)

    monkeypatch.setattr(Catalog, "record", refuse_audits)
    with pytest.raises(CatalogError, match=r"a.TAG@2 is committed, but then: the journal .* No space left") as error:
        home.datasets.extend("a.TAG", "double = 2 * MET_pt")
    assert error.value.hint == "free some space"
    assert home["a.TAG"].inputs[0].snapshot.number == 2
