"""Good-run lists: read and combine them."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import and_, or_, sub, xor
from pathlib import Path

from tagsel.api.questions import LumiLike
from tagsel.errors import CatalogError
from tagsel.quality import LumiSet, read_lumi


class Lumi:
    """Good-run lists, ATLAS XML or CMS JSON by content; `ws.lumi`."""

    def show(self, files: LumiLike) -> LumiSet:
        """The luminosity blocks of one list."""
        return _read(files)

    def union(self, *files: LumiLike) -> LumiSet:
        """The luminosity blocks of any list."""
        return _combined("union", or_, files)

    def intersect(self, *files: LumiLike) -> LumiSet:
        """The luminosity blocks that all lists hold."""
        return _combined("intersect", and_, files)

    def minus(self, *files: LumiLike) -> LumiSet:
        """The luminosity blocks of the first list that no other holds."""
        return _combined("minus", sub, files)

    def xor(self, *files: LumiLike) -> LumiSet:
        """The luminosity blocks that just one of two lists holds; of several, left to right."""
        return _combined("xor", xor, files)


def _read(one: LumiLike) -> LumiSet:
    return one if isinstance(one, LumiSet) else read_lumi(Path(one))


def _combined(name: str, operation: Callable[[LumiSet, LumiSet], LumiSet], files: tuple[LumiLike, ...]) -> LumiSet:
    if not files:
        raise CatalogError(f"{name} of no list is no list", hint="name two lists or more")
    return reduce(operation, map(_read, files))
