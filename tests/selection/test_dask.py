"""A Dask cluster gives what a local run gives, to the byte: lists, ledgers, cutflows, losses, errors."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import OTHER_MENU, SCHEMA, build, rows, workspace

from tagsel.api import Workspace
from tagsel.cli.main import run as command
from tagsel.errors import CutError, JobError, StoreError
from tagsel.quality import LumiSet
from tagsel.schema import Attribute, Schema
from tagsel.selection import count, cutflow, dask, select
from tagsel.selection.partial_result import merged
from tagsel.selection.run import prepare
from tagsel.selection.tasks import answer, split

distributed = pytest.importorskip("distributed")

GOOD = LumiSet.from_ranges([(7, 1, 3), (8, 1, 9), (9, 2, 4)])
WIDER = Schema((*SCHEMA, Attribute("late", "float32", unit="GeV")), "test")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Two streams of data that share events, of many parts, of which only the last have `late`; and simulation."""
    made = workspace(tmp_path_factory.mktemp("cluster"))
    first = [rows(60 + 10 * k, k) for k in range(1, 8)]
    first[3]["menu"] = np.full(len(first[3]["run"]), OTHER_MENU.id)
    again = {name: values[:30] for name, values in first[2].items()}
    build(made, "a.TAG", *first, again)
    late = np.arange(80, dtype=np.float32)
    build(made, "a.TAG", *(rows(80, 20 + k, late=late) for k in range(2)), schema=WIDER)
    shared = {name: values[10:50] for name, values in first[5].items()}
    build(made, "b.TAG", shared, *(rows(70, 30 + k) for k in range(4)))
    build(
        made,
        "mc.TAG",
        *(rows(90, 40 + k % 2) for k in range(5)),
        simulation=True,
        bookkeeping={"genEventCount": 1000, "sumw": 900.5, "sumw2": 1100.25},
    )
    return made


@pytest.fixture(scope="module", params=[1, 2])
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a cluster with 1 or 2 workers, each a process of its own, on any free ports."""
    cache = tmp_path_factory.mktemp("workers")
    cache.chmod(0o700)
    with (
        distributed.LocalCluster(
            n_workers=request.param,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            env={"TAGSEL_CACHE": str(cache)},
        ) as local,
        distributed.Client(local, set_as_default=False) as made,
    ):
        yield made


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of one part or two, so that there are many."""
    monkeypatch.setattr(dask, "SMALLEST", 1)
    monkeypatch.setattr(dask, "A_THREAD", 6)


QUESTIONS: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "one cut": ("a.TAG", ["MET_pt > 20"], {}),
    "nothing passes": ("a.TAG", ["MET_pt > 1e9"], {}),
    "all pass": ("a.TAG", ["true"], {}),
    "several cuts, a good-run list": ("a.TAG", ["nMuon >= 1", "count(Muon.pt > 10 GeV) >= 1"], {"lumi": GOOD}),
    "streams that share events": ("a.TAG,b.TAG", ["MET_pt > 10"], {"lumi": GOOD, "weight": "weight"}),
    "every row of the streams": ("a.TAG,b.TAG", ["nMuon >= 1"], {"duplicates": "all"}),
    "weights": ("a.TAG", ["HLT_mu10", "MET_pt > 20"], {"weight": "weight"}),
    "a column that parts lack": ("a.TAG", ["late > 30 GeV || HLT_mu20"], {}),
    "simulation": ("mc.TAG", ["MET_pt > 15", "nMuon >= 1"], {"weight": "weight"}),
}


@pytest.mark.parametrize("tier", ["interpreter", "kernel"])
@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.usefixtures("small_pieces")
def test_feature_108_the_answer_is_that_of_a_run_here_to_the_byte(
    home: Workspace, client: Any, tmp_path: Path, question: str, tier: str
) -> None:
    datasets, cuts, options = QUESTIONS[question]
    query = replace(home[datasets].query(cuts, **options), tier=tier)
    there = dask.runner(client)
    (expected, told), (found, counted) = select(query), select(query, runner=there)
    expected.save(tmp_path / "here.events")
    found.save(tmp_path / "there.events")
    assert (tmp_path / "there.events").read_bytes() == (tmp_path / "here.events").read_bytes()
    assert found.digest == expected.digest and counted.ledger == told.ledger
    only = count(query, runner=there)
    assert only.ledger == count(query).ledger and only.weighted == count(query).weighted
    assert cutflow(query, runner=there).to_json() == cutflow(query).to_json()
    assert len(expected) == only.accepted


