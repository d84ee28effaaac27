"""How many cores are ours: affinity, quotas of control groups, and what schedulers state."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tagsel.base import cpus

V1 = "4:memory:/job\n1:cpu,cpuacct:/batch/job\n0::/\n"
V2 = "0::/slice/batch/job\n"


def tree(root: Path, groups: str, **files: str) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for path, text in files.items():
        file = root / "sys/fs/cgroup" / path.replace("__", "/").replace("+", ",")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"slice__batch__job__cpu.max": "max 100000\n"}, None),
        ({"slice__batch__job__cpu.max": "150000 100000\n"}, 1.5),
        ({"slice__batch__job__cpu.max": "400000 100000\n", "slice__cpu.max": "200000 100000\n"}, 2.0),  # the parent's
        ({"cpu.max": "300000 100000\n"}, 3.0),  # in a container the group is the root of what is seen
        ({"slice__batch__job__cpu.max": "nonsense\n"}, None),
    ],
)
def test_the_quota_of_version_2_is_the_smallest_on_the_way_up(
    tmp_path: Path, files: dict[str, str], expected: float | None
) -> None:
    assert cpus.quota(tree(tmp_path, V2, **files)) == expected


@pytest.mark.parametrize(("allowed", "expected"), [("-1", None), ("50000", 0.5), ("800000", 8.0)])
def test_the_quota_of_version_1(tmp_path: Path, allowed: str, expected: float | None) -> None:
    group = "cpu+cpuacct__batch__job__cpu.cfs_"
    files = {f"{group}quota_us": f"{allowed}\n", f"{group}period_us": "100000\n"}
    assert cpus.quota(tree(tmp_path, V1, **files)) == expected


def test_a_machine_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    assert cpus.quota(tmp_path) is None


def test_threads_are_what_the_scheduler_states_and_no_more_than_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in cpus.STATED:
        monkeypatch.delenv(name, raising=False)
    ours = cpus.cores()
    assert 1 <= ours <= len(os.sched_getaffinity(0))
    assert cpus.threads() == ours
    for text, expected in [("1", 1), ("1,4", 1), ("0", ours), ("many", ours), ("", ours), ("100000", ours)]:
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert cpus.threads() == expected, text
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert cpus.threads() == 1


def test_the_affinity_mask_counts_not_the_machine() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from tagsel.base.cpus import cores; print(cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
