"""The columns of one row group as a mapping that reads each when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy.typing as npt

from tagsel.store import Part


class Columns(Mapping[str, npt.NDArray[Any]]):
    """The columns of one row group, each read when it is first asked for; absent ones are not there."""

    def __init__(self, part: Part, group: int) -> None:
        self.part, self.group = part, group
        self.seen: dict[str, npt.NDArray[Any]] = {}

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        if name not in self.seen:
            if name not in self.part.columns:
                raise KeyError(name)
            self.seen[name] = self.part.read(self.group, [name])[name]
        return self.seen[name]

    def __contains__(self, name: object) -> bool:
        return name in self.part.columns

    def __iter__(self) -> Iterator[str]:
        return iter(self.part.columns)

    def __len__(self) -> int:
        return len(self.part.columns)

    @property
    def bytes(self) -> int:
        """Bytes of the columns that were touched."""
        return sum(a.nbytes for a in self.seen.values())
