"""A Slurm cluster of one node: munge, controller and node daemon, without accounting."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from testbed.servers import LIBRARIES, free_port, installed, serving

CONFIGURATION = """ClusterName=tagsel
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
PluginDir={plugins}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobcomp.txt
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
MaxArraySize=20001
MaxJobCount=40000
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
SlurmdParameters=config_overrides
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=4096
EnforcePartLimits=ALL
PartitionName=short Nodes={host} MaxTime=1 State=UP
PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@dataclass
class Cluster:
    """A cluster's environment, and its daemons by name: `munged`, `slurmctld`, `slurmd`."""

    environment: Mapping[str, str]
    daemons: Mapping[str, tuple[Sequence[str | Path], Callable[[], bool]]]
    folder: Path
    stack: ExitStack
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start a daemon, and wait for it."""
        command, answers = self.daemons[name]
        server = serving(command, self.folder / f"{name}.out", answers, env=self.environment)
        self.processes[name] = self.stack.enter_context(server)


@contextmanager
def running(folder: Path) -> Iterator[Mapping[str, str]]:
    """The environment in which `sbatch` and its kin find the cluster and are found."""
    with cluster(folder) as found:
        yield found.environment


@contextmanager
def cluster(folder: Path, more: str = "") -> Iterator[Cluster]:
    """A cluster whose daemons can be killed and started anew; `more` are further lines of slurm.conf."""
    prefix = installed("slurm")
    plugins = prefix / LIBRARIES / "slurm-wlm"
    host, user = os.uname().nodename.split(".")[0], "root" if os.geteuid() == 0 else os.environ.get("USER", "nobody")
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    ports = free_port(), free_port()
    (folder / "slurm.conf").write_text(
        CONFIGURATION.format(folder=folder, plugins=plugins, host=host, user=user, ports=ports) + more
    )
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    folder.chmod(0o755)
    env = {
        "LD_LIBRARY_PATH": f"{prefix / LIBRARIES}:{plugins}",
        "SLURM_CONF": str(folder / "slurm.conf"),
        "PATH": f"{prefix}/usr/bin:{os.environ['PATH']}",
    }
    socket = folder / "munge.sock"

    def nodes() -> bool:
        told = subprocess.run(["sinfo", "-h", "-o", "%t"], env={**os.environ, **env}, capture_output=True, text=True)
        return told.stdout.strip() in ("idle", "mix")

    daemons = {
        "munged": (
            [
                prefix / "usr/sbin/munged",
                "-F",
                "--force",
                f"--key-file={key}",
                f"--socket={socket}",
                f"--pid-file={folder}/munged.pid",
                f"--log-file={folder}/munged.log",
                f"--seed-file={folder}/munged.seed",
            ],
            socket.exists,
        ),
        "slurmctld": ([prefix / "usr/sbin/slurmctld-wlm", "-D", "-f", folder / "slurm.conf"], lambda: True),
        "slurmd": (
            [
                prefix / "usr/sbin/slurmd-wlm",
                "-D",
                "-N",
                host,
                "-f",
                folder / "slurm.conf",
                "-d",
                prefix / "usr/sbin/slurmstepd-wlm",
            ],
            nodes,
        ),
    }
    with ExitStack() as stack:
        found = Cluster(env, daemons, folder, stack)
        for name in daemons:
            found.start(name)
        yield found
