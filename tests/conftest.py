"""Fixtures shared by all tests: where the published files lie, hypothesis profiles, one private cache a session."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "data" / "sample" / "files"
REAL_DATA = Path(os.environ.get("TAGSEL_REAL_DATA", ROOT.parent / "shared" / "data"))

_common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("ci", derandomize=True, print_blob=True, **_common)
settings.register_profile("quick", derandomize=True, print_blob=True, max_examples=10, **_common)
settings.register_profile("more", max_examples=20_000, **_common)
settings.load_profile("ci")

QUICK_ROOMS = ("base", "schema", "kernels", "rootio", "language", "store", "events", "quality", "engine")
"""The rooms whose tests `--quick` runs: those that know no workspace."""

NOT_QUICK = ("slow", "grid", "real")
"""Marks of tests that `--quick` leaves out."""

_STARTS_PROCESSES = re.compile(
    r"^(?:import|from) (?:subprocess|multiprocessing|people|nanofile|testbed)\b", re.MULTILINE
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--real", action="store_true", help="fail, not skip, where the published files are absent")
    parser.addoption("--profile", default="ci", choices=["ci", "more"], help="ci, or more for hours")
    parser.addoption("--quick", action="store_true", help="what needs no workspace and no other process, few examples")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("quick" if config.getoption("--quick") else config.getoption("--profile"))
    if missing := [room for room in QUICK_ROOMS if not (ROOT / "tests" / room).is_dir()]:
        raise pytest.UsageError(f"no folder of tests: {', '.join(missing)}; mend QUICK_ROOMS in tests/conftest.py")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files of tests that are not quick; None where pytest decides."""
    if not config.getoption("--quick") or collection_path.is_dir() or is_quick(collection_path):
        return None
    return True


def is_quick(path: Path) -> bool:
    """Whether a file of tests is of a room that knows no workspace, and starts no other program."""
    return path.parent.name in QUICK_ROOMS and not _STARTS_PROCESSES.search(path.read_text(encoding="utf-8"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out marked tests where few are asked for."""
    if not config.getoption("--quick"):
        return
    quick, others = [], []
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        (quick if marks.isdisjoint(NOT_QUICK) else others).append(item)
    config.hook.pytest_deselected(items=others)
    items[:] = quick


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what a quick run leaves out."""
    if config.getoption("--quick"):
        terminalreporter.write_line(
            f"quick: only files of {', '.join(QUICK_ROOMS)} that start no other program, without tests marked "
            f"{', '.join(NOT_QUICK)}, and 10 examples where a test sets no number; scripts/test runs everything"
        )


@pytest.fixture(autouse=True, scope="session")
def _private_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Neither a test nor what all tests share writes into the user's state folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))
        yield


@pytest.fixture(autouse=True)
def masks_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks are used for small data, too, as they are for large."""
    from tagsel.engine import compiled_scan

    monkeypatch.setattr(compiled_scan, "MASKS_PAY", 0)


@pytest.fixture(scope="session")
def real(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """A function from the name of a published file to its path; skips (or, with --real, fails) when it is absent."""

    def path(name: str) -> Path:
        found = REAL_DATA / name
        if not found.exists():
            complain = pytest.fail if request.config.getoption("--real") else pytest.skip
            complain(f"published file {name} is not at {REAL_DATA} (set TAGSEL_REAL_DATA)")
        return found

    return path


@pytest.fixture(scope="session")
def sample_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with both streams of the sample, as the tour of the README makes it. Read it; do not change it."""
    from tagsel.api import Workspace

    home = Workspace.init(tmp_path_factory.mktemp("sample") / "W")
    for stream, trigger in (("physics_MinBias", 1), ("physics_Muon", 2)):
        home.ingest(
            *sorted(SAMPLE.glob(f"*.{stream}.TAG.*.parquet")),
            dataset=f"data09_900GeV.{stream}.TAG",
            site="HOME",
            aod=[SAMPLE / "PoolFileCatalog.xml"],
            version="1.0.0",
            meta={"trigger": trigger},
            processes=1,
        )
    return home.folder


@pytest.fixture
def sample_copy(tmp_path: Path, sample_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `sample_home` to change, which the environment names; the current folder is a new one."""
    shutil.copytree(sample_home, tmp_path / "W")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAGSEL_WORKSPACE", str(tmp_path / "W"))
    return tmp_path / "W"


@pytest.fixture(autouse=True)
def _ctrl_c_works() -> Iterator[None]:
    """SIGINT interrupts, here and in what a test starts: background jobs and test workers may begin with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of caches of one run of the tests; its workers share it, so that one compiles a kernel for all."""
    own = tmp_path_factory.getbasetemp()
    of_all_workers = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    cache = of_all_workers / "cache"
    cache.mkdir(mode=0o700, exist_ok=True)
    return cache


@pytest.fixture(autouse=True)
def _private_environment(
    tmp_path_factory: pytest.TempPathFactory, session_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """No test sees the user's workspace, settings or caches, and none leaves questions in the user's log."""
    from tagsel.base import question_log

    for name in [n for n in os.environ if n.startswith("TAGSEL_") and n != "TAGSEL_REAL_DATA"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TAGSEL_CACHE", str(session_cache))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))
    yield
    question_log.flush()


def _engine(launcher: str, tmp_path_factory: pytest.TempPathFactory, *given: Any) -> Iterator[Any]:
    """An engine of scripts/testbed for the session; skips with the reason where it is not installed."""
    from testbed.servers import Missing, open_way

    module = importlib.import_module(f"testbed.{launcher}")
    folder = tmp_path_factory.mktemp(launcher)
    open_way(folder)  # jobs of another user go through
    with ExitStack() as stack:
        try:
            found = stack.enter_context(module.running(folder, *given))
        except Missing as missing:
            pytest.skip(str(missing))
        yield found


@pytest.fixture(scope="session")
def condor_pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The clients' configuration of a pool of HTCondor's, which this process uses from now on."""
    for client in _engine("condor", tmp_path_factory):
        before = os.environ.get("CONDOR_CONFIG")
        os.environ["CONDOR_CONFIG"] = str(client)  # read when htcondor2 is imported, once a process
        yield client
        os.environ.pop("CONDOR_CONFIG") if before is None else os.environ.update(CONDOR_CONFIG=before)


@pytest.fixture(scope="session")
def xrootd_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """(address, folder) of an XRootD server: the file `x` in the folder is `{address}/data/x`."""
    yield from _engine("xrootd", tmp_path_factory)


@pytest.fixture(scope="session")
def slurm_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The environment in which Slurm's commands find a cluster."""
    yield from _engine("slurm", tmp_path_factory)


@pytest.fixture(scope="session")
def rucio_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The configuration file of an empty Rucio server over SQLite, which keeps no free keys."""
    yield from _engine("rucio", tmp_path_factory, "sqlite")


@pytest.fixture(scope="session")
def rucio_postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The configuration file of an empty Rucio server over PostgreSQL, which keeps free keys."""
    yield from _engine("rucio", tmp_path_factory, "postgresql")


@pytest.fixture(scope="session")
def panda_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The client of PanDA: a `testbed.panda.Client`."""
    yield from _engine("panda", tmp_path_factory)


@pytest.fixture(scope="session")
def ganga(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Ganga with nothing in its registry: a `testbed.ganga.Ganga`."""
    yield from _engine("ganga", tmp_path_factory)
