"""Whole numbers as text, neighbours as ranges."""

from __future__ import annotations

from collections.abc import Sequence


def as_ranges(numbers: Sequence[int], separator: str = ", ") -> str:
    """Rising numbers as text, all of them.

    >>> as_ranges([2, 3, 4, 7])
    '2-4, 7'
    """
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return separator.join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
