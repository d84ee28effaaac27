"""A personal HTCondor pool: collector, negotiator, schedd and startd, with tokens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testbed.servers import ROOT, STOP_S, as_nobody, free_port, give_to_nobody, installed, serving

CAPABILITIES = "+dac_override,+dac_read_search,+fowner"
"""Of daemons that root has nobody run, so that jobs can enter folders of root's."""

HEARD = "config super users"
"""What a schedd notes once it has read its configuration."""

CONFIGURATION = """RELEASE_DIR={usr}
LOCAL_DIR={folder}
LOG={folder}/log
RUN={folder}/run
LOCK={folder}/lock
SPOOL={folder}/spool
EXECUTE={folder}/execute
BIN={usr}/bin
SBIN={usr}/sbin
LIB={usr}/lib/condor
LIBEXEC={usr}/libexec/condor
SHARE={usr}/share/condor
ETC={folder}
LOCAL_CONFIG_FILE=
LOCAL_CONFIG_DIR=
CONDOR_IDS={ids}
CONDOR_HOST=127.0.0.1
COLLECTOR_HOST=127.0.0.1:{port}
NETWORK_INTERFACE=127.0.0.1
BIND_ALL_INTERFACES=False
ENABLE_IPV6=False
USE_SHARED_PORT=False
DAEMON_LIST=MASTER,COLLECTOR,NEGOTIATOR,SCHEDD,STARTD
UID_DOMAIN=tagsel.local
FILESYSTEM_DOMAIN=tagsel.local
TRUST_DOMAIN=tagsel.local
SEC_DEFAULT_AUTHENTICATION=REQUIRED
SEC_DEFAULT_AUTHENTICATION_METHODS=IDTOKENS
SEC_PASSWORD_DIRECTORY={folder}/passwords
SEC_TOKEN_POOL_SIGNING_KEY_FILE={folder}/passwords/POOL
SEC_TOKEN_DIRECTORY={folder}/{tokens}
SEC_TOKEN_SYSTEM_DIRECTORY={folder}/{tokens}
ALLOW_READ=*
ALLOW_WRITE=*
ALLOW_ADMINISTRATOR=*
ALLOW_DAEMON=*
ALLOW_NEGOTIATOR=*
NUM_CPUS=4
MEMORY=4096
NUM_SLOTS=1
NUM_SLOTS_TYPE_1=1
SLOT_TYPE_1=100%
SLOT_TYPE_1_PARTITIONABLE=True
START=True
SUSPEND=False
PREEMPT=False
KILL=False
WANT_SUSPEND=False
NEGOTIATOR_INTERVAL=2
NEGOTIATOR_MIN_INTERVAL=1
NEGOTIATOR_CYCLE_DELAY=1
SCHEDD_INTERVAL=2
SCHEDD_MIN_INTERVAL=1
UPDATE_INTERVAL=5
POLLING_INTERVAL=1
PERIODIC_EXPR_INTERVAL=2
RUNBENCHMARKS=False
STARTER_JOB_ENVIRONMENT="PYTHONPATH={root}"
MASTER_BACKOFF_CONSTANT=1
MASTER_BACKOFF_FACTOR=1
"""


@contextmanager
def running(folder: Path) -> Iterator[Path]:
    """The configuration file for clients, `CONDOR_CONFIG`; it must be set before htcondor2 is imported."""
    usr = installed("condor") / "usr"
    for name in ("log", "run", "lock", "spool", "execute", "passwords", "ours", "theirs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    nobody = as_nobody()
    ids = "65534.65534" if nobody else _ids()
    told = {"root": ROOT, "usr": usr, "folder": folder, "port": free_port(), "ids": ids}
    for whose, name in (("ours", "client.conf"), ("theirs", "daemon.conf")):  # a token is its reader's own file
        (folder / name).write_text(CONFIGURATION.format(**told, tokens=whose))
    key = folder / "passwords" / "POOL"
    key.write_bytes(os.urandom(64))
    key.chmod(0o600)
    key.parent.chmod(0o700)
    give_to_nobody(folder)
    env = {"CONDOR_CONFIG": str(folder / "daemon.conf")}
    create = [*nobody, usr / "bin/condor_token_create", "-identity", "tagsel@tagsel.local", "-key", "POOL"]
    token = subprocess.run(list(map(str, create)), env={**os.environ, **env}, capture_output=True, check=True).stdout
    for whose in ("ours", "theirs"):
        (folder / whose / "token").write_bytes(token)
        (folder / whose / "token").chmod(0o600)
    give_to_nobody(folder / "theirs")
    if nobody:
        for mine in (folder / "ours", folder / "ours" / "token"):
            os.chown(mine, 0, 0)
    command = [*as_nobody(CAPABILITIES), usr / "sbin/condor_master", "-f", "-t"]
    client = folder / "client.conf"

    def answers() -> bool:
        asked = [usr / "bin/condor_status", "-any", "-af", "MyType"]
        seen = subprocess.run(
            list(map(str, asked)),
            env={**os.environ, "CONDOR_CONFIG": str(client)},
            capture_output=True,
            text=True,
            timeout=10,
        )
        return {"Machine", "Scheduler"} <= set(seen.stdout.split())

    with serving(command, folder / "master.out", answers, env=env, stop=signal.SIGQUIT):
        yield client


@contextmanager
def limited(client: Path, limit: str) -> Iterator[None]:
    """The pool with another limit of its schedd, a line of its configuration, until the block is left."""
    configuration, log = client.parent / "daemon.conf", client.parent / "log" / "SchedLog"
    before = configuration.read_text()

    def reconfigure(text: str) -> None:
        told = log.read_text(errors="replace").count(HEARD)
        configuration.write_text(text)
        patience = time.monotonic() + STOP_S
        while log.read_text(errors="replace").count(HEARD) == told:
            if time.monotonic() > patience:
                raise RuntimeError(f"the schedd does not read its configuration: {log}")
            os.kill(daemon(client, "schedd"), signal.SIGHUP)
            time.sleep(0.5)

    reconfigure(f"{before}{limit}\n")
    try:
        yield
    finally:
        reconfigure(before)


@contextmanager
def without_schedd(client: Path) -> Iterator[None]:
    """The pool whose schedd was killed by kill -9; its master starts it anew when the block is left."""
    schedd = daemon(client, "schedd")
    (master,) = re.findall(r"^PPid:\s*(\d+)", Path(f"/proc/{schedd}/status").read_text(), re.MULTILINE)
    os.kill(int(master), signal.SIGSTOP)
    try:
        os.kill(schedd, signal.SIGKILL)
        yield
    finally:
        os.kill(int(master), signal.SIGCONT)


def daemon(client: Path, name: str) -> int:
    """The process id of a daemon of the pool, as its master has it: `schedd`, `startd`."""
    log = (client.parent / "master.out").read_text(errors="replace")
    return int(re.findall(rf'Started DaemonCore process "[^"]*condor_{name}", pid and pgroup = (\d+)', log)[-1])


def _ids() -> str:
    return f"{os.getuid()}.{os.getgid()}"
