"""`after` adds what was done to every kind of error, and loses nothing of it."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import tagsel
from tagsel.errors import CutError, TagselError, after
from tagsel.jobs.executors import NotNow


def _kinds(base: type[TagselError]) -> Iterator[type[TagselError]]:
    """A class of errors and all below it."""
    yield base
    for kind in base.__subclasses__():
        yield from _kinds(kind)


def _modules_with_errors() -> list[str]:
    """Modules of the package that have a class below one whose name ends in Error."""
    folder = Path(tagsel.__file__).parent
    files = [file for file in folder.rglob("*.py") if "Error):" in file.read_text(encoding="utf-8")]
    return [".".join(("tagsel", *file.relative_to(folder).with_suffix("").parts)) for file in files]


def _required(kind: type[TagselError]) -> dict[str, object]:
    """A value for each keyword that a class of errors requires."""
    parameters = inspect.signature(kind).parameters.values()
    return {p.name: True for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty}


def test_every_kind_of_error_says_what_was_done_before_it() -> None:
    """NotNow, which requires `full`, came out of `submit --wait` as a TypeError."""
    for name in _modules_with_errors():
        importlib.import_module(name)
    kinds = set(_kinds(TagselError))
    assert {NotNow, CutError} < kinds
    for kind in kinds:
        error = kind("no space left", hint="make room", **_required(kind))
        with pytest.raises(TagselError) as caught, after("it is committed", "ask again"):
            raise error
        assert type(caught.value) is kind
        assert caught.value.__cause__ is error
        assert caught.value.args == ("it is committed, but then: no space left",)
        assert str(caught.value) == "it is committed, but then: no space left\n  try: make room; ask again"
        assert error.message == "no space left", "the error itself is left as it was"


def test_what_an_error_carries_is_kept() -> None:
    with pytest.raises(NotNow) as refusal, after("job 0001 is submitted"):
        raise NotNow("no answer", full=True)
    assert refusal.value.full
    assert refusal.value.left == ()
    with pytest.raises(CutError) as cut, after("it is committed"):
        raise CutError("no attribute", cut="x > 1", position=4, name="x")
    assert (cut.value.cut, cut.value.position) == ("x > 1", 4)
    assert cut.value.fields["name"] == "x"


def test_one_error_behind_two_changes_names_both_once() -> None:
    with pytest.raises(TagselError) as caught, after("job 0001 is submitted"), after("job 0001 is done"):
        raise TagselError("no space left")
    assert caught.value.message == "job 0001 is submitted; job 0001 is done, but then: no space left"
