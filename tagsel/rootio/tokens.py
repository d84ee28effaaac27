"""POOL Tokens and GUIDs: the addresses by which a TAG row names an event in a file.

Invariant: GUIDs leave this module upper-case in the form 8-4-4-4-12.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tagsel.errors import AccessError

_GUID = re.compile("^" + "-?".join(f"([0-9a-f]{{{n}}})" for n in (8, 4, 4, 4, 12)) + "$", re.I)
_FIELD = re.compile(r"\[([A-Z]+)=([^\]]*)\]")
_OID = re.compile(r"^([0-9A-F]{1,16})-([0-9A-F]{1,16})$", re.I)


@dataclass(frozen=True, slots=True)
class Token:
    """Where an event lies: file GUID, container in it, 0-based entry of the container."""

    guid: str
    container: str
    entry: int


def canonical_guid(text: str) -> str:
    """A GUID in upper case, 8-4-4-4-12; AccessError where the text is none.

    >>> canonical_guid("81fb839f-06fd-f947-8a9f-9e9f5b0e0f9c")
    '81FB839F-06FD-F947-8A9F-9E9F5B0E0F9C'
    """
    match = _GUID.match(text.strip())
    if not match:
        raise AccessError(
            f"{text!r} is not a GUID", hint="a GUID is 32 hexadecimal digits, grouped 8-4-4-4-12", text=text
        )
    return "-".join(match.groups()).upper()


def parse_token(text: str) -> Token:
    """The event that `[DB=GUID][CNT=…][CLID=…][TECH=…][OID=hex-hex]` points to.

    The entry is the low 32 bits of the second word of the OID. Raises AccessError where DB or OID is absent
    or malformed.

    >>> parse_token("[DB=81FB839F-06FD-F947-8A9F-9E9F5B0E0F9C][CNT=POOLContainer(DataHeader)]"
    ...             "[TECH=00000203][OID=00003B9400000062-00003B9400000002]")
    Token(guid='81FB839F-06FD-F947-8A9F-9E9F5B0E0F9C', container='POOLContainer(DataHeader)', entry=2)
    """
    fields = dict(_FIELD.findall(text))
    oid = _OID.match(fields.get("OID", ""))
    if "DB" not in fields or not oid:
        raise AccessError(f"{text!r} is no POOL Token", hint="expected [DB=GUID]…[OID=hex-hex]", token=text)
    return Token(canonical_guid(fields["DB"]), fields.get("CNT", ""), int(oid.group(2), 16) & 0xFFFF_FFFF)
