"""Sites with rules: registered, shown, and what `map` and `skim` make of the logical names there."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tagsel.api import Workspace
from tagsel.catalog import RULES, FileRecord, PrefixRule, PutFiles, PutReplicas, PutSite, rules_of
from tagsel.cli.main import run
from tagsel.errors import AccessError, CatalogError
from tagsel.rootio import guid_of

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample" / "files"
NAME = "data09_900GeV.physics_Muon.TAG"
LFN = "/store/data/a.root"
STORAGE = [
    {
        "site": "T2",
        "volume": "V",
        "protocols": [
            {"protocol": "XRootD", "access": "global-ro", "prefix": "root://eos.example.org//eos/cms"},
            {
                "protocol": "WebDAV",
                "access": "global-rw",
                "rules": [{"lfn": "/+store/(.*)", "pfn": "https://web.example.org/cms/$1"}],
            },
        ],
    }
]


@pytest.fixture
def home(tmp_path: Path) -> Workspace:
    """A workspace with one stream of the sample, which does not know where its AOD files are."""
    ws = Workspace.init(tmp_path / "W")
    ws.ingest(SAMPLE / f"{NAME}._0001.parquet", dataset=NAME, processes=1)
    return ws


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """The file of `STORAGE`."""
    path = tmp_path / "storage.json"
    path.write_text(json.dumps(STORAGE))
    return path


def test_a_site_keeps_what_is_not_given(home: Workspace, storage: Path) -> None:
    home.catalog.record(PutSite("T2", "", {"tier": 2}))
    assert home.sites.add("T2", rules=storage).meta["tier"] == 2
    site = home.sites.add("T2", prefix="/eos")
    assert (site.prefix, len(rules_of(site)), site) == ("/eos", 2, home.catalog.site("T2"))
    assert rules_of(site)[1].rules == (PrefixRule("https://web.example.org/cms/$1", "/+store/(.*)"),)
    lines = (home.folder / "catalog.journal").read_bytes()
    home.sites.add("T2", prefix="/eos")  # nothing new: nothing is written
    assert (home.folder / "catalog.journal").read_bytes() == lines
    assert RULES not in home.sites.add("T2", rules="").meta
    assert home.sites.add("NEW") == home.catalog.site("NEW")


def test_rules_that_are_none_change_nothing(home: Workspace, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('[{"protocol": "X", "rules": [{"lfn": "(", "pfn": "/x"}]}]')
    for options in ({"rules": tmp_path / "bad.json"}, {"prefix": "eos"}, {"volume": "V"}):
        with pytest.raises(CatalogError):
            home.sites.add("T2", **options)  # type: ignore[arg-type]
    with pytest.raises(AccessError, match="nowhere"):
        home.sites.add("T2", rules=tmp_path / "nowhere.json")
    with pytest.raises(CatalogError):
        home.sites.add("a/b")
    assert home.catalog.sites() == []


def test_feature_60_map_and_skim_find_copies_by_rules(home: Workspace, tmp_path: Path) -> None:
    """The AOD lie below a folder that a rule names; the catalog knows them by names below /store alone."""
    events = home[NAME].select("true")
    names = [f.guid for f in home.lists[events].map().files]
    places = {f.guid: f for f in home.catalog.files(NAME, kind="AOD")}
    local = tmp_path / "eos/cms/store/data"
    local.mkdir(parents=True)
    records = []
    for path in sorted(SAMPLE.glob("data09_900GeV.physics_Muon.AOD.*.root")):
        shutil.copy(path, local / path.name)
        records.append(FileRecord(guid_of(path), f"/store/data/{path.name}", "", "AOD", places[guid_of(path)].entries))
    assert sorted(names) == sorted(r.guid for r in records)
    rules = tmp_path / "rules.json"
    rules.write_text(
        json.dumps(
            [
                {"protocol": "local", "rules": [{"lfn": "/+store/(.*)", "pfn": f"{tmp_path}/eos/cms/store/$1"}]},
                {"protocol": "XRootD", "prefix": "root://eos.example.org//eos/cms"},
            ]
        )
    )
    home.sites.add("EOS", rules=rules)
    home.catalog.record(PutFiles(NAME, records), PutReplicas("EOS", [(r.guid, "") for r in records]))
    found = {f.guid: (f.pfn, f.others, f.sites) for f in home.lists[events].map().files}
    assert found == {
        r.guid: (f"{tmp_path}/eos/cms{r.lfn}", (f"root://eos.example.org//eos/cms{r.lfn}",), ("EOS",)) for r in records
    }
    report = home.lists[events].skim(tmp_path / "out.root")
    assert (report.events, report.ledger.delivered) == (len(events), len(events))


def test_feature_60_a_remote_prefix_names_relative_copies(home: Workspace) -> None:
    events = home[NAME].select("true")
    guids = [f.guid for f in home.lists[events].map().files]
    home.sites.add("BNL", prefix="root://bnl.example.org//atlas")
    home.catalog.record(PutReplicas("BNL", [(guid, f"d/{guid}.root") for guid in guids]))
    assert [f.pfn for f in home.lists[events].map().files] == [
        f"root://bnl.example.org//atlas/d/{guid}.root" for guid in guids
    ]
    home.catalog.record(PutReplicas("BNL", [(guids[0], "../../etc/passwd")]))
    with pytest.raises(AccessError, match=r"'\.\.'"):
        home.lists[events].map()


def test_the_verb_shows_and_changes_a_site(home: Workspace, storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["sites", "show", "-w", str(home.folder), "T2"]
    assert run(["sites", "add", "-w", str(home.folder), "T2", "--rules", str(storage)]) == 0
    capsys.readouterr()
    assert run([*base, "--lfn", LFN]) == 0
    said = capsys.readouterr().out
    assert said == f"root://eos.example.org//eos/cms{LFN}\nhttps://web.example.org/cms/data/a.root\n"
    assert run([*base, "--lfn", "d/a.root", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["pfns"] == ["root://eos.example.org//eos/cms/d/a.root"]
    assert [p["protocol"] for p in told["protocols"]] == ["XRootD", "WebDAV"]
    assert run(["sites", "show", "-w", str(home.folder), "T22"]) == 2
    assert "did you mean T2?" in capsys.readouterr().err
    assert run(["sites", "add", "-w", str(home.folder), "T2", "--rules", "nowhere.json"]) == 2
    assert run([*base, "--lfn", "/etc/passwd"]) == 2
    assert "absolute" in capsys.readouterr().err


def test_two_who_change_a_site_at_once_lose_nothing(home: Workspace) -> None:
    def say(who: str) -> None:
        mine = Workspace(home.folder)
        for k in range(25):
            mine.sites.add("T2", meta={f"{who}{k}": k})

    with ThreadPoolExecutor(2) as both:
        list(both.map(say, "ab"))
    assert home.catalog.site("T2").meta == {f"{who}{k}": k for who in "ab" for k in range(25)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[sites.A]\nprefix = "cern"', "site A: prefix 'cern' is neither"),
        ("[sites]\nA = 3", "site A is not as expected"),
        ('[sites."a/b"]', "site a/b: "),
        ('[sites.A]\n[sites.B]\n[[links]]\nbetween = "AB"\nrate = 1', "a list of two sites, not 'AB'"),
        ('[sites.A]\n[sites.B]\n[[links]]\nbetween = ["A", "B"]\nrate = "x"', "between A and B: its rate is 'x'"),
    ],
)
def test_a_topology_that_is_wrong_is_named_and_changes_nothing(
    home: Workspace, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "grid.toml").write_text(text)
    with pytest.raises(CatalogError, match="grid.toml: ") as error:
        home.sites.load(tmp_path / "grid.toml")
    assert said in error.value.message
    assert home.catalog.sites() == []
