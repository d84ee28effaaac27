"""From logical names to physical ones: prefixes, and the rules of storage.json and storage.xml.

The expected names are worked out by hand from the rules that stand beside them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagsel.catalog import (
    RULES,
    Catalog,
    FileRecord,
    PrefixRule,
    Protocol,
    PutDataset,
    PutFiles,
    PutReplicas,
    PutSite,
    Site,
    logical_name,
    pfns,
    read_rules,
    rules_of,
    write_rules,
)
from tagsel.catalog.site_paths import parse_protocols
from tagsel.errors import AccessError, CatalogError

EOS = "root://eos.example.org//eos/cms"
LFN = "/store/data/Run2018A/a.root"

DCACHE = [
    {
        "protocol": "pnfs",
        "access": "virtual",
        "rules": [
            {"lfn": "/+store/unmerged/(.*)", "pfn": "/pnfs/example.org/cms/scratch/$1"},
            {"lfn": "/+(.*)", "pfn": "/pnfs/example.org/cms/$1"},
        ],
    },
    {
        "protocol": "WebDAV",
        "access": "global-rw",
        "rules": [
            {"lfn": "/+(.*)", "pfn": "davs://dcache.example.org:2880/$1", "chain": "pnfs"},
        ],
    },
    {"protocol": "XRootD", "access": "global-ro", "prefix": "root://dcache.example.org:1094/"},
]
"""The shape of a dCache site's storage.json: one set of rules that others chain to, and a prefix."""

STORAGE = [
    {
        "site": "T2_XX_Here",
        "volume": "Here_dCache",
        "protocols": DCACHE,
        "type": "DISK",
        "rse": "T2_XX_Here",
        "fts": ["https://fts.example.org:8446"],
    },
    {
        "site": "T2_XX_Here",
        "volume": "Here_Tape",
        "type": "TAPE",
        "rse": "T2_XX_Here_Tape",
        "protocols": [{"protocol": "XRootD", "access": "global-ro", "prefix": "root://tape.example.org/"}],
    },
]

XML = """<storage-mapping>
  <!-- all CMS data are below /store -->
  <lfn-to-pfn protocol="direct" destination-match=".*" path-match="/+store/(.*)" result="/hadoop/store/$1"/>
  <lfn-to-pfn protocol="file" path-match="/+store/(.*)" result="file:/hadoop/store/$1"/>
  <lfn-to-pfn protocol="xrootd" path-match="/+hadoop/(.*)" chain="direct" result="root://x.example.org//hadoop/$1"/>
  <pfn-to-lfn protocol="direct" path-match="/hadoop/store/(.*)" result="/store/$1"/>
</storage-mapping>
"""


def ruled(told: Any, prefix: str = "") -> Site:
    return Site("S", prefix, {RULES: json.dumps(told)})


# -- what rules make


@pytest.mark.parametrize(
    ("prefix", "lfn", "pfn"),
    [
        (EOS, LFN, f"{EOS}/store/data/Run2018A/a.root"),
        ("root://dcache.example.org:1094/", LFN, f"root://dcache.example.org:1094/{LFN}"),
        ("root://bnl.example.org//atlas", "data18/AOD.1.root", "root://bnl.example.org//atlas/data18/AOD.1.root"),
        ("https://web.example.org/", "data18/AOD.1.root", "https://web.example.org/data18/AOD.1.root"),
        ("/eos/cms", LFN, "/eos/cms/store/data/Run2018A/a.root"),
    ],
)
def test_feature_60_a_prefix_makes_physical_names(prefix: str, lfn: str, pfn: str) -> None:
    assert pfns(Site("S", prefix), lfn) == [pfn]
    assert pfns(ruled([{"protocol": "X", "prefix": prefix}]), lfn) == [pfn]


