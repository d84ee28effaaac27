"""The scope that the tests of this room bind to."""

from cut_scope import menus, scope

__all__ = ["menus", "scope"]
