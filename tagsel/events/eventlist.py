"""An event list: which events, in which files, at which entries, and how that was found.

Invariant: a list has one order, by (GUID, entry) and then by identity; so the same events give the same
list however they came in. Lists are immutable. Nothing here opens a file but `save`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar, overload

import numpy as np
import numpy.typing as npt

from tagsel.base.output_file import output_file
from tagsel.errors import EventListError, did_you_mean
from tagsel.events.identity import (
    Groups,
    by_lumi_digest,
    check_lumis,
    data_digest,
    identity_groups,
    simulation_digest,
)
from tagsel.events.ledger import Ledger
from tagsel.events.names import UNKNOWN, Array, Codes, Longs, Names, Reference, frozen
from tagsel.events.parquet import is_intact, to_table, write_parquet

Mask = npt.NDArray[np.bool_]
Rule = Callable[[Mask, Mask], Mask]
Int = TypeVar("Int", np.int32, np.int64)
LIMITS = {"run": 2**31 - 1, "lumi": 2**31 - 1, "event": 2**63 - 1}


class Event(NamedTuple):
    """One event of a list; a `lumi` or `entry` of -1, or a `guid` of "", is unknown."""

    run: int
    lumi: int
    event: int
    guid: str
    entry: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """Numbers of events that only the left list, both, and only the right list have."""

    left_only: int
    both: int
    right_only: int


@dataclass(frozen=True, eq=False)
class EventList:
    """Selected events: their identities, and the file and entry of each one.

    A selection, `from_arrays` or `read_events` makes one. `&`, `|`, `-` and `^` combine two like sets.

    Attributes
    ----------
    run : array of int32, shape (n,)
        Run number.
    lumi : array of int32, shape (n,)
        Luminosity block; -1 is unknown.
    event : array of int64, shape (n,)
        Event number.
    references : mapping of str to Reference
        Files and entries at the stage "aod" and, if the list has them, "esd" and "raw".
    sample : Names or None
        The simulated sample of each event; None for data.
    ledger : Ledger or None
        Accounts for the TAG rows of the selection.
    provenance : mapping
        Cut, snapshots, good-run lists and versions of the selection.
    by_lumi : bool
        Whether an event of data is (run, lumi, event), not (run, event).

    Examples
    --------
    >>> a = EventList.from_arrays([1, 1], [5, 6], [10, 11])
    >>> b = EventList.from_arrays([1, 1], [6, 7], [11, 12])
    >>> [e.event for e in a & b], len(a | b), [e.event for e in a - b]
    ([11], 3, [10])
    """

    run: npt.NDArray[np.int32]
    lumi: npt.NDArray[np.int32]
    event: Longs
    references: Mapping[str, Reference]
    sample: Names | None = None
    ledger: Ledger | None = None
    provenance: Mapping[str, object] = field(default_factory=dict)
    by_lumi: bool = False  # of data: an event is (run, lumi, event), not (run, event)

    @classmethod
    def from_arrays(
        cls,
        run: npt.ArrayLike,
        lumi: npt.ArrayLike,
        event: npt.ArrayLike,
        guid_codes: npt.ArrayLike | None = None,
        guids: Sequence[str] = ("",),
        entry: npt.ArrayLike | None = None,
        *,
        simulation: bool = False,
        sample: str | Names = "",
        references: Mapping[str, Reference] | None = None,
        ledger: Ledger | None = None,
        provenance: Mapping[str, object] | None = None,
        by_lumi: bool = False,
    ) -> EventList:
        """Make a list from columns in any order.

        Parameters
        ----------
        run, lumi, event : array of int, shape (n,)
            Identities; a luminosity block of -1 is unknown.
        guid_codes : array of int, shape (n,), optional
            The AOD file of each event, as an index into `guids`.
        guids : sequence of str
            GUIDs of the AOD files; "" is unknown.
        entry : array of int, shape (n,), optional
            Entry in the AOD file, 0-based; -1 is unknown.
        simulation : bool
            Whether the events are simulated; then file and entry belong to their identity.
        sample : str or Names
            Name of the simulated sample.
        references : mapping of str to Reference, optional
            Files and entries at other stages, "esd" or "raw".
        ledger : Ledger, optional
            Its accepted rows must equal the number of events.
        provenance : mapping, optional
            Origin of the list, ready for JSON.
        by_lumi : bool
            Whether an event of data is (run, lumi, event).

        Raises
        ------
        EventListError
            A number is out of range, columns differ in length, or the ledger accepted another number of events.

        Examples
        --------
        >>> guid = "A210A3F8-3648-11EA-A29F-F5B55C90BEEF"
        >>> events = EventList.from_arrays([7, 7], [1, 2], [11, 10], [0, 0], [guid], entry=[5, 3])
        >>> [(event.event, event.entry) for event in events]  # in the order of the file
        [(10, 3), (11, 5)]
        """
        count = len(np.atleast_1d(np.asarray(event)))
        codes = np.zeros(count, np.int32) if guid_codes is None else guid_codes
        entries = np.full(count, UNKNOWN, np.int64) if entry is None else entry
        names = sample if isinstance(sample, Names) else Names.same(sample, count)
        made = cls(
            _checked("run", run, np.int32, 0),
            _checked("lumi", lumi, np.int32, UNKNOWN),
            _checked("event", event, np.int64, 0),
            {"aod": Reference.of(codes, guids, entries), **(references or {})},
            names if simulation else None,
            ledger,
            dict(provenance or {}),
            by_lumi and not simulation,
        )
        made._check_lengths()
        return made._ordered()

    @classmethod
    def of_stored(
        cls,
        run: npt.NDArray[np.int32],
        lumi: npt.NDArray[np.int32],
        event: Longs,
        references: Mapping[str, Reference],
        sample: Names | None,
        ledger: Ledger | None,
        provenance: Mapping[str, object],
        *,
        in_order: bool = False,
        by_lumi: bool = False,
    ) -> EventList:
        """Make a list from columns of a dataset, without copies and without a check of the numbers.

        `in_order` says that the rows are strictly in the list's order.
        """
        places = references if "aod" in references else {"aod": Reference.unknown(event.size), **references}
        made = cls(frozen(run), frozen(lumi), frozen(event), places, sample, ledger, provenance, by_lumi)
        made._check_lengths()
        return made if in_order else made._ordered()

    def _check_lengths(self) -> None:
        """EventListError where a column or the ledger counts other events than the list."""
        lengths = {"run": len(self.run), "lumi": len(self.lumi), "event": len(self.event)}
        for stage, reference in self.references.items():
            lengths |= {f"{stage} GUID": len(reference.guid), f"{stage} entry": len(reference.entry)}
        if self.sample is not None:
            lengths["sample"] = len(self.sample)
        if self.ledger is not None:
            lengths["ledger's accepted"] = self.ledger.accepted
        if len(set(lengths.values())) > 1:
            lengths_text = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise EventListError(f"columns of an event list differ in length: {lengths_text}")

    def _ordered(self) -> EventList:
        """The same events by (GUID, entry), then by sample, run, lumi and event."""
        aod = self.references["aod"]
        ties: list[npt.NDArray[np.integer]] = [self.run, self.lumi, self.event]
        if self.sample is not None:
            ties.insert(0, self.sample.codes)
        guid, entry = aod.guid.codes, aod.entry
        rises = (guid[1:] > guid[:-1]) | ((guid[1:] == guid[:-1]) & (entry[1:] > entry[:-1]))
        if bool(rises.all()):  # as a selection gives them: strictly in order, so no ties either
            return self
        groups = identity_groups([guid, entry], ties)
        return self._rows(groups.order, self.ledger, self.provenance)

    def _rows(self, rows: Array, ledger: Ledger | None, provenance: Mapping[str, object]) -> EventList:
        """The given rows, in the given order."""
        return EventList(
            frozen(self.run[rows]),
            frozen(self.lumi[rows]),
            frozen(self.event[rows]),
            {stage: reference.take(rows) for stage, reference in self.references.items()},
            None if self.sample is None else self.sample.take(rows),
            ledger,
            provenance,
            self.by_lumi,
        )

    # -- what it is

    @property
    def simulation(self) -> bool:
        """Whether the events are simulated; then file and entry belong to their identity."""
        return self.sample is not None

    @property
    def entry(self) -> Longs:
        """Entry of each event in its AOD file, 0-based; -1 is unknown. Shape (n,), int64."""
        return self.references["aod"].entry

    @property
    def guid_codes(self) -> Codes:
        """AOD file of each event, as an index into `guids`. Shape (n,), int32."""
        return self.references["aod"].guid.codes

    @property
    def guids(self) -> tuple[str, ...]:
        """GUIDs of the AOD files in ascending order; "" is unknown."""
        return self.references["aod"].guid.values

    def stage(self, name: str) -> Reference:
        """Return file and entry of each event at a stage.

        Parameters
        ----------
        name : {"aod", "esd", "raw"}
            The stage.

        Raises
        ------
        EventListError
            The list has no references to this stage.
        """
        if name not in self.references:
            hint = did_you_mean(name, self.references) or f"it knows {', '.join(self.references)}"
            raise EventListError(f"the list has no references to stage {name!r}", hint=hint, stage=name)
        return self.references[name]

    def files(self, stage: str = "aod") -> list[tuple[str, Longs]]:
        """Return the files of the list with the entries of its events.

        Parameters
        ----------
        stage : {"aod", "esd", "raw"}
            The stage.

        Returns
        -------
        list of (str, array of int64)
            GUID and ascending entries of each file, by GUID.

        Raises
        ------
        EventListError
            The file or entry of an event is unknown; `pick` finds it in a dataset.

        Examples
        --------
        >>> guid = "A210A3F8-3648-11EA-A29F-F5B55C90BEEF"
        >>> events = EventList.from_arrays([7, 7], [1, 2], [11, 10], [0, 0], [guid], entry=[5, 3])
        >>> [(guid, entries.tolist()) for guid, entries in events.files()]
        [('A210A3F8-3648-11EA-A29F-F5B55C90BEEF', [3, 5])]
        """
        reference = self.stage(stage)
        lost = int((~reference.guid.known() | (reference.entry < 0)).sum())
        if lost:
            raise EventListError(
                f"{lost:,} of {len(self):,} events do not know their {stage.upper()} file and entry",
                hint="pick them from a dataset first",
                unknown=lost,
            )
        return reference.files()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the identities, in hexadecimal. Files and entries of data do not enter.

        docs/reference/event-lists.md describes the bytes.
        """
        if self.by_lumi:
            return by_lumi_digest(self.run, self.lumi, self.event)
        if self.sample is None:
            return data_digest(self.run, self.event)
        return simulation_digest(self.sample, self.run, self.lumi, self.event, self.references["aod"])

    def __len__(self) -> int:
        return self.event.size

    def __eq__(self, other: object) -> bool:
        """Same kind and same identities."""
        return isinstance(other, EventList) and len(self) == len(other) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __iter__(self) -> Iterator[Event]:
        aod = self.references["aod"]
        columns = (self.run.tolist(), self.lumi.tolist(), self.event.tolist())
        return map(Event, *columns, aod.guid.strings(), aod.entry.tolist())

    @overload
    def __getitem__(self, which: int) -> Event: ...
    @overload
    def __getitem__(self, which: slice | Array) -> EventList: ...
    def __getitem__(self, which: int | slice | Array) -> Event | EventList:
        """Return an event by its position, or a list by a slice, a mask or positions.

        The order of the list stays.
        """
        rows = np.arange(len(self))[which]
        if isinstance(which, int | np.integer):
            return next(iter(self._rows(np.atleast_1d(rows), None, {})))
        return self._rows(np.sort(rows), None, self._derived("part", self))

    # -- algebra

    def __and__(self, other: EventList) -> EventList:
        return self._combine(other, "intersect", np.logical_and)

    def __or__(self, other: EventList) -> EventList:
        return self._combine(other, "union", np.logical_or)

    def __sub__(self, other: EventList) -> EventList:
        return self._combine(other, "minus", np.greater)

    def __xor__(self, other: EventList) -> EventList:
        return self._combine(other, "symmetric difference", np.logical_xor)

    def _combine(self, other: EventList, name: str, rule: Rule) -> EventList:
        """Identities for which `rule(in self, in other)` is true, each once, by the row that knows most."""
        both, groups = self._join(other)
        rows = groups.order[groups.starts[rule(*groups.sides(len(self)))]]
        return both._rows(rows, None, self._derived(name, self, other))._ordered()

    def overlap(self, other: EventList) -> Overlap:
        """Count the events that the two lists share, without building a list.

        Examples
        --------
        >>> a = EventList.from_arrays([1, 1], [5, 6], [10, 11])
        >>> a.overlap(EventList.from_arrays([1], [6], [11]))
        Overlap(left_only=1, both=1, right_only=0)
        """
        left, right = self._join(other)[1].sides(len(self))
        return Overlap(int((left & ~right).sum()), int((left & right).sum()), int((right & ~left).sum()))

    def _join(self, other: EventList) -> tuple[EventList, Groups]:
        """The rows of this list, then those of `other`, and their identities.

        EventListError for data with simulation, and for data that disagree on luminosity blocks.
        """
        if (self.sample is None) != (other.sample is None):
            raise EventListError(
                "one list is data, the other simulation: their identities cannot be compared",
                hint="lists read from text count as data: pick them from the simulated dataset first",
            )
        if self.by_lumi != other.by_lumi:
            raise EventListError(
                "events of one list are told apart by run, lumi and event, those of the other by run and event",
                hint="pick the events of the second one from the dataset of the first",
            )
        pairs = {
            stage: (
                self.references.get(stage, Reference.unknown(len(self))),
                other.references.get(stage, Reference.unknown(len(other))),
            )
            for stage in {**self.references, **other.references}
        }
        both = EventList(
            np.concatenate([self.run, other.run]),
            np.concatenate([self.lumi, other.lumi]),
            np.concatenate([self.event, other.event]),
            {stage: left.join(right) for stage, (left, right) in pairs.items()},
            self.sample.join(other.sample) if self.sample is not None and other.sample is not None else None,
            by_lumi=self.by_lumi,
        )
        groups = identity_groups(both._identity(), both._preference())
        if both.sample is None and not both.by_lumi:
            check_lumis(groups, both.run, both.lumi, both.event)
        return both, groups

    def _identity(self) -> list[npt.NDArray[np.integer]]:
        """The columns that make two events the same, major first."""
        if self.by_lumi:
            return [self.run, self.lumi, self.event]
        if self.sample is None:
            return [self.run, self.event]
        return [self.sample.codes, self.run, self.lumi, self.event, self.guid_codes, self.entry]

    def _preference(self) -> list[npt.NDArray[np.integer]]:
        """Which row of one identity is kept: the one that knows most, then the first by (GUID, entry)."""
        knows = self.references["aod"].guid.known().astype(np.int8) + (self.lumi >= 0) + (self.entry >= 0)
        return [-knows, self.guid_codes, self.entry]

    @staticmethod
    def _derived(operation: str, *parents: EventList) -> dict[str, object]:
        """Provenance of a list made from others: the operation, the parents' digests, and what these knew.

        What the parents of parents knew stands beside, by digest, so that it grows by addition and never
        nests.
        """
        lists: dict[str, object] = {}
        for parent in parents:
            notes = dict(parent.provenance)
            earlier = notes.pop("lists", {})
            ledger = {} if parent.ledger is None else {"ledger": parent.ledger.to_json()}
            lists |= earlier if isinstance(earlier, dict) else {}
            lists |= {parent.digest: {**notes, **ledger, "events": len(parent)}}
        return {"operation": operation, "parents": [p.digest for p in parents], "lists": lists}

    def distinct(self) -> Longs:
        """Return a row of each identity, the one with most information. Shape (n_identities,), int64, ascending."""
        groups = identity_groups(self._identity(), self._preference())
        return np.sort(groups.order[groups.starts])

    # -- forms

    def columns(self) -> dict[str, npt.NDArray[np.integer] | Names]:
        """Return the columns by name, as in Arrow and Parquet: run, lumi, event, guid, entry, then other stages."""
        columns: dict[str, npt.NDArray[np.integer] | Names] = {
            "run": self.run,
            "lumi": self.lumi,
            "event": self.event,
        }
        for stage, reference in self.references.items():
            prefix = "" if stage == "aod" else f"{stage}_"
            columns |= {f"{prefix}guid": reference.guid, f"{prefix}entry": reference.entry}
        return columns if self.sample is None else {**columns, "sample": self.sample}

    def header(self) -> dict[str, object]:
        """Return the metadata of a `.events` file, ready for JSON."""
        identity = {"identity": "run lumi event"} if self.by_lumi else {}
        return {
            **identity,
            "kind": "simulation" if self.simulation else "data",
            "events": len(self),
            "digest": self.digest,
            "ledger": None if self.ledger is None else self.ledger.to_json(),
            "provenance": dict(self.provenance),
        }

    def save(self, path: Path | str, *, force: bool = False) -> None:
        """Write the list as a `.events` file. Equal lists give equal bytes.

        Parameters
        ----------
        path : path or str
            The new file.
        force : bool
            Replace an event list that tagsel wrote.

        Raises
        ------
        AccessError
            The file exists, and `force` is not given or does not apply.
        """
        with output_file(path, force=force, intact=is_intact) as temporary:
            write_parquet(temporary, self.columns(), self.header())

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the list as an Arrow stream, without a copy, for polars, pyarrow and DuckDB's `from ev`."""
        return to_table(self.columns()).__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        kind = "simulation" if self.simulation else "data"
        runs = np.unique(self.run).size
        return f"<EventList: {len(self):,} events of {kind} in {runs:,} runs, {len(self.guids):,} files>"

    def _repr_html_(self) -> str:
        from html import escape

        head = "".join(f"<th>{name}</th>" for name in Event._fields)
        body = ""
        for event in self._rows(np.arange(min(5, len(self))), None, {}):
            cells = "".join(f"<td>{escape(str(value))}</td>" for value in event)
            body += f"<tr>{cells}</tr>"
        return f"<p>{escape(repr(self)[1:-1])}</p><table><tr>{head}</tr>{body}</table>"


def _checked(name: str, values: npt.ArrayLike, dtype: type[Int], low: int) -> npt.NDArray[Int]:
    """The column as its type, read-only; EventListError for a number below `low` or above the type."""
    array = np.atleast_1d(np.asarray(values))
    if array.size and array.dtype.kind not in "iu":
        raise EventListError(f"column {name} holds {array.dtype}, whole numbers were expected", column=name)
    if array.size and not low <= int(array.min()) <= int(array.max()) <= LIMITS[name]:
        span = f"{array.min()} to {array.max()}"
        raise EventListError(f"column {name} holds {span}, outside {low} to {LIMITS[name]}", column=name)
    return frozen(array.astype(dtype, copy=True))
