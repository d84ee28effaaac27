"""A parser that runs from tables: tokens by one regular expression, then shifts and reductions.

The tables are `grammar.json`, made from the grammar by `tagsel.language.grammar`; so a process that reads a cut builds
no parser. Invariant: what it accepts, builds and refuses is what the grammar says (a test compares it with lark).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from typing import Any

END = "$END"


class Token(str):
    """A piece of the text, with its kind and place."""

    __slots__ = ("end_pos", "start_pos", "type")

    type: str
    start_pos: int
    end_pos: int

    @classmethod
    def at(cls, kind: str, text: str, start: int) -> Token:
        """The token of this kind and text that begins at `start`."""
        made = cls(text)
        made.type, made.start_pos, made.end_pos = kind, start, start + len(text)
        return made


class Unexpected(Exception):
    """The text is not in the language: `token` (None: no token begins there) at `position`, and what could stand."""

    def __init__(self, position: int, token: Token | None = None, expected: frozenset[str] = frozenset()) -> None:
        super().__init__(position)
        self.position, self.token, self.expected = position, token, expected


class Parser:
    """The parser of the tables; each reduction calls the method of `builder` that the rule names, with its parts."""

    def __init__(self, tables: Mapping[str, Any], builder: object) -> None:
        self._tokens = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in tables["tokens"]))
        self._words: Mapping[str, Mapping[str, str]] = tables["words"]
        self._ignored = frozenset(tables["ignored"])
        self._states: list[dict[str, int]] = tables["states"]
        self._start, self._end = tables["start"], tables["end"]
        self._rules: list[tuple[str, int, Callable[[list[Any]], Any] | None, bool]] = [
            (origin, length, None if origin.startswith("_") else getattr(builder, method, None), single)
            for origin, length, method, single in tables["rules"]
        ]
        self._passing: dict[tuple[int, int, str], int] = {}

    def parse(self, text: str) -> Any:
        """What the builder makes of a text. Errors: Unexpected, and the builder's own."""
        states, values = [self._start], list[Any]()
        for token in self._scan(text):
            while True:
                if values and type(values[-1]) is not list:
                    states[-1] = self._passed(states, token.type)
                if token.type == END and states[-1] == self._end:
                    return values[0]
                act = self._states[states[-1]].get(token.type)
                if act is None:
                    wanted = frozenset(name for name in self._states[states[-1]] if name.isupper())
                    raise Unexpected(token.start_pos, token, wanted)
                if act >= 0:
                    states.append(act)
                    values.append(token)
                    break
                self._reduce(-1 - act, states, values)
        raise AssertionError("the text has an end")

    def _passed(self, states: list[int], kind: str) -> int:
        """The state after the rules that only pass on the one value that they have, of which there may be a dozen."""
        key = states[-2], states[-1], kind
        found = self._passing.get(key)
        if found is None:
            found = states[-1]
            while (act := self._states[found].get(kind, 0)) < 0:
                origin, length, _, single = self._rules[-1 - act]
                if length != 1 or not single:
                    break
                found = self._states[states[-2]][origin]
            self._passing[key] = found
        return found

    def _reduce(self, rule: int, states: list[int], values: list[Any]) -> None:
        origin, length, build, single = self._rules[rule]
        cut = len(values) - length
        parts: list[Any] = []
        for value in values[cut:]:
            if type(value) is list:  # a repetition, which stands for its parts
                parts.extend(value)
            else:
                parts.append(value)
        del values[cut:], states[cut + 1 :]
        made: Any = parts
        if single and len(parts) == 1:
            made = parts[0]
        elif build is not None:
            made = build(parts)
        values.append(made)
        states.append(self._states[states[-1]][origin])

    def _scan(self, text: str) -> Iterator[Token]:
        at, last = 0, None
        while at < len(text):
            found = self._tokens.match(text, at)
            if found is None or found.lastgroup is None:
                raise Unexpected(at)
            kind, at = found.lastgroup, found.end()
            if kind not in self._ignored:
                word = found.group()
                last = Token.at(self._words.get(kind, {}).get(word, kind), word, found.start())
                yield last
        yield Token.at(END, "", last.end_pos if last is not None else 0)


def tables() -> Any:
    """The tables of the cut language."""
    return json.loads(files("tagsel.language").joinpath("grammar.json").read_text(encoding="utf-8"))
