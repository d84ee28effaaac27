"""A TAG dataset on disk: a Delta table over our own parts, and its numbered snapshots.

Invariant: a snapshot's rows and their order never change; what differs between snapshots is said by the log
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from tagsel.base.lock_file import lock_file
from tagsel.errors import StoreError
from tagsel.schema import Attribute, Menu, Schema
from tagsel.store import checks, disk, log, pins, snapshots, upkeep
from tagsel.store import extend as extending
from tagsel.store import retract as retracting
from tagsel.store.commits import Change, commit, create
from tagsel.store.extend import Values
from tagsel.store.layout import NewPart, Source
from tagsel.store.log import State
from tagsel.store.retract import Diminish, Losses
from tagsel.store.snapshots import Snapshot
from tagsel.store.upkeep import CompactPlan


@dataclass(frozen=True)
class Table:
    """The dataset in `folder`. Open one with `Table.open`, make one with `Table.create`."""

    folder: Path

    @classmethod
    def create(cls, folder: Path, schema: Schema) -> Table:
        """Make an empty dataset, snapshot 0, in a missing or empty folder. StoreError: there is one."""
        checks.ids(schema)
        create(folder, schema)
        return cls(folder)

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether there is a dataset in `folder`; one whose maker was killed may have a log without an entry."""
        return log.has_entry(folder, 0) or ((folder / "_delta_log").is_dir() and log.newest_version(folder) >= 0)

    @classmethod
    def open(cls, folder: Path) -> Table:
        """The dataset in `folder`. StoreError: there is none."""
        if not cls.exists(folder):
            raise StoreError(f"no dataset in {folder}: it has no _delta_log, or one without an entry", path=str(folder))
        return cls(folder)

    def snapshot(self, number: int | None = None) -> Snapshot:
        """Snapshot `number`, or the latest. StoreError: there is none, or its parts are gone."""
        newest = snapshots.newest(self.folder)
        if number is None or number == newest.number:
            return newest
        if not 0 <= number < newest.number:
            raise StoreError(
                f"dataset {self.folder.name} has no snapshot {number}: it has 0 to {newest.number}",
                snapshot=number,
                newest=newest.number,
            )
        state = log.at(self.folder, number)
        self._check_whole(state)
        return Snapshot(self.folder, state)

    def _check_whole(self, state: State) -> None:
        for part in state.parts:
            if not (self.folder / part.name).exists():
                raise StoreError(
                    f"snapshot {state.number} of {self.folder.name} is no longer whole: part {part.name} "
                    "was removed by gc, or from outside",
                    hint="pin snapshots that must stay readable; the latest snapshot is not concerned",
                    snapshot=state.number,
                    path=str(self.folder / part.name),
                )

    def snapshots(self) -> list[int]:
        """Numbers of all snapshots, ascending."""
        return list(range(log.latest(self.folder).number + 1))

    def append(
        self,
        parts: Sequence[NewPart],
        schema: Schema,
        menus: Mapping[int, Menu],
        sources: Sequence[Source] = (),
        *,
        evolve: bool = False,
    ) -> Snapshot:
        """Commit `parts`, whose columns are those of `schema`, and files of 0 rows as `sources`.

        Columns that are missing or extra against the dataset are refused unless `evolve`, which takes them
        as missing; another type is always refused. Concurrent writers wait for each other, and all land.
        StoreError also for a part or a source's GUID that the dataset has already.
        """

        def change(state: State) -> Change:
            mine = Snapshot(self.folder, state).schema
            merged = checks.merged(mine, schema, evolve, self.folder.name)
            checks.fresh(state, parts, sources)
            commits = log.commits_folder(self.folder)
            records = tuple(checks.record(self.folder, p, schema, evolve) for p in parts)
            documents = [{"id": i, "menu": m.to_json()} for i, m in sorted(menus.items())]
            record = {
                "op": "append",
                "schema": disk.write_document(commits, merged.to_json()),
                "menus": [disk.write_document(commits, d) for d in documents],
                "parts": [asdict(r) for r in records],
                "sources": checks.placed(parts, sources),
                "guids": sorted({s.guid for s in checks.all_sources(parts, sources) if s.guid}),
            }
            return Change(record, merged, records)

        return commit(self.folder, change)

    def restore(self, number: int) -> Snapshot:
        """A new snapshot with the content of snapshot `number`. StoreError: its parts are gone."""
        self.snapshot(number)

        def change(state: State) -> Change:
            wanted = log.at(self.folder, number)
            self._check_whole(wanted)
            have, want = set(state.parts), set(wanted.parts)
            added = tuple(p for p in wanted.parts if p not in have)
            removed = tuple(p for p in state.parts if p not in want)
            record = {"op": "restore", "of": number, "state": asdict(wanted)}
            return Change(record, Snapshot(self.folder, wanted).schema, added, removed)

        return commit(self.folder, change)

    def go_on(self, wanted: State, number: int) -> Snapshot:
        """Go on after entries of the log were lost: new snapshots of the content `wanted`, until there is `number`.

        Manifests beyond the log are evidence no more, and go. StoreError: parts are gone.
        """
        self._check_whole(wanted)
        newest = max(log.versions(self.folder))
        for version in log.manifests(self.folder):
            state = log.read_manifest(self.folder, version)
            if state is not None and state.version > newest:
                log.manifest_path(self.folder, version).unlink(missing_ok=True)

        def change(state: State) -> Change:
            have, want = set(state.parts), set(wanted.parts)
            added = tuple(p for p in wanted.parts if p not in have)
            removed = tuple(p for p in state.parts if p not in want)
            record = {"op": "restore", "of": wanted.number, "state": asdict(wanted)}
            return Change(record, Snapshot(self.folder, wanted).schema, added, removed)

        snapshot = commit(self.folder, change)
        while snapshot.number < number:
            snapshot = commit(self.folder, change)
        return snapshot

    def compact(self, *, dry_run: bool = False) -> CompactPlan | Snapshot:
        """Pack neighbouring small parts into parts of 1 to 8 million rows, order and content kept.

        With `dry_run` the plan, else the new snapshot (the latest one when there is nothing to pack). The
        old parts stay until `gc`.
        """
        snapshot = self.snapshot()
        plan = upkeep.plan(snapshot)
        if dry_run or not plan.bins:
            return plan if dry_run else snapshot
        packed = [upkeep.pack(snapshot, names) for names in plan.bins]

        def change(state: State) -> Change:
            records = tuple(checks.record(self.folder, new, schema, False) for new, schema in packed)
            gone = set(chain.from_iterable(plan.bins))
            removed = tuple(p for p in state.parts if p.name in gone)
            if len(removed) != len(gone):
                raise StoreError("the dataset changed while it was compacted: parts are gone", hint="compact again")
            bins = [[list(names), asdict(r)] for names, r in zip(plan.bins, records, strict=True)]
            return Change({"op": "compact", "bins": bins}, snapshot.schema, records, removed)

        return commit(self.folder, change)

    def extend(
        self,
        snapshot: Snapshot,
        attributes: Sequence[Attribute],
        values: Values,
        said: Mapping[str, object],
        before_commit: Callable[[], None] = lambda: None,
    ) -> Snapshot:
        """A new snapshot whose parts have the users' `attributes`, too: same rows, same order, same digests.

        `snapshot` is the latest, `attributes` are those of `extend.user_attributes`; `values` gives them by row group;
        `said`, JSON-ready, is kept in the commit. `before_commit` is called once all is computed, and may refuse. Parts
        that have them already are left alone. The old parts stay until `gc`. StoreError: no part lacks them, or the
        dataset changed meanwhile.
        """
        merged = snapshot.schema.union(Schema(tuple(attributes)))
        extending.check_other_engines(self.folder, attributes)
        rewritten = extending.rewrite(snapshot, attributes, values)

        def change(state: State) -> Change:
            records = [(old, checks.record(self.folder, new, schema, False)) for old, new, schema in rewritten]
            gone = {old for old, _ in records}
            removed = tuple(p for p in state.parts if p.name in gone)
            if len(removed) != len(gone):
                raise StoreError("the dataset changed while it was extended: parts are gone", hint="extend again")
            mine = Snapshot(self.folder, state).schema.union(merged)
            commits = log.commits_folder(self.folder)
            record = {
                "op": "extend",
                "schema": disk.write_document(commits, mine.to_json()),
                "parts": [[old, asdict(new)] for old, new in records],
                "said": dict(said),
            }
            return Change(record, mine, tuple(new for _, new in records), removed)

        try:
            before_commit()
            return commit(self.folder, change)
        except BaseException:
            present = {p.name for p in log.latest(self.folder).parts}
            extending.discard(self.folder, [m for m in rewritten if m[1].name not in present])
            raise

    def retract(self, lost: Losses, said: Mapping[str, str], diminish: Diminish) -> Snapshot:
        """A new snapshot without a file's rows and without ingested files that go whole; old parts stay until `gc`.

        `lost` are the losses of the latest snapshot; `said` has the file's `guid` and `lfn`, the `reason`, `who` and
        `when`; `diminish` gives the bookkeeping of files that stay without some rows. StoreError: the dataset changed.
        """
        there = {path.name for path in self.folder.glob("*.parquet")}
        rewritten = retracting.rewrite(lost)

        def change(state: State) -> Change:
            if (state.parts, state.sources) != (lost.snapshot.state.parts, lost.snapshot.state.sources):
                raise StoreError("the dataset changed while a file was retracted", hint="retract again")
            records = [(old, checks.record(self.folder, new, s, False) if new else None) for old, new, s in rewritten]
            gone = {old for old, _ in records}
            record = {**retracting.record(lost, records, diminish), "snapshot": state.number + 1, "said": dict(said)}
            removed = tuple(p for p in state.parts if p.name in gone)
            return Change(record, lost.snapshot.schema, tuple(new for _, new in records if new), removed)

        try:
            return commit(self.folder, change)
        except StoreError:
            present = {p.name for p in log.latest(self.folder).parts}
            retracting.discard(self.folder, rewritten, there | present)
            raise

    def pin(self, number: int, reason: str) -> None:
        """Keep the parts of a snapshot from ever being removed, for `reason` (a list, an output, a tag)."""
        with disk.locked(self.folder / "_tagsel"):
            snapshot = self.snapshot(number)
            pins.add(self.folder, number, reason)
            log.write_manifest(self.folder, snapshot.state)

    def unpin(self, number: int, reason: str | None = None) -> None:
        """Take back a pin; without `reason` all of the snapshot's."""
        with disk.locked(self.folder / "_tagsel"):
            pins.remove(self.folder, number, reason)

    def pins(self) -> dict[int, tuple[str, ...]]:
        """Pinned snapshots and the reasons."""
        return pins.read(self.folder)

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Keep others from removing anything meanwhile; also for a reader, who may not write here."""
        lock = self.folder / "_tagsel" / "lock"
        name = f"dataset {self.folder.name}"
        with lock_file(lock, shared=True, reader=True, patience=disk.PATIENCE, action="pinning", what=name):
            yield

    def gc(self, *, dry_run: bool, grace_s: float, keep: Callable[[], Iterable[int]] = tuple) -> list[Path]:
        """Remove what no snapshot needs and has not changed for `grace_s` seconds; the files, removed or to
        be.

        That is: temporary files, parts of no snapshot, parts that the latest and the pinned snapshots lack. Snapshots
        of `keep`, which others pinned and which is asked while nobody can pin, stay as well. StoreError, before
        anything is removed, where the pins or an entry of the log are damaged or missing.
        """
        with disk.locked(self.folder / "_tagsel"):
            garbage = upkeep.garbage(self.folder, grace_s, keep())
            if not dry_run:
                with disk.saying("clean up", self.folder):
                    for path in garbage:
                        path.unlink(missing_ok=True)
        return garbage
