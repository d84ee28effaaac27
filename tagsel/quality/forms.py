"""The written forms of good-run lists: ATLAS XML and CMS JSON, recognised by their content.

Invariant: `parse_lumi(format_lumi(s, form)) == s` for every set and form. No file is opened here, nothing
that a document refers to is fetched, and entities are refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from tagsel.base.documents import LIST_BYTES, DocumentError, parse_json, parse_xml
from tagsel.errors import QualityError, did_you_mean
from tagsel.quality.lumi import LumiSet, check_range

Range = tuple[int, int, int]


def parse_lumi(content: bytes) -> LumiSet:
    """The set that the bytes of a good-run list describe, XML or JSON by content; else a QualityError.

    Overlapping ranges and repeated runs are united; inverted ranges, entities and malformed documents are
    refused.

    >>> parse_lumi(b'{"315267": [[1, 88], [91, 92]]}').ranges
    [(315267, 1, 88), (315267, 91, 92)]
    """
    body = content.removeprefix(b"\xef\xbb\xbf").lstrip()
    for form in FORMS.values():
        if body.startswith(form.magic):
            return LumiSet.from_ranges(form.parse(body))
    start = body[:20].decode("ascii", "replace")
    hint = "give an ATLAS XML or a CMS JSON file"
    raise QualityError(f"neither XML nor JSON: it begins with {start!r}", hint=hint)


def format_lumi(lumi: LumiSet, form: str) -> str:
    """The text of `lumi` as `"xml"` (ATLAS) or `"json"` (CMS), the same for equal sets.

    >>> print(format_lumi(LumiSet.from_ranges([(7, 1, 4)]), "json"), end="")
    {"7": [[1, 4]]}
    """
    if form not in FORMS:
        hint = did_you_mean(form, FORMS) or f"one of {', '.join(FORMS)}"
        raise QualityError(f"unknown form {form!r} of a good-run list", hint=hint, form=form)
    return FORMS[form].format(lumi)


def _number(text: object, what: str) -> int:
    """A whole number written in plain digits; the limits are `check_range`'s."""
    digits = text.strip() if isinstance(text, str) else ""
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 20):
        raise QualityError(f"{what}: {str(text)[:40]!r} is not a whole number")
    return int(digits)


def _parse_xml(body: bytes) -> Iterator[Range]:
    # Real ATLAS lists name an external DTD in their DOCTYPE: that is legal, and expat does not fetch it.
    from defusedxml import DefusedXmlException

    try:
        root = parse_xml(body, LIST_BYTES)
    except DefusedXmlException as error:
        raise QualityError(f"XML with entities or external references is refused: {error}") from error
    except ValueError as error:
        raise QualityError(f"XML that is not well-formed: {error}") from error
    if root.tag != "LumiRangeCollection":
        raise QualityError(f"no good-run list: the root is <{root.tag}>, not <LumiRangeCollection>")
    for block in root.iter("LumiBlockCollection"):
        runs = block.findall("Run")
        if len(runs) != 1:
            raise QualityError(f"a <LumiBlockCollection> with {len(runs)} <Run> elements; expected one")
        run = _number(runs[0].text, "<Run>")
        for span in block.findall("LBRange"):
            first, last = (_number(span.get(end), f"run {run}, <LBRange {end}>") for end in ("Start", "End"))
            check_range(run, first, last)
            yield run, first, last


def _parse_json(body: bytes) -> Iterator[Range]:
    try:
        # Pairs, not a dictionary: a run that stands twice is united, not lost.
        runs = parse_json(body, LIST_BYTES, object_pairs_hook=tuple)
    except DocumentError as error:
        raise QualityError(f"JSON that is not well-formed: {error}") from error
    for key, spans in runs:
        run = _number(key, "run")
        if not isinstance(spans, list):
            raise QualityError(f"run {run}: expected a list of [first, last], found {str(spans)[:40]}")
        for span in spans:
            if not (isinstance(span, list) and len(span) == 2 and all(type(n) is int for n in span)):
                raise QualityError(f"run {run}: expected [first, last], found {str(span)[:40]}")
            check_range(run, *span)
            yield run, span[0], span[1]


def _by_run(lumi: LumiSet) -> Iterator[tuple[int, list[Range]]]:
    return ((run, list(spans)) for run, spans in groupby(lumi.ranges, key=lambda r: r[0]))


def _format_xml(lumi: LumiSet) -> str:
    lines = [
        '<?xml version="1.0" ?>',
        "<!DOCTYPE LumiRangeCollection SYSTEM 'http://atlas-runquery.cern.ch/LumiRangeCollection.dtd'>",
        "<LumiRangeCollection>",
        "   <NamedLumiRange>",
        "      <Name>tagsel</Name>",
        "      <Version>2.1</Version>",
    ]
    for run, spans in _by_run(lumi):
        lines += ["      <LumiBlockCollection>", f"         <Run>{run}</Run>"]
        lines += [f'         <LBRange Start="{first}" End="{last}"/>' for _, first, last in spans]
        lines += ["      </LumiBlockCollection>"]
    return "\n".join([*lines, "   </NamedLumiRange>", "</LumiRangeCollection>", ""])


def _format_json(lumi: LumiSet) -> str:
    rows = []
    for run, spans in _by_run(lumi):
        blocks = [list(span[1:]) for span in spans]
        rows.append(f'"{run}": {json.dumps(blocks)}')
    return "{" + ",\n ".join(rows) + "}\n"


@dataclass(frozen=True, slots=True)
class Form:
    """One written form: how it is recognised, read and written."""

    magic: bytes
    parse: Callable[[bytes], Iterator[Range]]
    format: Callable[[LumiSet], str]
    description: str


FORMS: Mapping[str, Form] = {
    "xml": Form(b"<", _parse_xml, _format_xml, "ATLAS good-run list"),
    "json": Form(b"{", _parse_json, _format_json, "CMS certified luminosity"),
}
"""The forms by name. A new one is one row."""
