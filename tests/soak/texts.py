"""Cut texts, of which about half bind.

Each is understood, or refused with a CutError; nothing else is raised, and nothing hangs.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from object_writer import ObjectWriter
from tag_schema import LUMI, MENUS, SCHEMA

from soak.forks import in_child
from soak.tally import Part, Tally
from tagsel.errors import CutError
from tagsel.language.tree import LumiTable

TOKENS = (
    "&& || ! ( ) [ ] { } , : ; < <= == != = ~ ^ & | ** % // in not and let any count argmin mass Muon Muon.pt Muon[0] "
    "nMuon MET_pt GeV mm 25 1e999 9007199254740993 0x1f 'a' \" @ ? . - é __import__ true \x00"
)
WHOLE = 0.5
"""The part of the texts that is not changed."""

PIECES = tuple(TOKENS.split(" "))
"""Words that a change puts into a cut."""


def text_of(seed: int, number: int) -> str:
    """The text of a number: a cut that binds, or one that was changed in one to three places."""
    chance = random.Random(f"{seed} {number}")
    text = ObjectWriter(chance.randrange(2**63)).condition(chance.randint(0, 2))
    if chance.random() < WHOLE:
        return text
    for _ in range(chance.randint(1, 3)):
        text = _changed(text, chance)
    return text


def _changed(text: str, chance: random.Random) -> str:
    at = chance.randint(0, len(text))
    kind = chance.choice(("insert", "delete", "replace", "double"))
    end = min(len(text), at + chance.randint(1, 8))
    middle = {"insert": text[at:end], "delete": "", "replace": "", "double": 2 * text[at:end]}[kind]
    word = chance.choice(PIECES) if kind in ("insert", "replace") else ""
    return f"{text[:at]}{word}{middle}{text[end:]}"


def _good_runs(name: str) -> LumiTable:
    """The good-run list that the writer of cuts names."""
    if name != LUMI.name:
        raise CutError(f"there is no good-run list {name}")
    return LUMI


def bind_all(seed: int, first: int, number: int) -> dict[str, Any]:
    """Bind so many texts; how many bound, how many were refused, and what else happened."""
    from tagsel.language import Scope
    from tagsel.language.bind import bind

    scope = Scope(SCHEMA, MENUS, _good_runs)
    bound = refused = 0
    wrong = []
    for k in range(first, first + number):
        text = text_of(seed, k)
        try:
            bind(text, scope)
            bound += 1
        except CutError:
            refused += 1
        except Exception as error:
            wrong.append(f"seed {seed}, text {k}: {type(error).__name__}: {error!s:.200}: {text!r:.300}")
    return {"bound": bound, "refused": refused, "wrong": wrong}


def texts(seed: int, size: int) -> Part:
    """Bind `size` texts, in children, so that a crash or an endless loop is seen and named by its batch."""

    def run(tally: Tally, trials: range, scratch: Path) -> None:
        ended = in_child(lambda: (0, bind_all(seed, trials.start, len(trials))), limit=600)
        if ended.code != 0:
            end = "hung" if ended.hung else f"exit code {ended.code}"
            tally.fail(f"seed {seed}, texts {trials.start} to {trials.stop}: {end}: {ended.last_line}")
            return
        tally.trials += ended.value["bound"] + ended.value["refused"]
        tally.outcomes["bound"] += ended.value["bound"]
        tally.outcomes["refused"] += ended.value["refused"]
        for wrong in ended.value["wrong"]:
            tally.fail(wrong)

    return Part("cut texts", size, 5_000, run)
