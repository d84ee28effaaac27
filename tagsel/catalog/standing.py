"""What may be done to a dataset as it stands: open, closed (nothing is added), or frozen (nor dropped).

A dataset that mirrors another catalog's follows that one. Invariant: a state is only ever left forward.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping

from tagsel.catalog.records import DatasetFacts, Subscription, Value
from tagsel.catalog.tables import Row, Rows
from tagsel.errors import CatalogError, did_you_mean

STATES = ("open", "closed", "frozen")
"""The states in their order; any other word (`output`) counts as open."""

ANOTHER = "a new version is a new dataset, with another name"


class Meanwhile(CatalogError):
    """A record is not any more what a change of it was made of."""


def need_dataset(state: Rows, name: str) -> Row:
    """The row of a dataset; CatalogError, with the nearest names, where there is none."""
    rows = state.of("datasets", name)
    if not rows:
        raise CatalogError(f"no dataset {name!r}", hint=did_you_mean(name, state.rows["datasets"]), dataset=name)
    return rows[0]


def need_open(state: Rows, name: str) -> None:
    """CatalogError where nothing may be added to a dataset."""
    word = str(need_dataset(state, name)["state"])
    if _rank(word) and not is_mirror(state, name):
        raise CatalogError(f"dataset {name} is {word}: its content cannot change", hint=ANOTHER, dataset=name)


def check_content(state: Rows, name: str, new: DatasetFacts, after: int | None) -> None:
    """CatalogError where the record of a dataset, as change `after` left it, may not become `new`."""
    for member in new.members:
        need_dataset(state, member)
        if name in below(state, member):
            raise CatalogError(f"container {name} would hold itself, by {member}", dataset=name)
    rows = state.of("datasets", name)
    if after == 0 and rows:
        raise CatalogError(f"there is a dataset {name} already", hint="choose another name", dataset=name)
    if after is not None and after != (rows[0]["seq"] if rows else 0):
        raise Meanwhile(f"dataset {name} was changed meanwhile", hint="try again", dataset=name)
    if not rows or is_mirror(state, name):
        return
    word = rows[0]["state"]
    if _rank(new.state) < _rank(word):
        raise CatalogError(
            f"dataset {name} is {word} and does not become {new.state} again", hint=ANOTHER, dataset=name
        )
    held = tuple(row["member"] for row in state.of("members", name))
    now = (rows[0]["version"], rows[0]["events"], rows[0]["files"], held)
    if _rank(word) and now != (new.version, new.events, new.files, new.members):
        raise CatalogError(f"dataset {name} is {word}: its content cannot change", hint=ANOTHER, dataset=name)


def site_mark(prefix: str, meta: Mapping[str, Value]) -> str:
    """Sixteen letters that stand for the record of a site: another record has others."""
    return hashlib.sha256(f"{prefix}\0{json.dumps(dict(meta), sort_keys=True)}".encode()).hexdigest()[:16]


def check_site(state: Rows, name: str, after: str | None) -> None:
    """`Meanwhile` where the record of a site has another mark than `after`."""
    now = "".join(site_mark(row["prefix"], json.loads(row["meta"])) for row in state.of("sites", name))
    if after not in (None, now):
        raise Meanwhile(f"site {name} was changed meanwhile", hint="try again", site=name)


def check_drop(state: Rows, name: str) -> None:
    """CatalogError where a dataset may not be dropped."""
    if state.of("datasets", name)[0]["state"] == STATES[-1]:
        raise CatalogError(f"dataset {name} is frozen: it stays", dataset=name)
    holders = [row["dataset"] for row in state.all("members") if row["member"] == name]
    if holders:
        raise CatalogError(f"container {holders[0]} holds dataset {name}", hint="take it out first", dataset=name)


def below(state: Rows, name: str) -> set[str]:
    """A dataset and all that it holds, at any depth."""
    return {name}.union(*(below(state, row["member"]) for row in state.of("members", name)))


def is_mirror(state: Rows, name: str) -> bool:
    """Whether a dataset is what another catalog says."""
    return any(row["key"] == "catalog" for row in state.of("meta", name))


def no_subscription(wish: Subscription, known: Iterable[Subscription]) -> CatalogError:
    """The error that a subscription is not there, with those that are."""
    there = "; ".join(f"{s.pattern} to {s.site}" for s in known) or "there are none"
    return CatalogError(f"no subscription of {wish.pattern!r} to {wish.site}", hint=there)


def _rank(word: str) -> int:
    return STATES.index(word) if word in STATES else 0
