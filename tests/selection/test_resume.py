"""Row 69: a selection that was killed goes on from what it had judged, in another process, and gives the same list."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from builders import GUIDS, build, rows, workspace

RUN = """
import json, sys, threading
from dataclasses import replace
from tagsel.api import Workspace
from tagsel.engine import bitmap_files, compiled_scan
from tagsel.selection import select

compiled_scan.MASKS_PAY, bitmap_files.FEWEST_ROWS = 0, 1
compiled_scan.MAPPED_AT_ONCE, compiled_scan.DECODED_AT_ONCE = 600, 600
home, stop_after, remember = Workspace(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "remember"
query = home["a.TAG"].query(["MET_pt > 20 && nMuon >= 1 && count(Muon.pt > 10) >= 1"], threads=1, remember=remember)
done = 0

def told(n):
    global done
    done += n
    if stop_after and done > stop_after:
        bitmap_files.wait()
        print("stopped", flush=True)
        threading.Event().wait()

events, counted = select(replace(query, tier="kernel"), progress=told)
bitmap_files.wait()
print(json.dumps([events.digest, counted.accepted, counted.work.remembered]))
"""


def test_feature_69_a_killed_selection_goes_on_where_it_was(tmp_path: Path) -> None:
    """Ten parts of 300 rows, judged two by two; killed with SIGKILL in the middle, then asked again."""
    home = workspace(tmp_path)
    parts = (rows(300, k, aod_guid=[GUIDS[k]] * 300, aod_entry=range(300)) for k in range(10))
    build(home, "a.TAG", *parts)
    environment = {**os.environ, "TAGSEL_CACHE": str(tmp_path / "cache")}

    def begun(stop_after: int, remember: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", RUN, str(home.folder), str(stop_after), remember]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    def answer(remember: str) -> list[object]:
        out, _ = begun(0, remember).communicate(timeout=300)
        found: list[object] = json.loads(out)
        return found

    right = answer("not")
    assert right[2] == 0
    interrupted = begun(1500, "remember")
    assert interrupted.stdout is not None
    assert interrupted.stdout.readline() == "stopped\n"
    interrupted.send_signal(signal.SIGKILL)
    interrupted.communicate()
    again = answer("remember")
    assert again[:2] == right[:2]
    assert isinstance(again[2], int) and 0 < again[2] < 30  # some of the ten parts' three steps, not all
