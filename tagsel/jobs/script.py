"""The user's script: checked before anything is sent, loaded by the worker from the text in its piece.

Invariant: checking never runs the script; what it declares (`branches`, `batch`, `units`) is read from its text.
"""

from __future__ import annotations

import ast
import linecache
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tagsel.errors import JobError
from tagsel.language.units import UNITS

NAME = "job.py"
"""What the script is called in tracebacks."""


class Script(NamedTuple):
    """A script's text and what it declares: the branches it reads, events a batch, and units of what it returns, by
    key, column or axis."""

    text: str
    branches: tuple[str, ...] = ("*",)
    batch: int = 10_000
    units: Mapping[str, str] = {}


def check_script(path: Path) -> Script:
    """A script that can be sent; what it does not declare is as usual.

    JobError, naming file and line, where it is missing, does not compile, defines no `process(events)`, or
    declares something else than a list of patterns, a whole number and a record of units.
    """
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise JobError(f"script {path}: {reason}", path=str(path)) from error
    try:
        tree = ast.parse(text, NAME)
        compile(text, NAME, "exec")
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 0
        raise JobError(f"script {path}, line {line}: {error.args[0]}", path=str(path), line=line) from error
    names: dict[str, ast.stmt] = {}
    for node in tree.body:
        names.update(dict.fromkeys(_defined(node), node))
    if "process" not in names:
        raise JobError(
            f"script {path} defines no process(events)",
            hint="def process(events): return {'n': len(events)}",
            path=str(path),
        )
    _check_signature(names["process"], path)
    branches = _literal(names.get("branches"), path, "branches", ["*"])
    batch = _literal(names.get("batch"), path, "batch", 10_000)
    if isinstance(branches, str):
        branches = [branches]
    if not isinstance(branches, list | tuple) or not branches or not all(isinstance(b, str) for b in branches):
        raise JobError(f"script {path}: branches is to be a list of patterns", hint='branches = ["Muon_*"]')
    if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
        raise JobError(f"script {path}: batch is {batch!r}, a whole number of events was expected")
    return Script(text, tuple(branches), batch, _units(_literal(names.get("units"), path, "units", {}), path))


def _units(units: Any, path: Path) -> dict[str, str]:
    """The units that a script declares; JobError for what is none, and for a known one in other letters."""
    texts = [*units, *units.values()] if isinstance(units, dict) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise JobError(
            f"script {path}: units is {units!r:.60}, names with their units were expected",
            hint='units = {"met": "GeV"}',
        )
    usual = {symbol.lower(): symbol for symbol in UNITS}
    for name, unit in units.items():
        meant = usual.get(unit.lower(), unit)
        if unit not in UNITS and meant != unit:
            raise JobError(f"script {path}: the unit of {name} is {unit!r}", hint=f"did you mean {meant}?")
    return dict(units)


def _defined(node: ast.stmt) -> list[str]:
    """Names that a statement at the top of the script defines."""
    match node:
        case ast.FunctionDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [t.id for t in targets if isinstance(t, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case ast.ImportFrom(names=names) | ast.Import(names=names):
            return [a.asname or a.name for a in names]
        case _:
            return []


def _check_signature(node: ast.stmt, path: Path) -> None:
    if isinstance(node, ast.FunctionDef):
        arguments = node.args
        count = len(arguments.posonlyargs) + len(arguments.args)
        if (count - len(arguments.defaults) > 1 or count < 1) and not (count == 0 and arguments.vararg):
            raise JobError(
                f"script {path}, line {node.lineno}: process takes {count} arguments, not just the events",
                path=str(path),
                line=node.lineno,
            )


def _literal(node: ast.stmt | None, path: Path, name: str, default: Any) -> Any:
    value = getattr(node, "value", None)
    if value is None:
        return default
    try:
        return ast.literal_eval(value)
    except ValueError as error:
        line = node.lineno if node is not None else 0
        raise JobError(
            f"script {path}, line {line}: {name} is to be written out, not computed",
            path=str(path),
            line=line,
        ) from error


def load_process(text: str) -> Callable[[Any], Any]:
    """Run the script's text and return its `process`; whatever it raises comes through."""
    linecache.cache[NAME] = (len(text), None, text.splitlines(keepends=True), NAME)
    namespace: dict[str, Any] = {"__name__": "tagsel_job", "__file__": NAME}
    exec(compile(text, NAME, "exec"), namespace)
    process: Callable[[Any], Any] = namespace["process"]
    return process
