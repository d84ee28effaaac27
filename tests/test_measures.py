"""How the package reads is measured, and gets no worse: `scripts/measures.py` counts, these limits only go down."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts/measures.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measures", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["measures"] = module
    spec.loader.exec_module(module)
    return module


def expression(text: str) -> ast.AST:
    return ast.parse(text, mode="eval").body


@pytest.mark.parametrize(
    ("text", "nested"),
    [
        ("[x for x in rows]", False),
        ("{x: f(x) for x in rows if x}", False),
        ("[x for row in rows for x in row]", True),
        ("[[x for x in row] for row in rows]", True),
        ("sum(len([x for x in row]) for row in rows)", True),
    ],
)
def test_a_nested_comprehension_has_two_loops_or_another_inside(script: ModuleType, text: str, nested: bool) -> None:
    node = next(n for n in ast.walk(expression(text)) if isinstance(n, script.COMPREHENSIONS))
    assert script.is_nested(node) is nested


def test_a_participle_counts_where_it_names_a_value(script: ModuleType) -> None:
    """Two: the parameter `told` and the variable `found`; the attribute and the use do not count."""
    tree = ast.parse("def f(told, row):\n    found = row.found\n    return found")
    assert sum(map(script.is_participle, ast.walk(tree))) == 2


@pytest.mark.parametrize(
    ("text", "ways"),
    [
        ("pass", 1),
        ("if a and b or c: pass", 4),  # 1 + if + and + or
        ("return [x for x in y if x] if y else z", 4),  # 1 + loop + its condition + the choice
        ("for x in y:\n        try: pass\n        except E: pass", 3),
        ("def g():\n        if a: pass", 1),  # g has its own two
    ],
)
def test_ways_through_a_function_count_expressions(script: ModuleType, text: str, ways: int) -> None:
    assert script.complexity(ast.parse(f"def f():\n    {text}").body[0]) == ways


def test_an_import_inside_a_function_or_for_types_only_makes_a_cycle(script: ModuleType) -> None:
    trees = {
        "p.a": ast.parse("from p import b"),
        "p.b": ast.parse("def f():\n    from p.c import g"),
        "p.c": ast.parse("if TYPE_CHECKING:\n    import p.a"),
        "p.d": ast.parse("from p.a import x"),
    }
    assert script.import_cycles(trees) == [["p.a", "p.b", "p.c"]]


def test_a_class_has_the_public_names_of_its_bases(script: ModuleType) -> None:
    tree = ast.parse("class A:\n    x: int\n    _y: int\n\nclass B(A):\n    def f(self): ...\n    def _g(self): ...")
    assert script.largest_class({"p": tree}) == ("B", 2)


def test_a_tracer_counts_the_functions_of_the_package_that_are_entered(script: ModuleType) -> None:
    """Of `is_remote` and of `len`, which is not ours, the first is entered twice."""
    from tagsel.rootio.remote import is_remote

    calls = script.traced(lambda: (is_remote("a.root"), is_remote("root://b"), len("c")))
    assert calls == {is_remote.__code__: 2}


def test_no_room_has_a_circle_inside_it(script: ModuleType) -> None:
    trees = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in script.modules().items()}
    within_a_function = script.imports(trees["tagsel.api.event_lists"], set(trees))
    assert "tagsel.api.submission" in within_a_function
    assert script.import_cycles(trees) == []


def test_the_package_reads_no_worse_than_it_did(script: ModuleType) -> None:
    """Whoever brings a figure down brings its limit down, too."""
    figures = script.measures()
    assert figures.per_thousand(figures.nested_comprehensions) <= 0.1
    assert figures.per_thousand(figures.comprehensions) <= 36.5
    assert figures.per_thousand(figures.conditional_expressions) <= 21.1
    assert figures.per_thousand(figures.any_annotations) <= 15.9
    assert figures.participle_names <= 435
    assert figures.largest_class_names <= 43
    assert figures.complex_functions <= 14
    assert figures.format_exemptions == 0
