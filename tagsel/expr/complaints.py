"""What went wrong in the text of a cut, in words: where, what was expected, what to try.

Invariant: every error that leaves here carries the cut and a place within it.
"""

from __future__ import annotations

from collections.abc import Iterable

from tagsel.errors import CutError
from tagsel.expr.lalr import Token, Unexpected

_OPERAND = frozenset({"NAME", "NUMBER", "STRING"})

_WORDS = {"and": "&&", "or": "||", "not": "!", "in": "in", "if": "if", "let": "let"}

_CHARACTERS = {
    "#": "a cut has no comments",
    "{": "parentheses are ( and )",
    "}": "parentheses are ( and )",
    "≥": ">=", "≤": "<=", "≠": "!=", "∧": "&&", "∨": "||", "¬": "!", "×": "*", "−": "-", "–": "-",
    "“": 'plain quotes: "…"', "”": 'plain quotes: "…"', "‘": "plain quotes: '…'", "’": "plain quotes: '…'",
    '"': "a text ends with the quote it began with, on the same line",
    "'": "a text ends with the quote it began with, on the same line",
    "?": "there is no a ? b : c; write (a && b) || (!a && c)",
    ".": "an attribute is Collection.member, like Muon.pt",
    "@": "@name stands for a named cut",
}  # fmt: skip
"""What to try where a character has no place."""


def placed(error: CutError, text: str, position: int | None = None) -> CutError:
    """The error with its cut, so that it can draw a caret."""
    fields = {k: v for k, v in error.fields.items() if k not in ("cut", "position", "length")}
    at = error.position if position is None else position
    return CutError(error.message, cut=text, position=at, length=error.length, hint=error.hint, **fields)


def complain(error: Unexpected, text: str) -> CutError:
    """The `CutError` for what the parser could not read."""
    token = error.token
    if token is None:
        return _bad_character(error.position, text)
    if token.type == "$END":
        return _unfinished(text, error.expected)
    place = token.start_pos
    wanted = "; expected a name, a number or (" if set(error.expected) >= _OPERAND else ""
    message = f"{str(token)!r} has no place here{wanted}"
    return CutError(message, cut=text, position=place, length=len(token), hint=_hint(token, text))


def _bad_character(place: int, text: str) -> CutError:
    character = text[place]
    hint = _CHARACTERS.get(character, "")
    shown = repr(character) if character.isprintable() else f"U+{ord(character):04X}"
    return CutError(f"{shown} is not part of the cut language", cut=text, position=place, hint=hint)


def _unfinished(text: str, expected: Iterable[str]) -> CutError:
    end = len(text.rstrip())
    wanted = "a name, a number or (" if set(expected) >= _OPERAND else "a closing bracket"
    return CutError(f"the cut ends too soon; expected {wanted}", cut=text, position=max(0, end - 1))


_MARKS = {
    "EQUALS": "== compares; let names objects: let m = argmax(m in Muon: m.pt); …",
    "SEMICOLON": "join conditions with &&; a semicolon ends a let",
}
"""What to try where one of these marks has no place."""


def _hint(token: Token, text: str) -> str:
    """What to try where a token has no place: by the token, then by the word before it."""
    if token.type == "EQUALS" and text[: token.start_pos].endswith(("==", "!=")):
        return text[token.start_pos - 2 : token.start_pos]
    if token.type in _MARKS:
        return _MARKS[token.type]
    before = text[: token.start_pos].split()
    last = before[-1] if before else ""
    for word in (str(token), last):
        if word.lower() in _WORDS and not (word == word.lower() and word == last):
            return f"{word.lower()}, in lower case, or {_WORDS[word.lower()]}"
    if token.type == "LPAR" and last and (last[-1].isalnum() or last[-1] in "_]"):
        return "a function is a plain name, like abs(…); an object's value is Muon.pt[0]"
    if token.type == "LSQB":
        return "an index follows a name: Muon.pt[0]"
    if token.type in ("NAME", "NUMBER", "STRING", "MEMBER") and before:
        return "&& or || between two conditions; a unit follows its number"
    return ""
