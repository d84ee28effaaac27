"""Integrity constraints: what the catalog's tables must satisfy before a change is recorded.

A dataset is open, closed (nothing is added) or frozen (nor is it dropped); one that mirrors another catalog's follows
that catalog. A change that was made from a record is refused where the record has changed since.

Invariant: a dataset's state only goes forward.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from tagsel.catalog.records import DatasetFacts, Subscription
from tagsel.catalog.tables import TABLES, Row, Rows
from tagsel.catalog.values import Value, check_key, write_value
from tagsel.errors import CatalogError, did_you_mean

STATES = ("open", "closed", "frozen")
"""The states in their order; any other word (`output`) counts as open."""

NEW_VERSION = "a new version is a new dataset, with another name"


class Conflict(CatalogError):
    """The record has changed since the change that was made from it."""


def need_dataset(state: Rows, name: str) -> Row:
    """Return the row of a dataset; CatalogError, with the nearest names, where there is none."""
    rows = state.of("datasets", name)
    if not rows:
        raise CatalogError(f"no dataset {name!r}", hint=did_you_mean(name, state.rows["datasets"]), dataset=name)
    return rows[0]


def need_site(state: Rows, site: str) -> None:
    """CatalogError, with the nearest names, where there is no such site."""
    if not state.of("sites", site):
        raise CatalogError(f"no site {site!r}", hint=did_you_mean(site, state.rows["sites"]), site=site)


def need_open(state: Rows, name: str) -> None:
    """CatalogError where nothing may be added to a dataset."""
    word = str(need_dataset(state, name)["state"])
    if _rank(word) and not is_mirror(state, name):
        raise CatalogError(f"dataset {name} is {word}: its content cannot change", hint=NEW_VERSION, dataset=name)


def check_meta(meta: Mapping[str, Value | None]) -> None:
    """CatalogError for free keys that cannot be kept."""
    folded: dict[str, str] = {}
    for key, value in meta.items():
        check_key(key, TABLES["datasets"].columns)
        other = folded.setdefault(key.lower(), key)
        if other != key:
            raise CatalogError(f"keys {other!r} and {key!r} differ in letter case only", key=key)
        if value is not None:
            write_value(value)


def check_content(state: Rows, name: str, new: DatasetFacts, after: int | None) -> None:
    """CatalogError where the record of a dataset, as change `after` left it, may not become `new`."""
    for member in new.members:
        need_dataset(state, member)
        if name in below(state, member):
            raise CatalogError(f"container {name} would hold itself, by {member}", dataset=name)
    rows = state.of("datasets", name)
    if after == 0 and rows:
        raise CatalogError(f"there is a dataset {name} already", hint="choose another name", dataset=name)
    last_change = rows[0]["seq"] if rows else 0
    if after is not None and after != last_change:
        raise Conflict(f"dataset {name} was changed meanwhile", hint="try again", dataset=name)
    if rows and not is_mirror(state, name):
        _check_state(state, name, rows[0], new)


def _check_state(state: Rows, name: str, old: Row, new: DatasetFacts) -> None:
    """CatalogError where a dataset's state would go back, or where the content of a closed dataset would change."""
    word = old["state"]
    if _rank(new.state) < _rank(word):
        message = f"dataset {name} is {word} and does not become {new.state} again"
        raise CatalogError(message, hint=NEW_VERSION, dataset=name)
    members = tuple([row["member"] for row in state.of("members", name)])
    content = (old["version"], old["events"], old["files"], members)
    if _rank(word) and content != (new.version, new.events, new.files, new.members):
        raise CatalogError(f"dataset {name} is {word}: its content cannot change", hint=NEW_VERSION, dataset=name)


def check_drop(state: Rows, name: str) -> None:
    """CatalogError where a dataset may not be dropped: it is frozen, in a container, or pinned."""
    if need_dataset(state, name)["state"] == STATES[-1]:
        raise CatalogError(f"dataset {name} is frozen: it stays", dataset=name)
    containers = [row["dataset"] for row in state.all("members") if row["member"] == name]
    if containers:
        raise CatalogError(f"container {containers[0]} holds dataset {name}", hint="take it out first", dataset=name)
    pins = state.of("pins", name)
    if pins:
        reasons = "; ".join(f"@{pin['snapshot']}: {pin['reason']}" for pin in pins[:5])
        more = f"; and {len(pins) - 5:,} more" if len(pins) > 5 else ""
        hint = unpin_commands(name, [(pin["snapshot"], pin["reason"]) for pin in pins])
        raise CatalogError(f"dataset {name} is pinned ({reasons}{more})", hint=hint, dataset=name)


def unpin_commands(dataset: str, pins: Iterable[tuple[int, str]]) -> str:
    """Return the commands that take back all pins of a dataset, which are pairs (snapshot, reason).

    >>> unpin_commands("a.TAG", [(1, "paper")])
    'tagsel datasets unpin a.TAG@1 --reason "paper"'
    >>> unpin_commands("a.TAG", [(1, "paper"), (3, "talk"), (1, "thesis")])
    'tagsel datasets unpin a.TAG@1 && tagsel datasets unpin a.TAG@3'
    """
    pins = list(pins)
    if len(pins) == 1:
        number, reason = pins[0]
        return f'tagsel datasets unpin {dataset}@{number} --reason "{reason}"'
    snapshots = sorted({number for number, _ in pins})
    return " && ".join(f"tagsel datasets unpin {dataset}@{number}" for number in snapshots)


def site_mark(prefix: str, meta: Mapping[str, Value]) -> str:
    """Return sixteen letters that identify the content of a site's record."""
    return hashlib.sha256(f"{prefix}\0{json.dumps(dict(meta), sort_keys=True)}".encode()).hexdigest()[:16]


def check_site(state: Rows, name: str, after: str | None) -> None:
    """`Conflict` where the record of a site has another mark than `after`."""
    mark = ""
    for row in state.of("sites", name):
        mark = site_mark(row["prefix"], json.loads(row["meta"]))
    if after not in (None, mark):
        raise Conflict(f"site {name} was changed meanwhile", hint="try again", site=name)


def below(state: Rows, name: str) -> set[str]:
    """Return a dataset and all that it holds, at any depth."""
    names = {name}
    for row in state.of("members", name):
        names |= below(state, row["member"])
    return names


def is_mirror(state: Rows, name: str) -> bool:
    """Whether another catalog says what a dataset is."""
    return any(row["key"] == "catalog" for row in state.of("meta", name))


def no_subscription(wish: Subscription, subscriptions: Iterable[Subscription]) -> CatalogError:
    """The error that a subscription is not there, with those that are."""
    others = "; ".join(f"{s.pattern} to {s.site}" for s in subscriptions) or "there are none"
    return CatalogError(f"no subscription of {wish.pattern!r} to {wish.site}", hint=others)


def _rank(word: str) -> int:
    return STATES.index(word) if word in STATES else 0
