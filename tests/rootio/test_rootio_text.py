"""Type names, plain names, Tokens and POOL catalogs: pure text, no ROOT file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagsel.errors import AccessError
from tagsel.rootio import (
    ColumnType,
    PoolFile,
    canonical_guid,
    format_pool_file_catalog,
    parse_token,
    parse_typename,
    plain_name,
    read_pool_file_catalog,
)

GUID = "81FB839F-06FD-F947-8A9F-9E9F5B0E0F9C"


@pytest.mark.parametrize(
    ("typename", "base", "is_list"),
    [
        ("uint32_t", "uint32", False),
        ("std::uint64_t", "uint64", False),
        ("bool", "bool", False),
        ("float[]", "float32", True),
        ("int32_t[3]", "int32", True),
        ("ROOT::VecOps::RVec<std::uint8_t>", "uint8", True),
        ("std::vector<double>", "float64", True),
        ("vector<std::string>", "string", True),
        ("char*", "string", False),
        ("std::string", "string", False),
        ("ROOT::RNTupleCardinality<std::uint32_t>", "uint32", False),
    ],
)
def test_types_that_a_tag_can_hold(typename: str, base: str, is_list: bool) -> None:
    assert parse_typename(typename) == ColumnType(base, is_list)


@pytest.mark.parametrize(
    "typename",
    [
        "unknown",
        "",
        "xAOD::EventInfo_v1",
        "std::vector<std::vector<float>>",
        "float[2][3]",
        "vector<pair<string,string> >",
        "ElementLink<DataVector<xAOD::Vertex_v1> >",
    ],
)
def test_types_that_a_tag_cannot_hold(typename: str) -> None:
    assert parse_typename(typename) is None


@given(st.text(max_size=40))
def test_any_text_is_a_type_or_none(text: str) -> None:
    found = parse_typename(text)
    assert found is None or found.base


@pytest.mark.parametrize(
    "column",
    [
        "EventInfoAux./EventInfoAux.runNumber",
        "EventInfoAux.runNumber",
        "EventInfoAux:runNumber",
        "EventInfoAux:.runNumber",
    ],
)
def test_one_plain_name_for_every_layout(column: str) -> None:
    assert plain_name(column) == "EventInfoAux.runNumber"


def test_token_gives_guid_container_and_low_32_bits_of_the_second_word() -> None:
    text = f"[DB={GUID.lower()}][CNT=POOLContainer(DataHeader)][CLID=X][OID=00003B9400000062-00003B940000002A]"
    token = parse_token(text)
    # 0x2A = 42; 0x00003B94, the high word, is not part of the entry
    assert (token.guid, token.container, token.entry) == (GUID, "POOLContainer(DataHeader)", 42)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_every_32_bit_entry_survives(high: int, entry: int) -> None:
    assert parse_token(f"[DB={GUID}][OID=0000000100000001-{high:08X}{entry:08X}]").entry == entry


@pytest.mark.parametrize("text", ["", "[DB=]", f"[DB={GUID}]", f"[DB={GUID}][OID=xyz-1]", "[DB=12][OID=1-1]"])
def test_malformed_tokens_are_refused(text: str) -> None:
    with pytest.raises(AccessError):
        parse_token(text)


@given(st.uuids())
def test_guids_in_any_spelling_are_one(value: object) -> None:
    text = str(value)
    assert canonical_guid(text) == canonical_guid(text.upper()) == canonical_guid(text.replace("-", "")) == text.upper()


CATALOG = """<?xml version="1.0" encoding="UTF-8" standalone="no" ?>
<!DOCTYPE POOLFILECATALOG SYSTEM "InMemory">
<POOLFILECATALOG>
  <File ID="81fb839f-06fd-f947-8a9f-9e9f5b0e0f9c">
    <physical><pfn filetype="ROOT_All" name="/a/1.root"/><pfn filetype="ROOT_All" name="/b/1.root"/></physical>
    <logical/>
  </File>
  <File ID="81FB839F-06FD-F947-8A9F-9E9F5B0E0F9C">
    <physical><pfn name="/c/1.root"/></physical>
    <logical><lfn name="one.root"/></logical>
  </File>
