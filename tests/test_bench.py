"""scripts/bench: rivals' answers are ours or the run fails; what is printed and kept is what was measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import baseline, data, last, main, manyparts, report, suite, world
from bench.apart import Apart, Here
from bench.context import Context, wanted_columns
from bench.plain import Unsupported, columns, evaluate, text
from bench.questions import TAGS, Question
from bench.report import Result, Section
from bench.rivals import RIVALS, Answer, Entry
from bench.suite import Part
from bench.timing import Row, in_turns

pytestmark = pytest.mark.slow
HERE = [e for e in RIVALS if e.name in ("tagsel", "DuckDB table", "DuckDB", "Polars", "Polars in RAM")]
"""Those of the development environment."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the events of all tests are made once."""
    return tmp_path_factory.mktemp("bench")


def context(folder: Path, **changes: Any) -> Context:
    pl = pytest.importorskip("polars")
    fields: dict[str, Any] = {"rivals": HERE, "start": lambda entry, *rest: Here(entry.load(), *rest), "say": len}
    return Context(folder, 20_000, pl.thread_pool_size(), 1, **{**fields, **changes})


# -- answers


def test_every_answer_on_tag_records_is_that_of_duckdb_and_polars(folder: Path) -> None:
    (section,) = suite.run(context(folder, only=frozenset({"cuts"})))
    assert [row.name for row in section.rows] == [q.name for q in TAGS]
    for row in section.rows:
        assert set(row.seconds) == {e.name for e in HERE}, row.without
    found = {row.name: row.found for row in section.rows}
    assert found["all"] == 20_000 and found["none"] == 0
    assert 0 < found["Q2"] < found["Q5"] < 20_000, "the questions ask something"


def test_every_answer_on_lists_is_that_of_the_others_and_what_cannot_be_said_is_a_reason(folder: Path) -> None:
    lists, adl = suite.run(context(folder, only=frozenset({"lists", "adl"})))
    assert [set(row.seconds) for row in lists.rows] == [{e.name for e in HERE}] * 2
    assert all(row.found > 100 for row in lists.rows)
    filled = {row.name for row in adl.rows if "tagsel" in row.seconds}
    assert {"adl1", "adl2", "adl4"} <= filled
    reasons = [row.without["tagsel"] for row in adl.rows if row.name not in filled]
    assert all("not in the language" in why or "no form" in why for why in reasons)


def test_sequences_and_look_ups_are_checked_too(folder: Path) -> None:
    again, lookup = suite.run(context(folder, only=frozenset({"again", "lookup"})))
    found = {row.name: row.found for row in (*again.rows, *lookup.rows)}
    assert found["regions"] == 50 and found["region"] == 1 and found["threshold"] > 10
    # half of the identities are nobody's; of 20,000 events no more than all can be asked for
    assert (found["pick1"], found["pick100"], found["pick100k"]) == (1, 50, 10_000)
    assert all(len(row.seconds) == (4 if row.name.startswith("pick") else 5) for row in (*again.rows, *lookup.rows))


def test_planning_counts_all_rows_and_skims_hold_the_events_that_were_asked_for(folder: Path) -> None:
    wanted = frozenset({"plan1000x50", "ingest", "skim", "help"})
    found = {row.name: row.found for section in suite.run(context(folder, only=wanted)) for row in section.rows}
    assert found["plan1000x50"] == 1_000 * 20_000
    assert found["ingest_arrow"] == found["ingest_nano"] == 20_000
    assert 100 < found["skim1"] < 300 and found["skim001"] == 2  # of 20,000, those whose number ends in 07, in 0007


