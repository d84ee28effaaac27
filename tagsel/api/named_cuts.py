"""Named cuts and named metadata queries: those that come with tagsel, and a workspace's own beside them.

A named cut is a table of a TOML file in `queries/`. A named metadata query is an SQL file there, whose first comment
lines describe it: one SELECT, or a condition on datasets. A workspace's `queries/` folder comes first.

Invariant: a name has one meaning in one place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tagsel.base.documents import read_toml
from tagsel.errors import CutError, TagselError, did_you_mean

PACKAGED = Path(__file__).resolve().parent.parent / "queries"
"""Where an installed tagsel has them; in a source tree they lie beside the package."""


@dataclass(frozen=True)
class Named:
    """A named cut or metadata query: its text, what it is for, where it stands; what a cut's events `fill`, if told."""

    name: str
    kind: str  # cut | sql (a SELECT) | condition (on datasets)
    text: str
    description: str
    path: str
    fill: str = ""


def folders(workspace: Path | None) -> list[Path]:
    """Folders that hold named queries, the workspace's first."""
    packaged = PACKAGED if PACKAGED.is_dir() else PACKAGED.parent.parent / "queries"
    own = [workspace / "queries"] if workspace is not None else []
    return [f for f in (*own, packaged) if f.is_dir()]


def named(workspace: Path | None = None) -> dict[str, Named]:
    """All named cuts and queries by name; the first place that has a name wins."""
    found: dict[str, Named] = {}
    for folder in folders(workspace):
        for query in (*_cuts(folder), *_sql(folder)):
            found.setdefault(query.name, query)
    return found


def _cuts(folder: Path) -> Iterator[Named]:
    for path in sorted(folder.glob("*.toml")):
        try:
            document = read_toml(path)
            for name, entry in document.items():
                description, fill = (str(entry.get(key, "")).strip() for key in ("description", "fill"))
                yield Named(name, "cut", str(entry["cut"]), description, str(path), fill)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TagselError(f"named cuts in {path} cannot be read: {error}", path=str(path)) from error


def _sql(folder: Path) -> Iterator[Named]:
    for path in sorted(folder.glob("*.sql")):
        text = path.read_text(encoding="utf-8")
        comments = [line[2:].strip() for line in text.splitlines() if line.startswith("--")]
        body = "\n".join(line for line in text.splitlines() if not line.startswith("--")).strip()
        said = [c for c in comments if not c.startswith("expected")]
        kind = "sql" if body[:7].upper().split()[:1] in (["SELECT"], ["WITH"], ["FROM"]) else "condition"
        yield Named(path.stem, kind, body.rstrip(";"), " ".join(said), str(path))


def with_name(name: str, text: str) -> tuple[str, str]:
    """A cut as (name, text); one that is `@name` and no more is called by that name.

    >>> with_name("", "@dimuon"), with_name("hard", "MET > 50")
    (('dimuon', '@dimuon'), ('hard', 'MET > 50'))
    """
    alone = text.strip()
    return (name or (alone[1:] if alone[:1] == "@" and alone[1:].isidentifier() else ""), text)


def cut_text(name: str, workspace: Path | None = None) -> str:
    """The text of the named cut `@name`; CutError with the nearest names where there is none."""
    known = {n: q for n, q in named(workspace).items() if q.kind == "cut"}
    if name not in known:
        hint = did_you_mean(name, known) or "tagsel queries lists the named cuts"
        raise CutError(f"no named cut @{name}", cut=f"@{name}", length=len(name) + 1, hint=hint)
    return known[name].text


def sql_text(text: str, workspace: Path | None = None, kind: str = "sql") -> str:
    """`text` itself, or the named metadata query (`sql` or `condition`) where it is `@name`."""
    if not text.startswith("@"):
        return text
    found = metadata_query(text, workspace)
    if found.kind != kind:
        hint = f"tagsel datasets @{found.name}" if kind == "sql" else f"tagsel datasets --sql @{found.name}"
        raise TagselError(f"@{found.name} is a {_KINDS[found.kind]}, not a {_KINDS[kind]}", hint=hint)
    return found.text


_KINDS = {"sql": "SELECT", "condition": "condition on datasets"}


def metadata_query(text: str, workspace: Path | None = None) -> Named:
    """The metadata query `@name`; TagselError with the nearest names where there is none."""
    known = {n: q for n, q in named(workspace).items() if q.kind in _KINDS}
    name = text[1:].strip()
    if name not in known:
        hint = did_you_mean(name, known) or "tagsel queries lists the named queries"
        raise TagselError(f"no named metadata query @{name}", hint=hint)
    return known[name]
