"""Parts that are mapped: an answer is the same at any limit of open files and address space, beside any other question.

Limits hold for a process, so each limited question is asked by a child. What is right is counted from the columns of
which the parts were made.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from builders import GUIDS, IDS, batch

from tagsel.schema import Attribute, Schema
from tagsel.store import Source, Table, write_part

SCHEMA = Schema((*IDS, Attribute("MET_pt", "float32", unit="GeV")), "many parts")
PARTS, ROWS = 90, 20


def columns(part: int, rows: int = ROWS) -> dict[str, np.ndarray]:
    """The columns of one part; its events are those of no other part."""
    random = np.random.default_rng(part)
    event = part * rows + np.arange(rows, dtype=np.int64)
    return {
        "run": np.full(rows, 7, np.int32),
        "lumi": np.full(rows, 1, np.int32),
        "event": event,
        "aod_guid": np.full(rows, GUIDS[1], object),
        "aod_entry": event,
        "menu": np.zeros(rows, np.int64),
        "MET_pt": random.exponential(20, rows).astype(np.float32),
    }


def dataset(folder: Path, parts: range, rows: int = ROWS) -> int:
    """Write a dataset of many parts; how many of its events have MET_pt > 10."""
    table, written, right = Table.create(folder, SCHEMA), [], 0
    for number in parts:
        values = columns(number, rows)
        right += int((values["MET_pt"] > np.float32(10)).sum())
        source = Source(f"00000000-0000-4000-9000-{number:012X}", str(number), rows, 0, {})
        part = write_part(folder, SCHEMA, [batch(values, SCHEMA)], [source])
        assert part is not None
        written.append(part)
    table.append(written, SCHEMA, {})
    return right


CHILD = """
import json, resource, sys, threading
from pathlib import Path
for name, value in json.loads(sys.argv[1]).items():
    resource.setrlimit(getattr(resource, name), (value, value))
from tagsel.selection import Input, Query, count, select
from tagsel.store import Table

def opened(folder):
    return Table.open(Path(folder)).snapshot()

def query(snapshot, cut="MET_pt > 10 GeV", tier="kernel", **more):
    return Query((Input("d", snapshot, False, "d"),), (("", cut),), remember=False, tier=tier, **more)

answers = []
"""


def asked(script: str, *folders: Path, **limits: int) -> list[object]:
    """What `script` puts into `answers` in a process with the given limits; `folders` are its datasets."""
    text = f"{CHILD}\nfolders = sys.argv[2:]\n{script}\nprint(json.dumps(answers))"
    arguments = [json.dumps(limits), *map(str, folders)]
    done = subprocess.run(
        [sys.executable, "-c", text, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-2000:]}"
    answers: list[object] = json.loads(done.stdout)
    return answers


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A dataset of 90 parts, and the events that have MET_pt > 10."""
    folder = tmp_path_factory.mktemp("many") / "d"
    return folder, dataset(folder, range(PARTS))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, int]]:
    """Two datasets of 20 parts each."""
    folder = tmp_path_factory.mktemp("pair")
    return [(folder / name, dataset(folder / name, range(first, first + 20))) for name, first in (("a", 0), ("b", 50))]


def test_fault_61_more_parts_than_a_third_of_the_open_files(many: tuple[Path, int]) -> None:
    """90 parts with 64 descriptors: 21 maps were kept, and addresses of the other 69 parts were of nothing."""
    folder, right = many
    script = """
snapshot = opened(folders[0])
for tier in ("kernel", "interpreter", "kernel"):
    answers.append(count(query(snapshot, tier=tier)).accepted)
    answers.append(len(select(query(snapshot, tier=tier))[0]))
"""
    assert asked(script, folder, RLIMIT_NOFILE=64) == [right] * 6


def test_fault_61_two_datasets_asked_in_turns_and_by_two_threads(pair: list[tuple[Path, int]]) -> None:
    """No question needs more than 20 maps; those of the one dataset drove out those of the other."""
    (first, right_first), (second, right_second) = pair
    script = """
snapshots = [opened(folder) for folder in folders]
for turn in range(4):
    answers += [count(query(snapshot)).accepted for snapshot in snapshots]

def ask(snapshot, found):
    for turn in range(25):
        found.append(count(query(snapshot)).accepted)

found = [[], []]
threads = [threading.Thread(target=ask, args=pair) for pair in zip(snapshots, found)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
answers += [sorted(set(found[0])), sorted(set(found[1])), len(found[0]), len(found[1])]
"""
    right = [right_first, right_second] * 4
    assert asked(script, first, second, RLIMIT_NOFILE=64) == [*right, [right_first], [right_second], 25, 25]