@pytest.mark.usefixtures("small_pieces")
def test_the_highest_few_are_the_same(home: Workspace, client: Any) -> None:
    for n in (0, 1, 7, 5000):
        here, there = (home["a.TAG,b.TAG"].select("nMuon >= 1", top=(n, "MET_pt"), client=c) for c in (None, client))
        assert [tuple(e) for e in there] == [tuple(e) for e in here]


@pytest.mark.usefixtures("small_pieces")
def test_names_and_files_in_cuts_are_settled_before_they_are_sent(
    home: Workspace, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers see neither the workspace's named cuts nor a relative path of the user's."""
    monkeypatch.chdir(tmp_path)
    Path("good.json").write_text('{"7": [[1, 3]], "9": [[2, 2]]}')
    (home.folder / "queries.toml").write_text('[hard]\nkind = "cut"\ntext = "MET_pt > 40 GeV"\ndescription = "hard"\n')
    selection = home["a.TAG"].where(hard="MET_pt > 40", good='in_lumi("good.json")')
    here, there = selection.count(), selection.count(client)
    assert here.accepted == there.accepted > 0
    assert selection.events(client).digest == selection.events().digest
    assert selection.cutflow(client).to_json() == selection.cutflow().to_json()


@pytest.mark.usefixtures("small_pieces")
def test_workers_that_are_killed_lose_nothing(home: Workspace, client: Any) -> None:
    """All workers die when the first piece has been told; what they held and what was in work is done again."""
    killed: list[int] = []

    def kill(rows_done: int) -> None:
        if rows_done and not killed:
            killed.extend(client.run(os.getpid).values())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    expected = home["a.TAG,b.TAG"].select("MET_pt > 10", lumi=GOOD)
    found = home["a.TAG,b.TAG"].select("MET_pt > 10", lumi=GOOD, client=client, progress=kill)
    assert len(killed) == len(client.nthreads()) >= 1
    assert [tuple(e) for e in found] == [tuple(e) for e in expected]
    assert found.ledger == expected.ledger
    client.wait_for_workers(len(killed))
    assert not set(client.run(os.getpid).values()) & set(killed)


@pytest.mark.usefixtures("small_pieces")
def test_an_error_of_the_data_is_the_one_of_a_run_here(home: Workspace, client: Any) -> None:
    """Integers overflow at one event; and where a list of the error's fields is kept, it comes along."""
    with pytest.raises(CutError) as here:
        home["a.TAG"].count("event * 9000000000000000000 > 0")
    with pytest.raises(CutError) as there:
        home["a.TAG"].count("event * 9000000000000000000 > 0", client=client)
    assert str(there.value) == str(here.value) and there.value.fields == here.value.fields


@pytest.mark.parametrize("tier", ["interpreter", "kernel"])
@pytest.mark.usefixtures("small_pieces")
def test_a_damaged_part_is_named_or_its_rows_are_unreadable(client: Any, tmp_path: Path, tier: str) -> None:
    """One part has another byte in a column, one is gone."""
    home = workspace(tmp_path)
    table = build(home, "a.TAG", *(rows(50, k) for k in range(1, 6)))
    first, second, *_ = table.snapshot().parts
    where = first.block("MET_pt")
    with first.path.open("r+b") as file:
        from tagsel.store.zones import chunk

        file.seek(chunk(where, 0).start)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    second.path.unlink()
    query = replace(home["a.TAG"].query(["MET_pt > 20"], lumi=GOOD), tier=tier)
    there = dask.runner(client)
    with pytest.raises(StoreError, match="damaged|is not there") as error:
        count(query, runner=there)
    assert error.value.hint
    lossy = replace(query, allow_losses=True)
    here, found = count(lossy), count(lossy, runner=there)
    assert found.ledger == here.ledger and found.ledger.unreadable == 100
    assert found.losses == here.losses and any(first.name in loss for loss in found.losses)
    assert select(lossy, runner=there)[0].digest == select(lossy)[0].digest


def test_progress_comes_to_all_rows(home: Workspace, client: Any) -> None:
    seen: list[int] = []
    home["a.TAG"].count("MET_pt > 20", client=client, progress=seen.append)
    assert sum(seen) == home["a.TAG"].events


def test_a_list_tells_its_making_when_the_cluster_is_gone(home: Workspace, client: Any) -> None:
    with distributed.Client(client.scheduler.address, set_as_default=False) as other:
        events = home["a.TAG"].select("MET_pt > 20", "nMuon >= 1", client=other)
    assert dict(events.provenance) == dict(home["a.TAG"].select("MET_pt > 20", "nMuon >= 1").provenance)


def test_the_command_line_takes_an_address(home: Workspace, client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    address, where = client.scheduler.address, ["-w", str(home.folder)]
    for verb in ("count", "cutflow", "select"):
        assert command([verb, "a.TAG", "MET_pt > 20", *where]) == 0
        here = capsys.readouterr().out
        assert command([verb, "a.TAG", "MET_pt > 20", "--dask", address, *where]) == 0
        assert capsys.readouterr().out == here


def test_a_worker_takes_one_thread(home: Workspace, client: Any) -> None:
    from tagsel.base.cpus import threads

    assert set(client.run(threads).values()) == {1}  # Dask states it in OMP_NUM_THREADS


def test_what_cannot_be_a_cluster_is_said(home: Workspace) -> None:
    with pytest.raises(JobError, match="cannot run pieces"):
        home["a.TAG"].count("true && MET_pt > 1", client=3)
    with pytest.raises(JobError, match="no Dask scheduler answers"):
        home["a.TAG"].count("MET_pt > 1", client="nonsense://127.0.0.1:1")


def test_without_the_library_it_says_what_to_install(home: Workspace) -> None:
    code = (
        "import sys; sys.modules['distributed'] = None\n"
        "from tagsel.cli.main import run\n"
        f"sys.exit(run(['count', 'a.TAG', 'MET_pt > 20', '--dask', 'tcp://127.0.0.1:1', '-w', {str(home.folder)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and 'pip install "tagsel[dask]"' in done.stderr


# -- pieces, without a cluster


@pytest.mark.parametrize("size", [1, 100, 10**9])
@pytest.mark.parametrize("verb", ["count", "select", "cutflow"])
def test_pieces_are_data_and_add_up_wherever_rows_are_cut(home: Workspace, verb: str, size: int) -> None:
    """Every row is in one piece, or was settled; and a piece survives being written down."""
    query = home["a.TAG,b.TAG"].query(["MET_pt > 20", "nMuon >= 1"], lumi=GOOD, weight="weight")
    prepared = prepare(query, zones=verb != "cutflow")
    settled, done, pieces = split(prepared, verb, None, size)
    sent = [pickle.loads(pickle.dumps(piece)) for piece in pieces]
    assert done + sum(piece.rows for piece in sent) == sum(i.snapshot.rows for i in query.inputs)
    whole = merged([settled, *map(answer, sent)])
    fate = whole.fate
    assert fate.duplicate + fate.masked + fate.unreadable + fate.alive == prepared.read
    ledger = count(query).ledger
    assert (fate.duplicate, fate.masked) == (ledger.duplicate, ledger.masked)
    if size == 1:
        assert len(sent) > 10 and all(len(piece.parts) == 1 for piece in sent)


def test_what_zones_settle_is_not_sent(tmp_path: Path) -> None:
    home = workspace(tmp_path)
    build(home, "a.TAG", *(rows(50, k, MET_pt=np.full(50, met, np.float32)) for k, met in ((1, 5), (2, 50), (3, 20))))
    prepared = prepare(home["a.TAG"].query(["MET_pt > 20"]))
    settled, done, pieces = split(prepared, "count", None, 1)
    assert (settled.yields[0].n, done, list(pieces)) == (50, 150, [])
    settled, done, pieces = split(prepared, "select", None, 1)
    assert done == 100 and [piece.rows for piece in pieces] == [50]


def test_a_piece_leaves_the_dataset_as_it_is(home: Workspace) -> None:
    """Pieces of several parts neither use nor overwrite what is kept for all parts together."""
    folder = home.folder / "data" / "a.TAG"

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    query = home["a.TAG"].query(["MET_pt > 20"], lumi=GOOD)
    select(query)
    before = files()
    _, _, pieces = split(prepare(query), "select", None, 300)
    several = [piece for piece in pieces if len(piece.parts) > 1]
    assert several and sum(len(answer(piece).blocks) for piece in several) > 0
    assert files() == before


def test_a_worker_for_which_a_cut_means_something_else_refuses(home: Workspace) -> None:
    _, _, pieces = split(prepare(home["a.TAG"].query(["MET_pt > 20"])), "count", None, 10**9)
    piece = next(pieces)
    other = replace(piece, question=replace(piece.question, prints=("another", "another")))
    with pytest.raises(JobError, match="another version"):
        answer(other)


def test_pieces_are_small(home: Workspace) -> None:
    """What travels: names of parts, a verdict a row group, and bits where only some rows count; no schema, no menu."""
    _, _, pieces = split(prepare(home["a.TAG"].query(["MET_pt > 20"], lumi=GOOD)), "select", None, 1)
    assert max(len(pickle.dumps(piece)) for piece in pieces) < 4096
