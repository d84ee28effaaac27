"""Documents that users bring (TOML, JSON, XML), bounded in size and depth before they cost anything.

A parser's work and memory may grow with the square of what it is given: a TOML key of 50,000 dots takes a minute and
10 GB. So sizes, levels and dotted keys are counted first, by a scan that takes time in proportion to the text.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

TOML_BYTES = 4 << 20
"""Bytes of a TOML document: settings, named cuts, schemas, sites."""

LIST_BYTES = 64 << 20
"""Bytes of a good-run list or a storage description."""

CATALOG_BYTES = 1 << 30
"""Bytes of a file catalog, or of an event list as JSON."""

LEVELS = 100
"""Levels of nesting of any document."""

KEY_PARTS = 32
"""Parts of a dotted key in TOML."""

_STRINGS = re.compile(
    r'"""(?:\\.|[^\\])*?"""' r"|'''.*?'''" r'|"(?:\\.|[^"\\\n])*+"' r"|'[^'\n]*+'" r"|#[^\n]*+",
    re.DOTALL,
)
_LONG_KEY = re.compile(rf"(?<![\w.-])(?:[\w-]++[ \t]*+\.[ \t]*+){{{KEY_PARTS}}}")
_OPEN, _CLOSE = "[{", "]}"


class DocumentError(ValueError):
    """A document that is too large, too deep, or not well-formed."""


def read_bounded(path: Path | str, most: int) -> bytes:
    """The bytes of a file or pipe; DocumentError for more than `most`, of which no more is read. OSError as usual."""
    with Path(path).open("rb") as stream:
        content = stream.read(most + 1)
    _check_size(len(content), most)
    return content


def read_toml(path: Path | str) -> dict[str, Any]:
    """The document of a TOML file; DocumentError where it is none, too large or too deep. OSError as usual."""
    return parse_toml(read_bounded(path, TOML_BYTES))


def parse_toml(content: bytes | str) -> dict[str, Any]:
    """The document of a TOML text; DocumentError where it is none, too large or too deep.

    >>> parse_toml("a.b = 1")
    {'a': {'b': 1}}
    """
    _check_size(len(content), TOML_BYTES)
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        bare = _STRINGS.sub(_blank, text)
        if _LONG_KEY.search(bare):
            raise DocumentError(f"a key of more than {KEY_PARTS} parts")
        _check_levels(bare)
        return tomllib.loads(text)
    except DocumentError:
        raise
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and TOMLDecodeError are ValueErrors
        raise DocumentError(str(error)) from error


def parse_json(content: bytes | str, most: int, **hooks: Any) -> Any:
    """The value of a JSON text; DocumentError where it is none, too large or too deep. `hooks` as `json.loads`."""
    _check_size(len(content), most)
    try:
        return json.loads(content, **hooks)
    except RecursionError as error:
        raise DocumentError("it is nested too deeply") from error
    except ValueError as error:
        raise DocumentError(str(error)) from error


def parse_xml(content: bytes, most: int) -> Element:
    """The root of an XML text; DocumentError where it is not well-formed, too large or too deep.

    Entities and external references are refused with defusedxml's own errors, which are ValueErrors; a DOCTYPE that
    names an external DTD is legal, and not fetched.
    """
    from xml.etree.ElementTree import ParseError, TreeBuilder

    from defusedxml.ElementTree import DefusedXMLParser

    class Bounded(TreeBuilder):
        """A builder that stops at too many levels."""

        levels = 0

        def start(self, *arguments: Any) -> Any:
            self.levels += 1
            if self.levels > LEVELS:
                raise DocumentError(f"it has more than {LEVELS} levels")
            return super().start(*arguments)

        def end(self, *arguments: Any) -> Any:
            self.levels -= 1
            return super().end(*arguments)

    _check_size(len(content), most)
    parser = DefusedXMLParser(target=Bounded(), forbid_dtd=False, forbid_entities=True, forbid_external=True)
    try:
        parser.feed(content)
        root: Element = parser.close()
    except (ParseError, LookupError) as error:
        raise DocumentError(str(error)) from error
    return root


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise DocumentError(f"it is larger than {most:,} bytes")


def _check_levels(bare: str) -> None:
    """DocumentError for brackets, outside of texts and comments, that stand too deep."""
    level = 0
    for bracket in re.findall(r"[\[\]{}]", bare):
        level += 1 if bracket in _OPEN else -1
        if level > LEVELS:
            raise DocumentError(f"it has more than {LEVELS} levels")


def _blank(string: re.Match[str]) -> str:
    """What stands for a text or comment: a text may be a part of a key."""
    return "" if string[0].startswith("#") else "s"