def test_fault_61_a_dropped_map_stays_while_an_array_refers_to_it(many: tuple[Path, int]) -> None:
    """The pool is emptied between reading and looking: the bytes are still those of the file."""
    folder, _ = many
    script = """
from tagsel.base.cache import clear_memory
from tagsel.store.mapping import MAPPED_FILES
part = opened(folders[0]).parts[3]
values = part.read(0, ["MET_pt"])["MET_pt"]
clear_memory(MAPPED_FILES)
answers.append(values.tolist())
"""
    assert asked(script, folder) == [columns(3)["MET_pt"].tolist()]


def test_fault_61_a_map_holds_no_descriptor(many: tuple[Path, int]) -> None:
    folder, right = many
    script = """
import os
snapshot = opened(folders[0])
before = len(os.listdir("/proc/self/fd"))
answers += [count(query(snapshot)).accepted, len(os.listdir("/proc/self/fd")) - before]
"""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not list a process's descriptors")
    assert asked(script, folder) == [right, 0]


CUT_SHORT = """
import os
from tagsel.errors import StoreError
from tagsel.store.frame import OpenParts
from tagsel.store.parts import Part

snapshot, tier, size = opened(folders[0]), sys.argv[3], int(sys.argv[4])
path = snapshot.parts[1].path
original = getattr(OpenParts if tier == "kernel" else Part, "memory" if tier == "kernel" else "read")

def then_cut_short(self, *given):
    found = original(self, *given)  # mapped, and its CRC compared
    if tier == "kernel" or self.path == path:
        os.truncate(path, size)
    return found

setattr(OpenParts if tier == "kernel" else Part, original.__name__, then_cut_short)
try:
    answers.append(count(query(snapshot, tier=tier, cut="MET_pt * 2 > 20 GeV")).accepted)
except StoreError as error:
    answers.append(str(error))
"""


@pytest.mark.parametrize("tier", ["kernel", "interpreter"])
@pytest.mark.parametrize("left", [0, -9], ids=["to nothing", "by 9 bytes"])
def test_fault_65_a_part_cut_short_while_it_is_scanned_is_named(tmp_path: Path, tier: str, left: int) -> None:
    """To nothing: reading a page that is gone raises SIGBUS. By 9 bytes: a page reads as zeros behind its end."""
    folder = tmp_path / "d"
    dataset(folder, range(2), rows=20_000)
    part = Table.open(folder).snapshot().parts[1]
    size = max(part.bytes + left, 0) if left else 0
    (said,) = asked(CUT_SHORT, folder, Path(tier), Path(str(size)))
    assert isinstance(said, str) and part.name in said and "cut short" in said


