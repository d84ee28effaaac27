"""The documentation: every verb, option, cut function and public name is in it, links resolve, and examples run.

What a page shows after a command or asserts in its code is compared with what happens.
"""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import inspect
import os
import re
import subprocess
import sys
import tomllib
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import click
import console
import pytest

import tagsel
from tagsel.cli.main import cli
from tagsel.language.functions import FUNCTIONS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PACKAGE = ROOT / "tagsel"
REFERENCE = DOCS / "reference"
TOOLS = ROOT / ".docs" / "venv"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
SAMPLE_FILE = ROOT / "data" / "sample" / "files" / "data09_900GeV.physics_Muon.TAG._0001.parquet"
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

PUBLISHED = re.compile(r"^<!-- published files: (.*) -->$", re.MULTILINE)


def link_published_files(page: Path, folder: Path, real: Callable[[str], Path]) -> None:
    """Link the published files that a tutorial names into `files`; without them the test skips."""
    for line in PUBLISHED.findall(TEXTS[page]):
        (folder / "files").mkdir(exist_ok=True)
        for name in line.split():
            (folder / "files" / name).symlink_to(real(name).resolve())


def is_tutorial(page: Path) -> bool:
    return PUBLISHED.search(TEXTS[page]) is not None


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("console"), ids=called)
def test_commands_of_a_page_print_what_it_shows(page: Path, folder: Path, real: Callable[[str], Path]) -> None:
    link_published_files(page, folder, real)
    assert not (wrong := console.run_page(TEXTS[page], folder)), "\n\n".join(wrong)


@pytest.mark.parametrize("page", pages_with("python"), ids=called)
def test_code_of_a_page_runs(
    page: Path, folder: Path, real: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain code is run, sessions with >>> are compared; names last to the end of the page.

    The code of a tutorial goes on in the workspace that its commands made.
    """
    link_published_files(page, folder, real)
    monkeypatch.chdir(folder)
    if is_tutorial(page):
        console.run_page(TEXTS[page], folder)
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


def modules_with_examples() -> list[str]:
    """Names of the modules whose docstrings have examples."""
    files = [file for file in sorted(PACKAGE.rglob("*.py")) if ">>>" in file.read_text(encoding="utf-8")]
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    return [name.removesuffix(".__init__") for name in names]


@pytest.mark.parametrize("module", modules_with_examples())
def test_examples_of_docstrings_run(module: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    results = doctest.testmod(importlib.import_module(module), optionflags=console.FLAGS)
    assert results.attempted and not results.failed


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
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["command-line.md"])
def test_reference_pages_are_current(page: str, reference: ModuleType) -> None:
    made = reference.PAGES[page]()
    assert made == (REFERENCE / page).read_text(encoding="utf-8"), "run python scripts/reference.py"


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
    text = (REFERENCE / "command-line.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {path}\n")[1].split("\n## ")[0]
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option.name
            assert all(name in section for name in option.opts), option.name


def test_every_verb_is_explained_in_a_page_of_its_topic() -> None:
    """Beside the reference page, which holds everything."""
    topics = "\n".join(t for p, t in TEXTS.items() if p.name not in ("command-line.md", "CHANGELOG.md"))
    assert [v for v in cli.commands if not re.search(rf"\b{v}\b", topics)] == []


@pytest.mark.slow
@pytest.mark.skipif(not (TOOLS / "stamp").exists(), reason="no Sphinx: scripts/docs --tools installs it")
def test_the_site_is_built_and_holds_every_public_name_and_method(reference: ModuleType, tmp_path: Path) -> None:
    """Without a warning, so without a link that leads nowhere; the names are those of the site's index of objects."""
    command = [
        TOOLS / "bin/python",
        "-m",
        "sphinx",
        "--fail-on-warning",
        "--keep-going",
        "--quiet",
        DOCS,
        tmp_path / "site",
    ]
    built = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout + built.stderr
    objects = zlib.decompress((tmp_path / "site" / "objects.inv").read_bytes().split(b"zlib.\n", 1)[1]).decode()
    described = {line.split(" ", 1)[0] for line in objects.splitlines()}
    names = set(tagsel.__all__) - {"__version__"}
    assert [name for name in sorted(names) if f"tagsel.{name}" not in described] == []
    for name, kind in [*reference.api("classes"), *reference.api("results")]:
        path = f"tagsel.{name}" if name in names else f"{kind.__module__}.{kind.__qualname__}"
        callables = [member for member, value in reference.members(kind) if inspect.isroutine(value)]
        assert [member for member in callables if f"{path}.{member}" not in described] == [], name


def test_the_reference_follows_what_public_methods_return(reference: ModuleType) -> None:
    results = dict(reference.api("results"))
    assert results["Count"] is type(tagsel.open(SAMPLE_FILE).where("true").count())
    assert results["Cutflow"] is type(tagsel.open(SAMPLE_FILE).where("true").cutflow())
    assert {"Regions", "Why", "EventMap", "WorkspaceJob"} <= set(results), "a job: its method says so in words"


def test_the_architecture_names_every_room_and_file(reference: ModuleType) -> None:
    """Each with a sentence; rooms in the order in which they may import."""
    text = reference.rooms()
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    order = [room for layer in contract["layers"] for room in re.findall(r"\w+", layer)]
    headings = re.findall(r"^### (\w+)/$", text, re.MULTILINE)
    assert headings == ["tagsel", *(room for room in order if (PACKAGE / room).is_dir())]
    sections = dict(zip(headings, re.split(r"^### \w+/$", text, flags=re.MULTILINE)[1:], strict=True))
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE).parts
        room = parts[0] if len(parts) > 1 else "tagsel"
        if file.name != "__init__.py":
            assert re.search(rf"^- `(\w+/)*{file.name}`: [\w`].{{10,}}$", sections[room], re.MULTILINE), file