def test_feature_60_rules_of_storage_json_chains_and_all(tmp_path: Path) -> None:
    """pnfs alone: /pnfs/example.org/cms/ + what follows the first slashes; WebDAV matches that again."""
    site = ruled(DCACHE)
    path = "pnfs/example.org/cms/store/data/Run2018A/a.root"
    assert pfns(site, LFN) == [f"davs://dcache.example.org:2880/{path}", f"root://dcache.example.org:1094/{LFN}"]
    # the first rule of pnfs that matches is the only one
    assert (
        pfns(site, "/store/unmerged/b.root")[0] == "davs://dcache.example.org:2880/pnfs/example.org/cms/scratch/b.root"
    )
    path_ = tmp_path / "storage.json"
    path_.write_text(json.dumps(STORAGE))
    assert read_rules(path_, "T2_XX_Here", "Here_dCache") == rules_of(site) == parse_protocols(DCACHE)
    assert read_rules(path_, "T2_XX_Here_Tape")[0].rules == (PrefixRule("root://tape.example.org/"),)
    with pytest.raises(CatalogError, match=r"storage.json: 2 entries .*T2_XX_Here") as caught:
        read_rules(path_, "T2_XX_Here")
    assert "Here_Tape" in str(caught.value.hint)


def test_feature_60_rules_of_storage_xml(tmp_path: Path) -> None:
    path = tmp_path / "storage.xml"
    path.write_text(XML)
    ways = read_rules(path, "T3_XX_There")
    assert [w.name for w in ways] == ["direct", "file", "xrootd"]
    made = pfns(ruled(json.loads(write_rules(ways))), LFN)
    # file:/… is a path; xrootd's own pattern does not match the logical name, so its chain is never asked
    assert made == ["/hadoop/store/data/Run2018A/a.root"]


def test_what_no_rule_matches_has_no_name() -> None:
    site = ruled([{"protocol": "X", "rules": [{"lfn": "/+store/mc/(.*)", "pfn": "root://x/$1"}]}])
    assert pfns(site, LFN) == []
    assert pfns(ruled([{"protocol": "X", "rules": []}]), LFN) == []
    assert pfns(Site("S"), LFN) == []
    part = ruled([{"protocol": "X", "rules": [{"lfn": "store", "pfn": "root://x/y"}]}])
    assert pfns(part, LFN) == []  # a pattern matches the whole name or nothing
    virtual = ruled([{"protocol": "X", "access": "virtual", "prefix": EOS}])
    assert pfns(virtual, LFN) == []
    broken = [
        {"protocol": "a", "rules": [{"lfn": "(.*)", "pfn": "root://x/$1", "chain": "b"}]},
        {"protocol": "b", "access": "virtual", "rules": [{"lfn": "/other/(.*)", "pfn": "/$1"}]},
    ]
    assert pfns(ruled(broken), LFN) == []  # what it chains to has no rule for the name


def test_groups_and_signs_in_replacements() -> None:
    site = ruled([{"protocol": "X", "rules": [{"lfn": "/(store)/(.*)/(.*)", "pfn": r"srm://x/m?SFN=/$1/$3/$2\1"}]}])
    assert pfns(site, "/store/a/b.root") == [r"srm://x/m?SFN=/store/b.root/a\1"]


# -- what is refused


@pytest.mark.parametrize(
    "lfn",
    [
        "",
        "/etc/passwd",
        "/store/../etc/passwd",
        "/store/a/..",
        "a\0b",
        "/store/a\nb",
        "root://x//y",
        "/store//../x",
        "//store/a",
        "/store",
        "~/a",
        "/store/" + "x" * 5000,
    ],
)
def test_fault_28_names_that_lead_elsewhere_are_refused(lfn: str) -> None:
    for site in (Site("S", EOS), ruled(DCACHE), Site("S", "/eos")):
        with pytest.raises(AccessError):
            pfns(site, lfn)


@pytest.mark.parametrize("lfn", ["/store/a?authz=x", "/store/a#b", "/store/a%2e%2e/b", "/store/a b", "/store/$(id)"])
def test_fault_29_names_that_mean_more_in_a_url_are_refused(lfn: str) -> None:
    with pytest.raises(AccessError, match="letters, digits"):
        pfns(Site("S", EOS), lfn)
    assert pfns(Site("S", "/nowhere"), lfn) == [f"/nowhere{lfn}"]


def test_fault_28_rules_cannot_make_dots_or_relative_names() -> None:
    dots = ruled([{"protocol": "X", "rules": [{"lfn": "/store/(.)x(.)/(.*)", "pfn": "/data/$1$2/$3"}]}])
    with pytest.raises(AccessError, match=r"'\.\.'"):
        pfns(dots, "/store/.x./etc/passwd")
    relative = ruled([{"protocol": "X", "rules": [{"lfn": "/store/(.*)", "pfn": "$1"}]}])
    with pytest.raises(AccessError, match="neither a URL nor an absolute path"):
        pfns(relative, "/store/a.root")


