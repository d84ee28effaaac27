"""Rules and subscriptions of Rucio in our words.

Invariant: a dataset that comes later gets a rule of a subscription only where `Rucio.names` finds it by the same glob.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from tagsel.catalog.records import Rule, Subscription

ACTIVITY = "User Subscriptions"
"""What Rucio counts the transfers of our subscriptions as."""

STATES = {"OK": "done", "REPLICATING": "moving", "STUCK": "failed", "SUSPENDED": "failed"}
"""Our word for the state of a rule; any other is waiting."""

WHY = {
    "ONLY_TAPE_SOURCES": "its files are on tape only",
    "NO_SOURCES": "no copy of a file can be moved from where it is to there",
    "MissingSourceReplica": "no copy of a file is anywhere",
    "MISMATCH_SCHEME": "the sites have no protocol in common",
    "SUBMISSION_FAILED": "a transfer could not be started",
}
"""What words of Rucio's own in the error of a rule mean; others are those of a transfer, as they are."""

END_OF_SCOPE = r"(?![\w.-])"
"""Goes after the pattern of a scope: Rucio asks whether scopes begin with it, and may have `@vo` behind one."""


def read_rule(row: Mapping[str, Any]) -> Rule:
    """The record of a rule; one that chooses its site is at its expression."""
    ok, moving, stuck = (row[f"locks_{kind}_cnt"] for kind in ("ok", "replicating", "stuck"))
    why = (row["comments"] or "") if row["subscription_id"] else ""
    return Rule(
        f"{row['scope']}:{row['name']}",
        row["rse_expression"],
        STATES.get(row["state"], "waiting"),
        ok,
        ok + moving + stuck,
        0,
        _said(row["error"] or ""),
        why,
    )


def _said(error: str) -> str:
    """Why a rule is stuck, with what Rucio says.

    >>> _said("RequestErrMsg.NO_SOURCES:RequestState.NO_SOURCES")
    'no copy of a file can be moved from where it is to there (rucio: RequestErrMsg.NO_SOURCES:RequestState.NO_SOURCES)'
    >>> _said("DESTINATION: disk quota exceeded"), _said("")
    ('rucio: DESTINATION: disk quota exceeded', '')
    """
    meaning = next((words for code, words in WHY.items() if code in error), "")
    told = f"rucio: {error}" if error else ""
    return f"{meaning} ({told})" if meaning else told


def wanted(pattern: str) -> dict[str, Any]:
    """The filter of a subscription for `scope:glob`, or for a glob in all scopes.

    >>> wanted("data18:data18*.AOD")["scope"]
    ['(?s:data18)(?![\\\\w.-])']
    """
    scope, colon, glob = pattern.partition(":")
    found: dict[str, Any] = {"pattern": _regex(glob if colon else pattern), "did_type": ["DATASET"]}
    if colon:
        found["scope"] = [_regex(scope).removesuffix(r"\Z") + END_OF_SCOPE]
    return found


def _regex(glob: str) -> str:
    """A glob as a regular expression of servers' Python, too: before 3.11 it has no atomic groups."""
    return fnmatch.translate(glob).replace("(?>", "(?:")


def subscription_name(pattern: str, site: str) -> str:
    """What a subscription that is made here is called there."""
    mark = hashlib.sha256(f"{pattern} {site}".encode()).hexdigest()[:8]
    return re.sub(r"[^A-Za-z0-9_.-]", "_", f"tagsel.{site}.{pattern}")[:55] + f".{mark}"


def is_active(row: Mapping[str, Any]) -> bool:
    """Whether a subscription was not ended."""
    return bool(row["state"] != "INACTIVE")


def read_subscription(row: Mapping[str, Any]) -> list[Subscription]:
    """The records of a subscription, one for each site; the comment of one that was made here is its glob."""
    pattern = row["comments"] or json.loads(row["filter"]).get("pattern", "")
    return [Subscription(pattern, rule["rse_expression"]) for rule in json.loads(row["replication_rules"])]
