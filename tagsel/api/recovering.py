"""`workspace recover`: what can be had of damaged or missing state, from where; and doing it.

First the journal (`catalog.recovery`). Then the catalog, which may be that of an older backup or gone, is compared with
`data/`, `trash/` and `jobs/`. Datasets and snapshots that it does not know are registered again as their own files say,
and so are pins and outputs of jobs. A dataset whose log ends before a snapshot that a manifest or the catalog knows
goes on from there. What the catalog knows and the disk does not have is named.

Invariant: nothing of a dataset's rows is written or removed but by a commit, which a later one can undo.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tagsel.api import jobs, trash_folder
from tagsel.api.healing import named_facts
from tagsel.api.home import Home
from tagsel.api.inputs import DATA
from tagsel.base.ranges import as_ranges
from tagsel.catalog import Catalog, DatasetRecord, DropDataset, Pin, Unpin, canonical_guid, check_dataset_name
from tagsel.catalog.recovery import Recovery
from tagsel.catalog.recovery import recover as recover_journal
from tagsel.catalog.values import read_value
from tagsel.errors import StoreError, TagselError
from tagsel.store import Snapshot, Table, log, pins

if TYPE_CHECKING:
    from tagsel.jobs import Job


Dropped = Mapping[Path, Mapping[str, Any]]
"""The records of datasets in the trash, by their folders."""


@dataclass(frozen=True)
class Recovered:
    """What was, or would be, recovered: of the journal, and by dataset in words; `lost` is what cannot be had.

    `remarks` name what the user may have removed on purpose, and nothing depends on.
    """

    journal: Recovery
    done: tuple[str, ...]
    lost: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def needed(self) -> bool:
        """Whether anything was wrong."""
        return self.journal.needed or bool(self.done or self.lost)

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return asdict(self)

    def lines(self) -> list[str]:
        """All of it in words, a line each."""
        lost = [f"lost: {what}" for what in self.lost]
        remarks = [f"remark: {what}" for what in self.remarks]
        return [*_of_journal(self.journal), *self.done, *lost, *remarks]


def recover(home: Home, *, dry_run: bool) -> Recovered:
    """Recover the catalog, pins and datasets of a workspace, or say what would be; see `Workspace.recover`."""
    journal = recover_journal(home.folder, dry_run=dry_run)
    done: list[str] = []
    lost: list[str] = []
    if dry_run and journal.needed:  # what the datasets lack is known once the journal is whole
        return Recovered(journal, (), ())
    catalog = Catalog(home.folder)
    dropped, damaged = trash_folder.look_up(home.folder)
    lost += [error.message for error in damaged]
    done += _register_unknown(catalog, home.folder / DATA, lost, dry_run)
    for record in catalog.datasets():
        folder = home.folder / DATA / record.name
        try:
            if (folder / "_tagsel").is_dir():
                done += _recover_log(catalog, record, folder, lost, dry_run)
                done += _recover_pins(catalog, record, folder, dry_run)
            elif record.snapshot:
                done += _without_folder(catalog, record, dropped, lost, dry_run)
        except TagselError as error:  # it holds up no other dataset
            lost.append(f"{record.name}: {error.message}")
    done += _recover_outputs(home, catalog, dropped, lost, dry_run)
    remarks = _jobs_without_folder(catalog, lost)
    return Recovered(journal, tuple(done), tuple(lost), tuple(remarks))


def _register_unknown(catalog: Catalog, data: Path, lost: list[str], dry_run: bool) -> list[str]:
    """Register datasets that lie on disk and that the catalog does not know, as their own files say."""
    done = []
    for folder in sorted(set(data.iterdir()) if data.is_dir() else ()):
        name = folder.name
        if name in catalog.names() or not (Table.exists(folder) or log.manifests(folder)):
            continue
        try:
            snapshot = Table.open(folder).snapshot()
            if not snapshot.number:  # an ingest is making it, or was killed before it had any events: `gc` reclaims it
                continue
            check_dataset_name(name)
            if not dry_run:
                from tagsel.ingest.registration import register

                register(catalog, name, snapshot, named_facts(name))
        except TagselError as error:
            lost.append(f"{folder}, which the catalog does not know: {error.message}")
            continue
        done.append(
            f"{name}: registered again with {snapshot.rows:,} events, as its files say; keys and copies at sites that "
            "only the catalog had are not in them"
        )
    return done


def _without_folder(
    catalog: Catalog, record: DatasetRecord, dropped: Dropped, lost: list[str], dry_run: bool
) -> list[str]:
    """A dataset whose files are not there: one that is in the trash goes out of the catalog again."""
    places = [place for place, trashed in dropped.items() if trashed["name"] == record.name]
    if not any(_has_snapshot(place / trash_folder.MOVED, catalog, record) for place in places):
        other = ", and the trash has only another dataset of that name" if places else ""
        folder = catalog.folder / DATA / record.name
        lost.append(f"{record.name}: its {record.events:,} events: {folder} is gone{other}: put it back from a backup")
        return []
    if not dry_run:
        held = [Unpin(pin.dataset, pin.snapshot, pin.reason) for pin in catalog.pins(record.name)]
        catalog.record(*held, DropDataset(record.name))
    return [f"{record.name}: it is in the trash, and goes out of the catalog again"]


def _has_snapshot(folder: Path, catalog: Catalog, record: DatasetRecord) -> bool:
    """Whether the dataset in a folder has the snapshot that the catalog knows: as many events, from the same files."""
    if not Table.exists(folder):
        return False
    try:
        snapshot = Table.open(folder).snapshot(record.snapshot)
    except StoreError:  # it has no such snapshot
        return False
    files = {file.guid for file in catalog.files(record.name) if file.kind == "TAG"}
    return snapshot.rows == record.events and {canonical_guid(guid) for guid in snapshot.source_guids} == files


def _recover_outputs(home: Home, catalog: Catalog, dropped: Dropped, lost: list[str], dry_run: bool) -> list[str]:
    """Register outputs of jobs that the catalog does not know; name jobs, and results, that are damaged."""
    from tagsel.jobs import look_up_jobs

    readable, damaged = look_up_jobs(home.folder / jobs.JOBS)
    lost += [error.message for error in damaged.values()]
    done = []
    for job in readable:
        try:
            name = jobs.unregistered(catalog, job)
            if not name or any(_is_output(record, name, job) for record in dropped.values()):
                continue
            if dry_run:
                jobs.refuse_taken(catalog, job, name)
            else:
                jobs.WorkspaceJob(home, job).settle()
            done.append(f"{name}: the output of job {job.id} is registered again")
        except TagselError as error:
            lost.append(f"the output of job {job.id}: {error.message}")
    return done


def _jobs_without_folder(catalog: Catalog, lost: list[str]) -> list[str]:
    """Remarks on jobs whose folders are gone; where a dataset's file was in one, that dataset is lost."""
    files_in_jobs = [record for record in catalog.datasets() if "job" in record.meta and not record.snapshot]
    remarks = []
    for job in sorted({job.job for job in catalog.jobs()}):
        folder = catalog.folder / jobs.JOBS / job
        if folder.exists():
            continue
        outputs = [record.name for record in files_in_jobs if record.meta["job"] == job]
        if not outputs:
            remarks.append(f"job {job}: {folder} is gone; no dataset needs it")
        for name in outputs:
            remedy = f"put it back from a backup, or tagsel datasets drop {name}"
            lost.append(f"{name}: its file was in {folder}, which is gone: {remedy}")
    return remarks


