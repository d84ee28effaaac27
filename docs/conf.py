"""How Sphinx makes a site of these pages: `scripts/docs` calls it.

Before Sphinx reads a page, the README, CONTRIBUTING and CHANGELOG of the repository become pages of the site, links to
them lead there, `<!-- api: … -->` gives way to the Python interface, from the docstrings, and `<!-- rooms -->` to the
list of the package's files.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT / "scripts"))

import reference  # noqa: E402 - scripts/reference.py

import tagsel  # noqa: E402

project = "tagsel"
author = "the tagsel authors"
release = version = tagsel.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_static"]
myst_enable_extensions = ["colon_fence", "deflist", "attrs_block"]
myst_heading_anchors = 4

html_theme = "furo"
html_title = "tagsel"
html_static_path = ["_static"]
html_css_files = ["tagsel.css"]
html_copy_source = False
html_show_copyright = False

add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
toc_object_entries_show_parents = "hide"

REPOSITORY_PAGES = {
    ROOT / "README.md": DOCS / "start" / "five-minutes.md",
    ROOT / "CONTRIBUTING.md": DOCS / "maintainers" / "contributing.md",
    ROOT / "CHANGELOG.md": DOCS / "maintainers" / "changelog.md",
}
LINK = re.compile(r"\]\(([^)\s#]+)((?:#[^)\s]*)?)\)")
CODE = re.compile(r"(```.*?^```$|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
ROOMS = "<!-- rooms -->"
API = re.compile(r"^<!-- api: (\w+) -->$", re.MULTILINE)


def prepare_page(app: Any, docname: str, source: list[str]) -> None:
    """Make a page of the site from a file of the repository."""
    page = DOCS / f"{docname}.md"
    file = page
    for original, copy in REPOSITORY_PAGES.items():
        if copy == page:
            file = original
            source[0] = original.read_text(encoding="utf-8")
    source[0] = _with_links_of_the_site(source[0], file, page)
    source[0] = API.sub(lambda match: _api(match[1]), source[0])
    if ROOMS in source[0]:
        source[0] = source[0].replace(ROOMS, reference.rooms())


def _with_links_of_the_site(text: str, file: Path, page: Path) -> str:
    """Links of `file` as they are to be in `page`; links inside code stay."""

    def link(match: re.Match[str]) -> str:
        if "://" in match[1]:
            return match[0]
        target = Path(os.path.normpath(file.parent / match[1]))
        target = REPOSITORY_PAGES.get(target, target)
        return f"]({os.path.relpath(target, page.parent)}{match[2]})"

    pieces = CODE.split(text)
    pieces[::2] = [LINK.sub(link, prose) for prose in pieces[::2]]
    return "".join(pieces)


def _api(kind: str) -> str:
    """The Python interface of a kind, as directives of autodoc: a section for each class."""
    sections = []
    for name, public in reference.api(kind):
        path = f"{public.__module__}.{public.__qualname__}" if kind == "results" else f"tagsel.{name}"
        if kind == "functions":
            sections.append(_directive(f".. autofunction:: {path}"))
        elif kind == "errors":
            sections.append(_directive(f".. autoexception:: {path}"))
        else:
            members = ", ".join(member for member, _ in reference.members(public))
            directive = _directive(f".. autoclass:: {path}", f"   :members: {members}", "   :inherited-members:")
            sections.append(f"## {name}\n\n{directive}")
    return "\n\n".join(sections)


def _directive(*lines: str) -> str:
    return "\n".join(["```{eval-rst}", *lines, "```"])


def docstring_to_rst(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with `code` in single backticks: make reStructuredText of them.

    What reStructuredText would take for emphasis, references or substitutions (`*args`, `name_`, `|`) is escaped, so
    that a docstring cannot break the site. Examples with >>> and indented blocks stay as they are.
    """
    in_example = False
    for number, line in enumerate(lines):
        if line.lstrip().startswith(">>>"):
            in_example = True
        elif not line.strip():
            in_example = False
        if not in_example and not line.startswith("    "):
            lines[number] = _escape(line)


def _escape(line: str) -> str:
    pieces = re.split(r"`+([^`]+)`+", line)
    pieces[::2] = [re.sub(r"([*|\\])|(?<=\w)(_)(?=\W|$)", r"\\\1\2", text) for text in pieces[::2]]
    pieces[1::2] = [f"``{code}``" for code in pieces[1::2]]
    return "".join(pieces)


def pages_of_other_sources(app: Any, env: Any, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """Pages that are read anew in every build, since what they show is not in their own file."""
    names = {str(page.relative_to(DOCS).with_suffix("")) for page in REPOSITORY_PAGES.values()}
    marked = [page for page in DOCS.rglob("*.md") if "<!-- api:" in (text := page.read_text("utf-8")) or ROOMS in text]
    return sorted(names.union(str(page.relative_to(DOCS).with_suffix("")) for page in marked))


def setup(app: Any) -> None:
    """Connect these steps."""
    app.connect("env-get-outdated", pages_of_other_sources)
    app.connect("source-read", prepare_page)
    app.connect("autodoc-process-docstring", docstring_to_rst, priority=400)
