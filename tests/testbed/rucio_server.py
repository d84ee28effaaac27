"""Runs in the environment of the Rucio server: makes its tables in an empty database, and serves. DIR PORT DATABASE."""

import importlib.util
import os
import sys
from pathlib import Path

CONFIGURATION = """[common]
logdir={folder}/log
loglevel=WARNING
[database]
default={database}
[bootstrap]
userpass_identity=tagsel
userpass_pwd=tagsel-secret
userpass_email=tagsel@localhost
[alembic]
cfg={folder}/etc/alembic.ini
[policy]
permission=generic
schema=generic
[conveyor]
transfertool=copying
"""

ALEMBIC = """[alembic]
script_location={scripts}
sqlalchemy.url={database}
[loggers]
keys=root
[handlers]
keys=console
[formatters]
keys=plain
[logger_root]
level=WARN
handlers=console
[handler_console]
class=StreamHandler
args=(sys.stderr,)
formatter=plain
[formatter_plain]
format=%(levelname)s %(message)s
"""


def main(folder: Path, port: int, database: str) -> None:
    """Serve until killed; what was made before is taken up.

    SQLite takes one request at a time: with several it answers that it is locked.
    """
    package = Path(importlib.util.find_spec("rucio").origin).parent
    for name in ("etc", "log"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "etc/rucio.cfg").write_text(CONFIGURATION.format(folder=folder, database=database))
    (folder / "etc/alembic.ini").write_text(
        ALEMBIC.format(scripts=f"{package}/db/sqla/migrate_repo/", database=database)
    )
    os.environ |= {"RUCIO_HOME": str(folder), "RUCIO_CONFIG": str(folder / "etc/rucio.cfg")}
    from rucio.db.sqla.util import build_database, create_base_vo, create_root_account

    made = folder / "made"
    if not made.exists():
        build_database()
        create_base_vo()
        create_root_account()
    from rucio.core.meta_conventions import add_key, add_value
    from rucio.db.sqla.constants import KeyType
    from rucio.web.rest.flaskapi.v1.main import application
    from werkzeug.serving import make_server

    if not made.exists():
        add_key("datatype", KeyType.ALL)
        for value in ("TAG", "AOD", "ESD", "RAW", "EVENTS", "HIST", "NUMBERS"):
            add_value("datatype", value)
        made.touch()
    make_server("127.0.0.1", port, application, threaded=not database.startswith("sqlite")).serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
