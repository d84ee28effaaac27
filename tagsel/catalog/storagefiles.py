"""The files in which CMS sites say their rules: storage.json, and the older storage.xml (trivial file catalog).

Invariant: a rule that cannot be kept is an error that names the file; none is left out without a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tagsel.base.documents import LIST_BYTES, DocumentError, parse_json, parse_xml, read_bounded
from tagsel.catalog.prefixes import Protocol, parse_protocols
from tagsel.errors import AccessError, CatalogError

ANYWHERE = ("", ".*")
"""Destinations of a rule of storage.xml that bind it to none."""


def read_rules(path: Path | str, site: str, volume: str = "") -> tuple[Protocol, ...]:
    """The protocols of a site from its storage.json, a list of protocols in the same words, or storage.xml.

    Of a storage.json with several entries the one of `site` (as site or RSE) and `volume` counts. CatalogError, naming
    the file, where that is not one, and for rules that are none.
    """
    try:
        content = read_bounded(path, LIST_BYTES)
    except OSError as error:
        raise AccessError(f"{path}: cannot be opened: {error.strerror}", path=str(path)) from error
    except DocumentError as error:
        raise CatalogError(f"{path}: {error}", path=str(path)) from error
    try:
        told = _xml(content) if content.lstrip().startswith(b"<") else _json(content, site, volume)
        return parse_protocols(told)
    except CatalogError as error:
        raise CatalogError(f"{path}: {error.message}", hint=error.hint, path=str(path)) from error


def _json(content: bytes, site: str, volume: str) -> Any:
    try:
        told = parse_json(content, LIST_BYTES)
    except DocumentError as error:
        raise CatalogError(f"not well-formed JSON: {error}") from error
    if not (isinstance(told, list) and told and all(isinstance(t, Mapping) and "protocols" in t for t in told)):
        return told
    here = [t for t in told if site in (t.get("site"), t.get("rse"))] or told
    chosen = [t for t in here if not volume or t.get("volume") == volume]
    if len(chosen) != 1:
        volumes = ", ".join(sorted({str(t.get("volume")) for t in here}))
        raise CatalogError(f"{len(chosen)} entries for site {site} where one was expected", hint=f"volumes: {volumes}")
    return chosen[0]["protocols"]


def _xml(content: bytes) -> list[dict[str, Any]]:
    """Rules of <lfn-to-pfn>, as storage.json would say them; protocols in the order of their first rules."""
    try:
        root = parse_xml(content, LIST_BYTES)
    except ValueError as error:
        raise CatalogError(f"not well-formed XML: {error}") from error
    if root.tag != "storage-mapping":
        raise CatalogError(f"no storage.xml: its root element is <{root.tag}>, not <storage-mapping>")
    found: dict[str, list[dict[str, str]]] = {}
    for element in root.iter("lfn-to-pfn"):
        if element.get("destination-match", "") not in ANYWHERE:
            said = f"the rule {element.get('path-match', '')!r} is for the destination"
            raise CatalogError(f"{said} {element.get('destination-match')!r}", hint="take such rules out")
        rule = {"lfn": element.get("path-match", ""), "pfn": element.get("result", "")}
        chain = {"chain": element.get("chain", "")} if element.get("chain") else {}
        found.setdefault(element.get("protocol", ""), []).append({**rule, **chain})
    return [{"protocol": name, "rules": rules} for name, rules in found.items()]
