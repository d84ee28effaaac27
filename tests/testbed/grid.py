"""A small grid on this machine, all of it real: Rucio over PostgreSQL, XRootD with the storage of two sites, HTCondor.

`python -m testbed.grid COMMAND…` runs a command in it. The AODs of the sample lie at CERN and CNAF and are registered
in Rucio, scope `data09`; `user.tagsel` is a scope for outputs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tagsel.catalog.records import DatasetFacts, FileRecord
from tagsel.catalog.rucio import Rucio
from tagsel.rootio import RootFile
from tagsel.rootio.copying import checksum, copy
from testbed import condor, rucio, xrootd
from testbed.servers import Missing, open_way

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample" / "files"

HELD = {"physics_MinBias": ("CNAF",), "physics_Muon": ("CERN", "CNAF")}
"""Which sites hold the AODs of which stream."""

WAYS = {"read": 1, "write": 1, "delete": 1}


@contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which tagsel finds the grid: RUCIO_CONFIG, CONDOR_CONFIG, and GRID_STORAGE of both sites."""
    with ExitStack() as stack:
        for part in ("rucio", "condor", "xrootd"):
            (folder / part).mkdir(parents=True)
            open_way(folder / part)
        address, _ = stack.enter_context(xrootd.running(folder / "xrootd"))
        configuration = stack.enter_context(rucio.running(folder / "rucio", "postgresql"))
        client = stack.enter_context(condor.running(folder / "condor"))
        fill(configuration, address)
        yield {"RUCIO_CONFIG": str(configuration), "CONDOR_CONFIG": str(client), "GRID_STORAGE": address}


def fill(configuration: Path, address: str) -> None:
    """Make the sites, the scopes and the datasets of the sample's AODs."""
    registry = Rucio(str(configuration))
    server = registry._client
    host, port = address.removeprefix("root://").rstrip("/").split(":")
    for site in ("CERN", "CNAF"):
        server.add_rse(site, deterministic=True)
        server.add_protocol(
            site,
            {
                "scheme": "root",
                "hostname": host,
                "port": int(port),
                "prefix": f"//data/{site}/",
                "impl": "rucio.rse.protocols.xrootd.Default",
                "domains": {"lan": WAYS, "wan": WAYS},
            },
        )
        server.add_rse_attribute(site, "tier", 0 if site == "CERN" else 1)
        server.set_local_account_limit("root", site, -1)
    for scope in ("data09", "user.tagsel"):
        server.add_scope("root", scope)
    for stream, sites in HELD.items():
        name = f"data09:data09_900GeV.{stream}.AOD"
        registry.create(name, DatasetFacts(type="AOD", version="1.0.0", stream=stream))
        files = [_file(path) for path in sorted(SAMPLE.glob(f"*.{stream}.AOD.*.root"))]
        for site in sites:
            for file in files:
                copy(file.pfn, registry.place(file.lfn, site), file.checksum)
        rows = [FileRecord(f.guid, f.lfn, "", "AOD", f.entries, f.bytes, checksum=f.checksum) for f in files]
        registry.attach(name, rows, sites[0])
        for site in sites[1:]:
            server.add_replicas(
                site,
                [
                    {
                        "scope": "data09",
                        "name": f.lfn.partition(":")[2],
                        "bytes": f.bytes,
                        "adler32": f.checksum.removeprefix("adler32:"),
                    }
                    for f in rows
                ],
            )
        registry.close(name)


def _file(path: Path) -> FileRecord:
    with RootFile(path) as file:
        return FileRecord(
            file.guid,
            f"data09:{path.name}",
            str(path),
            "AOD",
            file.events().entries,
            path.stat().st_size,
            checksum=checksum(str(path)),
        )


def main(command: list[str]) -> int:
    """Run a command in the grid; its exit code. Where an engine is not installed that is said, and nothing is run."""
    with tempfile.TemporaryDirectory(prefix="tagsel-grid-") as home:
        Path(home).chmod(0o755)
        try:
            with running(Path(home)) as environment:
                return subprocess.run(command, env={**os.environ, **environment}, check=False).returncode
        except Missing as missing:
            print(f"no grid: {missing}", file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