def test_fault_65_a_fault_that_nobody_watches_names_the_file_and_ends_the_process(tmp_path: Path) -> None:
    """An array that a user kept of a file that is gone: there is no answer to refuse."""
    if sys.platform != "linux":
        pytest.skip("faults in mappings are told of on Linux")
    folder = tmp_path / "d"
    dataset(folder, range(1), rows=20_000)
    path = Table.open(folder).snapshot().parts[0].path
    script = """
import os
part = opened(folders[0]).parts[0]
values = part.read(0, ["MET_pt"])["MET_pt"]
os.truncate(part.path, 0)
values.sum()
"""
    text = f"{CHILD}\nfolders = sys.argv[2:]\n{script}"
    done = subprocess.run(
        [sys.executable, "-c", text, "{}", str(folder)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == -signal.SIGBUS
    assert f"tagsel: {path} was cut short while it was read" in done.stderr


def test_an_array_of_a_part_can_never_be_made_writable(many: tuple[Path, int]) -> None:
    folder, _ = many
    values = Table.open(folder).snapshot().parts[0].read(0, ["MET_pt"])["MET_pt"]
    for array in (values, values[3:], values.view(np.uint32)):
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True


LITTLE_SPACE = """
snapshot, more = opened(folders[0]), int(sys.argv[4])
small = opened(sys.argv[3])
for tier in ("kernel", "interpreter"):  # what is imported and compiled is there before the limit is
    count(query(small, tier=tier)), select(query(small, tier=tier))
statm = Path("/proc/self/statm").read_text().split()
limit = int(statm[0]) * resource.getpagesize() + more
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """Six parts of 5 MB each."""
    folder = tmp_path_factory.mktemp("large") / "d"
    return folder, dataset(folder, range(6), rows=131_072)


@pytest.mark.skipif(sys.platform != "linux", reason="the address space in use is read from /proc")
def test_fault_62_an_address_space_smaller_than_the_table(
    large: tuple[Path, int], pair: list[tuple[Path, int]]
) -> None:
    """30 MB of parts where 20 MB of address space are left, half of which may be maps: in batches of 8 MB."""
    folder, right = large
    bytes_of_parts = sum(part.bytes for part in Table.open(folder).snapshot().parts)
    assert bytes_of_parts > 20 << 20
    script = f"""{LITTLE_SPACE}
from tagsel.store import mapping
for tier in ("kernel", "interpreter", "kernel"):
    answers.append(count(query(snapshot, tier=tier)).accepted)
answers.append(len(select(query(snapshot, "MET_pt > 150 GeV"))[0]))
answers.append(mapping.POOL.nbytes <= 16 << 20)
"""
    few = sum(int((columns(part, 131_072)["MET_pt"] > np.float32(150)).sum()) for part in range(6))
    assert asked(script, folder, pair[0][0], Path(str(20 << 20))) == [right, right, right, few, True]


@pytest.mark.skipif(sys.platform != "linux", reason="the address space in use is read from /proc")
def test_fault_62_a_part_larger_than_the_space_is_mapped_in_windows(
    large: tuple[Path, int], pair: list[tuple[Path, int]]
) -> None:
    """As with a limit that lets a batch map 1 MB: no part of 5 MB is mapped as a whole."""
    folder, right = large
    script = f"""{LITTLE_SPACE}
from tagsel.base.cache import clear_memory
from tagsel.store import frame, mapping
mapping.batch_bytes = frame.batch_bytes = lambda: 1 << 20
clear_memory(mapping.MAPPED_FILES)
for tier in ("kernel", "interpreter"):
    answers.append(count(query(snapshot, tier=tier)).accepted)
answers.append(len(mapping.POOL))
"""
    assert asked(script, folder, pair[0][0], Path(str(64 << 20))) == [right, right, 0]


@pytest.mark.skipif(sys.platform != "linux", reason="the address space in use is read from /proc")
def test_fault_62_an_answer_that_does_not_fit_is_refused_with_its_size(
    large: tuple[Path, int], pair: list[tuple[Path, int]]
) -> None:
    """786,432 events of run, lumi, event, file and entry take 28 bytes each: 22.0 MB, of 20 that are left."""
    folder, _ = large
    script = f"""{LITTLE_SPACE}
from tagsel.errors import MemoryLimitError
try:
    select(query(snapshot, "MET_pt >= 0 GeV"))
except MemoryLimitError as error:
    answers.append([error.message, error.hint])
"""
    ((message, hint),) = asked(script, folder, pair[0][0], Path(str(20 << 20)))
    assert message.startswith("the list of 786,432 events takes 22.0 MB;") and "ulimit -v" in hint


def test_fault_62_memory_that_the_system_refuses_is_not_our_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tagsel.cli import main

    def refused(*_: object, **__: object) -> int:
        raise MemoryError("Unable to allocate 1.00 GiB")

    monkeypatch.setattr(main.cli, "main", refused)
    assert main.run(["count"]) == 2
    said = capsys.readouterr().err
    assert "not enough memory: Unable to allocate 1.00 GiB" in said and "our fault" not in said


def test_fault_62_nothing_is_compiled_where_a_compiler_would_get_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that gets no memory ends the process: the interpreter answers instead."""
    from tagsel.errors import MemoryLimitError
    from tagsel.kernels import kernel_cache

    source = "def kernel(a, b, c, d):\n    return 17\n"
    monkeypatch.setattr(kernel_cache, "memory_left", lambda: 1 << 20)
    monkeypatch.setattr("tagsel.base.memory_limit.memory_left", lambda: 1 << 20)
    assert not kernel_cache.at_hand(source, spares=1e9)
    with pytest.raises(MemoryLimitError, match="compiling a kernel takes"):
        kernel_cache.function(source)


def test_fault_65_a_forked_child_writes_its_bitmaps(tmp_path: Path) -> None:
    """The parent's writer has a thread, which a child does not have: it makes a writer of its own."""
    script = """
import os
from tagsel.engine import bitmap_files
bitmap_files.wait()  # the parent has a writer
child = os.fork()
if not child:
    bitmap_files.wait()  # for ever, where the writer has no thread
    os._exit(7)
answers.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert asked(script) == [7]


def test_arrays_of_an_event_list_can_never_be_made_writable(pair: list[tuple[Path, int]]) -> None:
    from tagsel.selection import Input, Query, select

    snapshot = Table.open(pair[0][0]).snapshot()
    events, _ = select(Query((Input("d", snapshot, False, "d"),), (("", "MET_pt > 10"),)))
    digest = events.digest
    for array in (events.run, events.lumi, events.event, events.references["aod"].entry):
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
        assert not pa.array(array).buffers()[1].is_mutable
    assert events.digest == digest
