"""From logical file names to physical ones by a site's rules: its prefix, and those of storage.json or storage.xml.

A rule's pattern runs in RE2 (pyarrow's), which takes a time linear in the name whatever the pattern: there is nothing
in it that could be slow, so no pattern needs refusing for that. Patterns of the kinds that RE2 cannot run so (back
references, looking around) are errors when the rules are read.

Invariant: no name that `logical_name` refuses is ever given to a rule, and no physical name that is made holds `..` or
a control character.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tagsel.base.cache import memoize
from tagsel.catalog.paths import resolve_pfn, safe_lfn
from tagsel.catalog.records import Replica, Site
from tagsel.errors import AccessError, CatalogError

STORE = "/store/"
"""How the logical names of CMS begin: the only ones that are absolute."""

RULES = "rules"
"""The key of a site under which its rules stand, as `write_rules` writes them."""

VIRTUAL = "virtual"
"""The access of protocols that others chain to, and that lead to no file themselves."""

_MOST = 500
_LONGEST = 1000
_IN_URLS = re.compile(r"[A-Za-z0-9._+=:@,~/-]*")


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
    found = [_under(site.prefix, name)] if site.prefix else []
    found += [made for way in ways if way.access != VIRTUAL and (made := _by(way, ways, name, ())) is not None]
    return list(dict.fromkeys(_checked(pfn, name) for pfn in found))


def places_of(site: Site, replica: Replica, lfn: str = "") -> list[str]:
    """Where the copy of a file at its site is: its name where that is physical, else what the site makes of it.

    A name without a scheme is logical when it is relative, missing (then `lfn`, the file's, stands for it), or below
    /store/ at a site with rules; a relative one stays as it is where the site has neither a prefix nor rules.
    """
    told = replica.pfn
    if "://" in told or not (told or lfn):
        return [told] if told else []
    ruled = RULES in site.meta
    if not (site.prefix or ruled):
        return [told] if told else []
    if told.startswith("/"):
        return (ruled and told.startswith(STORE) and pfns(site, told)) or [told]
    return pfns(site, told or lfn)


def located(
    replicas: Mapping[str, Sequence[Replica]], sites: Mapping[str, Site], lfns: Mapping[str, str]
) -> dict[str, list[Replica]]:
    """`replicas` by GUID with a place for a name, one a place; a copy without any place keeps its site."""
    return {
        guid: [
            Replica(copy.site, place, guid)
            for copy in copies
            for place in places_of(sites.get(copy.site, Site(copy.site)), copy, lfns.get(guid, "")) or [""]
        ]
        for guid, copies in replicas.items()
    }


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
        told: str | None = name
        if rule.chain:
            link = next((w for w in ways if w.name == rule.chain), None)
            told = _by(link, ways, name, (*chained, way.name)) if link is not None else None
        return _made(rule, told) if told is not None and _matches(rule, told) else None
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
    wrong = (
        "it holds '..'"
        if ".." in path.split("/")
        else "it holds control characters"
        if any(ord(c) < 32 or ord(c) == 127 for c in pfn)
        else "it is neither a URL nor an absolute path"
        if not remote and not path.startswith("/")
        else "a URL takes letters, digits and ._+=:@,~/- only"
        if remote and not _IN_URLS.fullmatch(name)
        else ""
    )
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
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"rules that are no JSON: {error}") from error
    return parse_protocols(told)


def parse_protocols(told: Any) -> tuple[Protocol, ...]:
    """The protocols that a list says in the words of storage.json, each rule tried once.

    CatalogError for what is none, a pattern that RE2 does not take, and more than 500 rules.
    """
    if not isinstance(told, list):
        raise CatalogError(f"a list of protocols was expected, not {str(told)[:60]}")
    ways = tuple(_protocol(number, one) for number, one in enumerate(told))
    if sum(len(way.rules) for way in ways) > _MOST:
        raise CatalogError(f"more than {_MOST} rules")
    names = {way.name for way in ways}
    for way in ways:
        for rule in way.rules:
            if rule.chain and rule.chain not in names:
                raise CatalogError(f"protocol {way.name!r} chains to {rule.chain!r}, which there is not")
            _try(way, rule)
    return ways


def _protocol(number: int, told: Any) -> Protocol:
    def text(of: Mapping[str, Any], key: str, needed: bool = False) -> str:
        value = of.get(key, "")
        if not isinstance(value, str) or (needed and not value) or len(value) > _LONGEST:
            said = f"a text of 1 to {_LONGEST} letters" if needed else "a text"
            raise CatalogError(f"protocol {number}: {key} is {str(value)[:60]!r}; {said} was expected", key=key)
        return value

    if not isinstance(told, Mapping):
        raise CatalogError(f"protocol {number} is {str(told)[:60]!r}, no record")
    if "prefix" in told:
        rules = [PrefixRule(text(told, "prefix", True))]
    elif isinstance(told.get("rules"), list) and all(isinstance(rule, Mapping) for rule in told["rules"]):
        rules = [PrefixRule(text(r, "pfn", True), text(r, "lfn", True), text(r, "chain")) for r in told["rules"]]
    else:
        raise CatalogError(f"protocol {number} has neither a prefix nor a list of rules")
    return Protocol(text(told, "protocol", True), tuple(rules), text(told, "access"))


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
