"""Parts made by the thousand: copies of a part whose footers name other sources, which makes them other parts.

A part is named by the hash of its footer, and its footer names its source. So a copy with another GUID is a part of its
own, with the same rows. Zeros are not written: the copies are sparse files, and a large one takes no disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tagsel.store import NewPart
from tagsel.store.footers import part_name, read_footer
from tagsel.store.zones import bound, sidecar_path

_AT_ONCE = 1 << 16
_ZEROS = bytes(_AT_ONCE)

Pieces = Sequence[tuple[int, bytes]]
"""Where bytes that are not all zero begin, and the bytes."""


def copies(folder: Path, part: NewPart, guids: Iterator[str], count: int) -> list[NewPart]:
    """Write `count` copies of a part of one source beside it; their sources have the next of the `guids`."""
    (source,) = part.sources
    path = folder / part.name
    footer = read_footer(path)
    size = part.bytes - len(footer)
    pieces = _pieces(path, size)
    made = []
    for _ in range(count):
        guid = next(guids)
        other = footer.replace(source.guid.encode(), guid.encode())
        assert other != footer and len(other) == len(footer)
        name = part_name(other, part.rows)
        _write(folder / name, [*pieces, (size, other)])
        sidecar_path(folder / name).write_bytes(bound(sidecar_path(path).read_bytes(), folder / name))
        made.append(replace(part, name=name, sources=(replace(source, guid=guid, lfn=guid),)))
    return made


def _pieces(path: Path, size: int) -> Pieces:
    """What the first `size` bytes of a file hold beside zeros."""
    pieces = []
    with path.open("rb") as file:
        for start in range(0, size, _AT_ONCE):
            data = file.read(min(_AT_ONCE, size - start))
            if data != _ZEROS[: len(data)]:
                pieces.append((start, data))
    return pieces


def _write(path: Path, pieces: Pieces) -> None:
    with path.open("wb") as file:
        for start, data in pieces:
            file.seek(start)
            file.write(data)
