"""Histograms as figures: steps with errors, or a colour mesh; the cut and the dataset stand below in small print.

Invariant: nothing but the given file is made; the same histograms give the same picture.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from math import ceil, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tagsel.base.output_file import output_file
from tagsel.errors import AccessError, TagselError

if TYPE_CHECKING:
    from tagsel.selection.histogram import Filled

INSTALL = 'pip install "tagsel[hist]"'
FORMS = (".png", ".svg", ".pdf")
LINE, SHADE, INK, QUIET = "#12436D", "#DCE6EF", "#1A1A1A", "#595959"
WIDE = 100
"""From how many times the least content on colours are logarithmic, so that small ones can be told apart."""
SETTINGS = {
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.labelsize": 12,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.9,
    "axes.labelcolor": INK,
    "xtick.direction": "in",
    "ytick.direction": "in",
    "xtick.minor.visible": True,
    "ytick.minor.visible": True,
    "xtick.top": True,
    "ytick.right": True,
    "svg.hashsalt": "tagsel",
}


def check(path: Path, axes: Mapping[str, int]) -> None:
    """AccessError for another form of file, TagselError for histograms (their number of axes by name) of three axes."""
    if path.suffix.lower() not in FORMS:
        raise AccessError(f"{path}: a figure is one of {', '.join(FORMS)}", hint=f"{path.stem}.png", path=str(path))
    for name, count in axes.items():
        if count > 2:
            raise TagselError(
                f"{name} has three axes, which no page shows",
                hint="save it as .root or .json; or drop an axis, or take a cut for each slice",
            )
    if not all(map(find_spec, ("matplotlib", "mplhep"))):
        raise TagselError("figures need the packages matplotlib and mplhep", hint=INSTALL)


def draw(
    histograms: Sequence[Filled], provenance: Mapping[str, Any], path: Path, *, weighted: bool, force: bool = False
) -> None:
    """Draw all histograms, of one or two axes, in one figure; the form is that of the file's name."""
    check(path, {one.name: len(one.axes) for one in histograms})
    import matplotlib as mpl

    form = path.suffix.lower()
    with mpl.rc_context(SETTINGS), output_file(path, force=force) as temporary:
        figure = _figure(histograms, provenance, weighted)
        dated = {"Date": None} if form == ".svg" else {"CreationDate": None} if form == ".pdf" else None
        figure.savefig(temporary, format=form[1:], dpi=160, metadata=dated)


def _figure(histograms: Sequence[Filled], provenance: Mapping[str, Any], weighted: bool) -> Any:
    """All panels in a grid, and the small print."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    count = len(histograms)
    columns = min(3, ceil(sqrt(count)))
    lines = ceil(count / columns)
    figure = Figure(figsize=(6.4 * columns, 4.9 * lines), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for panel, one in zip(panels, histograms, strict=False):
        _PANELS[len(one.axes)](panel, one, weighted)
    for panel in panels[count:]:
        panel.remove()
    figure.supxlabel(_small_print(provenance, 98 * columns), x=0.01, ha="left", fontsize=7.5, color=QUIET)
    return figure


def _steps(panel: Any, one: Filled, weighted: bool) -> None:
    """Steps with errors, and a light shade below."""
    import mplhep

    (axis,) = one.axes
    values, errors = one.values[1:-1].astype(float), np.sqrt(one.variances[1:-1])
    panel.stairs(values, axis.edges, fill=True, color=SHADE, zorder=1)
    mplhep.histplot(values, axis.edges, yerr=errors, histtype="step", ax=panel, color=LINE, linewidth=1.4, flow="none")
    panel.set_xlim(axis.edges[0], axis.edges[-1])
    low, high = float(np.min(values - errors, initial=0)), float(np.max(values + errors, initial=0))
    panel.set_ylim(low * 1.08, (high or 1) * 1.12)
    panel.set_xlabel(axis.label, loc="right")
    panel.set_ylabel(f"{_what(one, weighted)} / {_width(axis)}", loc="top")
    panel.set_title(one.summary(), loc="right", fontsize=8.5, color=QUIET)


def _mesh(panel: Any, one: Filled, weighted: bool) -> None:
    """A colour mesh with its bar; bins without entries stay white."""
    import mplhep
    from matplotlib.colors import LogNorm

    x, y = one.axes
    values = one.values[1:-1, 1:-1].astype(float)
    there = values[values != 0] if values.any() else np.zeros(1)
    norm = LogNorm(there.min(), there.max()) if 0 < there.min() * WIDE < there.max() else None
    values[values == 0] = np.nan if values.any() else 0
    mesh = mplhep.hist2dplot(values, x.edges, y.edges, ax=panel, cbar=False, flow="none", cmap="YlGnBu", norm=norm)
    bar = panel.figure.colorbar(mesh.pcolormesh, ax=panel, pad=0.02)
    bar.set_label(_what(one, weighted), loc="top")
    bar.outline.set_linewidth(0.9)
    panel.set_xlabel(x.label, loc="right")
    panel.set_ylabel(y.label, loc="top")
    panel.set_title(one.summary(), loc="right", fontsize=8.5, color=QUIET)


_PANELS = {1: _steps, 2: _mesh}
"""How a histogram is drawn, by its number of axes."""


def _what(one: Filled, weighted: bool) -> str:
    what = f"{one.over} objects" if one.over else "Events"
    return f"{what}, weighted" if weighted else what


def _width(axis: Any) -> str:
    """What an entry is per: the width of the bins where it is one, else the bin."""
    if not axis.regular:
        return "bin"
    width = (axis.edges[-1] - axis.edges[0]) / (len(axis.edges) - 1)
    return f"{width:.4g} {axis.unit}".strip()


def _small_print(provenance: Mapping[str, Any], width: int) -> str:
    """The datasets, the cut and the weight, wrapped."""
    lines = [", ".join(provenance["datasets"]), f"cut: {provenance['cut']}"]
    if provenance["weight"]:
        lines.append(f"weight: {provenance['weight']}")
    return "\n".join("\n".join(textwrap.wrap(line, width)[:4]) for line in lines)
