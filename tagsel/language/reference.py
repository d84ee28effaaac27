"""The reference page of the language's functions, made from their table.

`python -m tagsel.language.reference > docs/reference/cut-functions.md` writes it anew. Invariant: the page says no more
than the table, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator

from tagsel.language.functions import FUNCTIONS, CutFunction
from tagsel.language.literals import MAX_LITERAL
from tagsel.language.parse import MAX_DEPTH, MAX_TERMS, MAX_TEXT
from tagsel.language.units import UNITS

SECTIONS = (
    ("Objects of a collection", ("aggregate", "choice")),
    ("Kinematics of objects", ("object", "difference")),
    ("Numbers", ("same", "pick", "elementary", "test")),
    ("Events, bits, triggers", ("present", "bit", "trigger", "in_lumi", "python")),
)
"""Headings of the page, and the forms of functions below each."""

_HEAD = """\
# Functions of the cut language

This page is made from the table in `tagsel/language/functions.py` by `python -m tagsel.language.reference`. The column
*SQL* says whether DuckDB knows the function, too; the interpreter and the compiled kernels know all of them.
"""


def markdown() -> str:
    """The whole page."""
    lines = [_HEAD]
    for title, forms in SECTIONS:
        lines += _section(title, forms)
    return "\n".join([*lines, *_limits()])


def _section(title: str, forms: tuple[str, ...]) -> Iterator[str]:
    yield f"## {title}\n"
    yield "| function | what it is | SQL |"
    yield "|---|---|---|"
    for row in FUNCTIONS.values():
        if row.form in forms:
            yield f"| `{row.signature}` | {row.help.replace('|', chr(92) + '|')} | {'yes' if _in_sql(row) else 'no'} |"
    yield ""


def _in_sql(row: CutFunction) -> bool:
    """Forms without a kernel are ops of the tree, which SQL knows, but for choices and Python functions."""
    return row.form not in ("choice", "python") and (not row.kernel or bool(row.sql))


def _limits() -> Iterator[str]:
    yield "## Units and limits\n"
    yield f"A literal may have a unit: {', '.join(f'`{u}`' for u in UNITS)}.\n"
    yield f"A cut has at most {MAX_TEXT:,} characters and {MAX_TERMS:,} terms joined by `&&` and `||`, and is nested at"
    yield f"most {MAX_DEPTH} levels deep; a number has at most {MAX_LITERAL} characters and fits 64 bits."


if __name__ == "__main__":
    print(markdown())