def _is_output(record: Mapping[str, Any], name: str, job: Job) -> bool:
    """Whether the record of a dataset in the trash is that of a job's output, of the result as it is now."""
    keys = {row["key"]: read_value(row["kind"], row["value"]) for row in record["rows"].get("meta", ())}
    output = (record["name"], keys.get("job"), keys.get("result"))
    return output == (name, job.id, job.result().digest)


def _recover_pins(catalog: Catalog, record: DatasetRecord, folder: Path, dry_run: bool) -> list[str]:
    """Write the pins anew that the journal has and the file lacks, and the other way round; a damaged file is moved
    aside."""
    recorded = [(pin.snapshot, pin.reason) for pin in catalog.pins(record.name)]
    path, aside = pins.path_of(folder), ""
    done = []
    try:
        kept = pins.read(folder)
    except StoreError as error:
        kept, aside = {}, f"{path.name}.damaged"
        done.append(f"{record.name}: {error.message}: it is kept as {aside}")
    unrecorded = [pin for pin in pins.listed(kept) if pin not in recorded]
    if unrecorded:
        if not dry_run:
            catalog.record(*(Pin(record.name, number, reason) for number, reason in unrecorded))
        done.append(f"{record.name}: {pins.in_words(len(unrecorded))} from its {path.name}")
    lacking = pins.lacking(kept, recorded)
    if not lacking and not aside:
        return done
    if not dry_run:
        if aside:
            path.rename(path.with_name(aside))
        for number, reason in lacking:
            kept[number] = (*kept.get(number, ()), reason)
        pins.write(folder, kept)
    if lacking:
        done.append(f"{record.name}: {pins.in_words(len(lacking))} from the catalog's journal")
    return done


