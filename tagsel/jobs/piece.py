"""A piece of a job: which events, in which files, and what to do with them, in one file that needs nothing
beside it.

Invariant: the bytes of a piece's file are a function of its content, so its digest names the work; its
worker opens neither catalog nor event list nor the user's script.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagsel.aod import Layout, Wanted
from tagsel.errors import JobError
from tagsel.quality import LumiSet, format_lumi

VERSION = 1
Ints = npt.NDArray[np.int32]
_COLUMNS = ("rows", "entries", "run", "lumi", "event")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is done with the events of every piece of a job.

    `script` is the text of the user's script, `branches` what it reads, `batch` how many events at once;
    `example` is a local file that types are taken from where a piece has no event.
    """

    script: str
    branches: tuple[str, ...] = ("*",)
    batch: int = 10_000
    layout: Layout = field(default_factory=Layout)
    example: str = ""

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of the script's text."""
        return hashlib.sha256(self.script.encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Piece:
    """Selected entries of some files; the `rows` of the files together are 0 … n_events - 1, the piece's
    order."""

    number: int
    files: tuple[Wanted, ...]
    site: str = ""

    @property
    def n_events(self) -> int:
        """How many events the piece has."""
        return sum(len(f) for f in self.files)

    @property
    def lumi(self) -> LumiSet:
        """The luminosity blocks of its events, but for events whose block is unknown."""
        none = np.empty(0, np.int32)
        run = np.concatenate([none, *(file.run for file in self.files)])
        lumi = np.concatenate([none, *(file.lumi for file in self.files)])
        return blocks_of(run, lumi)

    def to_json(self) -> dict[str, object]:
        """The plan of the piece for people and programs, without the entries."""
        files = [{"guid": f.guid, "lfn": f.lfn, "entries": len(f)} for f in self.files]
        return {"number": self.number, "events": self.n_events, "site": self.site, "files": files}


def blocks_of(run: Ints, lumi: Ints) -> LumiSet:
    """The luminosity blocks of events; unknown ones, which are negative, are left out."""
    known = (run >= 0) & (lumi >= 0)
    return LumiSet.from_blocks(run[known], lumi[known])


def piece_plan(piece: Piece, digest: str) -> dict[str, object]:
    """What a job's folder says of a piece whose file has a digest."""
    return {**piece.to_json(), "digest": digest, "lumi": format_lumi(piece.lumi, "json")}


def write_piece(path: Path, piece: Piece, recipe: Recipe) -> str:
    """Write the piece's file; its digest (SHA-256 of the bytes, hex) is returned.

    It is not synced one by one: a job's folder is synced whole before it gets its name.
    """
    header = {
        "version": VERSION,
        "number": piece.number,
        "site": piece.site,
        "lumi": format_lumi(piece.lumi, "json"),
        "files": [[f.guid, f.pfn, f.lfn, f.file_entries, len(f), *f.others] for f in piece.files],
        "script": recipe.script,
        "branches": recipe.branches,
        "batch": recipe.batch,
        "tree": recipe.layout.tree,
        "ids": {name: list(columns) for name, columns in recipe.layout.ids.items()},
        "example": recipe.example,
    }
    text = np.frombuffer(json.dumps(header, sort_keys=True).encode(), np.uint8)
    columns = {}
    for name in _COLUMNS:
        of_files = [getattr(file, name) for file in piece.files]
        columns[name] = np.concatenate(of_files or [np.empty(0, np.int64)])
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, header=text, **columns)
    path.write_bytes(buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def read_piece(path: Path, sha256: str = "") -> tuple[Piece, Recipe, str]:
    """(piece, recipe, digest) of a piece's file; JobError, naming it, where it is missing, damaged or newer.

    `sha256` is the digest that it must have; nothing in it is looked at before that is known. "" is of a job that was
    submitted before workers were told.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise JobError(f"{path}: not a piece of a job: {error}", path=str(path)) from error
    digest = hashlib.sha256(content).hexdigest()
    if sha256 and digest != sha256:
        raise JobError(
            f"{path} is not the piece that was submitted: its SHA-256 is {digest[:16]}…, {sha256[:16]}… was expected",
            hint="somebody changed it, or it is damaged: nothing of it was run; submit the job again",
            path=str(path),
        )
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            header = json.loads(stored["header"].tobytes())
            columns = {c: stored[c] for c in _COLUMNS}
    except Exception as error:  # zip, NumPy and JSON each have their own errors for damage
        raise JobError(f"{path}: not a piece of a job: {error}", path=str(path)) from error
    if header["version"] != VERSION:
        raise JobError(f"{path}: a piece of version {header['version']}; this program reads {VERSION}", path=str(path))
    files = []
    begin = 0
    for guid, pfn, lfn, entries, count, *others in header["files"]:
        of_file = {name: values[begin : begin + count] for name, values in columns.items()}
        files.append(Wanted(guid, pfn, lfn, entries, **of_file, others=tuple(others)))
        begin += count
    layout = Layout(header["tree"], header["ids"])
    recipe = Recipe(header["script"], tuple(header["branches"]), header["batch"], layout, header["example"])
    return Piece(header["number"], tuple(files), header["site"]), recipe, digest
