"""What a TAG record is: attributes, collections, trigger menus, and the standard schemas."""

from tagsel.schema.attributes import (
    IDS,
    ROLES,
    STAGES,
    TYPES,
    Attribute,
    Collection,
    Schema,
    describe_type,
)
from tagsel.schema.menus import NO_MENU, Menu, pack_order

__all__ = [
    "IDS",
    "NO_MENU",
    "ROLES",
    "STAGES",
    "TYPES",
    "Attribute",
    "Collection",
    "Menu",
    "Schema",
    "describe_type",
    "pack_order",
]
