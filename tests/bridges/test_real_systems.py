"""The real clients take what is written for them: PanDA's makes its task of it, Ganga runs it to the end."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest
from testbed.ganga import Ganga
from testbed.panda import Client

from tagsel.api import Workspace
from tagsel.events import EventList

pytestmark = pytest.mark.grid

NASTY = "python 'my job.py' \"$HOME\" `id`; echo %IN > out.txt # \\"


def lines(events: EventList) -> str:
    return "".join(f"{e.run} {e.event} {e.guid}\n" for e in events)


def task(client: Client, script: Path, *arguments: str) -> Any:
    """The task that prun makes when a script calls it."""
    done = subprocess.run(
        ["sh", str(script), *arguments], env=client.environment, cwd=script.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return client.task()


def constants(parameters: list[dict[str, Any]]) -> str:
    """The constant words of a task's job parameters, as the server joins them."""
    return "".join(p["value"] + (" " if p.get("padding", True) else "") for p in parameters if p["type"] == "constant")


def test_prun_makes_a_task_that_picks_the_events(home: Workspace, panda_client: Client, tmp_path: Path) -> None:
    events = home["a.TAG"].select("MET_pt > 20")
    told = {"outDS": "user.me.pick", "exec": NASTY, "vo": "tagsel"}
    home.lists[events].export("panda", tmp_path / "o", settings=told)
    found = task(panda_client, tmp_path / "o/prun.sh", "--nFilesPerJob", "5")
    made = found["task"]
    assert made["processingType"] == "panda-client-2.2.0-jedi-run-evp" and made["waitInput"] == 1
    assert (made["taskName"], made["vo"], made["nFilesPerJob"]) == ("user.me.pick/", "tagsel", 5)
    # prun hands the command on between quotes, percent signs before what a URL would not hold
    assert f'-p "{NASTY}"' in unquote(constants(made["jobParameters"]))
    given = dict(zip(found["arguments"], found["arguments"][1:], strict=False))
    assert Path(given["--eventPickEvtList"]).read_text() == lines(events)
    assert "--eventPickWithGUID" in given and given["--eventPickDataType"] == "AOD"


def test_prun_reads_just_the_files_of_the_list(home: Workspace, panda_client: Client, tmp_path: Path) -> None:
    events = home["a.TAG"].select("true")
    told = {"inDS": "data18.a.AOD", "outDS": "user.me.files", "exec": "python job.py %IN", "vo": "tagsel"}
    home.lists[events].export("panda", tmp_path / "o", settings=told)
    made = task(panda_client, tmp_path / "o/prun.sh")["task"]
    (given,) = [p for p in made["jobParameters"] if p.get("param_type") == "input"]
    assert (given["dataset"], given["files"]) == ("data18.a.AOD", ["d/f0.root", "d/f1.root", "d/f2.root"])
    assert "evp" not in made["processingType"]


class Server(BaseHTTPRequestHandler):
    """Keeps what is posted, and says yes."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.told.append((self.path, parse_qs(body)))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"true")

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """A server on loopback; `told` holds (path, fields) of every request."""
    with HTTPServer(("127.0.0.1", 0), Server) as found:
        found.told = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def test_the_request_to_pick_events_holds_all_of_them(
    home: Workspace, panda_client: Client, server: HTTPServer, tmp_path: Path
) -> None:
    """Its exit code says nothing: 2.2.0 does not read the server's answer, and takes any for a refusal."""
    events = home["a.TAG"].select("MET_pt > 20")
    home.lists[events].export("panda", tmp_path / "o")
    address = f"http://127.0.0.1:{server.server_port}/server/panda"
    asked = [str(panda_client.pick), str(tmp_path / "o/events.guid.txt"), str(tmp_path / "o/files.txt")]
    environment = {**panda_client.environment, "PANDA_URL": address, "PANDA_URL_SSL": address}
    done = subprocess.run(asked, env=environment, capture_output=True, text=True)
    assert server.told, done.stdout + done.stderr  # type: ignore[attr-defined]
    ((path, fields),) = server.told  # type: ignore[attr-defined]
    assert path == "/server/panda/putEventPickingRequest"
    assert fields["runEventList"] == [lines(events)]
    assert fields["inputFileList"] == ["d/f0.root,d/f1.root,d/f2.root"]
    assert (fields["giveGUID"], fields["eventPickDataType"]) == (["True"], ["AOD"])


PROGRAM = f"""exec {shlex.quote(sys.executable)} - "$1" <<'END'
import json, sys
import uproot

piece = json.load(open(sys.argv[1]))
with open("found.txt", "w") as out:
    for f in piece["files"]:
        with uproot.open(f["pfns"][0]) as file:
            ids = file["Events"].arrays(["run", "event"], library="np")
        for entry in f["entries"]:
            print(ids["run"][entry], ids["event"][entry], file=out)
END
"""


def test_ganga_runs_the_program_over_every_event_once(sample_home: Path, ganga: Ganga, tmp_path: Path) -> None:
    """The program reads the AOD at the entries of its piece; what all found together is the list."""
    home = Workspace(sample_home)
    events = home["data09_900GeV.physics_Muon.TAG"].select("true", top=(250, "event"))
    (tmp_path / "my job; rm $HOME.sh").write_text(PROGRAM)
    told = {"outputfiles": "found.txt", "name": 'it\'s "mine"'}
    out = tmp_path / "o it's; rm"  # a dollar is Ganga's own
    done = home.lists[events].export(
        "ganga", out, run=tmp_path / "my job; rm $HOME.sh", events_per_job=100, settings=told
    )
    assert shlex.split(done.command) == ["ganga", f"{out}/ganga_job.py"]
    said = ganga.run(out / "ganga_job.py")
    jobs = [job for job in ganga.follow() if job["name"] == told["name"]]
    assert [(job["status"], len(job["subjobs"])) for job in jobs] == [("completed", 3)], said
    (job,) = jobs
    found = [line for _, folder in job["subjobs"] for line in Path(folder, "found.txt").read_text().splitlines()]
    assert sorted(found) == sorted(f"{e.run} {e.event}" for e in events)


def test_ganga_submits_nothing_for_no_events(home: Workspace, ganga: Ganga, tmp_path: Path) -> None:
    """A splitter that yields nothing would have the whole job run, over everything."""
    (tmp_path / "p.sh").write_text("echo\n")
    empty = home["a.TAG"].select("MET_pt < 0")
    home.lists[empty].export("ganga", tmp_path / "o", run=tmp_path / "p.sh", settings={"name": "empty"})
    assert "no events" in ganga.run(tmp_path / "o/ganga_job.py")
    assert [job for job in ganga.follow() if job["name"] == "empty"] == []


def test_ganga_is_told_where_the_pieces_are_not(home: Workspace, ganga: Ganga, tmp_path: Path) -> None:
    (tmp_path / "p.sh").write_text("echo\n")
    home.lists[home["a.TAG"].select("true")].export("ganga", tmp_path / "o", run=tmp_path / "p.sh")
    (tmp_path / "alone.py").write_text((tmp_path / "o/ganga_job.py").read_text())
    assert "pieces.jsonl are not here" in ganga.run(tmp_path / "alone.py")
    assert json.loads((tmp_path / "o/pieces.jsonl").read_text().splitlines()[0])["events"] == 20
