"""Measures how the package reads: the figures that the maintainers' page compares with their aims.

    python scripts/measures.py           # the table
    python scripts/measures.py --trace   # with the functions that a new cut enters, on a small sample
    python scripts/measures.py --where nested | complex | participles   # each place

A figure "a 1,000 lines" divides by all lines of the package's files, comments and blank lines included.
"""

from __future__ import annotations

import argparse
import ast
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tagsel"
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
PARTICIPLES = frozenset({"found", "known", "told", "said", "held", "made", "given", "asked", "taken", "kept"})
"""Names that say how a value came about, and not what it is."""

MOST_COMPLEX = 15
"""Ways through a function, its comprehensions and boolean operators counted, beyond which it should be two."""
BRANCHES = ast.If | ast.IfExp | ast.For | ast.AsyncFor | ast.While | ast.ExceptHandler | ast.match_case | ast.Assert

SAMPLE = ROOT / "data/sample/files/data09_900GeV.physics_Muon.TAG._0001.parquet"
FIRST_CUT = "NLooseMuon >= 1 && LooseMuonPt1 > 5 GeV"
NEW_CUT = "NLooseMuon >= 2 && LooseMuonPt2 > 4.375 GeV"


@dataclass(frozen=True)
class Measures:
    """Figures of a package."""

    files: int
    lines: int
    import_cycle_modules: int
    nested_comprehensions: int
    comprehensions: int
    conditional_expressions: int
    any_annotations: int
    participle_names: int
    complex_functions: int
    format_exemptions: int
    largest_class: str
    largest_class_names: int

    def per_thousand(self, count: int) -> float:
        """A count as so many in 1,000 lines."""
        return 1000 * count / self.lines


def measures() -> Measures:
    """The figures of the package as it is on disk."""
    trees = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in modules().items()}
    texts = [path.read_text(encoding="utf-8") for path in modules().values()]
    nodes = [node for tree in trees.values() for node in ast.walk(tree)]
    comprehensions = [node for node in nodes if isinstance(node, COMPREHENSIONS)]
    name, count = largest_class(trees)
    return Measures(
        files=len(trees),
        lines=sum(len(text.splitlines()) for text in texts),
        import_cycle_modules=sum(map(len, import_cycles(trees))),
        nested_comprehensions=sum(map(is_nested, comprehensions)),
        comprehensions=len(comprehensions),
        conditional_expressions=sum(isinstance(node, ast.IfExp) for node in nodes),
        any_annotations=sum(isinstance(node, ast.Name) and node.id == "Any" for node in nodes),
        participle_names=sum(map(is_participle, nodes)),
        complex_functions=sum(isinstance(node, FUNCTIONS) and complexity(node) > MOST_COMPLEX for node in nodes),
        format_exemptions=sum(text.count("# fmt:") for text in texts),
        largest_class=name,
        largest_class_names=count,
    )


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        names[".".join(parts)] = path
    return names


def is_nested(comprehension: ast.AST) -> bool:
    """Whether a comprehension has two loops, or has another one inside it."""
    loops = len(comprehension.generators)  # type: ignore[attr-defined]
    inner = sum(isinstance(node, COMPREHENSIONS) for node in ast.walk(comprehension)) - 1
    return loops > 1 or inner > 0


def is_participle(node: ast.AST) -> bool:
    """Whether a node gives a value, or a parameter, a participle for a name."""
    if isinstance(node, ast.Name):
        return isinstance(node.ctx, ast.Store) and node.id in PARTICIPLES
    return isinstance(node, ast.arg) and node.arg in PARTICIPLES


def complexity(function: ast.AST) -> int:
    """McCabe's number of a function (1 + its branches), comprehensions and boolean operators counted as branches.

    A function defined inside has its own number. T. J. McCabe, IEEE Trans. Softw. Eng. SE-2 (1976) 308.
    """
    total = 1
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if isinstance(node, FUNCTIONS):
            continue
        if isinstance(node, BRANCHES):
            total += 1
        elif isinstance(node, ast.BoolOp):
            total += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            total += 1 + len(node.ifs)
        waiting.extend(ast.iter_child_nodes(node))
    return total


PLACES = {
    "nested": lambda node: isinstance(node, COMPREHENSIONS) and is_nested(node),
    "complex": lambda node: isinstance(node, FUNCTIONS) and complexity(node) > MOST_COMPLEX,
    "participles": lambda node: is_participle(node),
}


def places(kind: str) -> Iterator[str]:
    """Where something of a kind is: file, line, and the line's text."""
    for path in modules().values():
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        numbers = {node.lineno for node in ast.walk(ast.parse(text)) if PLACES[kind](node)}  # type: ignore[attr-defined]
        for number in sorted(numbers):
            yield f"{path.relative_to(ROOT)}:{number}: {lines[number - 1].strip()}"


def largest_class(trees: dict[str, ast.Module]) -> tuple[str, int]:
    """The class with the most public names, those of its bases in the package included; and how many."""
    classes = {}
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                classes[node.name] = node
    sizes = {name: len(public_names(name, classes)) for name in classes}
    name = max(sizes, key=lambda name: sizes[name])
    return name, sizes[name]


