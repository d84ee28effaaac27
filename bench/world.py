"""A catalog of the size of an experiment's: 100,000 datasets with a million files at 84 sites, two copies each.

*content* is the question of 2006 (TAG datasets of trigger 2 of 2009, version 1.2.3), *locations* counts the copies of
every dataset of a year by site, *broker* sends 10,000 files, a piece each, to sites, of which seven are down or
excluded; what is found is compared with what was put in. Beside the first: DuckDB asked in its own words, on the same
tables.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench import data as made
from bench.context import Context
from bench.timing import OURS, Row, WrongAnswer

DATASETS, FILES, SITES, PIECES, BATCH = 100_000, 10, 84, 10_000, 5_000
NAMES = ("content", "locations", "broker")
CONTENT = "type = 'TAG' and year = 2009 and trigger = 2 and version = '1.2.3'"
DUCKDB = """
SELECT count(*) FROM datasets d JOIN meta m ON m.dataset = d.name AND m.key = 'trigger' AND m.value = '2'
WHERE d.type = 'TAG' AND d.year = 2009 AND d.version = '1.2.3'
"""
HOW = __doc__.partition("\n\n")[2]


def _guid(k: int) -> str:
    return f"00D1B2C3-0000-4000-8000-{k:012X}"


def _site(k: int) -> str:
    return f"SITE{k % SITES:02d}"


def build(folder: Path) -> None:
    """The catalog; dataset k has type, year, version and trigger by k, its files are 10 k to 10 k + 9."""
    from tagsel.catalog import Catalog, FileRecord, PutDataset, PutFiles, PutReplicas, PutSite

    catalog = Catalog(folder)
    catalog.record(*(PutSite(_site(k), f"/data/{k}", {"tier": k % 3, "slots": 100}) for k in range(SITES)))
    for start in range(0, DATASETS, BATCH):
        changes: list[Any] = []
        copies: dict[str, list[tuple[str, str]]] = {}
        for k in range(start, start + BATCH):
            name = f"data{k:06d}.TAG"
            said = {"type": ("TAG", "AOD")[k % 2], "year": 2008 + k // 2 % 3, "version": f"1.2.{k // 6 % 5}"}
            changes.append(PutDataset(name, **said, files=FILES, meta={"trigger": k // 30 % 4}))
            files = [FileRecord(_guid(FILES * k + i), f"f{i}", "", "AOD", 1_000, 100_000_000) for i in range(FILES)]
            changes.append(PutFiles(name, files))
            for file in files:
                for site in (_site(k), _site(7 * k + 1)):
                    copies.setdefault(site, []).append((file.guid, f"{name}/{file.lfn}"))
        catalog.record(*changes, *(PutReplicas(site, held) for site, held in copies.items()))


def world(context: Context) -> list[Row]:
    """The rows of the section."""
    folder = made.once(context.folder / "world", "a catalog of 10^5 datasets and 10^6 files", build, context.say)
    asks = {"content": content, "locations": locations, "broker": brokering}
    return [ask(folder, context) for name, ask in asks.items() if context.wants(name)]


def _timed(call: Callable[[], Any], repeat: int) -> tuple[float, Any]:
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        answer = call()
        times.append(time.perf_counter() - started)
    return statistics.median(times), answer


def _same(name: str, found: object, right: object) -> None:
    if found != right:
        raise WrongAnswer(f"{name}: {found} where {right} was put in")


def content(folder: Path, context: Context) -> Row:
    """The question of 2006."""
    import duckdb

    from tagsel.catalog import Catalog

    right = sum(k % 2 == 0 and k // 2 % 3 == 1 and k // 6 % 5 == 3 and k // 30 % 4 == 2 for k in range(DATASETS))
    catalog = Catalog(folder)
    ours, found = _timed(lambda: catalog.datasets(CONTENT), context.repeat)
    _same("content", len(found), right)

    def theirs() -> int:
        with duckdb.connect(str(folder / "catalog.duckdb"), read_only=True) as connection:
            return int(connection.execute(DUCKDB).fetchall()[0][0])

    rival, told = _timed(theirs, context.repeat)
    _same("content", told, right)
    return Row("content", f"{DATASETS:,} datasets, {FILES * DATASETS:,} files", right, {OURS: ours, "DuckDB": rival})


def locations(folder: Path, context: Context) -> Row:
    """Copies by site of every dataset of a year."""
    from tagsel.catalog import Catalog

    catalog = Catalog(folder)
    query = (
        "SELECT l.dataset, l.site, l.files FROM locations l JOIN datasets d ON d.name = l.dataset WHERE d.year = 2009"
    )
    seconds, answer = _timed(lambda: catalog.sql(query), max(1, context.repeat // 3))
    pairs = {(f"data{k:06d}.TAG", s) for k in range(DATASETS) if k // 2 % 3 == 1 for s in (_site(k), _site(7 * k + 1))}
    _same("locations", set(zip(*(answer.column(c).to_pylist() for c in ("dataset", "site")), strict=True)), pairs)
    return Row("locations", "copies by dataset and site, a third of all", len(pairs), {OURS: seconds})


def brokering(folder: Path, context: Context) -> Row:
    """10,000 files to sites; none moves that need not, none goes where none may."""
    from tagsel.aod import EventMap
    from tagsel.aod.mapping import MappedFile
    from tagsel.catalog import Catalog
    from tagsel.jobs.broker import Standing, Topology, broker

    catalog = Catalog(folder)
    numbers = [k * FILES * DATASETS // PIECES for k in range(PIECES)]
    entry = np.arange(10)
    files = tuple(
        MappedFile(_guid(n), f"f{n}", "", entry, entry, file_entries=1_000, bytes=100_000_000) for n in numbers
    )
    mapped = EventMap(files, np.empty(0, np.int64), 10 * PIECES, "aod", PIECES, 0)
    closed = {_site(k) for k in range(0, SITES, 12)}
    topology = Topology(
        {_site(k): Standing(_site(k), "excluded" * (_site(k) in closed), slots=100) for k in range(SITES)}
    )

    def all_of_it() -> Any:
        copies = catalog.replicas([f.guid for f in files])
        return broker(mapped, {g: [(c.site, c.pfn) for c in held] for g, held in copies.items()}, topology)[0]

    seconds, done = _timed(all_of_it, max(1, context.repeat // 3))
    for choice, n in zip(done.choices, numbers, strict=True):
        held = {_site(n // FILES), _site(7 * (n // FILES) + 1)}
        _same("broker", choice.site in (held - closed or {_site(k) for k in range(SITES)} - closed), True)
        _same("broker", choice.moved == 0, bool(held - closed))
    return Row("broker", f"{PIECES:,} files, {SITES} sites, {len(closed)} of them excluded", PIECES, {OURS: seconds})