</POOLFILECATALOG>
"""


def test_fault_23_repeated_ids_several_pfns_lower_case_empty_logical(tmp_path: Path) -> None:
    path = tmp_path / "PoolFileCatalog.xml"
    path.write_text(CATALOG)
    (file,) = read_pool_file_catalog(path)
    assert file.guid == GUID
    assert file.pfns == ("/a/1.root", "/b/1.root", "/c/1.root")
    assert file.lfn == "one.root"


BOMB = """<!DOCTYPE POOLFILECATALOG [<!ENTITY a "x"><!ENTITY b "&a;&a;">]>
<POOLFILECATALOG><File ID="&b;"/></POOLFILECATALOG>"""
EXTERNAL = """<!DOCTYPE POOLFILECATALOG [<!ENTITY a SYSTEM "file:///etc/passwd">]>
<POOLFILECATALOG><File ID="&a;"/></POOLFILECATALOG>"""


@pytest.mark.parametrize(
    "text",
    ["", "<POOLFILECATALOG><File", "<other/>", '<POOLFILECATALOG><File ID="12"/></POOLFILECATALOG>', BOMB, EXTERNAL],
)
def test_fault_23_what_is_no_catalog_is_refused_and_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.xml"
    path.write_text(text)
    with pytest.raises(AccessError, match="bad.xml"):
        read_pool_file_catalog(path)


def test_fault_23_a_missing_catalog_is_named(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="nowhere.xml"):
        read_pool_file_catalog(tmp_path / "nowhere.xml")


@pytest.mark.real
def test_fault_23_real_catalog(real: Callable[[str], Path]) -> None:
    files = read_pool_file_catalog(real("PoolFileCatalog.xml"))
    # data/README.md: 44 entries, 40 distinct GUIDs
    assert len({f.guid for f in files}) == len(files) == 40
    assert sum(len(f.pfns) for f in files) <= 44
    assert all(f.guid == f.guid.upper() and f.pfns for f in files)


# -- written


_TEXT = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"), min_size=1, max_size=20
)
NAMES = _TEXT.filter(lambda s: s == s.strip()) | st.sampled_from(
    ["<&>\"'", "a&amp;b", "]]>", "<!--", "root://x//a?b=1&c=2"]
)
FILES = st.lists(
    st.builds(PoolFile, st.uuids().map(str), st.lists(NAMES, max_size=3, unique=True).map(tuple), st.just("") | NAMES),
    max_size=5,
    unique_by=lambda f: f.guid,
)


@given(FILES)
def test_fault_23_what_is_written_is_read_back_equal(
    tmp_path_factory: pytest.TempPathFactory, files: list[PoolFile]
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.xml"
    path.write_text(format_pool_file_catalog(files), encoding="utf-8")
    again = read_pool_file_catalog(path)
    assert again == [PoolFile(f.guid.upper(), f.pfns, f.lfn) for f in files]
    assert format_pool_file_catalog(again) == path.read_text(encoding="utf-8")


def test_fault_23_repeated_guids_are_written_once() -> None:
    text = format_pool_file_catalog([PoolFile(GUID.lower(), ("/a",)), PoolFile(GUID, ("/a", "/b"), "one.root")])
    assert text.count("<File ") == text.count(GUID) == 1
    assert text.count("<pfn ") == 2 and '<lfn name="one.root"/>' in text


@pytest.mark.parametrize("name", ["", " a", "a ", "a\nb", "a\0b", "a\tb", "a\x7fb", "\ud800", "a\uffff", "\u2003a"])
def test_fault_23_names_that_would_not_come_back_are_refused(name: str) -> None:
    with pytest.raises(AccessError, match=GUID):
        format_pool_file_catalog([PoolFile(GUID, (name,))])
    with pytest.raises(AccessError, match="no GUID|GUID"):
        format_pool_file_catalog([PoolFile("12", ("/a",))])


@pytest.mark.real
def test_fault_23_real_catalog_written_and_read_again(real: Callable[[str], Path], tmp_path: Path) -> None:
    files = read_pool_file_catalog(real("PoolFileCatalog.xml"))
    path = tmp_path / "again.xml"
    path.write_text(format_pool_file_catalog(files), encoding="utf-8")
    assert read_pool_file_catalog(path) == files
