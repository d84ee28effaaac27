"""A few questions on generated events, beside DuckDB on the same Parquet parts in the same process.

    scripts/bench [--events 200000] [--repeat 7] [--threads 0]

Answers are compared first; then the two take turns, and medians are printed. The events are TAG records of 251
columns and about 1 kB (data/sample/generator.py), made once in .bench. Everything is warm: files are in the page cache.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

import tagsel
from tagsel.api import Workspace

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "data" / "sample"))
from generator import MENUS, batches, menu_id  # noqa: E402 - it lies beside the sample

DATASET = "bench.TAG"
ADDRESS = "run, lumi, event, aod_guid, aod_entry"


def fired(chain: str) -> str:
    """A chain's decision in SQL: the bit that the row's menu gives it."""
    places = [(menu_id(bits), *bits[chain]) for bits in MENUS.values() if chain in bits]
    return "(" + " OR ".join(f"(menu = {i} AND (({word} >> {bit}) & 1) = 1)" for i, word, bit in places) + ")"


@dataclass(frozen=True)
class Question:
    """A cut of ours, the same in DuckDB's SQL, and whether the events are wanted or their number only."""

    name: str
    cut: str
    sql: str
    select: bool = False


PAIR = "NLooseMuon >= 2 AND LooseMuonPt1 * LooseMuonPt2 < 0"
ANGLE = "LooseMuonPhi1::DOUBLE - LooseMuonPhi2::DOUBLE"

QUESTIONS = (
    Question("count, one number", "CellMissingET > 20 GeV", "CellMissingET > 20000"),
    Question("count, one run of the data", "run == 141000 && NJet >= 3", "run = 141000 AND NJet >= 3"),
    Question("count, a trigger", "EF_mu4", fired("EF_mu4")),
    Question("count, objects", "count(abs(LooseMuon.pt) > 4 GeV) >= 2",
             " + ".join(f"(NLooseMuon >= {k} AND abs(LooseMuonPt{k}) > 4000)::INT" for k in (1, 2, 3, 4)) + " >= 2"),
    Question("select, two muons", "@opposite_sign", PAIR, select=True),
    Question("select, trigger and angle", "EF_mu4 && cos(LooseMuon.phi[0] - LooseMuon.phi[1]) < -0.5",
             f"{fired('EF_mu4')} AND NLooseMuon >= 2 AND cos({ANGLE}) < -0.5", select=True),
)  # fmt: skip


def workspace(folder: Path, events: int) -> Workspace:
    """A workspace with `events` generated events; made once for each number."""
    home = folder / f"W{events}"
    if (home / "tagsel.toml").is_file():
        return Workspace(home)
    made, path = Workspace.init(folder / f"making-{os.getpid()}"), folder / f"events-{os.getpid()}.parquet"
    source = batches(events)
    first = next(source)
    with pq.ParquetWriter(path, first.schema) as writer:
        for batch in (first, *source):
            writer.write_table(pa.Table.from_batches([batch]))
    made.ingest(path, dataset=DATASET)
    path.unlink()
    made.folder.rename(home)
    return Workspace(home)


def ours(home: Workspace, question: Question, threads: int) -> Callable[[], Any]:
    """A call that answers as tagsel does: the number, or the event list."""
    if question.select:
        return lambda: home.select(DATASET, question.cut, threads=threads)
    return lambda: home.count(DATASET, question.cut, threads=threads)


def theirs(connection: Any, question: Question) -> Callable[[], Any]:
    """A call that answers as DuckDB does: the number, or an Arrow table of the same columns in the list's order."""
    what = ADDRESS if question.select else "count(*)"
    order = " ORDER BY aod_guid, aod_entry" if question.select else ""
    query = f"SELECT {what} FROM events WHERE {question.sql}{order}"
    return lambda: connection.sql(query).to_arrow_table()


def same(question: Question, mine: Any, other: Any) -> bool:
    """Whether both gave one answer: for events, the same identities and places in the same order."""
    if not question.select:
        return int(mine) == other.column(0)[0].as_py()
    guids = [mine.guids[code] for code in mine.guid_codes.tolist()]
    found = mine.run.tolist(), mine.lumi.tolist(), mine.event.tolist(), guids, mine.entry.tolist()
    return list(found) == [column.to_pylist() for column in other.columns]


def timed(call: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def main() -> int:
    """Compare, time, print; 1 where an answer differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, default=ROOT / ".bench")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    home = workspace(chosen.folder, chosen.events)
    connection = duckdb.connect(config={"threads": chosen.threads})
    parts = [str(p.path) for p in home.table(DATASET).snapshot().parts]
    connection.sql(f"SELECT * FROM read_parquet({parts})").create_view("events")
    print(f"{chosen.events:,} events, {chosen.threads} threads, median of {chosen.repeat} warm runs that take turns")
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, "
          f"tagsel {tagsel.__version__}, DuckDB {duckdb.__version__}\n")  # fmt: skip
    print(f"{'':28}{'tagsel':>10}{'DuckDB':>10}{'ratio':>8}{'events':>12}")
    for question in QUESTIONS:
        mine, other = ours(home, question, chosen.threads), theirs(connection, question)
        answer = mine()
        if not same(question, answer, other()):
            print(f"{question.name}: the answers differ")
            return 1
        pairs = [(timed(mine), timed(other)) for _ in range(chosen.repeat)]
        a, b = (statistics.median(times) for times in zip(*pairs, strict=True))
        found = len(answer) if question.select else int(answer)
        print(f"{question.name:28}{a * 1e3:>7.1f} ms{b * 1e3:>7.1f} ms{a / b:>8.2f}{found:>12,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
