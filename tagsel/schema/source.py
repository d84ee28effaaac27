"""Source schemas: which branch or column of a file becomes which attribute.

A schema is written as TOML: docs/reference/schemas.md.

Invariant: the same name or file always gives the same source schema; no data file is opened here.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from tagsel.base.documents import TOML_BYTES, DocumentError, parse_toml, read_bounded
from tagsel.errors import SchemaError, did_you_mean
from tagsel.schema.attributes import STAGES, Attribute, Schema
from tagsel.schema.sourcefile import read_source_schema
from tagsel.schema.sourcetypes import SourceAttribute, SourceSchema

STANDARD = ("nanoaod", "physlite", "pool", "atlas_tag_2011")
"""Source schemas that come with tagsel, in schema/standard/."""


def load_source_schema(name_or_path: str | Path) -> SourceSchema:
    """A standard source schema by name, or the one in a TOML file.

    Raises SchemaError naming file and place (a line of bad TOML, a field that is unknown or wrong), with the
    nearest names that exist.

    >>> load_source_schema("nanoaod").ids["lumi"]
    ('luminosityBlock',)
    """
    text, where = _text_of(str(name_or_path))
    return parse_source_schema(text, where)


def parse_source_schema(text: str, where: str) -> SourceSchema:
    """The source schema that a TOML text writes; `where` names the text in errors, as for `load_source_schema`."""
    try:
        document = parse_toml(text)
    except DocumentError as error:
        raise SchemaError(f"{where}: not TOML: {error}", path=where) from error
    return read_source_schema(document, where)


def _text_of(name: str) -> tuple[str, str]:
    if name in STANDARD:
        return resources.files("tagsel.schema").joinpath(f"standard/{name}.toml").read_text("utf-8"), name
    try:
        return read_bounded(name, TOML_BYTES).decode("utf-8"), name
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        if isinstance(error, UnicodeDecodeError):
            reason = "not UTF-8 text"
        raise SchemaError(
            f"source schema {name}: {reason}",
            hint=did_you_mean(name, STANDARD) or f"a TOML file, or one of {', '.join(STANDARD)}",
            path=name,
        ) from error


def base_attributes(source: SourceSchema) -> list[Attribute]:
    """The attributes that every dataset has, in their order: ids, references, menu."""
    attributes = []
    for name, kind in (("run", "int32"), ("lumi", "int32"), ("event", "int64")):
        names = source.ids.get(name, ())
        aliases: dict[str, None] = {}
        for branch in () if isinstance(names, int) else names:
            aliases |= dict.fromkeys([branch, branch.rpartition(".")[2]])
        aliases.pop(name, None)
        attributes.append(Attribute(name, kind, role="id", description=_ID_TEXTS[name], aliases=tuple(aliases)))
    for stage in [s for s in STAGES if s == "aod" or s in source.references]:
        attributes += reference_attributes(stage)
    text = "Id of the trigger menu that names the row's bits; 0 = none."
    return [*attributes, Attribute("menu", "int64", role="menu", hot=False, description=text)]


def reference_attributes(stage: str) -> list[Attribute]:
    """The two attributes that say where the event lies at a processing stage."""
    file = f"GUID of the {stage.upper()} file that holds the event."
    entry = f"Entry of the event in that {stage.upper()} file; -1 = unknown."
    return [
        Attribute(f"{stage}_guid", "string", role="reference", hot=False, description=file),
        Attribute(f"{stage}_entry", "int64", role="reference", description=entry),
    ]


_ID_TEXTS = {
    "run": "Run number.",
    "lumi": "Luminosity block (luminosity section) of the run.",
    "event": "Event number.",
}


def standard_schema(name: str) -> Schema:
    """The attributes that a standard source schema names with their types, as a `Schema` of TAG records.

    >>> schema = standard_schema("atlas_tag_2011")
    >>> schema["LooseMuonPt2"].counter, schema["RunNumber"].name
    ('NLooseMuon', 'run')
    """
    source = load_source_schema(name)
    rows = [to_attribute(a, a.type, source.unit_of(a.name)) for a in source.attributes if a.type]
    return Schema((*base_attributes(source), *rows), source.name)


def to_attribute(row: SourceAttribute, kind: str, unit: str = "", alias: str = "") -> Attribute:
    """The scalar or slot attribute that a source attribute makes, of type `kind`."""
    aliases = tuple(n for n in dict.fromkeys((*row.aliases, alias)) if n and n != row.name)
    return Attribute(
        row.name,
        kind,
        unit=row.unit or unit,
        role=row.role,
        description=row.description,
        hot=row.hot,
        aliases=aliases,
        collection=row.collection,
        member=row.member,
        slot=row.slot,
        counter=row.counter,
    )
