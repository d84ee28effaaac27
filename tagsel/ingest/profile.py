"""Profiles: how much of a file an ingest takes. `slim` is about 1 kB an event, `standard` what the source schema asks
for, `full` every column that an attribute can hold.

Invariant: what a profile takes has the same names, types and values in every profile that takes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import chain

from tagsel.errors import IngestError, SchemaError, did_you_mean
from tagsel.ingest.columns import Columns
from tagsel.ingest.makers import Lists, Maker, Scalar
from tagsel.schema import SourceAttribute, SourceCollection, SourceSchema
from tagsel.store import Snapshot

PROFILES = ("slim", "standard", "full")

STANDARD = "standard"

KEY = "profile"
"""The key of a file's bookkeeping that holds its profile; standard is not written."""


def check_profile(profile: str) -> None:
    """SchemaError for what is no profile."""
    if profile not in PROFILES:
        hint = did_you_mean(profile, PROFILES) or f"one of {', '.join(PROFILES)}"
        raise SchemaError(f"unknown profile {profile!r}", hint=hint, profile=profile)


def profile_of(asked: str, before: Snapshot | None, dataset: str, evolve: bool) -> str:
    """The profile to ingest files with: that of the dataset's first file, or with `evolve` any other.

    `asked` is "" where the user names none. IngestError for another profile without `evolve`.
    """
    if asked:
        check_profile(asked)
    if before is None or not before.sources:
        return asked or STANDARD
    first = str(before.sources[0].bookkeeping.get(KEY, STANDARD))
    if asked and asked != first and not evolve:
        raise IngestError(
            f"{dataset} was ingested with the profile {first}, and {asked} is asked for",
            hint=f"without --profile the files are ingested with {first}; --evolve adds them with {asked}, and an "
            "attribute that a file lacks is missing there; or ingest all files into a new dataset",
            dataset=dataset,
            profile=first,
        )
    return asked or first


def with_profile(source: SourceSchema, profile: str) -> SourceSchema:
    """The source schema for files to be ingested with this profile; SchemaError where it has no such profile."""
    check_profile(profile)
    if profile == "slim" and not source.slim:
        hint = 'its file may name the attributes of it: slim = ["Muon.pt", "MET_*"]'
        raise SchemaError(f"the schema {source.name} has no profile slim", hint=hint, profile=profile)
    if profile == "full" and source.format == "physlite":
        hint = "a schema of your own may take more: tagsel schema derive drafts one"
        raise SchemaError("PHYSLITE files have no profile full: many of their columns cannot be read", hint=hint)
    return replace(source, profile=profile)


def slimmed(makers: Sequence[Maker], globs: Sequence[str]) -> list[Maker]:
    """The makers of attributes that the globs name, and of all bits; `*` without a dot stands for scalars."""
    kept: list[Maker] = []
    for maker in makers:
        if isinstance(maker, Lists):
            members = tuple(m for m in maker.members if _is_named(m.attribute.name, globs))
            if any(m.column for m in members):
                kept.append(replace(maker, members=members))
        elif not isinstance(maker, Scalar) or _is_named(maker.attribute.name, globs):
            kept.append(maker)
    return kept


def _is_named(name: str, globs: Sequence[str]) -> bool:
    of_its_kind = [glob for glob in globs if ("." in glob) == ("." in name)]
    return any(fnmatchcase(name, glob) for glob in of_its_kind)


def widened(source: SourceSchema, columns: Columns) -> SourceSchema:
    """The source schema that takes all columns of a file: all scalars, and every collection.

    Collections are those of the schema with all their members, and those that a counter of the file announces: lists
    `X_y` of a counter `nX`, or `X_y` each with a counter `nX_y`, as uproot writes them; and lists of records. A list
    without any counter is a collection of its own, with the member `value`.
    """
    asked = tuple(replace(c, rest=all(c.prefixes)) for c in source.collections)
    covered = tuple(chain.from_iterable(c.prefixes for c in asked if c.rest))
    spelled = set(chain.from_iterable(c.branches() for c in asked))
    groups: dict[str, list[tuple[str, str]]] = {}
    counters = list(source.ignore)
    for column in columns.lists():
        name = columns.name(column)
        counters.append(f"n{name}")
        flat_name = columns.flat_name(column)
        if {name, flat_name} & spelled or (covered and flat_name.startswith(covered)):
            continue
        is_member = column in columns.nested and "." in name
        collection = name.rpartition(".")[0] if is_member else _collection_of(name, columns)
        if collection in {c.name for c in asked}:
            collection = name
        member = name.removeprefix(collection).lstrip("_.") or "value"
        groups.setdefault(collection, []).append((member, name))
    announced = tuple(_collection(name, members) for name, members in groups.items())
    return replace(source, collections=(*asked, *announced), rest=True, ignore=tuple(counters))


def _collection_of(name: str, columns: Columns) -> str:
    """The collection of a list: the longest `X` of `X_y` whose counter `nX` the file has."""
    for prefix in _prefixes(name):
        if columns.first([f"n{prefix}"]) is not None:
            return prefix
    if columns.first([f"n{name}"]) is not None:
        return name.partition("_")[0] or name
    return name


def _prefixes(name: str) -> Iterator[str]:
    """What comes before each `_` of a name, longest first."""
    prefix = name
    while "_" in prefix:
        prefix = prefix.rpartition("_")[0]
        if prefix:
            yield prefix


def _collection(name: str, members: Sequence[tuple[str, str]]) -> SourceCollection:
    column_name = name.replace(".", "_")
    rows = tuple(SourceAttribute(member.replace(".", "_"), (branch,), hot=False) for member, branch in members)
    return SourceCollection(column_name, f"n{column_name}", members=rows)
