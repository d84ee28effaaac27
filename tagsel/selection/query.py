"""Queries: inputs at pinned snapshots, named cuts, good-run lists and a weight; and a query bound to schemas.

Invariant: a `Query` is a value; nothing runs until a question (`count`, `select`, `cutflow`, …) takes it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from pathlib import Path

from tagsel.errors import CutError, SchemaError, StoreError
from tagsel.language import Bound, LumiTable, Scope, bind, bind_value
from tagsel.language.tree import SEMANTICS
from tagsel.quality import LumiSet, read_lumi
from tagsel.store import Snapshot

log = logging.getLogger("tagsel")

DUPLICATES = ("error", "first", "all")
"""Policies for an event that several rows have; data takes `first`, simulation `all`."""

TIERS = ("auto", "interpreter", "kernel")


@dataclass(frozen=True)
class Input:
    """One dataset at one snapshot; of data, streams of lower `priority`, then name, come first."""

    dataset: str
    snapshot: Snapshot
    simulation: bool = False
    sample: str = ""
    priority: float = 0

    @property
    def by_lumi(self) -> bool:
        """Whether an event of data is (run, lumi, event) here."""
        return self.snapshot.schema.identity == "run lumi event"

    @property
    def pinned(self) -> str:
        """`name@snapshot`, which means the same rows for ever."""
        return f"{self.dataset}@{self.snapshot.number}"


def named_inputs(inputs: Sequence[Input]) -> dict[str, object]:
    """The `datasets` of a list's provenance by name and snapshot, and the hash of what each holds, its `contents`.

    The hash distinguishes a dataset from others of its name; copies have the same hash.
    """
    return {
        "datasets": [source.pinned for source in inputs],
        "contents": {source.pinned: source.snapshot.content for source in inputs},
    }


def no_named_cuts(name: str) -> str:
    """The default look-up of `@name`: there are none."""
    raise CutError(f"no named cut @{name}", hint="tagsel queries lists the named cuts", cut=f"@{name}")


def lumi_table(path: str) -> LumiTable:
    """The good-run list of a file as `in_lumi("file")` sees it."""
    lumi = read_lumi(Path(path))
    return LumiTable(path, lumi.digest, *lumi.arrays())


@dataclass(frozen=True)
class Query:
    """A selection of one or more datasets: it accepts an event that passes every cut and is not masked.

    `cuts` are (name, text) pairs in order; `lumi` lists are intersected; `weight` is an attribute or expression;
    `remember`: whether bitmaps of earlier answers are used and kept. `home`: the workspace of the user.
    """

    inputs: tuple[Input, ...]
    cuts: tuple[tuple[str, str], ...]
    lumi: tuple[LumiSet, ...] = ()
    weight: str = ""
    duplicates: str = ""
    allow_losses: bool = False
    threads: int = 0
    tier: str = "auto"
    remember: bool = True
    home: Path | None = field(default=None, compare=False)
    named: Callable[[str], str] = field(default=no_named_cuts, compare=False)
    tables: Callable[[str], LumiTable] = field(default=lumi_table, compare=False)

    def __post_init__(self) -> None:
        if self.duplicates and self.duplicates not in DUPLICATES:
            raise CutError(f"duplicates {self.duplicates!r} is not a policy", hint=f"one of {', '.join(DUPLICATES)}")
        _check_identities(self.inputs)
        names = Counter(name for name, _ in self.cuts if name)
        for name, times in names.items():
            if times > 1:
                raise CutError(f"two cuts have the name {name}", hint="give one of them another name")
        if not self.cuts:
            object.__setattr__(self, "cuts", (("", "true"),))
        ordered = sorted(self.inputs, key=lambda source: (source.priority, source.dataset, source.snapshot.number))
        object.__setattr__(self, "inputs", tuple(ordered))

    @property
    def simulation(self) -> bool:
        """Whether the inputs are simulation."""
        return any(source.simulation for source in self.inputs)

    @property
    def policy(self) -> str:
        """The duplicates policy that applies."""
        return self.duplicates or ("all" if self.simulation else "first")

    @property
    def mask(self) -> LumiSet | None:
        """The intersection of the good-run lists, or None without one."""
        return reduce(lambda a, b: a & b, self.lumi) if self.lumi else None


def _check_identities(inputs: Sequence[Input]) -> None:
    """SchemaError unless the events of all inputs are identified in one way."""
    data = [source.dataset for source in inputs if not source.simulation]
    if 0 < len(data) < len(inputs):
        raise SchemaError(
            f"data and simulation cannot be selected together (data: {', '.join(data)})",
            hint="select them apart: an event of simulation is not identified by run and event alone",
        )
    by_lumi = [source.dataset for source in inputs if source.by_lumi]
    if data and 0 < len(by_lumi) < len(inputs):
        raise SchemaError(
            f"events of {', '.join(by_lumi)} are run lumi event, those of the others run event",
            hint="select them apart",
        )


@dataclass(frozen=True)
class BoundInput:
    """One input with its cuts bound to its schema: each cut, and the whole cut."""

    input: Input
    scope: Scope
    cuts: tuple[Bound, ...]
    cut: Bound
    weight: Bound | None


def scope_of(snapshot: Snapshot, lumi: Callable[[str], LumiTable], named: Callable[[str], str]) -> Scope:
    """The scope of a snapshot: the meaning of the names in a cut."""
    return Scope(snapshot.schema, snapshot.menus, lumi, named, partial(_left_out, snapshot))


def _left_out(snapshot: Snapshot, name: str) -> str:
    """What to try for a name in a cut that is a column which the ingest of the snapshot's files left out; else ""."""
    try:
        columns = snapshot.omissions
    except StoreError as error:  # the cut is wrong anyway, and its error is what the user needs
        log.warning("no hint says which columns the ingest left out: %s", error.message)
        return ""
    for column in columns:
        if _may_mean(name, column.name):
            remedy = f"; {column.remedy}" if column.remedy else ""
            return f"the ingest left out, as {column.reason}: {column.name}{remedy}"
    return ""


