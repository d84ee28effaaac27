"""Histograms of accepted events as the field's `hist.Hist`, with the ledger and the cuts that made them.

Invariant: what is filled is exactly what `count` counts; the package hist is needed only where a `hist.Hist` is made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

from tagsel.api.plots import INSTALL, check, draw
from tagsel.base.output_file import output_file
from tagsel.base.text_table import Table
from tagsel.errors import AccessError, CutError, TagselError, did_you_mean
from tagsel.events import Ledger
from tagsel.selection import Count, Query
from tagsel.selection.binning import Bins, Spec, SpecLike, axis, has_bins, read_specs, slug
from tagsel.selection.event_list import version_here
from tagsel.selection.histogram import Filled, histograms
from tagsel.selection.run import Progress

PROTECTED = ("weight", "sample", "threads")
"""Keywords of `hist.Hist.fill`, which no axis may be called."""


@dataclass(frozen=True, repr=False)
class Histograms(Mapping[str, Any]):
    """Histograms by name, each a `hist.Hist`; `count` has the ledger, `provenance` the datasets and cuts.

    Its text, table and JSON need no package beyond NumPy.
    """

    filled: tuple[Filled, ...]
    count: Count
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        for one in self.filled:
            if one.name == name:
                return to_hist(one, {**self.provenance, **_numbers(one)}, weighted=self.count.weighted is not None)
        hint = did_you_mean(name, list(self)) or f"histograms: {', '.join(self)}"
        raise CutError(f"no histogram {name!r}", hint=hint)

    def __iter__(self) -> Iterator[str]:
        return iter([f.name for f in self.filled])

    def __len__(self) -> int:
        return len(self.filled)

    @property
    def ledger(self) -> Ledger:
        """Where all rows of the datasets went."""
        return self.count.ledger

    def table(self) -> Table:
        """A row a bin of each histogram, those below and above the edges too: edges, value, error."""
        most = max(len(f.axes) for f in self.filled)
        tables = [f.table(most) for f in self.filled]
        return Table(tables[0].columns, tuple(chain.from_iterable(table.rows for table in tables)))

    def save(self, path: Path | str, *, force: bool = False) -> None:
        """Write all: `.root` (TH1D, TH2D, TH3D), or `.json` in the form that hist and boost-histogram read (UHI).

        A file that exists is refused (AccessError); `force` replaces one that tagsel wrote.
        """
        write = _writer(Path(path))
        with output_file(path, force=force) as temporary:
            write(self, temporary)

    def plot(self, path: Path | str, *, force: bool = False) -> None:
        """Draw all in one figure, `.png`, `.svg` or `.pdf`; TagselError for a histogram of three axes.

        A file that exists is refused (AccessError); `force` replaces one that tagsel wrote.
        """
        draw(self.filled, self.provenance, Path(path), weighted=self.count.weighted is not None, force=force)

    def __repr__(self) -> str:
        entries = []
        for filled in self.filled:
            axes = " x ".join(one.label for one in filled.axes)
            entries.append(f"{filled.name}: {filled.entries:,} entries of {axes}")
        shown = "; ".join(entries)
        return f"<Histograms of {self.count.accepted:,} events of {self.count.read:,}: {shown}>"

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        found = {f.name: f.to_json() for f in self.filled}
        return {"histograms": found, **self.count.to_json(), "provenance": dict(self.provenance)}


def asked(what: SpecLike, bins: Bins) -> tuple[Spec, ...]:
    """The histograms that are asked for; a text without bins of its own is an expression that has the given ones."""
    if isinstance(what, str) and not has_bins(what):
        return (Spec(slug(what), (axis(what, bins),)),)
    return read_specs(what)


def check_names(specs: Sequence[Spec], out: str | None, plot: str | None) -> None:
    """What `save` and `plot` would refuse, before anything is read."""
    if out:
        _writer(Path(out))
        package()
    if plot:
        check(Path(plot), {s.name: len(s.axes) for s in specs})


def fill(query: Query, specs: tuple[Spec, ...], progress: Progress = None) -> Histograms:
    """Fill histograms in one scan of the query's datasets."""
    filled, counted = histograms(query, specs, progress=progress)
    provenance = {
        "datasets": [i.pinned for i in query.inputs],
        "cut": counted.cut,
        "cuts": [list(c) for c in query.cuts],
        "selection": counted.selection,
        "lumi": [lumi.digest for lumi in query.lumi],
        "duplicates": query.policy,
        "weight": query.weight,
        "ledger": counted.ledger.to_json(),
        "versions": {"tagsel": version_here()},
    }
    return Histograms(filled, counted, provenance)


def hist(query: Query, what: SpecLike, bins: Bins, progress: Progress = None) -> Any:
    """A `hist.Hist` of the accepted events; of several texts, or a mapping of names to them, `Histograms`."""
    histograms = fill(query, asked(what, bins), progress)
    return histograms[next(iter(histograms))] if isinstance(what, str) else histograms


def package() -> ModuleType:
    """The package hist; TagselError where it is not installed."""
    try:
        import hist
    except ImportError as error:
        raise TagselError("histograms need the package hist", hint=INSTALL) from error
    return hist  # type: ignore[no-any-return]


def to_hist(filled: Filled, metadata: Mapping[str, Any], *, weighted: bool) -> Any:
    """The `hist.Hist` of a filled histogram: weighted storage where events have weights; `metadata` travels with it."""
    hist = package()
    axes: list[Any] = []
    for a in filled.axes:
        name = _axis_name(a.text, [axis.name for axis in axes])
        made = (hist.axis.Regular, (len(a.edges) - 1, a.edges[0], a.edges[-1]))
        kind, arguments = made if a.regular else (hist.axis.Variable, (a.edges,))
        axes.append(kind(*arguments, name=name, label=a.label))
    storage = "weight" if weighted else "double"
    result = hist.Hist(*axes, storage=storage, name=filled.name, label=filled.name, metadata=dict(metadata))
    view = result.view(flow=True)
    if weighted:
        view.value[...], view.variance[...] = filled.values, filled.variances
    else:
        view[...] = filled.values
    return result


def _axis_name(text: str, taken: list[str]) -> str:
    name = slug(text)
    while name in taken or name in PROTECTED:
        name += "_"
    return name


def _numbers(one: Filled) -> dict[str, int]:
    return {"entries": one.entries, "missing": one.missing, "nan": one.nan}


def _write_json(found: Histograms, path: Path) -> None:
    """`{name: histogram}` in the JSON form of UHI, which `hist.Hist(document[name])` reads."""
    package()
    import uhi.io.json as uhi

    path.write_text(json.dumps(dict(found), default=uhi.default), encoding="utf-8")


def _write_root(found: Histograms, path: Path) -> None:
    """A TH1D, TH2D or TH3D each; what made them as JSON in the string `tagsel`."""
    import uproot

    with uproot.recreate(path) as file:
        for name in found:
            filled = found[name]
            filled.metadata = None
            file[name] = filled
        file["tagsel"] = json.dumps(dict(found.provenance))


_WRITERS = {".root": _write_root, ".json": _write_json}
"""How each form is written, by the end of the file's name."""


def _writer(path: Path) -> Callable[[Histograms, Path], None]:
    if path.suffix not in _WRITERS:
        forms = " or ".join(_WRITERS)
        raise AccessError(f"{path}: a histogram is saved as {forms}", hint=f"{path.stem}.root", path=str(path))
    return _WRITERS[path.suffix]
