"""Reading the TOML of a source schema: every key checked, every error named by its place in the file.

Invariant: a key that is not in the tables below is an error with the nearest that is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tagsel.errors import SchemaError, did_you_mean
from tagsel.schema.attributes import IDENTITIES, IDS, ROLES, STAGES, TYPES
from tagsel.schema.sourcetypes import (
    ENTRY,
    FORMATS,
    SourceAttribute,
    SourceBits,
    SourceCollection,
    SourcePattern,
    SourceSchema,
)

_VALUE = {"type": str, "unit": str, "role": str, "description": str, "hot": bool}
_MEMBER = {**_VALUE, "branch": list, "aliases": list, "signed": bool}
_KEYS: dict[str, dict[str, type]] = {
    "": {
        "name": str,
        "format": str,
        "description": str,
        "tree": str,
        "identity": str,
        "recognise": list,
        "simulation": list,
        "simulation_flag": list,
        "ignore": list,
        "slim": list,
        "rest": bool,
        "ids": dict,
        "references": dict,
        "units": dict,
        "attributes": Sequence,
        "patterns": Sequence,
        "bits": Sequence,
        "collections": Sequence,
        "slots": Sequence,
    },
    "attributes": {**_MEMBER, "name": str, "unknown": int},
    "patterns": {"match": list, "exclude": list, "role": str, "hot": bool},
    "bits": {"match": list, "exclude": list, "words": str, "role": str},
    "collections": {
        "name": str,
        "counter": str,
        "prefix": list,
        "take": list,
        "exclude": list,
        "members": dict,
    },
    "slots": {"collection": str, "counter": str, "slots": int, "column": str, "members": dict},
    "collection member": {**_MEMBER, "constant": float},
    "slot member": {**_VALUE, "column": str, "signed": bool},
}

SIGNED = "Its sign is the charge: take abs() for the momentum."


def read_source_schema(document: Mapping[str, Any], where: str) -> SourceSchema:
    """The source schema that a TOML document writes; `where` names it in errors."""
    top = _checked(document, "", where)
    _one_of(top.get("format", "tree"), FORMATS, f"{where}: format")
    _one_of(top.get("identity", IDENTITIES[0]), IDENTITIES, f"{where}: identity")
    slots: list[SourceAttribute] = []
    for i, table in _tables(top, "slots", where):
        slots += _slots(table, f"{where}: slots[{i}]")
    plain = [_attribute(t, t["name"], f"{where}: attributes[{i}]") for i, t in _tables(top, "attributes", where)]
    names = [a.name for a in (*plain, *slots)]
    repeated = sorted({n for n in names if names.count(n) > 1})
    if repeated:
        raise SchemaError(f"{where}: attribute {repeated[0]} is named twice", path=where, name=repeated[0])
    return SourceSchema(
        name=top.get("name", where),
        format=top.get("format", "tree"),
        description=top.get("description", ""),
        tree=top.get("tree", ""),
        identity=top.get("identity", ""),
        ids=_ids(top.get("ids", {}), where),
        references=_references(top.get("references", {}), where),
        recognise=tuple(top.get("recognise", ())),
        simulation=tuple(top.get("simulation", ())),
        simulation_flag=tuple(top.get("simulation_flag", ())),
        rest=top.get("rest", False),
        ignore=tuple(top.get("ignore", ())),
        slim=tuple(top.get("slim", ())),
        units=dict(top.get("units", {})),
        attributes=(*plain, *slots),
        patterns=tuple(SourcePattern(**_tuples(t)) for _, t in _tables(top, "patterns", where)),
        bits=tuple(SourceBits(**_tuples(t)) for _, t in _tables(top, "bits", where)),
        collections=tuple(_collection(t, f"{where}: collections[{i}]") for i, t in _tables(top, "collections", where)),
    )


_NEEDED = {
    "attributes": ("name",),
    "patterns": ("match",),
    "bits": ("match", "words", "role"),
    "collections": ("name", "counter"),
    "slots": ("collection", "counter", "slots", "column", "members"),
}


def _tables(top: Mapping[str, Any], kind: str, where: str) -> list[tuple[int, dict[str, Any]]]:
    """The tables of an array of tables, checked and numbered from 1."""
    found = []
    for number, table in enumerate(top.get(kind, ()), start=1):
        place = f"{where}: {kind}[{number}]"
        checked = _checked(table, kind, place)
        for key in _NEEDED[kind]:
            if key not in checked:
                raise SchemaError(f"{place}: {key} is missing", path=where, field=key)
        found.append((number, checked))
    return found


def _checked(table: Any, kind: str, where: str) -> dict[str, Any]:
    """A table with known keys of the right types; a text where names are wanted becomes a list of one."""
    if not isinstance(table, Mapping):
        raise SchemaError(f"{where}: a table was expected, not {table!r}")
    known = _KEYS[kind]
    checked: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            hint = did_you_mean(key, known) or f"one of {', '.join(known)}"
            raise SchemaError(f"{where}: unknown key {key!r}", hint=hint, field=key)
        wanted = known[key]
        if wanted is list:
            value = list(_names(value, f"{where}: {key}"))
        elif wanted is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
            raise SchemaError(f"{where}: {key} is {value!r}, a {_WORDS[wanted]} was expected", field=key)
        checked[key] = value
    _one_of(checked.get("type", TYPES[0]), TYPES, f"{where}: type")
    _one_of(checked.get("role", ROLES[0]), ROLES, f"{where}: role")
    return checked


_WORDS: dict[type, str] = {
    str: "text",
    bool: "true or false",
    int: "whole number",
    float: "number",
    list: "name or list of names",
    dict: "table",
    Sequence: "list of tables",
}


def _names(value: Any, where: str) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
        raise SchemaError(f"{where}: {value!r}: a name or a list of names was expected")
    return tuple(names)


def _one_of(value: str, known: Sequence[str], where: str) -> None:
    if value not in known:
        hint = did_you_mean(value, known) or f"one of {', '.join(known)}"
        raise SchemaError(f"{where}: unknown {value!r}", hint=hint, value=value)


def _tuples(table: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}


def _ids(table: Mapping[str, Any], where: str) -> dict[str, tuple[str, ...] | int]:
    ids: dict[str, tuple[str, ...] | int] = {}
    for key, value in table.items():
        _one_of(key, IDS, f"{where}: ids")
        ids[key] = _id(key, value, f"{where}: ids.{key}")
    missing = [i for i in IDS if i not in ids]
    if missing:
        raise SchemaError(
            f"{where}: ids: {', '.join(missing)} missing",
            hint='[ids] names the branches: run = "run", or lumi = 0 where a file has none',
            path=where,
        )
    return ids


def _id(key: str, value: Any, where: str) -> tuple[str, ...] | int:
    """Names of branches, a number that all rows have, or `ENTRY`."""
    if key == "event" and value == "entry":
        return ENTRY
    if not isinstance(value, int) or isinstance(value, bool):
        return _names(value, where)
    if key == "event":
        raise SchemaError(
            f"{where} is {value}: all rows would be one event",
            hint='event = "entry" takes the entry, in a file with a run of its own; ["entry"] is a branch of that name',
            field=key,
        )
    if value < 0:
        raise SchemaError(f"{where} is {value}: a number from 0 on was expected", field=key)
    return value


def _references(table: Mapping[str, Any], where: str) -> dict[str, tuple[str, ...]]:
    for stage in table:
        _one_of(stage, STAGES, f"{where}: references")
    return {stage: _names(table[stage], f"{where}: references.{stage}") for stage in STAGES if stage in table}


def _attribute(table: Mapping[str, Any], name: str, where: str) -> SourceAttribute:
    row = _tuples(table)
    branches = row.pop("branch", (name,))
    if row.pop("signed", False):
        row["description"] = f"{row.get('description', '')} {SIGNED}".strip()
    if not branches and "constant" not in row:
        raise SchemaError(f"{where}: {name}: no branch to take it from")
    return SourceAttribute(**{**row, "name": name, "branches": branches})


def _collection(table: Mapping[str, Any], where: str) -> SourceCollection:
    row = _tuples(table)
    rows = {m: _checked(t, "collection member", f"{where}.members.{m}") for m, t in row.pop("members", {}).items()}
    row["members"] = tuple(_attribute(t, member, where) for member, t in rows.items())
    row["prefixes"] = row.pop("prefix", ("",))
    return SourceCollection(**row)


def _slots(table: Mapping[str, Any], where: str) -> list[SourceAttribute]:
    """The slot attributes that a [[slots]] table stands for, members first: pt of slots 1, 2, …, then eta."""
    made = []
    for member, values in table["members"].items():
        row = _checked(values, "slot member", f"{where}.members.{member}")
        column = row.pop("column", table["column"])
        for slot in range(1, table["slots"] + 1):
            name = column.format(member=member, Member=member[:1].upper() + member[1:], slot=slot)
            placed = {**row, "collection": table["collection"], "member": member, "slot": slot}
            made.append(_attribute({**placed, "counter": table["counter"]}, name, where))
    return made
