"""Rucio as a registry: datasets, files and copies as its server says, by the client that users have configured.

Needs `pip install "tagsel[rucio]"`; server, account and credentials come from Rucio's own configuration file. Calls are
made in bulk. GUIDs are made canonical: Rucio keeps 32 digits without dashes.

Invariants: a dataset that comes later gets a rule of a subscription only where `Rucio.names` finds it by the same glob.
Every error of the client or its server leaves here as a CatalogError or AccessError in our words.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar

from tagsel.catalog.constraints import no_subscription
from tagsel.catalog.names import derive_facts
from tagsel.catalog.records import (
    DatasetFacts,
    DatasetRecord,
    FileRecord,
    Replica,
    Rule,
    Site,
    Subscription,
    canonical_guid,
)
from tagsel.catalog.registry import NO_GUID
from tagsel.catalog.rucio_client import client, translate_errors
from tagsel.catalog.tables import TABLES
from tagsel.catalog.values import Value
from tagsel.errors import CatalogError, did_you_mean

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
        _explain(row["error"] or ""),
        why,
    )


def _explain(error: str) -> str:
    """Why a rule is stuck, with what Rucio says.

    >>> _explain("RequestErrMsg.NO_SOURCES:RequestState.NO_SOURCES")
    'no copy of a file can be moved from where it is to there (rucio: RequestErrMsg.NO_SOURCES:RequestState.NO_SOURCES)'
    >>> _explain("DESTINATION: disk quota exceeded"), _explain("")
    ('rucio: DESTINATION: disk quota exceeded', '')
    """
    meaning = next((words for code, words in WHY.items() if code in error), "")
    original = f"rucio: {error}" if error else ""
    return f"{meaning} ({original})" if meaning else original


def subscription_filter(pattern: str) -> dict[str, Any]:
    """The filter of a subscription for `scope:glob`, or for a glob in all scopes.

    >>> subscription_filter("data18:data18*.AOD")["scope"]
    ['(?s:data18)(?![\\\\w.-])']
    """
    scope, colon, glob = pattern.partition(":")
    filters: dict[str, Any] = {"pattern": _regex(glob if colon else pattern), "did_type": ["DATASET"]}
    if colon:
        filters["scope"] = [_regex(scope).removesuffix(r"\Z") + END_OF_SCOPE]
    return filters


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


BULK = 500
"""How many names or files one call asks for: a server answers a few hundred in a second."""

FACTS = {"type": "datatype", "version": "version", "stream": "stream_name"}
"""Facts of a dataset that Rucio keeps under keys of its own."""

KEYS = ("campaign", "project", "prod_step", "phys_group", "provenance", "task_id")
"""Keys of Rucio's own that become free keys of ours, where they are set."""

FACTS_AS_KEYS = ("cut", "lumi", "sample")
"""Facts of a dataset for which Rucio has no key of its own: kept as free keys, with the parents."""

KEEPS_NONE = ("RucioException", "InvalidMetadata", "DatabaseException", "UnsupportedOperation")
"""Errors by which a server says that it keeps no free keys; a server in trouble says the first, too."""

UNKNOWN = "DataIdentifierNotFound"
"""The error by which a server says that it has no dataset of a name."""

_T = TypeVar("_T")


