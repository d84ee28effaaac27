"""The compiled functions: every one is there, and the digest covers all that they are made from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import tagsel.kernels
from tagsel.kernels import elementary, integers, jit, physics


def test_every_function_is_handed_out_once() -> None:
    tables = [elementary.SOURCES, physics.SOURCES, integers.SOURCES]
    assert len(jit.numba_functions()) == sum(map(len, tables))
    assert jit.numba_functions()["cos"] is jit.numba_functions()["cos"]


def test_the_digest_covers_every_file_of_the_room() -> None:
    digest = hashlib.sha256()
    for path in sorted(Path(tagsel.kernels.__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    assert jit.source_digest() == digest.hexdigest()


def test_options_keep_ieee_arithmetic() -> None:
    options = jit.jit(integers.SOURCES["add"]).targetoptions
    assert not options["fastmath"] and options["nogil"] and options["error_model"] == "numpy"