def test_a_small_catalog_answers_as_the_large_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 120 datasets in a row one is of type TAG, year 2009, version 1.2.3 and trigger 2: the 80th, then the 200th."""
    for name, size in (("DATASETS", 300), ("PIECES", 30), ("BATCH", 100)):
        monkeypatch.setattr(world, name, size)
    (section,) = suite.run(context(tmp_path, only=frozenset({"world"})))
    assert {row.name: row.found for row in section.rows}["content"] == len([80, 200])
    assert [row.name for row in section.rows] == list(world.NAMES)


def test_planning_over_many_parts_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """bench/manyparts.py, a script of its own."""
    manyparts.main(["--parts", "4", "--columns", "3", "--repeat", "1", "--folder", str(tmp_path)])
    head, *rows = capsys.readouterr().out.splitlines()
    assert head == "4 parts of 8 row groups and 6 columns; a cut of 3 columns"
    assert [row.split()[-1] for row in rows] == ["ms"] * 5
    assert all(float(row.split()[-2]) > 0 for row in rows)


def test_every_script_of_bench_is_run_by_a_test() -> None:
    """What can be started has a test here, and so has each section, by its name or one of its rows."""
    folder = Path(main.__file__).parent
    scripts = {path.name for path in folder.glob("*.py") if '__name__ == "__main__"' in path.read_text()}
    assert scripts == {"__main__.py", "manyparts.py"}
    text = Path(__file__).read_text()
    for part in suite.PARTS:
        asked = [name for name in (part.name, *part.names) if f'"{name}"' in text]
        assert asked, part.name


class Liar:
    """DuckDB's answers, of which the last event has another entry."""

    def __init__(self, *arguments: Any) -> None:
        entry = next(e for e in RIVALS if e.name == "DuckDB")
        self.honest: Any = entry.load()(*arguments)

    def ask(self, question: Question) -> Callable[[], Any]:
        return self.honest.ask(question)  # type: ignore[no-any-return]

    def answer(self, question: Question, raw: Any) -> Answer:
        honest = self.honest.answer(question, raw)
        entries = honest.arrays[4].copy()
        entries[-1] += 1
        return Answer((*honest.arrays[:4], entries))


class Loser(Liar):
    """DuckDB's answers without the first event."""

    def answer(self, question: Question, raw: Any) -> Answer:
        return Answer(tuple(a[1:] for a in self.honest.answer(question, raw).arrays))


