"""Decoded columns are kept up to a number of bytes, the last used; large ones are not."""

from __future__ import annotations

import numpy as np

from tagsel.store.decoded import Decoded


def test_the_last_used_are_kept_up_to_a_number_of_bytes() -> None:
    kept, made = Decoded(most_bytes=800), list[int]()  # of arrays of 80 bytes: ten

    def decode(n: int, size: int = 10) -> np.ndarray:
        return kept.once(n, lambda: (made.append(n), np.full(size, n, np.int64))[1])

    for n in (*range(10), 0, 10, 0, 1):  # 0 is used again, so 1 goes when 10 comes
        assert decode(n).tolist() == [n] * 10
    assert made == [*range(11), 1]
    for _ in range(2):
        decode(99, 13)  # 104 bytes, over an eighth
    assert made[-2:] == [99, 99]
