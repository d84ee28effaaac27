"""The command: arguments, a run, tables, and what is kept of it."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from bench import baseline, last, report
from bench.context import Context
from bench.suite import PARTS, run
from bench.timing import WrongAnswer

HERE = Path(__file__).resolve().parent
BASELINE = HERE / "baseline.json"
PAGE = HERE.parent / "docs" / "understand" / "benchmark.md"


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The options of scripts/bench."""
    names = "; ".join(f"{p.name}: {', '.join(p.names)}" for p in PARTS)
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="tagsel beside its rivals on the same events; answers are checked first.",
        epilog=f"Names: {names}.",
    )
    parser.add_argument("--all", action="store_true", help="more than the core suite")
    parser.add_argument("--events", type=lambda text: int(float(text)), default=2_000_000, help="2e6; 20e6 takes 40 GB")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="a row or a section; repeatable")
    parser.add_argument("--repeat", type=int, default=7, help="times that each is asked, in turns (7)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of ours and of each rival")
    parser.add_argument("--folder", type=Path, default=HERE.parent / ".bench", help="where events are kept (.bench)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all that was measured")
    parser.add_argument("--compare", action="store_true", help="say what moved against bench/baseline.json")
    parser.add_argument("--save-baseline", action="store_true", help="keep the ratios in bench/baseline.json")
    parser.add_argument("--page", action="store_true", help="write the tables into docs/understand/benchmark.md")
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> int:
    """Run, print, keep; 1 where a rival's answer is not ours, 2 where a name is not known."""
    chosen = arguments(given)
    known = {name for part in PARTS for name in (part.name, *part.names)}
    if unknown := sorted(set(chosen.only) - known):
        print(f"no row or section {', '.join(unknown)}; there are {', '.join(sorted(known))}", file=sys.stderr)
        return 2
    chosen.folder.mkdir(parents=True, exist_ok=True)
    context = Context(
        chosen.folder.resolve(), chosen.events, chosen.threads, chosen.repeat, only=frozenset(chosen.only)
    )
    return work(context, chosen)


def work(context: Context, chosen: argparse.Namespace) -> int:
    """`main` with a context that is made."""
    started = time.perf_counter()
    sections = []
    result = report.Result(
        context.events, context.threads, context.repeat, report.machine_name(), report.versions(), ()
    )
    print(report.heading(result) + "\n")
    try:
        for section in run(context, chosen.all):
            print(report.as_text(section), flush=True)
            sections.append(section)
    except WrongAnswer as wrong:
        print(f"the answers differ, so no time means anything: {wrong}")
        return 1
    except KeyboardInterrupt:
        print("stopped; what was done is kept")
    result = report.Result(**{**vars(result), "sections": tuple(sections)})
    _keep(result, chosen)
    print(f"done in {time.perf_counter() - started:.0f} s")
    return 0


def _keep(result: report.Result, chosen: argparse.Namespace) -> None:
    """Compare before anything is overwritten; then write what was asked for."""
    if chosen.compare:
        print("\n".join(baseline.compare(result, BASELINE)) + "\n")
    if chosen.save_baseline:
        baseline.save(result, BASELINE)
    if chosen.json:
        chosen.json.write_text(json.dumps(result.to_json(), indent=1), encoding="utf-8")
    path = chosen.folder / "last.json"
    whole = last.merged(result, path, [part.name for part in PARTS])
    last.keep(whole, path)
    if chosen.page:
        PAGE.write_text(report.page(whole, (HERE / "page.md").read_text(encoding="utf-8")), encoding="utf-8")
