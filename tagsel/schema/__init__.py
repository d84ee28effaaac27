"""What a TAG record is: attributes, collections, trigger menus, and the standard schemas."""

from tagsel.schema.attributes import (
    IDS,
    ROLES,
    STAGES,
    TYPES,
    USER,
    Attribute,
    Collection,
    Schema,
    describe_type,
)
from tagsel.schema.menus import NO_MENU, Menu, pack_order
from tagsel.schema.source import (
    STANDARD,
    base_attributes,
    load_source_schema,
    parse_source_schema,
    reference_attributes,
    standard_schema,
    to_attribute,
)
from tagsel.schema.sourcetypes import (
    SourceAttribute,
    SourceBits,
    SourceCollection,
    SourcePattern,
    SourceSchema,
)

__all__ = [
    "IDS",
    "NO_MENU",
    "ROLES",
    "STAGES",
    "STANDARD",
    "TYPES",
    "USER",
    "Attribute",
    "Collection",
    "Menu",
    "Schema",
    "SourceAttribute",
    "SourceBits",
    "SourceCollection",
    "SourcePattern",
    "SourceSchema",
    "base_attributes",
    "describe_type",
    "load_source_schema",
    "pack_order",
    "parse_source_schema",
    "reference_attributes",
    "standard_schema",
    "to_attribute",
]