def public_names(name: str, classes: dict[str, ast.ClassDef]) -> set[str]:
    """Public methods, properties and fields of a class and of its bases."""
    names: set[str] = set()
    for node in classes[name].body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    for base in classes[name].bases:
        if isinstance(base, ast.Name) and base.id in classes and base.id != name:
            names |= public_names(base.id, classes)
    return {each for each in names if not each.startswith("_")}


def imports(tree: ast.Module, names: set[str]) -> set[str]:
    """Modules of the package that a module imports: at top level, inside functions and under TYPE_CHECKING."""
    targets = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                targets.add(submodule if submodule in names else node.module)
    return targets & names


def import_cycles(trees: dict[str, ast.Module]) -> list[list[str]]:
    """Groups of modules that import each other, all imports counted.

    Two modules are in one group where each can be reached from the other.
    """
    names = set(trees)
    graph = {module: imports(tree, names) - {module} for module, tree in trees.items()}
    reachable = {module: _reachable(module, graph) for module in graph}
    groups = []
    placed: set[str] = set()
    for module in sorted(graph):
        if module in placed or module not in reachable[module]:
            continue
        group = sorted(other for other in reachable[module] if module in reachable[other])
        placed.update(group)
        groups.append(group)
    return groups


def _reachable(module: str, graph: dict[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    waiting = list(graph[module])
    while waiting:
        other = waiting.pop()
        if other not in reached:
            reached.add(other)
            waiting.extend(graph[other])
    return reached


@dataclass(frozen=True)
class Trace:
    """Functions of the package that a question enters, and the files in which they are."""

    functions: int
    files: int
    calls: int


def trace_new_cut() -> Trace:
    """What `tagsel count` with a cut that is new to the dataset enters, from the prompt to the kernel and back.

    The dataset was asked another question before in the same process, so that modules are loaded.
    """
    from tagsel.cli.main import run

    with tempfile.TemporaryDirectory(prefix="tagsel-measures-") as folder:
        home = ["--workspace", str(Path(folder) / "W")]
        silently(run, ["init", home[1]])
        silently(run, [*home, "ingest", str(SAMPLE), "--dataset", "sample.TAG"])
        silently(run, [*home, "count", "sample.TAG", FIRST_CUT])
        calls = traced(lambda: silently(run, [*home, "count", "sample.TAG", NEW_CUT]))
    files = {code.co_filename for code in calls}
    return Trace(functions=len(calls), files=len(files), calls=sum(calls.values()))


def traced(action: Any) -> dict[CodeType, int]:
    """How often each function of the package is entered by an action, in all its threads."""
    calls: dict[CodeType, int] = defaultdict(int)

    def count(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(PACKAGE)) and not code.co_name.startswith("<"):
            calls[code] += 1

    threading.setprofile(count)
    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return calls


def silently(run: Any, arguments: list[str]) -> None:
    """Run a command in this process without its output; RuntimeError where it fails."""
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
        code = run(arguments)
    if code:
        raise RuntimeError(f"tagsel {' '.join(arguments)} ended with {code}: {errors.getvalue()}")


def rows(figures: Measures, trace: Trace | None) -> Iterator[tuple[str, str, str]]:
    """The lines of the table: what is measured, the figure, the aim."""
    rate = figures.per_thousand
    yield "files / lines", f"{figures.files} / {figures.lines:,}", "about 200"
    yield "modules in import cycles, all imports counted", f"{figures.import_cycle_modules}", "0"
    yield "nested comprehensions a 1,000 lines", f"{rate(figures.nested_comprehensions):.2f}", "0.5"
    yield "comprehensions a 1,000 lines", f"{rate(figures.comprehensions):.1f}", "4 to 25"
    yield "conditional expressions a 1,000 lines", f"{rate(figures.conditional_expressions):.1f}", "2 to 11"
    yield "`Any` a 1,000 lines", f"{rate(figures.any_annotations):.1f}", "6"
    yield "participles as names", f"{figures.participle_names}", "few"
    yield f"functions with more than {MOST_COMPLEX} ways through", f"{figures.complex_functions}", "0"
    yield "lines exempt from the formatter", f"{figures.format_exemptions}", "0"
    yield f"public names of the largest class ({figures.largest_class})", f"{figures.largest_class_names}", "25"
    if trace:
        yield "functions that a new cut enters", f"{trace.functions} in {trace.files} files", "120 in 30"
        yield "calls of these functions", f"{trace.calls:,}", ""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--trace", action="store_true", help="count the functions that a new cut enters, too")
    parser.add_argument("--where", choices=sorted(PLACES), help="list the places instead")
    options = parser.parse_args()
    if options.where:
        for place in places(options.where):
            print(place)
        return
    table = list(rows(measures(), trace_new_cut() if options.trace else None))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in [("measure", "now", "aim"), *table]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main()
