"""What a list says of its making, worked out when it is first asked for: a cutflow of several cuts is another scan.

Invariant: once asked for it does not change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property


class History(Mapping[str, object]):
    """A mapping that `make` gives, called once.

    >>> made = History(lambda: {"cut": "nMuon >= 2"})
    >>> made["cut"], len(made)
    ('nMuon >= 2', 1)
    """

    def __init__(self, make: Callable[[], Mapping[str, object]]) -> None:
        self._make = make

    @cached_property
    def _known(self) -> Mapping[str, object]:
        return self._make()

    def __getitem__(self, key: str) -> object:
        return self._known[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def __repr__(self) -> str:
        return repr(dict(self._known))
