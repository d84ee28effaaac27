"""Inputs that are refused, in words that name them, and files of catalogs that are not on this machine."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from nanofile import nano

from tagsel.api.workspace import Workspace
from tagsel.cli.main import cli
from tagsel.errors import AccessError, IngestError
from tagsel.ingest import open_source
from tagsel.rootio import RootFile

FILES = Path(__file__).parent.parent / "rootio" / "files"
GUIDS = [f"00D1B2C3-0000-4000-8000-0000000000{k:02d}" for k in range(5)]


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    return Workspace.init(tmp_path / "W")


def test_fault_51_a_short_branch_is_refused_by_its_name() -> None:
    source = open_source(FILES / "short.root")
    with pytest.raises(IngestError, match="the branch MET_phi has 60 entries where the tree Events has 100"):
        list(source.batches())


def test_fault_51_a_file_without_events_and_branches_is_named_as_such(home: Workspace, tmp_path: Path) -> None:
    """10 + 7 events are in; the third file is named with its 0 entries."""
    files = [nano(tmp_path / "a.root", 1, 10), FILES / "nobranch.root", nano(tmp_path / "b.root", 100, 7)]
    done = home.ingest(*files, dataset="data.E.TAG")
    assert done.events == 17
    assert [f.path for f in done.failed] == [str(FILES / "nobranch.root")]
    assert "holds no events: the tree Events has 0 entries and no branches" in done.failed[0].reason


def test_fault_51_a_friend_tree_is_named_as_left_out(home: Workspace) -> None:
    done = home.ingest(FILES / "friend.root", dataset="data.F.TAG")
    left_out = [(line.name, line.kind) for line in done.report.left_out()]
    assert left_out == [("fr", "tree")]
    assert done.events == 100


def test_fault_51_late_columns_of_an_rntuple_skim_with_empty_values_before(home: Workspace, tmp_path: Path) -> None:
    """Entries 98 and 99 lie before the columns were added, 100 and 150 after: lists are empty, or [i, i + 1]."""
    home.ingest(FILES / "late.root", dataset="data.L.TAG")
    for cut, expected in {"MET_phi == 7": 100, "nJet == 2": 100, "Jet.pt[0] == 150": 1, "HLT_late": 50}.items():
        assert home["data.L.TAG"].count(cut).accepted == expected
    events = home["data.L.TAG"].select("event in (99, 100, 101, 151)")
    home.lists[events].skim(tmp_path / "l.parquet", branches="Jet_pt,MET_phi")
    rows = pq.read_table(tmp_path / "l.parquet")
    assert rows["Jet_pt"].to_pylist() == [[], [], [100.0, 101.0], [150.0, 151.0]]
    assert rows["MET_phi"].to_pylist() == [0.0, 0.0, 7.0, 7.0]


def pointing(tmp_path: Path) -> Path:
    """A TAG of five rows, each in an AOD of its own."""
    columns = {"run": [1] * 5, "lumi": [1] * 5, "event": [*range(5)], "aod_guid": GUIDS, "aod_entry": [0] * 5}
    pq.write_table(pa.table(columns), tmp_path / "tag.parquet")
    return tmp_path / "tag.parquet"


def test_fault_63_files_of_a_catalog_that_are_not_here_are_counted_and_kept(home: Workspace, tmp_path: Path) -> None:
    """Three of five files are not where the catalog says; a fourth has a logical name only, which claims no place."""
    names = [
        '<physical><pfn name="/eos/a/0.root"/></physical><logical/>',
        '<physical><pfn name="/eos/a/1.root"/></physical><logical><lfn name="/store/1.root"/></logical>',
        '<physical><pfn name="srm://se.example.org/2.root"/></physical><logical/>',
        '<physical/><logical><lfn name="/store/3.root"/></logical>',
        '<physical><pfn name="root://eos.example.org//store/4.root"/></physical><logical/>',
    ]
    files = "".join(f'<File ID="{guid}">{text}</File>' for guid, text in zip(GUIDS, names, strict=True))
    catalog = tmp_path / "PoolFileCatalog.xml"
    catalog.write_text(f"<POOLFILECATALOG>{files}</POOLFILECATALOG>")
    done = home.ingest(pointing(tmp_path), dataset="data.X.TAG", aod=[catalog], site="CERN")
    (warning,) = [w for w in done.warnings if "not at their paths" in w]
    assert "3 of 5 files are not at their paths on this machine (/eos/a/0.root, " in warning
    known = {f.guid: (f.lfn, f.pfn) for f in home.catalog.files("data.X.TAG", kind="AOD")}
    assert known == {
        GUIDS[0]: ("/eos/a/0.root", "/eos/a/0.root"),
        GUIDS[1]: ("/store/1.root", "/eos/a/1.root"),
        GUIDS[2]: ("srm://se.example.org/2.root", "srm://se.example.org/2.root"),
        GUIDS[3]: ("/store/3.root", ""),
        GUIDS[4]: ("4.root", "root://eos.example.org//store/4.root"),
    }


def test_fault_63_a_path_that_is_not_here_takes_no_known_path_away(home: Workspace, tmp_path: Path) -> None:
    """The file is its own AOD and is here; a catalog that says another path for it does not hide it."""
    here = nano(tmp_path / "a.root", 1)
    home.ingest(here, dataset="data.X.TAG")
    guid = home.catalog.files("data.X.TAG", kind="AOD")[0].guid
    catalog = tmp_path / "PoolFileCatalog.xml"
    entry = f'<File ID="{guid}"><physical><pfn name="/eos/gone.root"/></physical><logical/></File>'
    catalog.write_text(f"<POOLFILECATALOG>{entry}</POOLFILECATALOG>")
    home.ingest(here, dataset="data.X.TAG", aod=[catalog])
    assert home.catalog.files("data.X.TAG", kind="AOD")[0].pfn == str(here)


def test_fault_64_a_url_is_refused_as_a_url(home: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(IngestError, match="https://example.org/a.root is a URL, and a path on this machine"):
        home.ingest("https://example.org/a.root", dataset="data.X.TAG")
    for command in (["init", "s3://bucket/W"], ["schema", "derive", "https://example.org/a.root"]):
        done = CliRunner().invoke(cli, command)
        assert isinstance(done.exception, AccessError)
        assert f"{command[-1]} is a URL" in str(done.exception)
    with pytest.raises(AccessError, match="s3://bucket/W is a URL"):
        Workspace.init("s3://bucket/W")
    with pytest.raises(IngestError) as caught:
        home.ingest("https://localhost:1/a.root", dataset="data.X.TAG")
    assert "https:/localhost" not in caught.value.message  # as pathlib spells it


@pytest.mark.parametrize("command", [["-w", "{}", "datasets"], ["init", "{}"]])
def test_a_workspace_by_a_url_is_not_sent_to_init(tmp_path: Path, command: list[str]) -> None:
    """The hint told to `tagsel init` the URL, which refuses it; of a URL of a file it names the path."""
    remedies = {f"file://{tmp_path}/W": f"name the path: {tmp_path}/W", "s3://b/W": "is a folder of a local"}
    for url, remedy in remedies.items():
        done = CliRunner().invoke(cli, [word.format(url) for word in command])
        assert isinstance(done.exception, AccessError)
        assert done.exception.message.startswith(f"{url} is a URL")
        assert remedy in done.exception.hint
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("s3")]


def test_fault_51_float16_and_double32_are_numbers_or_named() -> None:
    """All values are multiples of 2^-10 below 64, which 16 bits over [0, 64] and Float16_t's 12 bits hold exactly.

    Packed lists, which uproot would read as other numbers, are left out by name.
    """
    source = open_source(FILES / "double32.root")
    assert {line.name for line in source.lines if line.reason} == {"Muon_eta", "Muon_phi"}
    rows = pa.Table.from_batches(list(source.batches()))
    for name in ("MET_pt", "PuppiMET_pt"):
        assert rows[name].to_pylist() == [0.0, 1.5, 3.0, 4.5]
    for name in ("MET_phi", "PuppiMET_phi"):
        assert rows[name].to_pylist() == [0.0, 0.25, 0.5, 0.75]
    assert rows["Muon_pt"].to_pylist() == [[], [0.5], [0.5, 10.5], [0.5, 10.5, 20.5]]
    with RootFile(FILES / "double32.root") as file, pytest.raises(AccessError, match="Muon_eta is a list of packed"):
        file.events().arrays_of(["Muon_eta"], [1])
