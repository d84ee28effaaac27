"""A part's file as it is written: every byte hashed and on the disk in order, an error told to who gives the bytes."""

import errno
import hashlib
import os
import random
import threading
from pathlib import Path

import pytest

from tagsel.base import atomic_write
from tagsel.store import sink
from tagsel.store.sink import Sink


def test_the_file_and_its_digest_are_the_bytes_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "_FLUSH", 1000)  # the disk is made to take them on the way, too
    chance = random.Random(1)
    pieces = [chance.randbytes(chance.choice([0, 1, 30, 5000])) for _ in range(200)]
    file = Sink(tmp_path / "a")
    for piece in pieces:
        assert file.write(piece) == len(piece)
    whole = b"".join(pieces)
    assert file.tell() == len(whole)
    assert file.digest() == hashlib.sha256(whole).hexdigest()
    file.write(b"end")
    file.sync()
    file.close()
    file.close()
    assert (tmp_path / "a").read_bytes() == whole + b"end"
    assert not [t for t in threading.enumerate() if t.name == "tagsel-sink"]


@pytest.mark.parametrize("asked", ["write", "digest", "sync"])
@pytest.mark.parametrize("seam", ["write_all", "_fsync"])
def test_an_error_is_told_and_nothing_is_written_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seam: str, asked: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sink, "_FLUSH", 3)
    monkeypatch.setattr(atomic_write, seam, full)
    file = Sink(tmp_path / "a")
    file.write(b"abc")
    file._waiting.join()
    monkeypatch.undo()
    with pytest.raises(OSError, match="No space left"):
        file.write(b"def") if asked == "write" else getattr(file, asked)()
    size = (tmp_path / "a").stat().st_size
    file.give_up()
    for _ in range(100):  # more than may wait: nobody is stuck
        assert file.write(b"farewell") == len(b"farewell")
    file.close()
    assert (tmp_path / "a").stat().st_size == size <= 3


def test_pieces_wait_in_bounded_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk stands still, a writer can give so many pieces and is then made to wait."""
    go, taken, write = threading.Event(), [], os.write

    def slow(descriptor: int, data: bytes) -> None:
        go.wait(30)
        write(descriptor, data)

    monkeypatch.setattr(atomic_write, "write_all", slow)
    file = Sink(tmp_path / "a")

    def give() -> None:
        for n in range(100):
            file.write(bytes([n]))
            taken.append(n)

    giver = threading.Thread(target=give)
    giver.start()
    giver.join(0.3)
    held = len(taken)
    go.set()
    giver.join()
    file.sync()
    file.close()
    assert held <= sink._AHEAD + 1
    assert (tmp_path / "a").read_bytes() == bytes(range(100))
