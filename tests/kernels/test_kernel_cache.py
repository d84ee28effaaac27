"""Kernels on disk: found again without numba, refused where others could have written, rebuilt where damaged."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tagsel.base.cache import Cache
from tagsel.engine.codegen import emit
from tagsel.engine.compiler import Kernel
from tagsel.kernels import driver, kernel_cache, native
from tagsel.language import Block, Node

N = Node("column", value="n", kind="int")
CUT = Node("cmp", (N, Node("const", value=2, kind="int")), ">=", "bool")
SOURCE = emit(CUT, {"n": "i4"}).text
BLOCK = Block(3, {"n": np.array([1, 2, 3], np.int32)})

USE = """
import sys
import numpy as np
from tagsel.language import Block, Node
from tagsel.engine.compiler import Kernel
pt = Node("column", value="pt", kind="f64")
cosine = Node("call", (pt,), "cos", "f64")
cut = Node("cmp", (cosine, Node("const", value=0.0, kind="f64")), ">", "bool")
passed = Kernel(cut)(Block(4, {"pt": np.array([0.0, 2.0, 1e300, np.nan])}))
print(passed.tolist(), "numba" in sys.modules)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a process that has compiled nothing; where kernels will be kept."""
    loop = kernel_cache.function(driver.run_steps)  # takes seconds to compile, and is not what these tests are about
    monkeypatch.setenv("TAGSEL_CACHE", str(tmp_path / "cache"))
    fresh_process(monkeypatch)
    kernel_cache._functions[driver.run_steps] = loop
    return tmp_path / "cache" / "kernels"


def fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no kernel in the process."""
    monkeypatch.setattr(kernel_cache, "_functions", Cache("kernels", entries=kernel_cache.MOST_KERNELS))


