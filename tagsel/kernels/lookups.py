"""Searches in sorted tables, as loops call them."""

from __future__ import annotations

from numpy import int64

from tagsel.kernels.memory import Word, load_f8, load_i8


def contains_i8(address: Word, size: Word, value: Word) -> bool:
    """Whether a sorted table of int64 has a value."""
    low, high = int64(0), size
    while low < high:
        middle = (low + high) >> 1
        if load_i8(address, middle) < value:
            low = middle + 1
        else:
            high = middle
    return bool(low < size and load_i8(address, low) == value)


def contains_f8(address: Word, size: Word, value: Word) -> bool:
    """Whether a sorted table of float64 has a value."""
    low, high = int64(0), size
    while low < high:
        middle = (low + high) >> 1
        if load_f8(address, middle) < value:
            low = middle + 1
        else:
            high = middle
    return bool(low < size and load_f8(address, low) == value)


def within(runs: Word, firsts: Word, lasts: Word, size: Word, run: Word, lumi: Word) -> bool:
    """Whether one of some ranges of luminosity blocks has (run, lumi); int64, sorted by (run, first)."""
    low, high = int64(0), size  # the first range that begins after (run, lumi)
    while low < high:
        middle = (low + high) >> 1
        start = load_i8(runs, middle)
        if start < run or (start == run and load_i8(firsts, middle) <= lumi):
            low = middle + 1
        else:
            high = middle
    return bool(low > 0 and load_i8(runs, low - 1) == run and lumi <= load_i8(lasts, low - 1))