def test_fault_28_a_link_out_of_a_local_prefix_is_refused(tmp_path: Path) -> None:
    (tmp_path / "eos").mkdir()
    (tmp_path / "eos" / "store").symlink_to("/etc")
    with pytest.raises(AccessError, match="leads out"):
        pfns(Site("S", str(tmp_path / "eos")), "/store/passwd")


NO_MATCH = """
import sys
from tagsel.catalog import RULES, Site, pfns
site = Site("S", meta={RULES: sys.argv[1]})
print(pfns(site, "/store/" + "a" * 3990))
"""

HANG_S = 120
"""No time of a test: a pattern that backtracks would take longer than the universe is old."""


@pytest.mark.parametrize(
    "pattern", ["/store/(a+)+b", "/store/(a|aa)*b", "(.*)(.*)(.*)(.*)(.*)(.*)=", "/store/(a?){200}a{200}b"]
)
def test_no_pattern_backtracks(pattern: str) -> None:
    """The name has 4,000 letters and does not match; each letter doubles the ways that backtracking would try."""
    rules = ruled([{"protocol": "X", "rules": [{"lfn": pattern, "pfn": "root://x/$1"}]}]).meta[RULES]
    command = [sys.executable, "-c", NO_MATCH, str(rules)]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=HANG_S).stdout == "[]\n"


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("nothing", "a list"),
        ({"a": 1}, "a list"),
        (["x"], "no record"),
        ([{"protocol": "X"}], "neither a prefix nor a list"),
        ([{"prefix": EOS}], "protocol is ''"),
        ([{"protocol": "X", "prefix": ""}], "prefix is ''"),
        ([{"protocol": "X", "prefix": 7}], "prefix is '7'"),
        ([{"protocol": "X", "prefix": "eos"}], "neither a URL nor"),
        ([{"protocol": "X", "rules": [{"lfn": "(", "pfn": "/x"}]}], "missing"),
        ([{"protocol": "X", "rules": [{"lfn": r"(a)\1", "pfn": "/x"}]}], "invalid escape"),
        ([{"protocol": "X", "rules": [{"lfn": "(?=a)", "pfn": "/x"}]}], "invalid perl operator"),
        ([{"protocol": "X", "rules": [{"lfn": "(a{900}){900}", "pfn": "/x"}]}], "repetition"),
        ([{"protocol": "X", "rules": [{"lfn": "(.*)", "pfn": "/x/$2"}]}], "requests 2"),
        ([{"protocol": "X", "rules": [{"lfn": "(.*)"}]}], "pfn is ''"),
        ([{"protocol": "X", "rules": [{"lfn": "a" * 1001, "pfn": "/x"}]}], "1 to 1000"),
        ([{"protocol": "X", "rules": [{"lfn": "(.*)", "pfn": "/$1", "chain": "Y"}]}], "chains to 'Y'"),
        ([{"protocol": "X", "rules": [{"lfn": "a", "pfn": "/x"}] * 501}], "more than 500"),
    ],
)
def test_rules_that_are_none_are_refused_and_the_site_named(told: Any, said: str) -> None:
    with pytest.raises(CatalogError, match=f"site S: .*{re.escape(said)}"):
        rules_of(ruled(told))


def test_chains_in_a_circle_are_named() -> None:
    rule = {"lfn": "(.*)", "pfn": "/x$1"}
    told = [{"protocol": a, "rules": [{**rule, "chain": b}]} for a, b in (("a", "b"), ("b", "a"))]
    with pytest.raises(CatalogError, match="circle: a to b to a"):
        pfns(ruled(told), LFN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "<storage-mapping>",
        "<other/>",
        '[{"protocols": 3}]',
        '<storage-mapping><lfn-to-pfn protocol="a" destination-match="T1.*" path-match="a"'
        ' result="/b"/></storage-mapping>',
    ],
)
def test_files_that_are_none_are_refused_and_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "storage.json"
    path.write_text(text)
    with pytest.raises(CatalogError, match=r"storage\.json"):
        read_rules(path, "S")
    with pytest.raises(AccessError, match="nowhere"):
        read_rules(tmp_path / "nowhere", "S")