@pytest.mark.parametrize("page", [p for p in PAGES if "maintainers" in p.parts or p.parent == ROOT], ids=called)
def test_files_of_the_project_that_a_page_names_exist(page: Path) -> None:
    """CHANGELOG.md tells of files that were."""
    if page.name == "CHANGELOG.md":
        return
    places = re.findall(r"`((?:tagsel|tests|bench|scripts|queries)/[\w./*-]+)", TEXTS[page])
    assert [place for place in places if not any(ROOT.glob(place))] == []


def test_every_cut_function_is_documented() -> None:
    text = (REFERENCE / "cut-functions.md").read_text(encoding="utf-8")
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


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_links_to_other_sites_are_secure_and_have_a_host(page: Path) -> None:
    """Whether they still work, `scripts/docs --links` asks: a test does not depend on the network."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", TEXTS[page], flags=re.DOTALL)
    links = [target for target in re.findall(r"\]\(([^)\s]+)\)", prose) if "://" in target]
    assert [link for link in links if not re.fullmatch(r"https://[\w-]+(\.[\w-]+)+(/[\w.~/#%-]*)?", link)] == []


@pytest.mark.parametrize("page", [p for p in PAGES if p.is_relative_to(DOCS) and p.parent != DOCS], ids=called)
def test_a_page_is_in_the_index_of_its_part(page: Path) -> None:
    """In the table, with a link, and in the tree that the site's menu shows."""
    index = page.parent / "index.md"
    target = page.name
    if page == index:
        index, target = page.parent.parent / "index.md", f"{page.parent.name}/index.md"
    assert f"({target}" in TEXTS[index]
    assert re.search(rf"^(.* <)?{target.removesuffix('.md')}>?$", TEXTS[index], re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=called)
def test_no_page_names_a_place_on_a_machine(page: Path) -> None:
    assert not re.search(r"(?<![\w.])/(home|root|work|Users|tmp|opt|mnt)/", TEXTS[page])
    assert str(ROOT) not in TEXTS[page]


def test_citation_and_changelog_name_this_version() -> None:
    assert f"version: {tagsel.__version__}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {tagsel.__version__}" in (ROOT / "CHANGELOG.md").read_text()
