"""Ingest files into a dataset of a workspace: what is refused, and what the catalog is told of a new dataset.

Invariant: all that may be refused is refused before a row is written.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.api import jobs
from tagsel.api.healing import named_facts
from tagsel.api.home import Home
from tagsel.api.inputs import DATA, hidden, unread
from tagsel.api.origins import CONTENTS
from tagsel.base.output_file import own_place
from tagsel.catalog import PutDataset, PutSite, check_dataset_name, others
from tagsel.errors import CatalogError, IngestError, TagselError
from tagsel.store import Table

if TYPE_CHECKING:
    from tagsel.ingest.load import Ingested

log = logging.getLogger("tagsel")

FACTS = ("type", "version", "stream", "sample", "parents", "state", "cut", "lumi")
"""What `ingest` may be told of a new dataset beside free keys."""


OWN_KEYS = frozenset({"catalog", "scope", "published", CONTENTS})
"""Free keys of datasets that are tagsel's own: whose a dataset is, and where it was published."""


def ingest(
    home: Home,
    files: Sequence[Path],
    dataset: str,
    *,
    facts: dict[str, Any],
    meta: dict[str, Any],
    schema: str,
    profile: str,
    site: str,
    aod: Sequence[Path | str],
    evolve: bool,
    identity: str,
    processes: int,
    progress: Callable[[str], None] | None,
) -> Ingested:
    """Ingest files into a dataset of the workspace; see `Workspace.ingest`."""
    from tagsel.ingest.load import ingest as load

    check_dataset_name(dataset)
    refuse_keys(meta)
    for path in files:
        _refuse_own(home, path)
    if dataset in home.catalog.names():
        record = home.catalog.dataset(dataset)
        if record.meta.get("catalog"):
            raise CatalogError(f"dataset {dataset} mirrors another catalog's", hint="ingest under another name")
        if record.members:
            members = ", ".join(record.members[:3])
            raise CatalogError(
                f"{dataset} is a container: it holds datasets, not events",
                dataset=dataset,
                hint=f"ingest into one of {members}, or under another name",
            )
        if Table.exists(home.folder / DATA / dataset):
            home.table(dataset)  # its log is whole, or nothing is added
    else:
        _warn_of_hiding(home, dataset)
    unknown = sorted(set(facts) - set(FACTS))
    if unknown:
        raise CatalogError(f"{', '.join(unknown)} is nothing that ingest takes", hint=f"known: {', '.join(FACTS)}")
    said = {k: v for k, v in facts.items() if v}
    if dataset not in home.catalog.names():
        said = {**named_facts(dataset), **said}
    if meta:
        said["meta"] = meta
    site = site or home.setting("site")
    # All that may be refused is refused before a row is written.
    if home.catalog.is_open(dataset):
        home.catalog.check(PutDataset(dataset, **said), *((PutSite(site),) if site else ()))
    return load(
        files,
        dataset,
        home.folder / DATA / dataset,
        home.catalog,
        said,
        schema=schema,
        profile=profile,
        site=site,
        aod=aod,
        evolve=evolve,
        identity=identity,
        processes=processes,
        progress=progress,
    )


def _warn_of_hiding(home: Home, dataset: str) -> None:
    """Warn where a dataset that is about to be made hides one of its name in a workspace that this one names.

    One that cannot be read is named in a warning, too: the ingest needs nothing of it.
    """
    for place, catalog in others.unchecked(home.folder, home.catalog)[1:]:
        try:
            others.need_workspace(home.folder, place)
            names = catalog.names()
        except (TagselError, OSError) as error:
            log.warning("%s", unread(place, str(error)))
            continue
        if dataset in names:
            log.warning("%s", hidden(dataset, home.folder, place))


def _refuse_own(home: Home, path: Path) -> None:
    """IngestError for a file or folder that tagsel itself made in a workspace: its events are in a dataset already.

    The result of a job that could not become a dataset is taken: nothing else has its events.
    """
    file = Path(os.path.realpath(path))
    place = own_place(file)
    if place and not jobs.is_unregistered_result(home, file):
        raise IngestError(
            f"{path} is in {place}, and what tagsel made there is no input",
            hint="its events are in a dataset already; the setting datasets = [FOLDER] reads another workspace's",
            path=str(path),
        )


def refuse_keys(meta: Mapping[str, Any]) -> None:
    """CatalogError for free keys by which tagsel itself says whose a dataset is."""
    if taken := sorted(set(map(str.lower, meta)) & OWN_KEYS):
        raise CatalogError(f"{taken[0]} is a key of tagsel's own", hint="choose another name for it", key=taken[0])