def _recover_log(catalog: Catalog, record: DatasetRecord, folder: Path, lost: list[str], dry_run: bool) -> list[str]:
    """Go on from the newest state that can be had, where the log ends before one that was known."""
    if not Table.exists(folder):
        lost.append(f"{record.name}: its log {folder / '_delta_log'} is gone: put it back from a backup")
        return []
    present = log.versions(folder)
    remembered = log.beyond(folder, present[-1])
    if remembered is None:
        try:
            log.check_whole(folder)
            newest = Table.open(folder).snapshot()
        except StoreError as error:  # an entry between others
            lost.append(error.message)
            return []
        if newest.number > record.snapshot:
            return _catch_up(catalog, record, newest, dry_run)
        if newest.number == record.snapshot:
            return []
        wanted = newest.state
        lost.append(f"{record.name}: {record.events - newest.rows:,} events of snapshot {record.snapshot}")
    else:
        gone = [part.name for part in remembered.parts if not (folder / part.name).exists()]
        if gone:
            lost.append(f"{record.name}: parts of snapshot {remembered.number}, {gone[0]} for one, are not there")
            return []
        wanted = remembered
    if not dry_run:
        from tagsel.ingest.registration import register

        snapshot = Table(folder).go_on(wanted, max(record.snapshot, wanted.number))
        register(catalog, record.name, snapshot, {})
    source = f"the manifest of snapshot {wanted.number}" if remembered else "the log as it is"
    return [f"{record.name}: goes on with {wanted.rows:,} events from {source}"]


def _catch_up(catalog: Catalog, record: DatasetRecord, newest: Snapshot, dry_run: bool) -> list[str]:
    """Register the newest snapshot of a dataset of which the catalog knows an older one."""
    if not dry_run:
        from tagsel.ingest.registration import register

        register(catalog, record.name, newest, {})
    return [f"{record.name}: snapshot {newest.number} is registered, the catalog knew {record.snapshot}"]


def _of_journal(journal: Recovery) -> list[str]:
    """What is said of the journal; nothing where it is whole."""
    if not journal.needed:
        return []
    text = [f"{name} is of another workspace: nothing is taken from it" for name in journal.foreign]
    if journal.foreign and journal.known == journal.lines and not journal.damaged:
        return text
    known = f", other files know of {journal.known:,}" if journal.known > journal.lines else ""
    text.append(f"journal: {journal.lines:,} whole line{'s' if journal.lines != 1 else ''}{known}")
    if journal.stray:
        text.append(f"journal: what follows line {journal.lines:,} is no line of a journal, and is taken away")
    elif journal.instead > journal.damaged:
        text.append(f"journal: line {journal.damaged:,} is missing, line {journal.instead:,} is in its place")
    elif journal.damaged:
        text.append(f"journal: line {journal.damaged:,} is damaged")
    for restored in journal.restored:
        text.append(
            f"journal: what the lines up to {restored.lines:,} changed comes from {restored.source}: "
            f"{restored.rows:,} row{'s' if restored.rows != 1 else ''} of its tables"
        )
    if journal.without:
        tables, source = ", ".join(journal.without), journal.restored[-1].source
        lines = _lines(journal.partly) if journal.partly else "these lines"
        text.append(f"lost: what {lines} say of {tables}: {source} does not keep it")
    if journal.later:
        text.append(f"journal: {journal.later:,} lines after the damage are kept")
    if journal.lost:
        text.append(f"lost: what {_lines(journal.lost)} of the journal changed")
    if journal.kept:
        text.append(f"journal: the old one is kept as {journal.kept}")
    return text


def _lines(numbers: Sequence[int]) -> str:
    """Lines in words.

    >>> _lines([3]), _lines([3, 4, 9])
    ('line 3', 'lines 3-4, 9')
    """
    return f"line{'s' if len(numbers) > 1 else ''} {as_ranges(numbers)}"
