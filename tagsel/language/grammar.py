"""The parser's tables, made from the grammar `grammar.lark` by lark.

`python -m tagsel.language.grammar` writes `grammar.json` anew; a test compares the two. Nothing else imports this.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lark import Lark


def language(builder: object = None) -> Lark:
    """Lark's own parser of the grammar, which calls `builder` as ours does."""
    from lark import Lark

    grammar = files("tagsel.language").joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", lexer="basic", keep_all_tokens=True, transformer=builder)


@cache
def text() -> str:
    """The tables as JSON: tokens, words that are no names, rules, and what to do in each state on each symbol.

    An action from 0 on shifts to that state; below 0 it reduces by rule -1 - action.
    """
    parser = language()
    table: Any = parser.parser.parser._parse_table
    rules = list(dict.fromkeys(parser.rules))
    states = _in_order(table)
    words = _words(parser)
    gone = set(chain.from_iterable(of.values() for of in words.values()))
    document = {
        "tokens": [[t.name, t.pattern.to_regexp()] for t in parser.parser.lexer.terminals if t.name not in gone],
        "words": words,
        "ignored": sorted(parser.ignore_tokens),
        "start": 0,
        "end": states.index(table.end_states["start"]),
        "rules": [
            [r.origin.name, len(r.expansion), r.alias or r.origin.name, bool(r.options.expand1 and not r.alias)]
            for r in rules
        ],
        "states": [_actions(table, state, rules, states) for state in states],
    }
    lines = [f"{json.dumps(key)}: {_lines(value)}" for key, value in document.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _in_order(table: Any) -> list[int]:
    """Lark's numbers of the states, in the order in which they are met from the start: lark's own order varies."""
    found = [table.start_states["start"]]
    for state in found:  # which grows
        reached = (argument for _, (act, argument) in sorted(table.states[state].items()) if act.name == "Shift")
        found += dict.fromkeys(to for to in reached if to not in found)
    return found


def _actions(table: Any, state: int, rules: list[Any], states: list[int]) -> dict[str, int]:
    """What to do in a state on each symbol."""
    return {symbol: _action(act, rules, states) for symbol, act in sorted(table.states[state].items())}


def _action(act: Any, rules: list[Any], states: list[int]) -> int:
    kind, argument = act
    return states.index(argument) if kind.name == "Shift" else -1 - rules.index(argument)


def _words(parser: Lark) -> dict[str, dict[str, str]]:
    """Words that a pattern of another token matches too, by that token: they go before it."""
    import re

    fixed = {t.pattern.value: t.name for t in parser.terminals if type(t.pattern).__name__ == "PatternStr"}
    loose = [t for t in parser.terminals if type(t.pattern).__name__ == "PatternRE"]
    words = {}
    for terminal in sorted(loose, key=lambda t: t.name):
        pattern = re.compile(terminal.pattern.to_regexp())
        matches = {word: name for word, name in sorted(fixed.items()) if pattern.fullmatch(word)}
        if matches:
            words[terminal.name] = matches
    return words


def _lines(value: Any) -> str:
    """JSON with a line for each item of a list."""
    if not isinstance(value, list):
        return json.dumps(value)
    return "[\n" + ",\n".join(json.dumps(item, separators=(",", ":")) for item in value) + "\n]"


if __name__ == "__main__":
    Path(__file__).with_name("grammar.json").write_text(text(), encoding="utf-8")
