"""What went wrong in the text of a cut, in words: where, what was expected, what to try.

Invariant: every error that leaves here carries the cut and a place within it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tagsel.errors import CutError, readable
from tagsel.language.lalr import Token, Unexpected

_OPERAND = frozenset({"NAME", "NUMBER", "STRING"})

_WORDS = {"and": "&&", "or": "||", "not": "!", "in": "in", "if": "if", "let": "let"}

_CHARACTERS = {
    "#": "a cut has no comments",
    "{": "parentheses are ( and )",
    "}": "parentheses are ( and )",
    "≥": ">=",
    "≤": "<=",
    "≠": "!=",
    "∧": "&&",
    "∨": "||",
    "¬": "!",
    "×": "*",
    "−": "-",
    "–": "-",
    "“": 'plain quotes: "…"',
    "”": 'plain quotes: "…"',
    "‘": "plain quotes: '…'",
    "’": "plain quotes: '…'",
    '"': "a text ends with the quote it began with, on the same line",
    "'": "a text ends with the quote it began with, on the same line",
    ".": "an attribute is Collection.member, like Muon.pt",
    "@": "@name stands for a named cut",
}
"""What to try where a character has no place."""


def placed(error: CutError, text: str, position: int | None = None) -> CutError:
    """The error with its cut, so that it can draw a caret."""
    fields = {k: v for k, v in error.fields.items() if k not in ("cut", "position", "length")}
    at = error.position if position is None else position
    return CutError(error.message, cut=text, position=at, length=error.length, hint=error.hint, **fields)


def powers(error: CutError, text: str) -> CutError:
    """The error with the cut as it is meant: every `^` outside of quotes a power."""
    pieces = re.split(r"(\"[^\"\n]*\"|'[^'\n]*')", text)
    meant = "".join(p if p[:1] in ("'", '"') else re.sub(r"\s*\^\s*", " ** ", p) for p in pieces)
    return placed(CutError(error.message, position=error.position, hint=meant.strip()), text)


_SPECIAL = re.compile(r"\b(Sum|Min|Max|MinIf|MaxIf|Alt|Length)\$\s*\(")
_SIZE = re.compile(r"\b([A-Za-z][\w.]*)@\.size\(\)")
_COMPARES = re.compile(r"[<>]|==|!=|&&|\|\|")


def in_our_words(text: str) -> str:
    """A cut with ROOT's special functions (`Sum$`, `Alt$`, `@.size()`) in our words; "" for one that has no such form.

    >>> in_our_words("Sum$(Muon_pt > 30) > 1")
    'count(Muon_pt > 30) > 1'
    >>> in_our_words("Muon_pt@.size() > 1")
    'count(Muon) > 1'
    """
    text = _SIZE.sub(lambda size: f"count({_collection(size[1])})", text)
    while special := _SPECIAL.search(text):
        inside = _arguments(text, special.end())
        if inside is None:
            return ""
        arguments, end = inside
        ours = _ours(special.group(1), arguments)
        if not ours:
            return ""
        text = text[: special.start()] + ours + text[end:]
    return "" if "$" in text else text


def _arguments(text: str, start: int) -> tuple[list[str], int] | None:
    """The arguments of a call that opens before `start`, and where it ends; None where it does not."""
    depth, begin, found = 1, start, []
    for at in range(start, len(text)):
        depth += (text[at] in "([") - (text[at] in ")]")
        if depth == 0 or (depth == 1 and text[at] == ","):
            found.append(text[begin:at].strip())
            begin = at + 1
        if depth == 0:
            return found, at + 1
    return None


def _collection(branch: str) -> str:
    """The collection of a branch of objects: Muon of `Muon_pt` and `Muon.pt`."""
    return re.split("[._]", branch)[0]


def _ours(function: str, arguments: list[str]) -> str:
    """One special function in our words."""
    if function in ("Min", "Max") and len(arguments) == 1:
        return f"{function.lower()}({arguments[0]})"
    if function in ("MinIf", "MaxIf") and len(arguments) == 2:
        return f"{function[:3].lower()}({arguments[0]} if {arguments[1]})"
    if function == "Alt" and len(arguments) == 2:
        return f"(present({arguments[0]}) ? {arguments[0]} : {arguments[1]})"
    if function == "Length" and len(arguments) == 1:
        return f"count({_collection(arguments[0])})"
    if function == "Sum" and len(arguments) == 1:
        return f"{'count' if _COMPARES.search(arguments[0]) else 'sum'}({arguments[0]})"
    return ""


def complain(error: Unexpected, text: str) -> CutError:
    """The `CutError` for what the parser could not read."""
    token = error.token
    if token is None:
        return _bad_character(error.position, text)
    if token.type == "$END":
        return _unfinished(text, error.expected)
    shouted = _shouted(token, text)
    if shouted is not None:
        return shouted
    place = token.start_pos
    wanted = "; expected a name, a number or (" if set(error.expected) >= _OPERAND else ""
    message = f"{str(token)!r} has no place here{wanted}"
    return CutError(message, cut=text, position=place, length=len(token), hint=_hint(token, text))


def _shouted(token: Token, text: str) -> CutError | None:
    """The error for AND and the like, which have no place or stand before what has none."""
    before = text[: token.start_pos].rstrip()
    last = before.split()[-1] if before else ""
    for word, place in ((str(token), token.start_pos), (last, len(before) - len(last))):
        plain = word.lower()
        if plain in _WORDS and word != plain:
            hint = f"{plain}, in lower case, or {_WORDS[plain]}"
            return CutError(f"{word!r} has no place here", cut=text, position=place, length=len(word), hint=hint)
    return None


_CHARACTER = re.compile("[\udc80-\udcff]+|.", re.DOTALL)
"""A character, or all bytes in a row that the locale could not decode."""


def _bad_character(place: int, text: str) -> CutError:
    match = _CHARACTER.match(text, place)
    assert match is not None  # there is a character at the place
    character = readable(match[0])[0]
    ours = in_our_words(text) if character in "$@" else text
    hint = ours if ours != text else _CHARACTERS.get(character, "")
    shown = repr(character) if character.isprintable() else f"U+{ord(character):04X}"
    message = f"{shown} is not part of the cut language"
    return CutError(message, cut=text, position=place, length=len(match[0]), hint=hint)


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
    if token.type == "LPAR" and last and (last[-1].isalnum() or last[-1] in "_]"):
        return "a function is a plain name, like abs(…); an object's value is Muon.pt[0]"
    if token.type == "LSQB":
        return "an index follows a name: Muon.pt[0]"
    if token.type in ("NAME", "NUMBER", "STRING", "MEMBER") and before:
        return "&& or || between two conditions; a unit follows its number"
    return ""
