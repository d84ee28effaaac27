"""Copies of files, here and on a real XRootD server: good and damaged ones, names that are taken, nothing left."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tagsel.errors import AccessError
from tagsel.rootio.copying import CHUNK, checksum, copy

CONTENT = bytes(range(256)) * (CHUNK // 256) + b"one more chunk"
RIGHT = f"adler32:{zlib.adler32(CONTENT):08x}"


@pytest.fixture(params=["path", pytest.param("root", marks=pytest.mark.grid)])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A place for a file, in a folder that does not exist, and that folder as this machine sees it."""
    if request.param == "path":
        yield str(tmp_path / "to" / "b.root"), tmp_path / "to"
        return
    address, data = request.getfixturevalue("xrootd_server")
    yield f"{address}/data/{tmp_path.name}/to/b.root", data / tmp_path.name / "to"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of a bit more than one chunk."""
    path = tmp_path / "a.root"
    path.write_bytes(CONTENT)
    return path


def test_a_copy_is_the_file_and_nothing_else_is_left(source: Path, target: tuple[str, Path]) -> None:
    place, folder = target
    assert copy(str(source), place) == RIGHT
    assert [p.name for p in folder.iterdir()] == ["b.root"]
    assert (folder / "b.root").read_bytes() == CONTENT
    assert checksum(place) == checksum(str(source)) == RIGHT
    back = source.with_name("back.root")
    assert copy(place, str(back), RIGHT) == RIGHT
    assert back.read_bytes() == CONTENT


def test_a_good_copy_that_is_there_is_left(source: Path, target: tuple[str, Path]) -> None:
    place, folder = target
    copy(str(source), place, RIGHT)
    before = (folder / "b.root").stat()
    assert copy(str(source), place, RIGHT) == RIGHT
    assert (folder / "b.root").stat().st_mtime_ns == before.st_mtime_ns


def test_another_file_of_that_name_is_never_written_over(source: Path, target: tuple[str, Path]) -> None:
    place, folder = target
    copy(str(source), place)
    source.write_bytes(b"something else")
    with pytest.raises(AccessError, match="another file is there"):
        copy(str(source), place)
    assert (folder / "b.root").read_bytes() == CONTENT


def test_fault_26_a_damaged_source_leaves_no_copy(source: Path, target: tuple[str, Path]) -> None:
    place, folder = target
    source.write_bytes(CONTENT[:-1] + b"X")
    with pytest.raises(AccessError, match="damaged, or another file"):
        copy(str(source), place, RIGHT)
    assert not folder.exists() or list(folder.iterdir()) == []


def test_a_source_that_is_not_there_leaves_no_copy(source: Path, target: tuple[str, Path]) -> None:
    place, folder = target
    with pytest.raises(AccessError, match="cannot be read"):
        copy(str(source.with_name("nothing")), place)
    assert not folder.exists() or list(folder.iterdir()) == []


def test_the_web_is_read_only(source: Path) -> None:
    with pytest.raises(AccessError, match="paths and root:// only"):
        copy(str(source), "https://example.org/a.root")