def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources of steps that are compiled from here on, as by a process that begins here."""
    sources: list[str] = []
    build = native.build

    def counted(source: native.KernelSource) -> native.Native:
        sources.append(source)
        return build(source)

    monkeypatch.setattr(native, "build", counted)
    loop = kernel_cache.function(driver.run_steps)
    fresh_process(monkeypatch)
    kernel_cache._functions[driver.run_steps] = loop
    return sources


def run() -> list[bool]:
    answers: list[bool] = Kernel(CUT)(BLOCK).tolist()
    return answers


def the_file(place: Path) -> Path:
    (path,) = place.glob("*.kernel")
    return path


def test_a_kernel_is_compiled_once_and_found_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run() == [False, True, True]
    assert place.stat().st_mode & 0o777 == 0o700 and the_file(place).stat().st_mode & 0o777 == 0o600
    again = built(monkeypatch)
    assert run() == [False, True, True]
    assert again == []


def test_another_process_runs_it_without_numba(place: Path) -> None:
    answers = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", USE], capture_output=True, text=True, check=True)
        answers.append(done.stdout)
    # cos 0 = 1, cos 2 < 0, cos 1e300 = -0.617…, NaN
    assert answers == ["[True, False, False, False] True\n", "[True, False, False, False] False\n"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda good: b"",
        lambda good: good[:-1],
        lambda good: good[: len(good) // 2],
        lambda good: good[:-100] + bytes([good[-100] ^ 1]) + good[-99:],
        lambda good: good.replace(b'"sha256": "', b'"sha256": "0', 1),
        lambda good: good.replace(b'"symbol": "', b'"symbol": "X', 1),
        lambda good: b"[]\n" + good.partition(b"\n")[2],
        lambda good: b"{}\n",
        lambda good: bytes(1000),
    ],
)
def test_fault_30_a_damaged_kernel_is_dropped_and_rebuilt(
    place: Path, monkeypatch: pytest.MonkeyPatch, damage: object
) -> None:
    assert callable(damage)
    run()
    path = the_file(place)
    good = path.read_bytes()
    path.write_bytes(damage(good))
    again = built(monkeypatch)
    assert run() == [False, True, True]
    assert again == [SOURCE]
    head = json.loads(path.read_bytes().partition(b"\n")[0])
    assert head["key"] == kernel_cache.key(SOURCE)  # whole again


def write_flipped(path: Path, good: bytes, bit: int) -> None:
    """Write a file's bytes with one bit flipped."""
    bad = bytearray(good)
    bad[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(bad)
    path.chmod(0o600)


def test_fault_30_every_flipped_bit_is_found(place: Path) -> None:
    """2,000 bits all over the file: what is read is what was written, or nothing."""
    run()
    path = the_file(place)
    good = path.read_bytes()
    whole = kernel_cache._stored(SOURCE)
    assert whole is not None
    random = np.random.default_rng(30)
    for bit in random.integers(0, 8 * len(good), 2000):
        write_flipped(path, good, bit)
        stored = kernel_cache._stored(SOURCE)
        assert stored is None or stored == whole


def test_fault_30_every_flipped_bit_of_the_first_line_is_found(place: Path) -> None:
    """Key, symbol and checksum: one bit of them and the file is dropped, unless the JSON means the same."""
    run()
    path = the_file(place)
    good = path.read_bytes()
    whole = kernel_cache._stored(SOURCE)
    line = good.partition(b"\n")[0]
    dropped = 0
    for bit in range(8 * len(line)):
        write_flipped(path, good, bit)
        stored = kernel_cache._stored(SOURCE)
        assert stored is None or stored == whole
        dropped += stored is None
    assert dropped >= 8 * len(line) - 40  # a space that becomes a line feed or so


def test_fault_30_code_without_its_symbol_is_dropped_and_rebuilt(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its checksum is right: an older tagsel left the symbol out of it, and was believed."""
    run()
    whole = kernel_cache._stored(SOURCE)
    assert whole is not None
    kernel_cache._keep(native.Native("kernel_of_another", whole.code), kernel_cache.key(SOURCE))
    again = built(monkeypatch)
    assert run() == [False, True, True]
    assert again == [SOURCE]
    rebuilt = kernel_cache._stored(SOURCE)
    assert rebuilt is not None and rebuilt.symbol != "kernel_of_another"


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o640, 0o644])
def test_fault_30_a_kernel_that_others_may_touch_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    run()
    the_file(place).chmod(mode)
    again = built(monkeypatch)
    assert run() == [False, True, True]
    assert again == [SOURCE]
    assert the_file(place).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o755])
def test_fault_30_a_folder_that_is_not_private_is_not_used(
    place: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    run()
    kept = the_file(place).read_bytes()
    place.chmod(mode)
    again = built(monkeypatch)
    assert run() == [False, True, True]
    assert again == [SOURCE]
    assert the_file(place).read_bytes() == kept  # neither read nor written


def test_fault_30_a_kernel_of_another_user_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    someone = os.geteuid() + 1
    status = the_file(place).stat()
    foreign = os.stat_result((*status[:4], someone, *status[5:]))
    assert kernel_cache.private(status) and not kernel_cache.private(foreign)


def test_fault_30_a_link_is_not_followed(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run()
    path = the_file(place)
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    again = built(monkeypatch)
    assert run() == [False, True, True]
    assert again == [SOURCE] and elsewhere.exists()


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place.parent.mkdir()
    place.write_text("a file where the folder should be")
    assert run() == [False, True, True]
    assert place.read_text() == "a file where the folder should be"


def test_the_key_covers_source_helpers_versions_and_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    one = kernel_cache.key(SOURCE)
    assert one == kernel_cache.key(SOURCE) != kernel_cache.key(SOURCE + "\n")
    monkeypatch.setattr(native, "fingerprint", lambda: "another numba, another processor")
    assert kernel_cache.key(SOURCE) != one


def test_the_oldest_kernels_go_first(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    first = the_file(place)
    for n in range(kernel_cache.MOST_KERNELS):
        made = native.Native("kernel", b"code %d" % n)
        kernel_cache._keep(made, f"{n:064x}")
        if n == 0:
            os.utime(first, (0, 0))
    assert len(list(place.glob("*.kernel"))) == kernel_cache.MOST_KERNELS
    assert not first.exists()


def behind() -> None:
    """Wait for the thread that compiles behind the answers."""
    for thread in threading.enumerate():
        if thread.name == "tagsel-compile":
            thread.join(120)


def test_a_thread_that_cannot_be_started_costs_no_answer(place: Path) -> None:
    """No stack of 128 TB fits the address space; the next question has the same kernel compiled."""
    threading.stack_size(1 << 47)
    try:
        with pytest.raises(RuntimeError, match="can't start new thread"):
            threading.Thread(target=print).start()
        kernel_cache.soon([SOURCE])
    finally:
        threading.stack_size(0)
    assert not kernel_cache.ready(SOURCE)
    kernel_cache.soon([SOURCE])
    behind()
    assert kernel_cache.ready(SOURCE)


def test_a_kernel_that_fails_behind_the_answers_is_one_line_of_the_log(
    place: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first source is no Python; the second is compiled all the same."""
    monkeypatch.setattr(kernel_cache, "_making", set())
    kernel_cache.soon(["def kernel(\n", SOURCE])
    behind()
    assert kernel_cache.ready(SOURCE)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("a kernel is not compiled behind the answers: SyntaxError: ") and "\n" not in line


ROOM = """
import resource
from tagsel.base import memory_limit
used = int(open("/proc/self/statm").read().split()[0]) * memory_limit.PAGE
resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20),) * 2)
print(memory_limit.has_room_for_a_thread())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the stack of a thread is what Linux limits")
@pytest.mark.parametrize(("stack", "room"), [(8 << 20, True), (1 << 30, False)])
def test_a_thread_takes_the_stack_that_the_limit_allows(stack: int, room: bool) -> None:
    """200 MB are left: a stack of 8 MB (ulimit -s 8192) has room there, one of 1 GB has none."""
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    if hard != resource.RLIM_INFINITY and hard < stack:
        pytest.skip("the hard limit on stacks is lower")
    shell = f'ulimit -S -s {stack >> 10}; exec "$0" -c "$1"'
    done = subprocess.run(["bash", "-c", shell, sys.executable, ROOM], capture_output=True, text=True, timeout=120)
    assert done.stdout == f"{room}\n", done.stderr


FORK = """
import os, sys, time
from tagsel.kernels import kernel_cache, listing
assert not kernel_cache.at_hand(listing.write_events)
while "numba" not in sys.modules:
    time.sleep(0.001)  # until the thread behind the answers is at it
child = os.fork()
if child == 0:
    kernel_cache.function(listing.write_events)
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_waits_for_the_kernel_in_the_making(tmp_path: Path) -> None:
    """A child would wait for ever for locks that the compiling thread holds."""
    environment = {**os.environ, "TAGSEL_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.stdout == "7\n", done.stderr
