"""Settings, read in one place: a flag over `TAGSEL_<NAME>` over `tagsel.toml` in the workspace over the default.

Invariant: no setting is needed; each value knows where it came from (`tagsel workspace config`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tagsel.base.cache import memoize
from tagsel.base.documents import read_toml
from tagsel.errors import CatalogError, did_you_mean

WORKSPACE_FILE = "tagsel.toml"
FORMAT = 1
"""Version of the workspace's layout, written in its `tagsel.toml`."""

one_answer = False
"""Whether this process ends after its answer, so that nothing is prepared for a next one; the command line says so."""


@dataclass(frozen=True)
class Setting:
    """One setting: its default, how its text is read, and what it is for."""

    default: Any
    read: Callable[[Any], Any]
    help: str


def _whole(value: Any) -> int:
    number = int(value)
    if number < 0 or isinstance(value, bool | float):
        raise ValueError(value)
    return number


def _switch(value: Any) -> bool:
    words = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}
    text = str(value).lower()
    if text not in words:
        raise ValueError(value)
    return words[text]


SETTINGS: Mapping[str, Setting] = {
    "workspace": Setting(".", str, "the workspace's folder"),
    "threads": Setting(0, _whole, "threads of a selection; 0 = one for each core"),
    "processes": Setting(0, _whole, "processes of ingest and local jobs; 0 = one for each core"),
    "site": Setting("", str, "name of the site that holds the files being ingested"),
    "questions": Setting(True, _switch, "whether your questions are logged, in your own state folder: on or off"),
}


@dataclass(frozen=True)
class Resolved:
    """A setting's value and where it came from."""

    name: str
    value: Any
    origin: str
    help: str


def workspace_settings(folder: Path | None) -> dict[str, Any]:
    """The `[settings]` of a workspace's `tagsel.toml`; CatalogError for a file or key that is none."""
    path = (folder or Path()) / WORKSPACE_FILE
    try:
        state = path.stat()
        return dict(_written_in(path, (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CatalogError(f"{path} cannot be read: {error}", path=str(path)) from error


@memoize("settings", entries=64)
def _written_in(path: Path, state: tuple[int, ...]) -> Mapping[str, Any]:
    """The settings in a file, read once for each `state` of it."""
    document = read_toml(path)
    settings = document.get("settings", {})
    if not isinstance(settings, dict):
        hint = "[settings], then lines such as threads = 4"
        raise CatalogError(f"{path}: settings = {settings!r:.60}, a table was expected", hint=hint)
    for name in settings:
        if name not in SETTINGS or name == "workspace":
            others = [n for n in SETTINGS if n != "workspace"]
            raise CatalogError(
                f"{path}: no setting {name!r}", hint=did_you_mean(name, others) or f"known: {', '.join(others)}"
            )
    return MappingProxyType(settings)


def resolve(name: str, flag: Any, folder: Path | None) -> Resolved:
    """The value of one setting and its origin; CatalogError where a text is not what the setting takes."""
    setting = SETTINGS[name]
    variable = f"TAGSEL_{name.upper()}"
    places = [
        ("flag", flag),
        (f"environment ({variable})", os.environ.get(variable)),
        (
            f"{WORKSPACE_FILE} of the workspace",
            None if name == "workspace" else workspace_settings(folder).get(name),
        ),
    ]
    for origin, value in places:
        if value is not None and value != "":
            try:
                return Resolved(name, setting.read(value), origin, setting.help)
            except (TypeError, ValueError) as error:
                raise CatalogError(f"{name} = {value!r} (from {origin}) is not {setting.help}") from error
    return Resolved(name, setting.default, "default", setting.help)


def all_settings(flags: Mapping[str, Any], folder: Path | None) -> list[Resolved]:
    """Every setting with its origin, for `tagsel workspace config`."""
    return [resolve(name, flags.get(name), folder) for name in SETTINGS]


def completion(shell: str) -> str:
    """The completion script of a shell, to be sourced by it; CatalogError for a shell that is not known."""
    from click.shell_completion import get_completion_class

    kind: Any = get_completion_class(shell)
    if kind is None:
        raise CatalogError(f"no completion for {shell!r}", hint="bash, zsh or fish")
    script = kind(None, {}, "tagsel", "_TAGSEL_COMPLETE")  # click's own function would start a shell to ask its version
    return str(script.source_template % script.source_vars())
