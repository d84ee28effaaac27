"""Runs in the environment of the Rucio server: its daemons over its database, each once, in turn. CONFIGURATION DAEMON…

Files are moved between folders by a transfer tool for the conveyor that copies them, where Rucio's own mock only says
so: what cannot be copied fails with the words of the system. It must submit and poll in one run.
"""

import importlib
import os
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit

DAEMONS = {
    "transmogrifier": ["transmogrifier.transmogrifier"],
    "judge-evaluator": ["judge.evaluator"],
    "judge-repairer": ["judge.repairer"],
    "judge-cleaner": ["judge.cleaner"],
    "conveyor": ["conveyor.submitter", "conveyor.poller", "conveyor.finisher"],
    "undertaker": ["undertaker.undertaker"],
}
"""The daemons by name, and the modules below `rucio.daemons` that each is."""

GIVEN = {"conveyor.poller": {"older_than": 0}}
"""What a daemon is told beside `once`: the poller else leaves a transfer alone for a minute."""


def main(configuration: str, daemons: list[str]) -> None:
    """Run each daemon once."""
    os.environ |= {"RUCIO_HOME": str(Path(configuration).parents[1]), "RUCIO_CONFIG": configuration}
    common = importlib.import_module("rucio.daemons.common")
    queue = common.db_workqueue  # each waits, for others of its kind to share the work with; here are none
    common.db_workqueue = lambda **given: queue(**{**given, "partition_wait_time": 0})
    tool = copying()
    importlib.import_module("rucio.core.transfer").TRANSFERTOOL_CLASSES_BY_NAME[tool.external_name] = tool
    for name in daemons:
        for module in DAEMONS[name]:
            importlib.import_module(f"rucio.daemons.{module}").run(once=True, **GIVEN.get(module, {}))


def copying() -> type:
    """The transfer tool that copies files."""
    mock = importlib.import_module("rucio.transfertool.mock")
    failed = importlib.import_module("rucio.db.sqla.constants").RequestState.FAILED
    errors: dict[str, str] = {}

    class Said(mock.MockTransferStatusReport):
        supported_db_fields = ("state", "external_id", "err_msg")

        def __init__(self, request_id, external_id):
            super().__init__(request_id, external_id)
            self.err_msg = errors.get(request_id)
            if self.err_msg:
                self.state = failed

    class Copying(mock.MockTransfertool):
        external_name = "copying"

        def submit(self, transfers, job_params, timeout=None):
            for transfer in transfers:
                urls = transfer.source_url(transfer.src), transfer.dest_url
                source, target = (Path(urlsplit(url).path) for url in urls)
                try:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, target)
                except OSError as error:
                    errors[transfer.rws.request_id] = f"{error.filename}: {error.strerror}"
            return super().submit(transfers, job_params, timeout)

        def bulk_query(self, requests_by_eid, timeout=None):
            return {eid: {r: Said(r, eid) for r in asked} for eid, asked in requests_by_eid.items()}

    return Copying


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
