"""Versions of datasets: which of two is newer, which datasets are versions of one another, and the newest of each.

Versions compare number by number: 1.10.0 is newer than 1.9.2, r123_p4 than r123_p3, 1.0 than 1.0-rc1. Datasets are
one family where their names differ in the version alone; where no name holds it, where type, stream, year, sample,
free keys and runs agree. Invariant: pure functions of records; no dataset is in two families.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tagsel.catalog.records import DatasetRecord

_TOKEN = re.compile(r"\d+|[A-Za-z]+")
_PRE = frozenset({"dev", "a", "alpha", "b", "beta", "pre", "c", "rc"})
_PART = re.compile(r"[._-](v\d+(?:\.\d+)*|\d{1,3}(?:\.\d+)+|[rpf]\d+|[a-z]\d+(?:_[a-z]\d+)+)(?=[.-]|$)")
"""What in a name is a version: v2, v1.4.2, 1.10.0, and production tags (r123, f408_m1_p4); no run, year, mass."""

Key = tuple[tuple[int, int, str], ...]


def version_key(text: str) -> Key:
    """What orders versions, the lowest for "": numbers by value, words by letter, before what they prepare.

    >>> sorted(["1.10.0", "1.9.2", "1.10.0-rc1", "v2", "1.9"], key=version_key)
    ['1.9', '1.9.2', '1.10.0-rc1', '1.10.0', 'v2']
    >>> version_key("r123_p4") > version_key("r123_p3") > version_key("r99_p7")
    True
    """
    tokens = [t.lower() for t in _TOKEN.findall(text)]
    if tokens[:1] == ["v"]:
        del tokens[0]
    parts = [_part_key(token, first=number == 0) for number, token in enumerate(tokens)]
    return (*parts, (0, 0, "")) if parts else ()


def _part_key(token: str, *, first: bool) -> tuple[int, int, str]:
    """What orders one part of a version: a word of a pre-release, then its end, then another word, then a number."""
    if token.isdigit():
        return 2, int(token), ""
    if token in _PRE and not first:
        return -1, 0, token
    return 1, 0, token


@dataclass(frozen=True)
class Family:
    """Datasets that are versions of one another: the `newest` with its `version`, and the `older`, newest first."""

    newest: DatasetRecord
    version: str
    older: tuple[DatasetRecord, ...]


def families(records: Iterable[DatasetRecord]) -> list[Family]:
    """The families among `records`, sorted by the name of the newest.

    Two datasets of one version are two families: neither takes the place of the other.
    """
    grouped: dict[object, list[tuple[str, DatasetRecord]]] = {}
    unnamed: dict[object, list[DatasetRecord]] = {}
    for record in records:
        stem, version = split_version(record.name, record.version)
        if stem != record.name or not _told_apart(record):
            grouped.setdefault(stem, []).append((version, record))
        else:
            unnamed.setdefault(_facts(record), []).append(record)
    for facts, same in unnamed.items():
        for number, runs in enumerate(_of_common_runs(same)):
            grouped[facts, number] = [(record.version, record) for record in runs]
    all_families: list[Family] = []
    for members in grouped.values():
        all_families += _family(members)
    return sorted(all_families, key=lambda family: family.newest.name)


def split_version(name: str, version: str = "") -> tuple[str, str]:
    """(name with `*` for its version, the version): what the record says where the name holds it, else what looks so.

    The name comes back unchanged where it holds none.

    >>> split_version("data18.Muon.TAG.r123_p4"), split_version("mc.Zmumu.1.10.0.TAG", "1.10.0")
    (('data18.Muon.TAG.*', 'r123_p4'), ('mc.Zmumu.*.TAG', '1.10.0'))
    >>> split_version("data18.Muon.TAG", "1.0.0")
    ('data18.Muon.TAG', '1.0.0')
    """
    if version:
        in_name = re.search(rf"(?<![A-Za-z0-9]){re.escape(version)}(?![A-Za-z0-9])", name)
        return (f"{name[: in_name.start()]}*{name[in_name.end() :]}" if in_name else name), version
    parts = list(_PART.finditer(name))
    if not parts:
        return name, version
    return f"{name[: parts[-1].start(1)]}*{name[parts[-1].end(1) :]}", parts[-1][1]


def _told_apart(record: DatasetRecord) -> bool:
    """Whether the record says so much that another with the same facts may be a version of it."""
    return bool(record.version and record.type and (record.stream or record.sample))


def _facts(record: DatasetRecord) -> object:
    sample = "" if record.sample == record.name else record.sample
    meta = tuple(sorted((k.lower(), str(v)) for k, v in record.meta.items()))
    return record.type, record.stream, record.year, record.simulation, sample, record.cut, meta


def _of_common_runs(records: Sequence[DatasetRecord]) -> list[list[DatasetRecord]]:
    """Records whose ranges of runs meet, together: two periods of a year are not versions of one another."""
    families: list[list[DatasetRecord]] = []
    last = -1
    for record in sorted(records, key=lambda r: (-1 if r.run_min is None else r.run_min, r.name)):
        low = last if record.run_min is None else record.run_min
        if not families or low > last:
            families.append([])
        families[-1].append(record)
        last = max(last, low if record.run_max is None else record.run_max)
    return families


def _family(members: Sequence[tuple[str, DatasetRecord]]) -> list[Family]:
    """The family of some members, or several with the same older ones where the newest version is that of several."""
    ordered = sorted(members, key=lambda m: (version_key(m[0]), m[1].name), reverse=True)
    newest = [m for m in ordered if version_key(m[0]) == version_key(ordered[0][0])]
    older = tuple(record for _, record in ordered[len(newest) :])
    return [Family(record, version, older if at == 0 else ()) for at, (version, record) in enumerate(newest)]