# -- laws


WORDS = st.text("ab./", min_size=1, max_size=8)
WAYS = st.lists(
    st.builds(
        Protocol,
        st.sampled_from(["x", "y"]),
        st.just((PrefixRule("/data"),))
        | st.lists(st.builds(PrefixRule, st.just("/d/$1"), st.just("(.*)")), max_size=3).map(tuple),
        st.sampled_from(["", "virtual", "global-ro"]),
    ),
    max_size=4,
)


@given(WAYS)
def test_rules_are_kept_as_they_are(ways: list[Protocol]) -> None:
    assert rules_of(Site("S", "", {RULES: write_rules(ways)})) == tuple(ways)


@given(WAYS, st.text("ab./~\\", max_size=12) | WORDS.map(lambda w: f"/store/{w}"))
def test_fault_28_no_safe_name_leaves_and_no_other_passes(ways: list[Protocol], name: str) -> None:
    site = Site("S", "", {RULES: write_rules(ways)})
    try:
        made = pfns(site, name)
    except AccessError:
        with pytest.raises(AccessError):
            logical_name(name)
        return
    assert all(p.startswith(("/data", "/d/")) and ".." not in p.split("/") for p in made)


# -- in a catalog


def test_feature_60_copies_are_located_by_the_rules_of_their_sites(tmp_path: Path) -> None:
    guids = [f"0000000{i}-0000-4000-8000-00000000000A" for i in range(4)]
    files = [FileRecord(guids[0], lfn=LFN), *(FileRecord(g, lfn="d/b.root") for g in guids[1:])]
    catalog = Catalog(tmp_path)
    catalog.record(
        PutDataset("d.TAG"),
        PutFiles("d.TAG", files),
        PutSite("T2", "", {RULES: json.dumps(DCACHE)}),
        PutSite("BNL", "root://bnl.example.org//atlas"),
        PutSite("HOME"),
        PutReplicas("T2", [(guids[0], "")]),
        PutReplicas("BNL", [(guids[1], "d/b.root"), (guids[2], ""), (guids[3], "/store/as/it/is.root")]),
        PutReplicas("HOME", [(guids[1], "rel.root"), (guids[3], "root://else.example.org//b.root"), (guids[2], "")]),
    )
    found = {guid: [(r.site, r.pfn) for r in copies] for guid, copies in catalog.located(files).items()}
    pnfs = "pnfs/example.org/cms/store/data/Run2018A/a.root"
    assert found == {
        guids[0]: [("T2", f"davs://dcache.example.org:2880/{pnfs}"), ("T2", f"root://dcache.example.org:1094/{LFN}")],
        guids[1]: [("BNL", "root://bnl.example.org//atlas/d/b.root"), ("HOME", "rel.root")],
        guids[2]: [("BNL", "root://bnl.example.org//atlas/d/b.root"), ("HOME", "")],
        guids[3]: [("BNL", "/store/as/it/is.root"), ("HOME", "root://else.example.org//b.root")],
    }
    assert catalog.stale("T2") == []  # remote


def test_feature_60_stale_copies_under_local_rules(tmp_path: Path) -> None:
    """`/store/x` is logical at a site with rules; a copy without a name goes by the file's."""
    (tmp_path / "eos/store").mkdir(parents=True)
    (tmp_path / "eos/store/a.root").touch()
    guids = [f"0000000{i}-0000-4000-8000-00000000000A" for i in range(3)]
    lfns = ["/store/a.root", "/store/b.root", "/store/a.root"]
    catalog = Catalog(tmp_path)
    rules = [{"protocol": "local", "prefix": str(tmp_path / "eos")}]
    catalog.record(
        PutDataset("d.TAG"),
        PutFiles("d.TAG", [FileRecord(g, lfn=n) for g, n in zip(guids, lfns, strict=True)]),
        PutSite("EOS", "", {RULES: json.dumps(rules)}),
        PutReplicas("EOS", [(guids[0], "/store/a.root"), (guids[1], "/store/b.root"), (guids[2], "")]),
    )
    assert [r.guid for r in catalog.stale("EOS")] == [guids[1]]
