"""Kernels on disk: found again without numba, refused where others could have written, rebuilt where damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tagsel.expr import Block, Node
from tagsel.expr.emit import emit
from tagsel.expr.lower import Kernel
from tagsel.kernels import driver, kernel_cache, native

N = Node("column", value="n", kind="int")
CUT = Node("cmp", (N, Node("const", value=2, kind="int")), ">=", "bool")
SOURCE = emit(CUT, {"n": "i4"}).text
BLOCK = Block(3, {"n": np.array([1, 2, 3], np.int32)})

USE = """
import sys
import numpy as np
from tagsel.expr import Block, Node
from tagsel.expr.lower import Kernel
pt = Node("column", value="pt", kind="f64")
cosine = Node("call", (pt,), "cos", "f64")
cut = Node("cmp", (cosine, Node("const", value=0.0, kind="f64")), ">", "bool")
passed = Kernel(cut)(Block(4, {"pt": np.array([0.0, 2.0, 1e300, np.nan])}))
print(passed.tolist(), "numba" in sys.modules)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a process that has compiled nothing; where kernels will be kept."""
    loop = kernel_cache.function(driver.SOURCE)  # takes seconds to compile, and is not what these tests are about
    monkeypatch.setenv("TAGSEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kernel_cache, "_functions", {driver.SOURCE: loop})
    return tmp_path / "cache" / "kernels"


def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources of steps that are compiled from here on, as by a process that begins here."""
    sources: list[str] = []
    build = native.build

    def counted(source: str) -> native.Native:
        sources.append(source)
        return build(source)

    monkeypatch.setattr(native, "build", counted)
    monkeypatch.setattr(kernel_cache, "_functions", {driver.SOURCE: kernel_cache.function(driver.SOURCE)})
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


def test_fault_30_every_flipped_bit_is_found(place: Path) -> None:
    """2,000 bits all over the file: what is read is what was written, or nothing."""
    run()
    path = the_file(place)
    good = path.read_bytes()
    whole = kernel_cache._stored(SOURCE)
    assert whole is not None
    random = np.random.default_rng(30)
    for bit in random.integers(0, 8 * len(good), 2000):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(bad)
        path.chmod(0o600)
        found = kernel_cache._stored(SOURCE)
        assert found is None or found.code == whole.code


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


FORK = """
import os, sys, time
from tagsel.kernels import kernel_cache, listing
assert not kernel_cache.at_hand(listing.SOURCE)
while "numba" not in sys.modules:
    time.sleep(0.001)  # until the thread behind the answers is at it
child = os.fork()
if child == 0:
    kernel_cache.function(listing.SOURCE)
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_waits_for_the_kernel_in_the_making(tmp_path: Path) -> None:
    """A child would wait for ever for locks that the compiling thread holds."""
    environment = {**os.environ, "TAGSEL_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.stdout == "7\n", done.stderr
