"""Facets are what counting the records gives, and their conditions choose it; the newest versions of families."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagsel.api.origins import CONTENTS, Origin, contents
from tagsel.catalog import Catalog, DatasetRecord, PutDataset
from tagsel.catalog.metadata_query import KEYS
from tagsel.catalog.versions import families, split_version, version_key
from tagsel.errors import CatalogError


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """200 datasets of random facts; `weight` is a number of two kinds, `mixed` of no one kind, `Note` is rare text."""
    draw = random.Random(7)
    made = Catalog(tmp_path_factory.mktemp("facets"))
    changes = []
    for n in range(200):
        meta: dict[str, str | int | float | bool] = {"trigger": draw.randrange(4)}
        if draw.random() < 0.5:
            meta["weight"] = draw.choice([1, 2, 0.5, 1.0])
        if draw.random() < 0.3:
            meta["mixed"] = draw.choice(["x'y", 2, True])
        if draw.random() < 0.1:
            meta["Note"] = f"n{n}"
        changes.append(
            PutDataset(
                f"d{n}.TAG",
                type=draw.choice(["TAG", "AOD", ""]),
                stream=draw.choice(["e", "mu", "it's"]),
                year=draw.choice([2009, 2010, None]),
                events=n,
                simulation=draw.random() < 0.3,
                meta=meta,
            )
        )
    made.record(*changes)
    return made


CONDITIONS = [
    "",
    "year = 2009",
    "trigger = 2 and type = 'TAG'",
    "weight >= 1",
    "not simulation and mixed is null",
    "year = 1999",
]


def value_of(record: DatasetRecord, key: str) -> object:
    """What a record says of a key, None for nothing; numbers of `weight` are all numbers."""
    value = getattr(record, key) if key in KEYS else {k.lower(): v for k, v in record.meta.items()}.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return str(float(value)) if key == "weight" else str(value)


@pytest.mark.parametrize("where", CONDITIONS)
def test_feature_14_facets_are_what_counting_the_records_gives(catalog: Catalog, where: str) -> None:
    records = catalog.datasets(where)
    found = catalog.facets(where, most=1000)
    assert (found.datasets, found.events) == (len(records), sum(r.events for r in records))
    shown = {f.key: f for f in found.facets}
    for key in (*KEYS, "trigger", "weight", "mixed", "note"):
        values = [value_of(r, key) for r in records]
        counted = Counter(v for v in values if v is not None)
        assert (key in shown) == bool(counted)
        if key in shown:
            assert {c.value: c.datasets for c in shown[key].choices} == counted
            events = {v: sum(r.events for r in records if value_of(r, key) == v) for v in counted}
            assert {c.value: c.events for c in shown[key].choices} == events
            assert (shown[key].without, shown[key].more) == (values.count(None), 0)
            sizes = [(-c.datasets, c.value) for c in shown[key].choices]
            assert sizes == sorted(sizes)


@pytest.mark.parametrize("where", CONDITIONS)
def test_feature_14_the_condition_of_a_value_chooses_what_it_counts(catalog: Catalog, where: str) -> None:
    for facet in catalog.facets(where, most=2).facets:
        for choice in facet.choices:
            both = f"({where}) and {choice.condition}" if where else choice.condition
            chosen = catalog.datasets(both)
            assert (len(chosen), sum(r.events for r in chosen)) == (choice.datasets, choice.events), choice.condition


def test_feature_14_of_many_values_the_rest_is_counted(catalog: Catalog) -> None:
    notes = [r for r in catalog.datasets() if "Note" in r.meta]
    facet = catalog.facets(most=3, by=["NOTE"])["note"]
    assert len(facet.choices) == 3
    assert (facet.more, facet.more_datasets) == (len(notes) - 3, len(notes) - 3)
    assert facet.without == 200 - len(notes)


def test_facets_by_keys_in_the_order_asked_and_errors_name_the_nearest(catalog: Catalog) -> None:
    assert [f.key for f in catalog.facets(by=["trigger", "year", "run_min"]).facets] == ["trigger", "year", "run_min"]
    assert catalog.facets(by=["run_min"])["run_min"].without == 200
    with pytest.raises(CatalogError, match="did you mean trigger"):
        catalog.facets(by=["triger"])
    with pytest.raises(CatalogError, match="did you mean trigger"):
        catalog.facets("triger = 2")
    for where in ("true) or (true", "year in (select 2009)", "mixed > 2"):
        with pytest.raises(CatalogError):
            catalog.facets(where)
    with pytest.raises(CatalogError, match="no key"):
        catalog.facets(by=["year"])["stream"]


def test_a_key_in_two_letter_cases_counts_a_dataset_once(tmp_path: Path) -> None:
    """As in a condition, where letter case of keys is ignored."""
    catalog = Catalog(tmp_path)
    catalog.record(PutDataset("a", meta={"K": 1}), PutDataset("b", meta={"k": 1}))
    facet = catalog.facets()["k"]
    assert [(c.datasets, len(catalog.datasets(c.condition))) for c in facet.choices] == [(2, 2)]
    assert facet.without == 0


def test_digests_are_no_facets_unless_they_are_asked_for(tmp_path: Path) -> None:
    """The list that an output was made of is another for each, and so may be its parents' content: no choices."""
    catalog = Catalog(tmp_path)
    for k in range(3):
        parents = contents([Origin("d.TAG", k, f"{k:064x}")])
        catalog.record(PutDataset(f"{k}.EVENTS", meta={"list": f"{k:064x}", "job": "0001", **parents}))
    assert not {"list", CONTENTS} & {f.key for f in catalog.facets().facets}
    assert [c.datasets for c in catalog.facets()["job"].choices] == [3]
    assert [c.datasets for c in catalog.facets(by=["list"])["list"].choices] == [1, 1, 1]


