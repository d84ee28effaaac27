"""From patterns of branch names to the columns of a tree.

Invariant: a pattern that matches nothing is an error with the nearest names; it never matches silently
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from tagsel.errors import AccessError, did_you_mean
from tagsel.rootio import EventTree, parse_typename, plain_name

_NESTED = re.compile(r"^(?:std::)?vector<(.*)>$|^ROOT::(?:VecOps::)?RVec<(.*)>$")


def split_patterns(branches: str | Sequence[str]) -> list[str]:
    """Patterns from one text with commas, or from a sequence; AccessError where there are none.

    >>> split_patterns("Muon_*, MET_pt")
    ['Muon_*', 'MET_pt']
    """
    texts = [branches] if isinstance(branches, str) else branches
    patterns: list[str] = []
    for text in texts:
        words = (word.strip() for word in text.split(","))
        patterns.extend(word for word in words if word)
    if not patterns:
        raise AccessError("no branches were asked for", hint='patterns such as "Muon_*,MET_*", or "*" for all')
    return patterns


def resolve(tree: EventTree, branches: str | Sequence[str]) -> dict[str, str]:
    """Plain name → column of the tree, in the tree's order, for the branches that the patterns ask for.

    `*`, `?` and `[…]` match as in a shell, letter case counts; a pattern that begins with `-` takes
    branches away again. A wildcard takes only columns that can be read (numbers, strings, lists and lists
    of lists of them); a column called by its full name is taken whatever it holds. AccessError, naming the
    file, for a pattern without a match.
    """
    names: dict[str, str] = {}
    for column in tree.columns():
        names.setdefault(plain_name(column), column)
    chosen: set[str] = set()
    for pattern in split_patterns(branches):
        away = pattern.startswith("-")
        matches = _matches(tree, names, pattern.removeprefix("-"))
        chosen = chosen - matches if away else chosen | matches
    return {name: column for name, column in names.items() if name in chosen}


def _matches(tree: EventTree, names: dict[str, str], pattern: str) -> set[str]:
    column = tree.find(pattern)
    if column is not None:
        return {plain_name(column)}
    matching = {n for n, c in names.items() if fnmatchcase(n, pattern) or fnmatchcase(c, pattern)}
    readable = {n for n in matching if _readable(tree.typename(names[n]))}
    if not readable:
        why = f"matches only columns that cannot be read: {sorted(matching)[0]}" if matching else "matches no branch"
        bare = pattern.strip("*?")
        near = [n for n in names if bare and bare.lower() in n.lower()]
        hint = did_you_mean(pattern, names) or (f"did you mean {near[0]}?" if near else "the tree's own names, or *")
        raise AccessError(
            f"{tree.path}: {pattern!r} {why} of tree {tree.name}",
            hint=hint,
            pattern=pattern,
            path=str(tree.path),
        )
    return readable


def _readable(typename: str) -> bool:
    """Whether a C++ type is a number, a string, a list of these, or a list of such lists.

    >>> _readable("std::vector<std::vector<float>>"), _readable("xAOD::AuxContainerBase")
    (True, False)
    """
    if parse_typename(typename) is not None:
        return True
    inner = _NESTED.match(typename.strip())
    kind = parse_typename((inner.group(1) or inner.group(2)).strip()) if inner else None
    return kind is not None and kind.base != "string"
