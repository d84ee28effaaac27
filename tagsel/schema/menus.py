"""Trigger menus: which bit of which word a chain's decision is kept in.

Invariant: a menu's id is a function of its content alone, so the same menu has the same id everywhere.
A chain that a menu lacks is *missing* for the rows of that menu, which is not the same as false.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

NO_MENU = 0
"""Menu id of rows whose file had no menu: every chain is missing."""


@dataclass(frozen=True)
class Menu:
    """A trigger menu: `bits` maps a chain or flag name to (column, bit), `key` is the experiment's own (SMK).

    >>> Menu({"HLT_mu10": ("trigger_0", 3)}).bits["HLT_mu10"]
    ('trigger_0', 3)
    """

    bits: Mapping[str, tuple[str, int]]
    key: str = field(default="", compare=False)

    @cached_property
    def id(self) -> int:
        """Positive 63-bit id: the first 8 bytes of SHA-256 over the sorted content, sign bit cleared."""
        content = json.dumps(sorted((n, c, b) for n, (c, b) in self.bits.items()), separators=(",", ":"))
        digest = hashlib.sha256(content.encode()).digest()
        return int.from_bytes(digest[:8], "little") & 0x7FFF_FFFF_FFFF_FFFF or 1

    def to_json(self) -> dict[str, object]:
        """A JSON-ready form that `from_json` reads back."""
        return {"key": self.key, "bits": {n: [c, b] for n, (c, b) in self.bits.items()}}

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> Menu:
        """The menu that `to_json` wrote."""
        bits = document["bits"]
        assert isinstance(bits, Mapping)
        return cls({str(n): (str(c), int(b)) for n, (c, b) in bits.items()}, str(document.get("key", "")))


def pack_order(names: list[str], prefix: str = "trigger", width: int = 32) -> Mapping[str, tuple[str, int]]:
    """Bits for `names` in sorted order, packed into words `<prefix>_0`, `<prefix>_1`, … of `width` bits.

    >>> pack_order(["b", "a"])
    {'a': ('trigger_0', 0), 'b': ('trigger_0', 1)}
    """
    return {n: (f"{prefix}_{i // width}", i % width) for i, n in enumerate(sorted(names))}
