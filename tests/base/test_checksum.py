"""Sealed documents: equal values have equal checksums, and any change of a value is damage."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tagsel.base.checksum import Damaged, file_sha256, read_sealed, seal, unseal
from tagsel.errors import StoreError

DOCUMENT = {"version": 2, "n": 1314, "names": ["a", "b"], "weight": 0.1, "of": {"10": 1, "9": 2}, "note": "µ"}


def test_the_checksum_is_that_of_the_compact_document() -> None:
    text = json.dumps(DOCUMENT, sort_keys=True, separators=(",", ":"))
    assert json.loads(seal(DOCUMENT))["sha256"] == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("indent", [None, 1])
def test_what_was_sealed_comes_back(indent: int | None) -> None:
    assert unseal(seal(DOCUMENT, indent=indent)) == DOCUMENT
    assert unseal(seal({9: "a", 10: "b"}, indent=indent)) == {"9": "a", "10": "b"}


def test_every_flipped_bit_is_damage_or_changes_no_value() -> None:
    sealed = seal(DOCUMENT)
    for position in range(8 * len(sealed)):
        flipped = bytearray(sealed)
        flipped[position // 8] ^= 1 << position % 8
        try:
            document = unseal(bytes(flipped))
        except Damaged:
            continue
        assert document == DOCUMENT, f"bit {position} was flipped and nobody saw it"


def test_a_document_without_a_checksum_is_damage_unless_its_format_had_none() -> None:
    with pytest.raises(Damaged, match="no checksum"):
        unseal(b'{"n": 1}')
    assert unseal(b'{"n": 1}', required=False) == {"n": 1}
    with pytest.raises(Damaged):
        unseal(b"[1]", required=False)


def test_an_error_names_the_file_and_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "pins.json"
    path.write_bytes(seal(DOCUMENT).replace(b"1314", b"9314"))
    with pytest.raises(StoreError, match=r"pins.json is damaged: its content does not match") as caught:
        read_sealed(path, StoreError, "tagsel datasets check")
    assert caught.value.hint == "tagsel datasets check"
    with pytest.raises(StoreError, match="cannot read .*: No such file"):
        read_sealed(tmp_path / "none", StoreError, "")


def test_a_file_has_the_checksum_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert file_sha256(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()
