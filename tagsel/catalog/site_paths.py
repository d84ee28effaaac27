"""From logical file names to physical ones: a site's prefix, and the rules of storage.json or storage.xml.

A rule's pattern runs in RE2 (pyarrow's), which takes a time linear in the name whatever the pattern. RE2 cannot run
back references and looking around: such patterns are errors when the rules are read.

Invariants: a local path lies under its prefix, symbolic links followed. No name that `logical_name` refuses is given to
a rule, and no physical name that a rule makes holds `..` or a control character. A rule that cannot be kept is an error
that names the file.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tagsel.base.cache import memoize
from tagsel.base.documents import LIST_BYTES, DocumentError, parse_json, parse_xml, read_bounded
from tagsel.catalog.records import Replica, Site
from tagsel.errors import AccessError, CatalogError

_LONGEST_NAME = 4096


def safe_lfn(text: str) -> str:
    """Return the logical file name `text` when it can only name something below a prefix.

    Refused with AccessError: empty, NUL and other control characters, absolute, `..`, `~`, backslashes,
    and a scheme (`root://…`), which is a physical name.

    >>> safe_lfn("data18/AOD.01.root")
    'data18/AOD.01.root'
    """
    wrong = _fault_of_lfn(text)
    if wrong:
        raise AccessError(
            f"logical file name {text[:120]!r} is refused: {wrong}",
            hint="a relative name such as data18/AOD.01.root",
            lfn=text,
        )
    return text


def _fault_of_lfn(text: str) -> str:
    """Why a text is no safe logical name; "" where it is one."""
    if not text:
        return "it is empty"
    if _has_control_characters(text):
        return "it holds control characters"
    if text.startswith("/"):
        return "it is absolute"
    if text.startswith("~"):
        return "it starts with '~'"
    if "\\" in text:
        return "it holds a backslash"
    if ".." in text.split("/"):
        return "it holds '..'"
    if "://" in text:
        return "it has a scheme"
    if len(text.encode("utf-8", "surrogatepass")) > _LONGEST_NAME:
        return f"it is longer than {_LONGEST_NAME} bytes"
    return ""


def _has_control_characters(text: str) -> bool:
    return any(ord(character) < 32 or ord(character) == 127 for character in text)


def resolve_pfn(prefix: str | Path, lfn: str) -> Path:
    """The local path of `lfn` under a site's `prefix` (an absolute folder), links followed; AccessError if outside.

    The file itself need not exist; whatever part of the path exists must not lead out of the prefix.
    """
    if "\0" in str(prefix) or not Path(prefix).is_absolute():
        raise AccessError(f"site prefix {str(prefix)[:120]!r} is no absolute folder", prefix=str(prefix))
    try:
        root = Path(prefix).resolve()
        path = (root / safe_lfn(lfn)).resolve()
        _refuse_loop(root / lfn)
    except (OSError, RuntimeError) as error:  # a loop of links; a name that the file system refuses
        raise AccessError(f"cannot resolve {lfn[:120]!r} under {prefix}: {error}", lfn=lfn) from error
    if not path.is_relative_to(root):
        raise AccessError(
            f"logical file name {lfn[:120]!r} leads out of {prefix}, to {path}",
            hint="a link in the folder points elsewhere; register the file by its real place",
            lfn=lfn,
            prefix=str(prefix),
        )
    return path


def _refuse_loop(path: Path) -> None:
    """OSError for a loop of links, which `resolve` itself reports before Python 3.13 only."""
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise


STORE = "/store/"
"""How the logical names of CMS begin: the only ones that are absolute."""

RULES = "rules"
"""The key of a site under which its rules stand, as `write_rules` writes them."""

VIRTUAL = "virtual"
"""The access of protocols that others chain to, and that lead to no file themselves."""

_MOST_RULES = 500
_LONGEST_TEXT = 1000
_URL_CHARACTERS = re.compile(r"[A-Za-z0-9._+=:@,~/-]*")


@dataclass(frozen=True, slots=True)
class PrefixRule:
    """Names that the pattern `lfn` matches whole become `pfn`, with its groups for `$1` to `$9`.

    Without a pattern `pfn` is a prefix of every name. What `chain` names, another protocol, is asked first, and the
    pattern then matched with what that made of the name.
    """

    pfn: str
    lfn: str = ""
    chain: str = ""


@dataclass(frozen=True, slots=True)
class Protocol:
    """One way to the files of a site: the first of `rules` that matches says how."""

    name: str
    rules: tuple[PrefixRule, ...]
    access: str = ""


def logical_name(text: str) -> str:
    """Return `text` if it is a logical file name: a relative one that `safe_lfn` takes, or one below /store/.

    >>> logical_name("/store/data/Run2018A/a.root")
    '/store/data/Run2018A/a.root'
    """
    safe_lfn(text.removeprefix("/") if text.startswith(STORE) else text)
    return text


def pfns(site: Site, lfn: str) -> list[str]:
    """The physical names of a file at a site: under its prefix, then by each protocol that has a rule for it.

    Empty where no rule matches. AccessError for a name that is not a safe logical one, or would leave the prefix;
    CatalogError for rules that cannot be read.

    >>> pfns(Site("T2_CH_CERN", "root://eos.example.org//eos/cms"), "/store/data/a.root")
    ['root://eos.example.org//eos/cms/store/data/a.root']
    """
    name = logical_name(lfn)
    ways = rules_of(site)
    names = [_under(site.prefix, name)] if site.prefix else []
    names += [made for way in ways if way.access != VIRTUAL and (made := _by(way, ways, name, ())) is not None]
    return list(dict.fromkeys(_checked(pfn, name) for pfn in names))


def places_of(site: Site, replica: Replica, lfn: str = "") -> list[str]:
    """Where the copy of a file at its site is: its name where that is physical, else what the site makes of it.

    A name without a scheme is logical when it is relative, missing (then `lfn`, the file's, stands for it), or below
    /store/ at a site with rules; a relative one stays as it is where the site has neither a prefix nor rules.
    """
    pfn = replica.pfn
    if "://" in pfn or not (pfn or lfn):
        return [pfn] if pfn else []
    ruled = RULES in site.meta
    if not (site.prefix or ruled):
        return [pfn] if pfn else []
    if pfn.startswith("/"):
        return (ruled and pfn.startswith(STORE) and pfns(site, pfn)) or [pfn]
    return pfns(site, pfn or lfn)


def located(
    replicas: Mapping[str, Sequence[Replica]], sites: Mapping[str, Site], lfns: Mapping[str, str]
) -> dict[str, list[Replica]]:
    """`replicas` by GUID with a place for a name, one a place; a copy without any place keeps its site."""
    by_guid: dict[str, list[Replica]] = {}
    for guid, copies in replicas.items():
        by_guid[guid] = []
        for copy in copies:
            site = sites.get(copy.site, Site(copy.site))
            places = places_of(site, copy, lfns.get(guid, "")) or [""]
            by_guid[guid] += [Replica(copy.site, place, guid) for place in places]
    return by_guid


def _under(prefix: str, name: str) -> str:
    """A name below a prefix: of a folder with links followed, of a URL as text."""
    if "://" not in prefix:
        return str(resolve_pfn(prefix, name.lstrip("/")))
    return prefix + name if name.startswith("/") or prefix.endswith("/") else f"{prefix}/{name}"


def _by(way: Protocol, ways: Sequence[Protocol], name: str, chained: tuple[str, ...]) -> str | None:
    """What the first rule of a protocol that matches makes of a name; None where none does."""
    if way.name in chained:
        raise CatalogError(f"protocols chain in a circle: {' to '.join((*chained, way.name))}", protocol=way.name)
    for rule in way.rules:
        if not _matches(rule, name):
            continue
        result: str | None = name
        if rule.chain:
            link = next((w for w in ways if w.name == rule.chain), None)
            result = _by(link, ways, name, (*chained, way.name)) if link is not None else None
        return _made(rule, result) if result is not None and _matches(rule, result) else None
    return None


def _matches(rule: PrefixRule, name: str) -> bool:
    if not rule.lfn:
        return True
    import pyarrow as pa
    import pyarrow.compute as pc

    return bool(pc.match_substring_regex(pa.scalar(name), pattern=_whole(rule)).as_py())


def _made(rule: PrefixRule, name: str) -> str:
    if not rule.lfn:
        return _under(rule.pfn, name)
    import pyarrow as pa
    import pyarrow.compute as pc

    return str(pc.replace_substring_regex(pa.scalar(name), pattern=_whole(rule), replacement=_groups(rule)).as_py())


def _whole(rule: PrefixRule) -> str:
    return rf"\A(?:{rule.lfn})\z"


def _groups(rule: PrefixRule) -> str:
    r"""The replacement as RE2 writes it: `\1` for `$1`."""
    return re.sub(r"\$([1-9])", r"\\\1", rule.pfn.replace("\\", "\\\\"))


def _checked(pfn: str, name: str) -> str:
    """A physical name that a rule made, if it is one; that of a local file as a path."""
    pfn = re.sub(r"^file:(//)?(?=/)", "", pfn)
    remote = "://" in pfn
    path = pfn.partition("://")[2] if remote else pfn
    wrong = ""
    if ".." in path.split("/"):
        wrong = "it holds '..'"
    elif _has_control_characters(pfn):
        wrong = "it holds control characters"
    elif not remote and not path.startswith("/"):
        wrong = "it is neither a URL nor an absolute path"
    elif remote and not _URL_CHARACTERS.fullmatch(name):
        wrong = "a URL takes letters, digits and ._+=:@,~/- only"
    if wrong:
        raise AccessError(f"logical file name {name[:120]!r} becomes {pfn[:120]!r}: {wrong}", lfn=name, pfn=pfn)
    return pfn


# -- rules as text


def rules_of(site: Site) -> tuple[Protocol, ...]:
    """The protocols of a site, in order; none for one without rules. CatalogError names the site."""
    text = site.meta.get(RULES, "")
    try:
        return _read(str(text)) if text else ()
    except CatalogError as error:
        raise CatalogError(f"site {site.name}: {error.message}", hint=error.hint, site=site.name) from error


@memoize("site-rules", entries=256)
def _read(text: str) -> tuple[Protocol, ...]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"rules that are no JSON: {error}") from error
    return parse_protocols(document)


def parse_protocols(document: Any) -> tuple[Protocol, ...]:
    """The protocols that a list says in the words of storage.json, each rule tried once.

    CatalogError for what is none, a pattern that RE2 does not take, and more than 500 rules.
    """
    if not isinstance(document, list):
        raise CatalogError(f"a list of protocols was expected, not {str(document)[:60]}")
    ways = tuple(_protocol(number, one) for number, one in enumerate(document))
    if sum(len(way.rules) for way in ways) > _MOST_RULES:
        raise CatalogError(f"more than {_MOST_RULES} rules")
    names = {way.name for way in ways}
    for way in ways:
        for rule in way.rules:
            if rule.chain and rule.chain not in names:
                raise CatalogError(f"protocol {way.name!r} chains to {rule.chain!r}, which there is not")
            _try(way, rule)
    return ways


def _protocol(number: int, document: Any) -> Protocol:
    def text(of: Mapping[str, Any], key: str, needed: bool = False) -> str:
        value = of.get(key, "")
        if not isinstance(value, str) or (needed and not value) or len(value) > _LONGEST_TEXT:
            expected = f"a text of 1 to {_LONGEST_TEXT} letters" if needed else "a text"
            raise CatalogError(f"protocol {number}: {key} is {str(value)[:60]!r}; {expected} was expected", key=key)
        return value

    if not isinstance(document, Mapping):
        raise CatalogError(f"protocol {number} is {str(document)[:60]!r}, no record")
    if "prefix" in document:
        rules = [PrefixRule(text(document, "prefix", True))]
    elif isinstance(document.get("rules"), list) and all(isinstance(rule, Mapping) for rule in document["rules"]):
        rules = [PrefixRule(text(r, "pfn", True), text(r, "lfn", True), text(r, "chain")) for r in document["rules"]]
    else:
        raise CatalogError(f"protocol {number} has neither a prefix nor a list of rules")
    return Protocol(text(document, "protocol", True), tuple(rules), text(document, "access"))


def _try(way: Protocol, rule: PrefixRule) -> None:
    """CatalogError where a rule is none: a pattern that RE2 does not take, a group that it does not have."""
    if not rule.lfn:
        if "://" not in rule.pfn and not rule.pfn.startswith("/"):
            raise CatalogError(f"protocol {way.name!r}: prefix {rule.pfn!r} is neither a URL nor an absolute folder")
        return
    try:
        _matches(rule, "")
        _made(rule, "")
    except ValueError as error:
        hint = "patterns are RE2's: no back references, no looking ahead or behind; $1 is the first group"
        raise CatalogError(f"protocol {way.name!r}, rule {rule.lfn[:200]!r}: {error}", hint=hint) from error


def write_rules(ways: Sequence[Protocol]) -> str:
    """Protocols as the text that a site keeps under `RULES`, which `rules_of` reads."""
    return json.dumps(list(_written(ways)), ensure_ascii=False, separators=(",", ":"))


def _written(ways: Sequence[Protocol]) -> Iterator[dict[str, Any]]:
    for way in ways:
        head = {"protocol": way.name, **({"access": way.access} if way.access else {})}
        if not way.rules or way.rules[0].lfn:
            rules = [{"lfn": r.lfn, "pfn": r.pfn, **({"chain": r.chain} if r.chain else {})} for r in way.rules]
            yield {**head, "rules": rules}
        else:
            yield {**head, "prefix": way.rules[0].pfn}


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
        document = _xml(content) if content.lstrip().startswith(b"<") else _json(content, site, volume)
        return parse_protocols(document)
    except CatalogError as error:
        raise CatalogError(f"{path}: {error.message}", hint=error.hint, path=str(path)) from error


def _json(content: bytes, site: str, volume: str) -> Any:
    try:
        document = parse_json(content, LIST_BYTES)
    except DocumentError as error:
        raise CatalogError(f"not well-formed JSON: {error}") from error
    if not (
        isinstance(document, list) and document and all(isinstance(t, Mapping) and "protocols" in t for t in document)
    ):
        return document
    here = [t for t in document if site in (t.get("site"), t.get("rse"))] or document
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
    rules_of: dict[str, list[dict[str, str]]] = {}
    for element in root.iter("lfn-to-pfn"):
        if element.get("destination-match", "") not in ANYWHERE:
            message = f"the rule {element.get('path-match', '')!r} is for the destination"
            raise CatalogError(f"{message} {element.get('destination-match')!r}", hint="take such rules out")
        rule = {"lfn": element.get("path-match", ""), "pfn": element.get("result", "")}
        chain = {"chain": element.get("chain", "")} if element.get("chain") else {}
        rules_of.setdefault(element.get("protocol", ""), []).append({**rule, **chain})
    return [{"protocol": name, "rules": rules} for name, rules in rules_of.items()]