class Rucio:
    """A `Registry` over a Rucio server; `config` is a rucio.cfg, "" finds it as Rucio's own commands do."""

    def __init__(self, config: str = "", account: str = "") -> None:
        self._client = client(config, account)

    # --- names and records ---------------------------------------------------------------------------------

    def names(self, pattern: str = "*") -> list[str]:
        """Datasets and containers, as `scope:name`, that a glob matches; without a scope it is asked in all scopes."""
        scope_glob, colon, name_glob = pattern.partition(":")
        if not colon:
            scope_glob, name_glob = "*", pattern
        with translate_errors("list scopes"):
            scopes = [s for s in self._client.list_scopes() if fnmatch.fnmatchcase(s, scope_glob)]
        if not scopes and not set("*?[") & set(scope_glob):
            raise CatalogError(f"rucio has no scope {scope_glob!r}", hint=did_you_mean(scope_glob, self._scopes()))
        collections = []
        for scope in scopes:
            with translate_errors(f"list {scope}:{name_glob}"):  # Rucio's own wildcard is * alone
                wide = re.sub(r"\[[^]]*\]|\?", "*", name_glob)
                listed = self._client.list_dids(scope, [{"name": wide}], did_type="collection")
                collections += [f"{scope}:{n}" for n in listed if fnmatch.fnmatchcase(n, name_glob)]
        return sorted(collections)

    def _scopes(self) -> list[str]:
        with translate_errors("list scopes"):
            return list(self._client.list_scopes())

    def datasets(self, names: Sequence[str]) -> list[DatasetRecord]:
        """Their records, in the order asked: Rucio's keys as facts and free keys, and the counts of their files."""
        metadata: dict[str, dict[str, Any]] = {}
        free: dict[str, dict[str, Any]] = {}
        for some in _chunks(names):
            with translate_errors(f"ask for {some[0]}", some[0]):
                for row in self._client.get_metadata_bulk([_did(n) for n in some]):
                    metadata[f"{row['scope']}:{row['name']}"] = row
                free |= self._free(some)
        if missing := [n for n in names if n not in metadata]:
            raise CatalogError(
                f"rucio has no dataset {missing[0]!r}", hint="`rucio did list` lists them", dataset=missing[0]
            )
        members = {n: self._members(n) for n in names if metadata[n]["did_type"] == "CONTAINER"}
        rows = self._rows(names)
        files: dict[str, list[FileRecord]] = {}
        for name in names:
            files[name] = [_file(row, name) for row in rows[name] if row["guid"]]
            without_guid = len(rows[name]) - len(files[name])
            if without_guid:
                free.setdefault(name, {})[NO_GUID] = without_guid
        return [_record(n, metadata[n], free.get(n, {}), files[n], members.get(n, ())) for n in names]

    def _free(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Free keys by name; none from a server whose database keeps none (SQLite)."""
        try:
            with translate_errors(f"ask for the keys of {names[0]}", names[0]):
                rows = list(self._client.get_metadata_bulk([_did(n) for n in names], plugin="JSON"))
        except CatalogError as error:
            if error.fields.get("kind") not in KEEPS_NONE or self.keeps_keys:
                raise
            return {}
        return {f"{row['scope']}:{row['name']}": row for row in rows}

    def _members(self, name: str) -> tuple[str, ...]:
        with translate_errors(f"list the content of {name}", name):
            content = self._client.list_content(**_did(name))
            return tuple(sorted(f"{row['scope']}:{row['name']}" for row in content))

    # --- files, copies, sites ------------------------------------------------------------------------------

    def files(self, names: Sequence[str]) -> dict[str, list[FileRecord]]:
        """The files with a GUID of each dataset or container, sorted by logical name (`scope:name`)."""
        by_name: dict[str, list[FileRecord]] = {}
        for name, rows in self._rows(names).items():
            files = [_file(row, name) for row in rows if row["guid"]]
            by_name[name] = sorted(files, key=lambda file: file.lfn)
        return by_name

    def _rows(self, names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """What is said of the files of each dataset or container."""
        rows_of: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for some in _chunks(names):
            with translate_errors(f"list the files of {some[0]}", some[0]):
                for row in self._client.bulk_list_files([_did(name) for name in some]):
                    if (dataset := f"{row['parent_scope']}:{row['parent_name']}") in rows_of:
                        rows_of[dataset].append(row)
        for name in (n for n, files in rows_of.items() if not files):  # it may be a container
            with translate_errors(f"list the files of {name}", name):
                rows_of[name] += self._client.list_files(**_did(name))
        return rows_of

    def copies(self, names: Sequence[str]) -> dict[str, list[Replica]]:
        """Where the files of datasets are, by GUID, sorted by site and name; copies to come are left out."""
        guids: dict[str, str] = {}
        for files in self.files(names).values():
            guids |= {file.lfn: file.guid for file in files}
        replicas: dict[str, list[Replica]] = {guid: [] for guid in guids.values()}
        for some in _chunks(list(guids)):
            with translate_errors(f"list the copies of {some[0]}"):
                for row in self._client.list_replicas([_did(lfn) for lfn in some], domain="all"):
                    guid = guids[f"{row['scope']}:{row['name']}"]
                    for site, pfns in row["rses"].items():
                        if row["states"].get(site, "AVAILABLE") == "AVAILABLE":
                            replicas[guid] += [Replica(site, _place(pfn), guid) for pfn in pfns]
        for copies in replicas.values():
            copies.sort(key=lambda replica: (replica.site, replica.pfn))
        return replicas

    def sites(self) -> list[Site]:
        """All storage elements as sites, sorted by name, with their attributes as free keys."""
        with translate_errors("list sites"):
            names = sorted(row["rse"] for row in self._client.list_rses())
            return [Site(n, "", _plain(self._client.list_rse_attributes(n), n)) for n in names]

    def place(self, lfn: str, site: str) -> str:
        """Where a new copy of a file is to be written at a site."""
        with translate_errors(f"ask {site} for a place"):
            return _place(self._client.lfns2pfns(site, [lfn], operation="write")[lfn])

    # --- changes -------------------------------------------------------------------------------------------

    def create(self, name: str, facts: DatasetFacts) -> None:
        """A new dataset, or a container of `facts.members`; refused where the name is taken.

        Other facts, parents and free keys go to keys of Rucio's; CatalogError where the server keeps none.
        """
        keys = keys_of(facts)
        if keys and not self.keeps_keys:
            raise CatalogError(
                f"rucio could not make {name}: its server keeps no free keys ({', '.join(keys)})",
                hint="its database must be PostgreSQL or Oracle",
                dataset=name,
            )
        meta = {theirs: value for ours, theirs in FACTS.items() if (value := getattr(facts, ours))}
        with translate_errors(f"make {name}", name):
            if facts.members:
                self._client.add_container(**_did(name))
                self._client.attach_dids(**_did(name), dids=[_did(m) for m in facts.members])
            else:
                self._client.add_dataset(**_did(name), meta=meta)
        if keys:
            self.describe(name, keys)

    @cached_property
    def keeps_keys(self) -> bool:
        """Whether the server keeps free keys: with PostgreSQL below it does, with SQLite it does not.

        One that keeps none fails when it is asked for one, every time, and answers well between: CatalogError where it
        does not.
        """
        if self._asked(plugin="JSON") == UNKNOWN:
            return True
        if (kind := self._asked()) != UNKNOWN:
            raise CatalogError(
                "rucio could not say whether it keeps free keys: its server fails",
                hint="try again later, or tell whoever runs it",
                kind=kind,
            )
        return self._asked(plugin="JSON") == UNKNOWN

    def _asked(self, **how: str) -> str:
        """What kind of error asking for a name that is nowhere gives; it is raised where it says nothing of keys."""
        try:
            with translate_errors("ask for free keys"):
                self._client.get_metadata("tagsel", "is.there.anything", **how)
        except CatalogError as error:
            kind = str(error.fields.get("kind"))
            if kind not in (UNKNOWN, *KEEPS_NONE):
                raise
            return kind
        return UNKNOWN

    def attach(self, name: str, files: Sequence[FileRecord], site: str) -> None:
        """Add files to an open dataset, each with its copy at a site as its `pfn` says ("": as the site does)."""
        for some in _chunks(files):
            rows = [_row(f, name) for f in some]
            with translate_errors(f"add {len(files)} files to {name}", name):
                self._client.attach_dids(**_did(name), dids=rows, rse=site)

    def describe(self, name: str, meta: Mapping[str, Value]) -> None:
        """Set free keys of a dataset; CatalogError where the server keeps none (its database is SQLite)."""
        with translate_errors(f"set {', '.join(meta)} of {name}", name):
            self._client.set_metadata_bulk(**_did(name), meta=dict(meta))

    def close(self, name: str) -> None:
        """Nothing is added to the dataset any more."""
        with translate_errors(f"close {name}", name):
            if self._client.get_did(**_did(name))["open"]:
                self._client.set_status(**_did(name), open=False)

    def wish(self, name: str, site: str) -> None:
        """Make a rule for complete copies of a dataset at a site; asked again, nothing changes."""
        if site not in {rule.site for rule in self.rules(name)}:
            with translate_errors(f"make a rule for {name} at {site}", name):
                self._client.add_replication_rule([_did(name)], 1, site)

    def rules(self, name: str) -> list[Rule]:
        """The rules of a dataset, sorted by site (or by the expression that chooses sites)."""
        with translate_errors(f"list the rules of {name}", name):
            rows = list(self._client.list_did_rules(**_did(name)))
        return sorted(map(read_rule, rows), key=lambda rule: rule.site)

    def every_rule(self) -> list[Rule]:
        """All rules of the account, those of its subscriptions too, sorted by dataset and site."""
        with translate_errors("list rules"):
            rows = list(self._client.list_replication_rules({"account": self._client.account}))
        return sorted(map(read_rule, rows), key=lambda rule: (rule.dataset, rule.site))

    def subscribe(self, pattern: str, site: str) -> None:
        """A subscription, `scope:glob` or a glob of names, for datasets to come; those that are there get rules now."""
        with translate_errors(f"subscribe {site}"):
            list(self._client.list_rses(site))  # a subscription of no site at all is accepted, and does nothing
        for name in self.names(pattern):
            self.wish(name, site)
        if Subscription(pattern, site) in self.subscriptions():
            return
        name, rules = subscription_name(pattern, site), [{"copies": 1, "rse_expression": site, "activity": ACTIVITY}]
        about = name, self._client.account, subscription_filter(pattern), rules, pattern
        with translate_errors(f"subscribe to {pattern} at {site}"):
            if name in {row["name"] for row in self._subscriptions()}:  # one that was ended keeps its name
                self._client.update_subscription(*about)
            else:
                self._client.add_subscription(*about, None, False, False)

    def subscriptions(self) -> list[Subscription]:
        """What the account is subscribed to, sorted; the comment of one that was made here is its glob."""
        wishes: set[Subscription] = set()
        for row in self._subscriptions():
            if is_active(row):
                wishes.update(read_subscription(row))
        return sorted(wishes, key=lambda wish: (wish.pattern, wish.site))

    def unsubscribe(self, pattern: str, site: str) -> None:
        """End a subscription: Rucio keeps it, inactive; rules that it made stay. One of several sites is refused."""
        wish = Subscription(pattern, site)
        rows = [row for row in self._subscriptions() if is_active(row) and wish in read_subscription(row)]
        if not rows:
            raise no_subscription(wish, self.subscriptions())
        for row in rows:
            if others := sorted({s.site for s in read_subscription(row)} - {site}):
                also = f"subscription {row['name']} of rucio is to {', '.join(others)}, too, and ends whole"
                raise CatalogError(also, hint="`rucio subscription update` changes it")
        for row in rows:
            with translate_errors(f"end the subscription {row['name']}"):
                self._client.deactivate_subscription(row["name"])

    def _subscriptions(self) -> list[dict[str, Any]]:
        """All of the account's, ended ones too."""
        with translate_errors("list subscriptions"):
            return list(self._client.list_subscriptions(account=self._client.account))


def _did(name: str) -> dict[str, str]:
    scope, colon, rest = name.partition(":")
    if not (scope and colon and rest):
        raise CatalogError(f"{name!r} is no name of rucio's", hint="scope:name, as in data18:data18.DoubleMuon.AOD")
    return {"scope": scope, "name": rest}


def _chunks(of: Sequence[_T]) -> Iterator[Sequence[_T]]:
    return (of[i : i + BULK] for i in range(0, len(of), BULK))


def _file(row: Mapping[str, Any], dataset: str) -> FileRecord:
    lfn = f"{row['scope']}:{row['name']}"
    entries = -1 if row["events"] is None else int(row["events"])
    size = -1 if row["bytes"] is None else int(row["bytes"])
    kind = derive_facts(dataset).type or "AOD"
    checksum = f"adler32:{row['adler32']}" if row["adler32"] else ""
    return FileRecord(_dashed(row["guid"]), lfn, "", kind, entries, size, checksum=checksum)


def _row(file: FileRecord, dataset: str) -> dict[str, Any]:
    """A file as `attach_dids` takes it; a file without a scope gets that of its dataset."""
    if file.bytes < 0 or not file.checksum:
        raise CatalogError(f"{file.lfn}: rucio wants the size and the adler32 of a file", lfn=file.lfn)
    name = file.lfn if ":" in file.lfn else f"{_did(dataset)['scope']}:{file.lfn}"
    meta = {"guid": file.guid, **({"events": file.entries} if file.entries >= 0 else {})}
    row = {**_did(name), "bytes": file.bytes, "adler32": file.checksum.removeprefix("adler32:"), "meta": meta}
    pfn = f"file://localhost{file.pfn}" if file.pfn.startswith("/") else file.pfn
    return {**row, "pfn": pfn} if pfn else row


def _record(
    name: str, row: Mapping[str, Any], free: Mapping[str, Any], files: Sequence[FileRecord], members: Sequence[str]
) -> DatasetRecord:
    facts = {ours: str(row[theirs] or "") for ours, theirs in FACTS.items()}
    named = derive_facts(name.partition(":")[2])
    keys = {k: v for k, v in free.items() if k not in ("scope", "name")}
    facts_in_keys = _take_facts(keys)
    run = row.get("run_number")
    return DatasetRecord(
        name=name,
        type=facts["type"] or named.type,
        version=facts["version"],
        stream=facts["stream"] or named.stream,
        year=named.year,
        run_min=run,
        run_max=run,
        state="open" if row["is_open"] else "closed",
        meta=_plain({**{k: row[k] for k in KEYS if row.get(k)}, **keys}, name),
        members=tuple(members),
        **facts_in_keys,
        files=len(files),
        events=sum(max(f.entries, 0) for f in files),
        bytes=sum(max(f.bytes, 0) for f in files),
    )


def _take_facts(keys: dict[str, Any]) -> dict[str, Any]:
    """The facts that are kept as free keys, taken out of these."""
    facts: dict[str, Any] = {fact: str(keys.pop(fact)) for fact in FACTS_AS_KEYS if fact in keys}
    facts["parents"] = tuple([parent for parent in str(keys.pop("parents", "")).split(",") if parent])
    return facts


def keys_of(facts: DatasetFacts) -> dict[str, Value]:
    """What is known of a dataset that Rucio has no key of its own for."""
    keys = {fact: getattr(facts, fact) for fact in FACTS_AS_KEYS if getattr(facts, fact)}
    return {**facts.meta, **keys, **({"parents": ",".join(facts.parents)} if facts.parents else {})}


def _plain(row: Mapping[str, Any], own_name: str) -> dict[str, Value]:
    """Values that a free key can hold, under names that it can have; that by which a site names itself is left out."""
    keys: dict[str, Value] = {}
    for key, value in row.items():
        if isinstance(value, str | int | float) and key != own_name:
            plain = re.sub(r"\W", "_", key)[:58]
            conflict = plain.lower() in TABLES["datasets"].columns or plain[:1].isdigit()
            keys[f"rucio_{plain}" if conflict else plain] = value
    return keys


def _dashed(guid: str) -> str:
    digits = guid.replace("-", "")
    return canonical_guid("-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])))


def _place(pfn: str) -> str:
    """A path for a file of this machine (`file://localhost/data/x`), else the URL as it is."""
    return re.sub(r"^file://(localhost)?(?=/)", "", pfn)
