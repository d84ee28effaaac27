"""Names of datasets: what may be one, what it says, and how several are asked for."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagsel.catalog import (
    DatasetSpec,
    NameFacts,
    check_dataset_name,
    derive_facts,
    parse_dataset_spec,
    parse_meta,
    parse_reference,
    parse_value,
)
from tagsel.errors import CatalogError


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("data18.DoubleMuon.TAG", [DatasetSpec("data18.DoubleMuon.TAG")]),
        ("a@3", [DatasetSpec("a", 3)]),
        ("a@latest", [DatasetSpec("a")]),
        ("data18.*@2", [DatasetSpec("data18.*", 2)]),
        ("a, b@1 ,c?", [DatasetSpec("a"), DatasetSpec("b", 1), DatasetSpec("c?")]),
        ("data1[78].x", [DatasetSpec("data1[78].x")]),
    ],
)
def test_feature_15_a_dataset_is_asked_for_by_name_snapshot_glob_or_several(
    text: str, wanted: list[DatasetSpec]
) -> None:
    assert parse_dataset_spec(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "a,,b", "a b", "a@", "a@x", "a@-1", "../a", "a/b", ".a", "-a", "a@1@2", "a;b", "ä"]
)
def test_what_names_no_dataset_is_refused(text: str) -> None:
    with pytest.raises(CatalogError):
        parse_dataset_spec(text)


@given(st.text(max_size=12))
def test_a_name_is_letters_digits_dots_and_dashes_and_can_be_a_folder(text: str) -> None:
    good = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", text) is not None
    if good:
        assert check_dataset_name(text) == text
    else:
        with pytest.raises(CatalogError):
            check_dataset_name(text)


def test_a_reference_has_no_glob() -> None:
    assert parse_reference("data18.A.TAG@12") == ("data18.A.TAG", 12)
    assert parse_reference("data18.A.TAG") == ("data18.A.TAG", None)
    with pytest.raises(CatalogError):
        parse_reference("data18.*")


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("data18.DoubleMuon.TAG", NameFacts("TAG", 2018, "DoubleMuon")),
        ("data09_900GeV.00140541.physics_MinBias.AOD", NameFacts("AOD", 2009, "physics_MinBias")),
        ("Run2018.DoubleMuon.NANOAOD", NameFacts("NANOAOD", 2018, "DoubleMuon")),
        ("mc16.ttbar.DAOD_PHYSLITE", NameFacts("DAOD", None, "")),
        ("mine", NameFacts("", None, "")),
        ("data18.TAG", NameFacts("TAG", 2018, "")),
        ("TAG.data18", NameFacts("", 2018, "")),
    ],
)
def test_a_name_says_type_year_and_stream_where_it_does(name: str, facts: NameFacts) -> None:
    assert derive_facts(name) == facts


def test_a_value_is_a_number_only_where_the_text_is_how_the_number_is_written() -> None:
    texts = ["2", "-7", "0.5", "true", "false", "1.10", "007", "1e400", "nan", "True", "v1", "", str(1 << 70)]
    wanted = [2, -7, 0.5, True, False, "1.10", "007", "1e400", "nan", "True", "v1", "", str(1 << 70)]
    assert [parse_value(t) for t in texts] == wanted
    assert parse_meta("trigger = 2") == ("trigger", 2)
    with pytest.raises(CatalogError, match="key=value"):
        parse_meta("trigger")
