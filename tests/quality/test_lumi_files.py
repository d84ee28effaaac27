"""Good-run lists as files: both forms, what must be refused, and published lists with answers computed
apart.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagsel.errors import AccessError, QualityError
from tagsel.quality import FORMS, LumiSet, format_lumi, parse_lumi, read_lumi, write_lumi

XML = """<?xml version="1.0"?>
<!DOCTYPE LumiRangeCollection SYSTEM "http://host.invalid/LumiRangeCollection.dtd">
<LumiRangeCollection>{}</LumiRangeCollection>"""
COLLECTION = "<LumiBlockCollection><Run>{}</Run>{}</LumiBlockCollection>"
SPAN = '<LBRange Start="{}" End="{}"/>'
BOMB = (
    '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb">'
    + "".join(f'<!ENTITY b{n} "{f"&b{n - 1};" * 10}">' for n in range(1, 10)).replace("&b0;", "&b;")
    + "]><LumiRangeCollection>&b9;</LumiRangeCollection>"
)


def xml(*runs: tuple[object, list[tuple[object, object]]]) -> bytes:
    body = "".join(COLLECTION.format(run, "".join(SPAN.format(*s) for s in spans)) for run, spans in runs)
    return XML.format(f"<NamedLumiRange>{body}</NamedLumiRange>").encode()


ranges = st.lists(
    st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1), st.integers(0, 400)).map(
        lambda t: (t[0], t[1], min(t[1] + t[2], 2**31 - 1))
    ),
    max_size=10,
)


@given(ranges, st.sampled_from(sorted(FORMS)))
def test_feature_33_round_trip_is_identical(spans: list[tuple[int, int, int]], form: str) -> None:
    lumi = LumiSet.from_ranges(spans)
    text = format_lumi(lumi, form)
    assert parse_lumi(text.encode()) == lumi
    assert format_lumi(parse_lumi(text.encode()), form) == text


@pytest.mark.parametrize("form", sorted(FORMS))
def test_feature_33_written_files_are_read_back(tmp_path: Path, form: str) -> None:
    lumi = LumiSet.from_ranges([(7, 1, 20), (8, 5, 5)])
    path = tmp_path / "good.list"
    write_lumi(lumi, path, form)
    assert read_lumi(path) == lumi
    assert [p.name for p in tmp_path.iterdir()] == ["good.list"]
    held = io.StringIO()
    write_lumi(lumi, held, form)
    assert held.getvalue() == path.read_text()


def test_xml_as_experiments_write_it() -> None:
    found = parse_lumi(xml((190343, [(" 1 ", 4), (5, 9)]), (190300, [(7, 7)]), (190343, [(3, 12)]), (5, [])))
    assert found.ranges == [(190300, 7, 7), (190343, 1, 12)]
    assert parse_lumi(XML.format("").encode()) == LumiSet()


def test_json_as_experiments_write_it() -> None:
    text = b'\xef\xbb\xbf {"315267": [[1, 88], [91, 92]], "7": [], "315267": [[80, 90]]}'
    assert parse_lumi(text).ranges == [(315267, 1, 92)]
    assert parse_lumi(b"{}") == LumiSet()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "neither XML nor JSON"),
        (b"run,lumi\n", "neither XML nor JSON: it begins with 'run,lumi"),
        (b"[[1, 2]]", "neither XML nor JSON"),
        (xml((7, [(1, 4)]))[:-9], "XML that is not well-formed"),
        (b"<html></html>", "the root is <html>"),
        (BOMB.encode(), "entities"),
        (b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', "entities or external"),
        (b'<?xml version="1.0" encoding="nonsense"?><a/>', "not well-formed"),
        (xml((7, [(5, 4)])), "run 7: range 5 to 4 ends before it begins"),
        (xml(("seven", [(1, 4)])), "<Run>: 'seven' is not a whole number"),
        (xml((7, [("", 4)])), "run 7, <LBRange Start>: '' is not a whole number"),
        (xml((7, [("1.5", 4)])), "'1.5' is not a whole number"),
        (xml((7, [("\u0664", 4)])), "is not a whole number"),
        (xml((7, [("9" * 5000, 4)])), "is not a whole number"),
        (xml((7, [(1, 2**31)])), "last block 2147483648 is not between"),
        (xml((-7, [(1, 2)])), "'-7' is not a whole number"),
        (XML.format("<LumiBlockCollection/>").encode(), "0 <Run> elements"),
        (b'{"7": [[1, 4]', "JSON that is not well-formed"),
        (b'{"7": [[1, 4]]} {}', "JSON that is not well-formed"),
        (b'{"a":' * 100_000, "JSON that is not well-formed"),
        (b'{"7": [[' + b"9" * 5000 + b", 4]]}", "JSON that is not well-formed"),
        (b'{"7": [[5, 4]]}', "run 7: range 5 to 4"),
        (b'{"7": [[1, 4, 6]]}', r"run 7: expected \[first, last\]"),
        (b'{"7": [[true, 4]]}', r"run 7: expected \[first, last\]"),
        (b'{"7": [[1, 4.0]]}', r"run 7: expected \[first, last\]"),
        (b'{"7": {"1": 4}}', "run 7: expected a list"),
        (b'{"7": {}}', "run 7: expected a list"),
        (b'{"7": 5}', "run 7: expected a list"),
        (b'{"7": [1, 4]}', r"run 7: expected \[first, last\]"),
        (b'{"run": []}', "run: 'run' is not a whole number"),
        (b'{"7": [[-1, 4]]}', "run 7: first block -1"),
    ],
)
def test_fault_22_malformed_lists_are_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.grl"
    path.write_bytes(content)
    with pytest.raises(QualityError, match=message) as caught:
        read_lumi(path)
    assert str(path) in str(caught.value)
    assert caught.value.fields["path"] == str(path)


def test_fault_22_an_external_dtd_is_legal_and_not_fetched() -> None:
    assert b"http://host.invalid/" in xml((7, [(1, 4)]))  # a name that resolves nowhere
    assert parse_lumi(xml((7, [(1, 4)]))).ranges == [(7, 1, 4)]


def test_missing_file_and_unknown_form(tmp_path: Path) -> None:
    with pytest.raises(QualityError, match="No such file"):
        read_lumi(tmp_path / "absent.xml")
    with pytest.raises(QualityError, match=r"unknown form 'jsn'.*\n.*did you mean json"):
        write_lumi(LumiSet(), tmp_path / "x", "jsn")
    with pytest.raises(AccessError, match="cannot write"):
        write_lumi(LumiSet(), tmp_path / "no" / "folder.xml", "xml")
    assert list(tmp_path.iterdir()) == []


@given(
    st.one_of(
        st.binary(max_size=60),
        st.text('0123456789{}[]": ,-', max_size=60).map(lambda t: ("{" + t).encode()),
        st.text('0123456789<>/=" &;', max_size=60).map(lambda t: XML.format(t).encode()),
    )
)
def test_fault_22_any_bytes_are_a_set_or_an_error(content: bytes) -> None:
    try:
        found = parse_lumi(content)
    except QualityError as error:
        assert error.message
    else:
        assert isinstance(found, LumiSet)


@pytest.mark.real
def test_published_atlas_lists(real: Callable[[str], Path]) -> None:
    """Answer 8 of the published files."""
    a, b = read_lumi(real("grlA.xml")), read_lumi(real("grlB.xml"))
    sizes = [len(s) for s in (a, b, a & b, a | b, a - b, b - a)]
    assert sizes == [54311, 62919, 54112, 63118, 199, 8807]
    assert parse_lumi(format_lumi(a, "json").encode()) == a


@pytest.mark.real
def test_published_cms_lists(real: Callable[[str], Path]) -> None:
    """What answer 9 says of the lists themselves."""
    legacy = read_lumi(real("Cert_314472-325175_13TeV_Legacy2018_Collisions18_JSON.txt"))
    older = read_lumi(real("Cert_294927-306462_13TeV_EOY2017ReReco_Collisions17_JSON.txt"))
    assert [r for r in legacy.ranges if r[0] in (315267, 315642)] == [(315267, 1, 244), (315642, 1, 92)]
    assert not set(older.runs.tolist()) & {315267, 315642}
    assert parse_lumi(format_lumi(legacy, "xml").encode()) == legacy
    listed = real("bmm5RunLumiEventListFile.txt").read_text().split()
    run, lumi, _ = np.array([line.split(":") for line in listed], int).T
    assert len(listed) == 15
    assert int(legacy.contains(run, lumi).sum()) == 15
    assert int(older.contains(run, lumi).sum()) == 0
