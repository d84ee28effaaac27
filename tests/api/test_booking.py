"""Copies of files at sites, as an ingest books them: those of the files that it names, and of no others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uproot
from builders import workspace
from nanofile import nano

from tagsel.api import Workspace


def at(home: Workspace, site: str) -> set[str]:
    """The names of the dataset's AOD files that are booked at a site."""
    files = home.catalog.files("x.TAG", kind="AOD")
    copies = home.catalog.replicas([f.guid for f in files])
    return {f.lfn for f in files if site in {c.site for c in copies[f.guid]}}


def test_fault_54_only_the_file_that_is_named_for_a_site_is_booked_there(tmp_path: Path) -> None:
    """Three files at three places: one at no site, one at CERN, one at CNAF; then the first at CNAF, too."""
    home = workspace(tmp_path)
    none, cern, cnaf = (nano(tmp_path / f"{name}.root", first) for name, first in (("a", 1), ("b", 100), ("c", 200)))
    home.ingest(none, dataset="x.TAG")
    home.ingest(cern, dataset="x.TAG", site="CERN")
    home.ingest(cnaf, dataset="x.TAG", site="CNAF")
    assert (at(home, "CERN"), at(home, "CNAF")) == ({"b.root"}, {"c.root"})
    home.ingest(none, dataset="x.TAG", site="CNAF")  # its rows are there; its place at CNAF is new
    assert (at(home, "CERN"), at(home, "CNAF")) == ({"b.root"}, {"a.root", "c.root"})


def test_fault_54_of_tags_the_named_aods_are_booked_else_those_of_the_named_file(tmp_path: Path) -> None:
    """Two TAG files, each with rows of one AOD of its own."""
    home = workspace(tmp_path)
    aods = {name: nano(tmp_path / f"{name}.root", first) for name, first in (("a", 1), ("b", 100))}
    tags = {name: tag_of(path, tmp_path / f"{name}.parquet") for name, path in aods.items()}
    home.ingest(*tags.values(), dataset="x.TAG", aod=list(aods.values()))
    home.ingest(tags["a"], dataset="x.TAG", site="CERN")
    assert at(home, "CERN") == {"a.root"}
    home.ingest(*tags.values(), dataset="x.TAG", aod=[aods["b"]], site="CNAF")
    assert at(home, "CNAF") == {"b.root"}


def tag_of(aod: Path, path: Path) -> Path:
    """A Parquet file of TAGs, one row for each event of an AOD."""
    with uproot.open(aod) as file:
        guid = str(file.file.uuid).upper()
        ids = file["Events"].arrays(["run", "luminosityBlock", "event"], library="np")
    size = len(ids["run"])
    columns = {**ids, "aod_guid": [guid] * size, "aod_entry": np.arange(size)}
    pq.write_table(pa.table(columns), path)
    return path
