"""An ingest under limits of its process: what is short is named, with a remedy, and nothing is left behind."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import uproot

from tagsel.api import Workspace
from tagsel.errors import IngestError
from tagsel.ingest.damage import reading


def nano(path: Path, events: int) -> Path:
    """A NanoAOD-like file of one branch of random numbers, which hardly can be compressed."""
    with uproot.recreate(path) as file:
        ids = {"run": "uint32", "luminosityBlock": "uint32", "event": "uint64"}
        file.mktree("Events", {**ids, "MET_pt": "float64"})
        numbers = np.random.default_rng(1).exponential(30, events)
        rows = {"run": np.ones(events, np.uint32), "luminosityBlock": np.ones(events, np.uint32)}
        file["Events"].extend({**rows, "event": np.arange(events, dtype=np.uint64), "MET_pt": numbers})
    return path


def test_a_limit_on_the_size_of_files_is_named(tmp_path: Path) -> None:
    """The part takes 8 B and more an event, 160 kB in all; files of 60 kB are allowed."""
    home = Workspace.init(tmp_path / "W")
    path = nano(tmp_path / "a.root", 20_000)
    command = [sys.executable, "-m", "tagsel", "-w", str(home.folder), "ingest", str(path), "--dataset", "a.TAG"]
    done = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -f 120; exec "$@"', "sh", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "File too large (try: raise the limit on the size of files: ulimit -f" in done.stderr
    assert "nanobind" not in done.stderr
    assert not list(home.folder.rglob("*.parquet"))


CHILD = """
import resource
from pathlib import Path
import numpy as np
from tagsel.base.memory_limit import PAGE
from tagsel.errors import IngestError
from tagsel.ingest.damage import reading

taken = int(Path("/proc/self/statm").read_text().split()[0]) * PAGE
resource.setrlimit(resource.RLIMIT_AS, (taken + (64 << 20), resource.RLIM_INFINITY))
for error in (MemoryError(), ImportError("x.so: failed to map segment from shared object"), None):
    try:
        with reading(Path("a.root")):
            if error:
                raise error
            np.ones(1 << 28)
    except IngestError as refused:
        print(repr(str(refused)))
"""


def test_memory_that_does_not_suffice_is_named_with_what_is_left() -> None:
    """64 MB of room: memory for numbers (2 GB), for a library, and where a decoder gives no reason."""
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True, timeout=120)
    answers = done.stdout.splitlines()
    assert len(answers) == 3
    for answer in answers:
        assert re.search(
            r"a\.root: not enough memory: .*; \d\d\.\d MB are left of the memory that this process", answer
        )
        assert "try: raise the limit (ulimit -v, ulimit -d, or what the batch job asks for), or use --proc" in answer


def test_without_a_limit_a_decoder_short_of_memory_met_damage() -> None:
    """A damaged length asks for more than any machine has."""
    with pytest.raises(IngestError, match=r"a\.root: cannot be read: MemoryError"), reading(Path("a.root")):
        raise MemoryError