def test_facets_of_an_empty_catalog(tmp_path: Path) -> None:
    found = Catalog(tmp_path).facets()
    assert (found.datasets, found.events, found.facets) == (0, 0, ())


@pytest.mark.slow
def test_feature_12_feature_14_facets_of_10_000_datasets(tmp_path: Path) -> None:
    catalog, draw = Catalog(tmp_path), random.Random(1)
    catalog.record(
        *(
            PutDataset(
                f"d{n}.TAG",
                type=draw.choice(["TAG", "AOD"]),
                year=2009 + n % 10,
                version=f"1.{n % 300}",
                events=n,
                meta={"trigger": n % 8, "tag": f"r{n}"},
            )
            for n in range(10_000)
        )
    )
    for where, datasets in (("", 10_000), ("year = 2009 and trigger = 2", 250)):  # n % 40 == 10
        found = catalog.facets(where)
        assert found.datasets == datasets and len(found["tag"].choices) == 20
        assert found["tag"].more == datasets - 20


# -- versions

ORDERED = [
    ["1.9.2", "1.10.0-rc1", "1.10.0", "1.10.1", "2", "v2.1", "10.0"],
    ["r99_p7", "r123", "r123_p3", "r123_p4", "r123_p10", "r124_p1"],
    ["", "0.9", "1.0a1", "1.0b2", "1.0", "1.0.1"],
]


@pytest.mark.parametrize("versions", ORDERED)
def test_feature_15_versions_compare_as_versions(versions: list[str]) -> None:
    assert sorted(versions, key=version_key) == versions
    assert len({version_key(v) for v in versions}) == len(versions)


@given(st.lists(st.lists(st.integers(0, 10**6), min_size=3, max_size=3), min_size=2, max_size=6))
def test_versions_of_numbers_order_as_the_numbers(numbers: list[list[int]]) -> None:
    texts = {".".join(map(str, n)): n for n in numbers}
    assert [texts[t] for t in sorted(texts, key=version_key)] == sorted(texts.values())


@given(st.text(max_size=20))
def test_any_text_is_older_than_the_same_with_one_number_more(text: str) -> None:
    assert version_key(text) < version_key(f"{text}.1")


@pytest.mark.parametrize(
    ("name", "version", "stem", "said"),
    [
        ("data18.Muon.TAG.r123_p4", "", "data18.Muon.TAG.*", "r123_p4"),
        ("data18.Muon.TAG.v2", "", "data18.Muon.TAG.*", "v2"),
        ("data18.Muon.1.10.0.TAG", "1.10.0", "data18.Muon.*.TAG", "1.10.0"),
        ("mc20.Zmumu.e3601_s3126_r123.DAOD", "", "mc20.Zmumu.*.DAOD", "e3601_s3126_r123"),
        ("data18_13TeV.physics_Main.TAG", "", "data18_13TeV.physics_Main.TAG", ""),
        ("mc20.ggH.h125.TAG", "", "mc20.ggH.h125.TAG", ""),  # a mass is no version
        ("data18.00358031.1.TAG", "", "data18.00358031.1.TAG", ""),  # nor is a run
        ("data18.Muon.TAG", "1.0.0", "data18.Muon.TAG", "1.0.0"),
    ],
)
def test_the_version_in_a_name(name: str, version: str, stem: str, said: str) -> None:
    assert split_version(name, version) == (stem, said)


def record(name: str, version: str = "", **facts: object) -> DatasetRecord:
    given = {"type": "TAG", "stream": "Muon", "year": 2018, "run_min": 1, "run_max": 9, **facts}
    return DatasetRecord(name=name, version=version, **given)  # type: ignore[arg-type]


def newest(*records: DatasetRecord) -> dict[str, list[str]]:
    return {f.newest.name: [r.name for r in f.older] for f in families(records)}


def test_feature_15_the_newest_of_each_family() -> None:
    named = [record(f"d.TAG.r{r}_p{p}") for r, p in ((99, 7), (123, 3), (123, 12), (123, 4))]
    assert newest(*named) == {"d.TAG.r123_p12": ["d.TAG.r123_p4", "d.TAG.r123_p3", "d.TAG.r99_p7"]}
    by_facts = [record("a.TAG", "1.9.2"), record("b.TAG", "1.10.0"), record("c.TAG", "1.10.0", stream="Egamma")]
    assert newest(*by_facts) == {"b.TAG": ["a.TAG"], "c.TAG": []}


def test_what_is_no_version_of_another_is_none_of_its_family() -> None:
    periods = [record("A.TAG", "1", run_max=4), record("B.TAG", "2", run_min=5)]
    assert newest(*periods) == {"A.TAG": [], "B.TAG": []}  # other runs
    keys = [record("A.TAG", "1", meta={"trigger": 1}), record("B.TAG", "2", meta={"trigger": 2})]
    assert newest(*keys) == {"A.TAG": [], "B.TAG": []}
    bare = [record("A.TAG", "1", stream=""), record("B.TAG", "2", stream="")]
    assert newest(*bare) == {"A.TAG": [], "B.TAG": []}  # nothing says that they belong together
    twins = [record("A.TAG", "2"), record("B.TAG", "2"), record("C.TAG", "1")]
    assert newest(*twins) == {"A.TAG": [], "B.TAG": ["C.TAG"]}


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 3)), unique=True, max_size=12))
def test_no_dataset_is_lost_or_in_two_families(drawn: list[tuple[str, int, int]]) -> None:
    records = [record(f"{stem}.TAG.v{a}.{b}") for stem, a, b in drawn]
    found = families(records)
    assert sorted(r.name for f in found for r in (f.newest, *f.older)) == sorted(r.name for r in records)
    assert len(found) == len({stem for stem, *_ in drawn})
