"""The documentation: every verb, option, cut function and public name is in it, links resolve, and examples run.

What a page shows after a command or asserts in its code is compared with what happens.
"""

from __future__ import annotations

import doctest
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import console
import pytest

import tagsel
from tagsel.cli.main import cli
from tagsel.expr.functions import FUNCTIONS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}


def pages_with(kind: str) -> list[Path]:
    return [page for page, text in TEXTS.items() if any(console.blocks(text, kind))]


def called(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that looks like a clone of the project to the examples: it has the sample."""
    (tmp_path / "data").symlink_to(ROOT / "data")
    return tmp_path


# -- examples


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("console"), ids=called)
def test_commands_of_a_page_print_what_it_shows(page: Path, folder: Path) -> None:
    assert not (wrong := console.run_page(TEXTS[page], folder)), "\n\n".join(wrong)


@pytest.mark.parametrize("page", pages_with("python"), ids=called)
def test_code_of_a_page_runs(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain code is run, sessions with >>> are compared; names last to the end of the page."""
    monkeypatch.chdir(folder)
    names: dict[str, object] = {"__name__": "page"}
    for line, text in console.blocks(TEXTS[page], "python"):
        if ">>>" not in text:
            exec(compile("\n" * (line - 1) + text, str(page), "exec"), names)
            continue
        test = doctest.DocTestParser().get_doctest(text, names, page.name, str(page), line - 1)
        runner = doctest.DocTestRunner(verbose=False)
        said: list[str] = []
        runner.run(test, out=said.append, clear_globs=False)
        names.update(test.globs)
        assert not runner.failures, "".join(said)


def test_the_console_compares_what_is_shown(folder: Path) -> None:
    """A wrong line, a wrong exit code and an unknown verb are found; right ones and `...` are not."""
    page = (
        "```console\n$ export N=7\n$ echo run $N; echo 12 ms\nrun 7\n...\n$ echo one \\\n    two\none two\n"
        "$ echo 3\n4\n$ false\n$ tagsel nothing\ntagsel: no verb 'nothing'...\n```\n"
    )
    wrong = console.run_page(page, folder)
    assert [w.split("\n")[0].partition("$ ")[2] for w in wrong] == ["echo 3", "false"]


# -- completeness


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """scripts/reference.py."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["command-line.md", "python.md"])
def test_reference_pages_are_current(page: str, reference: ModuleType) -> None:
    made = reference.PAGES[page]()
    assert made == (DOCS / page).read_text(encoding="utf-8"), "run python scripts/reference.py"


def commands(group: click.Group = cli, path: str = "tagsel") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


@pytest.mark.parametrize(("path", "command"), list(commands()), ids=lambda x: x if isinstance(x, str) else "")
def test_every_verb_and_option_is_described_with_an_example(path: str, command: click.Command) -> None:
    assert command.help and "Example:" in command.help
    example = command.help.split("Example:")[1].strip().splitlines()[0]
    assert example.startswith(path.removesuffix(" list")), "the example shows this verb (list is meant where none is)"
    text = (DOCS / "command-line.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {path}\n")[1].split("\n## ")[0]
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.name
            assert all(name in section for name in option.opts), option.name


def test_every_verb_is_a_method_of_workspace() -> None:
    assert [name for name in cli.commands if not hasattr(tagsel.Workspace, name)] == []


def test_every_verb_is_explained_in_a_page_of_its_topic() -> None:
    """Beside the reference pages, which hold everything."""
    topics = "\n".join(t for p, t in TEXTS.items() if p.name not in ("command-line.md", "python.md", "CHANGELOG.md"))
    assert [v for v in cli.commands if not re.search(rf"\b{v}\b", topics)] == []


def test_every_public_name_and_method_is_in_the_reference() -> None:
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    for name in set(tagsel.__all__) - {"__version__"}:
        assert re.search(rf"^(## {name}|- `tagsel\.{name}\(.*|- `{name}`: .+)$", text, re.MULTILINE), name
    for name in ("Workspace", "Dataset", "Selection", "Events"):
        section = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
        kind = getattr(tagsel, name)
        for member in (m for m in dir(kind) if not m.startswith("_") and callable(getattr(kind, m))):
            assert re.search(rf"^- `{member}[(`].*: \S.+$", section, re.MULTILINE), f"{name}.{member}"


def test_every_cut_function_is_documented() -> None:
    text = (DOCS / "cut-functions.md").read_text(encoding="utf-8")
    assert [name for name in FUNCTIONS if f"`{name}(" not in text and f"`{name} " not in text] == []


# -- the pages themselves


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as code hosts make them."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", TEXTS[page], flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found.read_text(encoding="utf-8")), target


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    assert [p.name for p in DOCS.glob("*.md") if p.name != "index.md" and f"({p.name})" not in index] == []


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_no_page_names_a_place_on_a_machine(page: Path) -> None:
    assert not re.search(r"(?<![\w.])/(home|root|work|Users|tmp|opt|mnt)/", TEXTS[page])
    assert str(ROOT) not in TEXTS[page]


def test_citation_and_changelog_name_this_version() -> None:
    assert f"version: {tagsel.__version__}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {tagsel.__version__}" in (ROOT / "CHANGELOG.md").read_text()