def _may_mean(name: str, column: str) -> bool:
    """Whether a name in a cut may mean a column of a file.

    >>> _may_mean("Muon.jetIdx", "Muon_jetIdx"), _may_mean("Muon.quality", "AnalysisMuonsAuxDyn.quality")
    (True, True)
    >>> _may_mean("Muon.quality", "AnalysisJetsAuxDyn.quality"), _may_mean("Muon", "Muon_jetIdx")
    (False, False)
    """
    if name.replace(".", "_") == column.replace(".", "_"):
        return True
    collection, _, member = name.partition(".")
    container, _, variable = column.partition(".")
    return bool(member) and member == variable and collection in container


def bind_query(query: Query) -> tuple[BoundInput, ...]:
    """Bind every cut to every input's schema; all errors of names, types and units come from here."""
    bound = []
    for source in query.inputs:
        scope = scope_of(source.snapshot, query.tables, query.named)
        cuts = tuple(_bound_once(source.snapshot, text, scope) for _, text in query.cuts)
        weight = bind_value(query.weight, scope) if query.weight else None
        if weight is not None and weight.node.kind not in ("int", "f32", "f64"):
            raise CutError(
                f"weight {query.weight!r} is not a number", cut=query.weight, hint="give a numeric attribute"
            )
        bound.append(BoundInput(source, scope, cuts, _whole(cuts, source.snapshot, scope), weight))
    return tuple(bound)


def _whole(cuts: Sequence[Bound], snapshot: Snapshot, scope: Scope) -> Bound:
    """All cuts as one; `true` where there is none."""
    if len(cuts) == 1:
        return cuts[0]
    return _bound_once(snapshot, " && ".join(f"({cut.text})" for cut in cuts) or "true", scope)


MOST_BOUND = 256


def _bound_once(snapshot: Snapshot, text: str, scope: Scope) -> Bound:
    """The bound cut, cached with the snapshot unless a file or function defines it (`@name`, `in_lumi`, `python`)."""
    if "@" in text or "in_lumi" in text or "python" in text:
        return bind(text, scope)
    return snapshot.memo.get_or_create("bound-cuts", text, lambda: bind(text, scope), MOST_BOUND)


def canonical_cut(bound: tuple[BoundInput, ...]) -> str:
    """The whole cut in canonical text."""
    return bound[0].cut.text if bound else "true"


def selection_hash(query: Query, bound: tuple[BoundInput, ...], top: tuple[int, str] | None = None) -> str:
    """SHA-256 (hex) over the bound cut, the snapshots' parts, masks, policy and the version of the semantics.

    The parts are named by their content, so equal hashes mean the same question to the same bytes on any machine.
    """
    mask = query.mask
    inputs = []
    for source in bound:
        parts = [part.name for part in source.input.snapshot.parts]
        inputs.append([source.input.dataset, parts, source.cut.fingerprint])
    document: dict[str, object] = {
        "semantics": SEMANTICS,
        "inputs": inputs,
        "lumi": mask.digest if mask is not None else None,
        "duplicates": query.policy,
    }
    if top:
        document["top"] = list(top)
    if any(source.input.by_lumi for source in bound):
        document["identity"] = "run lumi event"
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
