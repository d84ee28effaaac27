"""The table of functions: complete, true to the kernels, and the page made from it."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest

from tagsel.errors import CutError
from tagsel.language import FUNCTIONS, CutFunction, Scope, bind, bind_value, parse
from tagsel.language.calls import _FORMS
from tagsel.language.functions import cell, function, numpy_function
from tagsel.language.python_function import register
from tagsel.language.reference import SECTIONS, markdown

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reference"
CALLS = [row for row in FUNCTIONS.values() if row.kernel]

EXAMPLES = {
    "elementary": "{name}({values}) > 0",
    "object": "{name}({objects}) > 0",
    "difference": "{name}({objects}) > 0",
    "same": "abs(MET_pt) > 1",
    "pick": "{name}(MET_pt, ht) > 1",
    "test": "{name}(MET_pt)",
    "present": "present(MET_pt)",
    "bit": "bit(word0, 3)",
    "trigger": 'trigger("HLT_mu10")',
    "in_lumi": 'in_lumi("good.xml")',
    "choice": "let m = {name}(m in Muon: m.pt); m.pt > 1",
    "python": f'python("{register(lambda MET_pt: MET_pt > 1, compiled=False).name}")',
}

AGGREGATES = {
    "count": "count(Muon.pt > 1) > 1",
    "any": "any(Muon.pt > 1)",
    "all": "all(Muon.pt > 1)",
    "sum": "sum(Muon.pt) > 1",
    "min": "min(Muon.pt) > 1",
    "max": "max(Muon.pt) > 1",
}


@pytest.mark.parametrize("row", FUNCTIONS.values(), ids=lambda r: r.name)
def test_every_function_binds(row: CutFunction, scope: Scope) -> None:
    objects = ", ".join(("Muon[0]", "Muon[1]")[: row.fewest])
    text = AGGREGATES.get(row.name) or EXAMPLES[row.form].format(
        name=row.name, objects=objects, values=", ".join(["x"] * row.fewest)
    )
    assert bind(text, scope).node.kind == "bool"


@pytest.mark.parametrize("row", FUNCTIONS.values(), ids=lambda r: r.name)
def test_rows_are_complete(row: CutFunction) -> None:
    assert row.help.endswith(".")
    assert row.signature.startswith(row.name)
    assert 1 <= row.fewest <= row.most
    assert row.form in _FORMS
    assert any(row.form in forms for _, forms in SECTIONS)
    assert bool(row.kernel) == (row.form in ("elementary", "object"))
    assert bool(row.takes) == (row.form in ("object", "difference"))
    assert row.version >= 1


@pytest.mark.parametrize("row", CALLS, ids=lambda r: r.name)
def test_kernels_take_as_many_numbers_as_the_row_says(row: CutFunction) -> None:
    count = row.fewest * max(1, len(row.takes))
    got = numpy_function(row.name)(*np.full((count, 3), 0.5))
    assert got.shape == (3,) and got.dtype == np.float64


@pytest.mark.parametrize("row", [r for r in CALLS if r.sql], ids=lambda r: r.name)
def test_sql_takes_as_many_numbers_as_the_row_says(row: CutFunction) -> None:
    count = row.fewest * max(1, len(row.takes))
    assert row.fewest == row.most
    text = row.sql.format(*(f"<{i}>" for i in range(count)))
    assert all(f"<{i}>" in text for i in range(count))


@pytest.mark.parametrize("row", [r for r in CALLS if r.bounds], ids=lambda r: r.name)
def test_bounds_hold_on_a_grid(row: CutFunction) -> None:
    """Trend and range, at 2,001 points of the domain (cut at ±40), to 4 ulp."""
    bounds = row.bounds
    assert bounds is not None
    low, high = max(bounds.domain[0], -40.0), min(bounds.domain[1], 40.0)
    values = numpy_function(row.name)(np.linspace(low, high, 2001))
    assert not np.isnan(values).any()
    slack = 4 * np.spacing(np.abs(values))
    finite = np.isfinite(slack)
    assert (values >= bounds.range[0] - np.where(finite, slack, 0)).all()
    assert (values <= bounds.range[1] + np.where(finite, slack, 0)).all()
    if bounds.trend:
        steps = bounds.trend * np.diff(values[finite])
        assert (steps >= -slack[finite][1:]).all()


def test_an_empty_cell_raises() -> None:
    assert cell("cos", "sql", "SQL") == "cos({0})"
    with pytest.raises(CutError, match="mass is not supported in SQL"):
        cell("mass", "sql", "SQL")
    with pytest.raises(CutError, match="no function 'coss'") as caught:
        function("coss")
    assert "cos" in caught.value.hint


def test_the_reference_page_is_current() -> None:
    assert (DOCS / "cut-functions.md").read_text(encoding="utf-8") == markdown() + "\n"


def test_the_reference_page_has_every_function() -> None:
    page = markdown()
    assert all(f"`{row.signature}`" in page for row in FUNCTIONS.values())


def test_the_language_page_is_true(scope: Scope) -> None:
    """The cuts that the page shows read; its Python runs."""
    page = (DOCS / "cut-language.md").read_text(encoding="utf-8")
    blocks = page.split("```")[1::2]
    python = [b.removeprefix("python\n") for b in blocks if b.startswith("python")]
    assert len(python) == 1
    exec(python[0], {})
    cuts = [line for b in blocks[:2] for line in b.removeprefix("text\n").splitlines() if line]
    assert len(cuts) >= 8
    for line in cuts:
        parse(line)


def test_importing_the_language_loads_nothing_heavy() -> None:
    code = "import sys, tagsel.language; print([m for m in ('lark', 'numba', 'duckdb', 'pyarrow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_values_of_a_few(scope: Scope) -> None:
    """cos 60° is a half: degrees are rounded once, in radians (math.pi / 3 is rounded twice, and another number)."""
    node = bind_value("cos(60 deg)", scope).node
    with mpmath.workdps(50):
        third = float(mpmath.pi / 3)
    assert node.args[0].value == third != math.pi / 3
    assert float(numpy_function("cos")(node.args[0].value)) == pytest.approx(0.5, abs=1e-15)
