"""Names of C++ types and of columns, reduced to what a TAG needs to know about them.

Invariant: pure functions of text; no file is opened here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_WRAPPERS = re.compile(r"^(?:std::vector|vector|ROOT::VecOps::RVec|ROOT::RVec)<(.*)>$")
_CARDINALITY = re.compile(r"^ROOT::(?:Experimental::)?RNTupleCardinality<(.*)>$")
_BRACKETS = re.compile(r"^(.*?)((?:\[\d*\])+)$")

_BASES = {
    "bool": "bool",
    "char": "int8",
    "signed char": "int8",
    "unsigned char": "uint8",
    "short": "int16",
    "unsigned short": "uint16",
    "int": "int32",
    "unsigned int": "uint32",
    "long": "int64",
    "unsigned long": "uint64",
    "Long64_t": "int64",
    "ULong64_t": "uint64",
    "float": "float32",
    "double": "float64",
    "Float16_t": "float32",
    "Double32_t": "float64",
    "char*": "string",
    "string": "string",
    "TString": "string",
    "int8_t": "int8",
    "int16_t": "int16",
    "int32_t": "int32",
    "int64_t": "int64",
    "uint8_t": "uint8",
    "uint16_t": "uint16",
    "uint32_t": "uint32",
    "uint64_t": "uint64",
}


@dataclass(frozen=True, slots=True)
class ColumnType:
    """What a column holds: `base` is a NumPy dtype name or "string"; a list holds any number an event."""

    base: str
    is_list: bool = False

    def __str__(self) -> str:
        return f"list<{self.base}>" if self.is_list else self.base


def parse_typename(typename: str) -> ColumnType | None:
    """The type that a C++ name stands for, or None where it is no scalar and no flat list of scalars.

    >>> parse_typename("std::vector<uint32_t>")
    ColumnType(base='uint32', is_list=True)
    >>> parse_typename("ROOT::RNTupleCardinality<std::uint32_t>")
    ColumnType(base='uint32', is_list=False)
    >>> parse_typename("std::vector<std::vector<float>>") is None
    True
    """
    name = typename.strip()
    cardinality = _CARDINALITY.match(name)
    if cardinality:
        name = cardinality.group(1).strip()
    wrapped = _WRAPPERS.match(name)
    brackets = None if wrapped else _BRACKETS.match(name)
    is_list = bool(wrapped or brackets)
    if wrapped:
        name = wrapped.group(1).strip()
    elif brackets:
        if brackets.group(2).count("[") > 1:
            return None
        name = brackets.group(1).strip()
    base = _BASES.get(name.removeprefix("std::"))
    return ColumnType(base, is_list) if base else None


def plain_name(column: str) -> str:
    """A column's name as schemas spell it, the same for split branches, unsplit ones and RNTuple fields.

    >>> plain_name("EventInfoAux./EventInfoAux.runNumber")
    'EventInfoAux.runNumber'
    >>> plain_name("xTrigDecisionAux:.smk"), plain_name("EventInfoAuxDyn:runNumber")
    ('xTrigDecisionAux.smk', 'EventInfoAuxDyn.runNumber')
    """
    return re.sub(r"\.\.+", ".", column.rsplit("/", 1)[-1].replace(":", "."))
