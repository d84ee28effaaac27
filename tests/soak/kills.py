"""Kills at random times.

A verb that died is done or not done, one that was acknowledged is done, and it can be repeated.
"""

from __future__ import annotations

import random
from pathlib import Path

from soak import world
from soak.forks import in_child, tagsel
from soak.tally import Part, Tally
from soak.verbs import Verb, aftermath, usual

TURN = 25
"""Kills between two measurements of how long the verb takes."""


def kills(seed: int, size: int, verb: Verb, pristine: Path) -> Part:
    """Kill a verb `size` times, each in a fresh copy of the world.

    The seed says after which part of the verb's usual time a trial kills; that time is measured in each turn, since it
    depends on what else the machine does.
    """

    def run(tally: Tally, trials: range, scratch: Path) -> None:
        longest = 1.1 * usual(verb, pristine, scratch).seconds
        for trial in trials:
            delay = longest * random.Random(f"{seed} {verb.name} {trial}").random()
            home = world.copy(pristine, scratch)
            ended = in_child(tagsel(*verb.command(scratch)), kill_after=delay)
            wrong = aftermath(verb, home, scratch, ended)
            if wrong:
                tally.fail(f"seed {seed}, {verb.name}, trial {trial}, killed after {delay:.4f} s: {wrong}")
            else:
                tally.add("killed" if ended.code < 0 else "acknowledged")

    return Part(f"kill: {verb.name}", size, TURN, run)