@pytest.mark.parametrize(("kind", "said"), [(Liar, "1 of"), (Loser, "are right")])
def test_a_rival_with_a_wrong_answer_fails_the_run(
    folder: Path, kind: type, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def start(entry: Entry, *rest: Any) -> Here:
        return Here(kind if entry.name == "wrong" else entry.load(), *rest)

    rivals = [*HERE[:2], Entry("wrong", "files", "")]
    chosen = main.arguments(["--json", str(tmp_path / "out.json")])
    assert main.work(context(folder, rivals=rivals, start=start, only=frozenset({"Q2"})), chosen) == 1
    shown = capsys.readouterr().out
    assert "Q2: wrong differs" in shown and said in shown and "ms)" not in shown
    assert not (tmp_path / "out.json").exists()


def test_sums_may_differ_by_rounding_and_no_more() -> None:
    right = Answer((np.array([1.0, 3.0]),))
    assert right.differs(Answer((np.array([1.0, 3.0 * (1 + 1e-12)]),))) == ""
    assert "1 of 2 are wrong" in right.differs(Answer((np.array([1.0, 3.0 * (1 + 1e-6)]),)))


def test_a_rival_apart_answers_as_here_and_a_dead_or_absent_one_is_said(folder: Path) -> None:
    tags = data.tags(folder, 20_000, lambda _: None)
    copies = data.copies(tags, wanted_columns(TAGS), lambda _: None)
    question = next(q for q in TAGS if q.name == "Q4")
    entry = next(e for e in HERE if e.name == "DuckDB table")
    apart, here = Apart(entry, tags, copies, 1), Here(entry.load(), tags, copies, 1)
    assert here.ask(question)[1].differs(apart.ask(question)[1]) == ""
    assert apart.time() > 0
    apart.close()
    with pytest.raises(Unsupported, match="died"):
        apart.time()
    with pytest.raises(Unsupported, match="not installed: No module named 'no_such_library'"):
        Apart(Entry("absent", "files", "no_such_library:Rival"), tags, copies, 1)


# -- the common language


def test_one_condition_in_each_dialect() -> None:
    condition = "NMuon >= 2 and not (abs(Pt[0]) == 3 or bit(Word, 5))"
    assert text(condition, "duckdb") == (
        '("NMuon" >= 2 AND NOT ((abs("Pt"[1]) = 3 OR (("Word" >> 5) & 1) = 1)))'
    )  # SQL counts from 1
    assert text(condition, "cpp") == "(NMuon >= 2 && !((std::abs(Pt[0]) == 3 || (((Word >> 5) & 1) == 1))))"
    assert columns(condition) == ["NMuon", "Pt", "Word"]
    here = {"NMuon": np.array([1, 2, 2, 2]), "Pt": np.array([9, -3, 4, 4]), "Word": np.array([0, 0, 32, 31])}
    calls: Any = {"abs": np.abs, "bit": lambda x, n: x >> n & 1 == 1, "at": lambda x, k: x}
    # one muon; |pt| is 3; bit 5 is set; none of these
    assert evaluate(condition, here.__getitem__, calls).tolist() == [False, False, False, True]
    with pytest.raises(Unsupported):
        text("[x for x in y]", "duckdb")


# -- figures


def row(name: str, ours: float, **others: float) -> Row:
    return Row(name, "", 1, {"tagsel": ours, **others})


def result(*rows: Row, events: int = 100) -> Result:
    return Result(events, 2, 1, "a machine", {}, (Section("cuts", "Cuts", rows, mean=True),))


def test_ratios_and_means_are_those_of_the_best_rival() -> None:
    made = result(
        row("a", 2.0, **{"DuckDB": 8.0, "Polars": 6.0, "Polars in RAM": 1.0}),
        row("b", 1.0, **{"DuckDB": 12.0, "Polars": 13.0, "Polars in RAM": 4.0, "RDataFrame": 50.0}),
        Row("c", "", 0, {"DuckDB": 1.0}, {"tagsel": "cannot say it"}),
    )
    (section,) = made.sections
    assert report.ratios(section) == {
        "a": {"best": 3.0, "Polars in RAM": 0.5},
        "b": {"best": 12.0, "Polars in RAM": 4.0, "RDataFrame": 50.0},
    }
    said = "\n".join(report.summary(section))
    assert "geometric mean 6.00, worst 3.00 (a)" in said  # √(3 × 12)
    assert "columns in RAM over tagsel: geometric mean 1.41" in said  # √(0.5 × 4)
    assert "tagsel: cannot say it (c)" in report.as_text(section)
    assert "| **a** | 1 | 2000.0 | 8000.0 |" in report.as_markdown(section)


def test_medians_of_calls_that_take_turns() -> None:
    order: list[str] = []
    times = {"a": iter([3.0, 1.0, 2.0]), "b": iter([5.0, 4.0])}

    def call(name: str) -> Callable[[], float]:
        return lambda: order.append(name) or next(times[name])  # type: ignore[func-returns-value]

    # b is asked no more after 9 s, of which 6 are enough: (5 + 4) / 2
    assert in_turns({n: call(n) for n in "ab"}, 3, enough=6.0) == {"a": 2.0, "b": 4.5}
    assert order == ["a", "b", "a", "b", "a"]


def test_the_baseline_keeps_ratios_and_says_what_moved(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    assert "no baseline" in baseline.compare(result(), path)[0]
    before = result(*(row(n, 1.0, DuckDB=4.0) for n in ("same", "slower", "faster", "gone")))
    baseline.save(before, path)
    assert json.loads(path.read_text())["ratios"]["same"] == {"best": 4.0}
    after = result(
        row("same", 1.0, DuckDB=4.4),  # by 10 %: noise
        row("slower", 1.0, DuckDB=2.0),  # half of it
        row("faster", 1.0, DuckDB=12.0),  # three times
        row("new", 1.0, DuckDB=1.0),
    )
    assert baseline.compare(after, path) == [
        "slower ×2.00: slower against best, ratio 4 → 2",
        "faster ×3.00: faster against best, ratio 4 → 12",
        "new: new",
    ]
    assert baseline.compare(before, path) == ["nothing moved by more than 30%"]
    assert "200 events" not in baseline.compare(before, path)[0]
    assert "100 events" in baseline.compare(result(events=200), path)[0]
    baseline.save(result(row("new", 1.0, DuckDB=7.0)), path)
    assert set(json.loads(path.read_text())["ratios"]) == {"same", "slower", "faster", "gone", "new"}


def test_rows_that_were_not_run_keep_their_last_figures(tmp_path: Path) -> None:
    path = tmp_path / "last.json"
    first = result(row("a", 1.0), row("b", 2.0))
    last.keep(last.merged(first, path, ["cuts"]), path)
    assert last.merged(result(row("b", 3.0)), path, ["cuts"]).sections[0].rows == (row("a", 1.0), row("b", 3.0))
    other = result(row("b", 3.0), events=200)
    assert last.merged(other, path, ["cuts"]) == other, "of other numbers of events nothing is kept"


def test_names_choose_rows_and_the_rest_is_not_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[str] = []

    def part(name: str, core: bool) -> Part:
        return Part(name, name, (f"{name}1",), lambda c: [ran.append(name) or row(f"{name}1", 1.0)], core=core)  # type: ignore[func-returns-value,list-item]

    parts = [part("a", True), part("b", False)]
    for only, everything, expected in (
        ((), False, ["a"]),
        ((), True, ["a", "b"]),
        (("b1",), False, ["b"]),
        (("b",), False, ["b"]),
    ):
        ran.clear()
        list(suite.run(context(folder, only=frozenset(only)), everything, parts))
        assert ran == expected
    assert main.main(["--only", "Q0"]) == 2
    assert "no row or section Q0" in capsys.readouterr().err


def test_names_of_rows_are_their_own() -> None:
    names = [name for part in suite.PARTS for name in (part.name, *part.names)]
    assert len(names) == len(set(names))
