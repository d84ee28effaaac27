"""Source schemas: the standard ones against the published list, and errors that name their place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tagsel.errors import SchemaError
from tagsel.schema import (
    ROLES,
    STANDARD,
    TYPES,
    Schema,
    load_source_schema,
    parse_source_schema,
    standard_schema,
)

IDS = '[ids]\nrun = "run"\nlumi = "ls"\nevent = "event"\n'

PROMISED = {  # what may hold each type of the published list
    "uint32": {"int32", "int64", "bits32"},
    "uint64": {"int64", "bits64"},
    "int32": {"int32"},
    "float32": {"float32"},
    "int8": {"bool", "int32"},
}


@pytest.mark.parametrize("name", STANDARD)
def test_standard_schemas_load_and_survive_json(name: str) -> None:
    schema = standard_schema(name)
    assert Schema.from_json(schema.to_json()) == schema
    assert [a.name for a in schema][:5] == ["run", "lumi", "event", "aod_guid", "aod_entry"]
    assert all(a.type in TYPES and a.role in ROLES for a in schema)


@pytest.mark.real
def test_atlas_tag_2011_has_every_attribute_of_the_published_list(real: Callable[[str], Path]) -> None:
    rows = [line.split("\t") for line in real("atlas_tag_2011_attributes.tsv").read_text().splitlines() if line]
    assert len(rows) == 282
    schema, source = standard_schema("atlas_tag_2011"), load_source_schema("atlas_tag_2011")
    references = {name for names in source.references.values() for name in names}
    for name, kind in rows:
        if name in references:
            continue
        attribute = schema[name]
        assert name in (attribute.name, *attribute.aliases)
        assert attribute.type in PROMISED[kind] or attribute.role == "id", name
        assert attribute.description, name
    assert {n for n, k in rows if k.startswith("char")} <= references
    # three ids, two references for three stages, the menu, and 282 less three ids and two references
    assert len(schema) == 3 + 6 + 1 + (282 - 5)


def test_atlas_tag_2011_slots_name_their_counters() -> None:
    schema = standard_schema("atlas_tag_2011")
    counters = {"LooseElectron": 4, "LoosePhoton": 2, "LooseMuon": 4, "Jet": 6}
    assert set(schema.collections) == set(counters)
    for name, slots in counters.items():
        collection = schema.collections[name]
        assert schema[collection.counter].role == "counter"
        assert collection.counter == f"N{name}"
        for member in collection.slots.values():
            assert [a.slot for a in member] == list(range(1, slots + 1))
    assert schema["BJetLikelihood3"].collection == "Jet"
    assert "sign is the charge" in schema["LooseElectronPt1"].description
    assert "sign is the charge" not in schema["JetPt1"].description


def test_words_are_words() -> None:
    schema = standard_schema("atlas_tag_2011")
    assert (schema["EFPassedTrigMask31"].type, schema["EFPassedTrigMask31"].role) == ("bits64", "trigger")
    assert (schema["L1PassedTrigMaskTAP0"].type, schema["SUSYWord"].role) == ("bits32", "flag")


@pytest.mark.parametrize(
    ("text", "place", "hint"),
    [
        ("name = = 1", "mine.toml: not TOML: .*line 1", ""),
        ("", "mine.toml: ids: run, lumi, event missing", "lumi = 0"),
        (IDS + "[[attribute]]\n", "mine.toml: unknown key 'attribute'", "attributes"),
        (IDS + '[[attributes]]\nname = "x"\nunits = "GeV"\n', r"attributes\[1\]: unknown key 'units'", "unit"),
        (IDS + '[[attributes]]\nbranch = "x"\n', r"attributes\[1\]: name is missing", ""),
        (IDS + '[[attributes]]\nname = "x"\ntype = "flaot32"\n', "type: unknown 'flaot32'", "float32"),
        (IDS + '[[attributes]]\nname = "x"\nrole = "weigth"\n', r"attributes\[1\]: role: unknown 'weigth'", "weight"),
        (IDS + '[[attributes]]\nname = "x"\nbranch = 3\n', r"attributes\[1\]: branch: 3", ""),
        (IDS + '[[attributes]]\nname = "x"\nhot = 1\n', "hot is 1, a true or false was expected", ""),
        (IDS + '[[attributes]]\nname = "x"\n[[attributes]]\nname = "x"\n', "attribute x is named twice", ""),
        ('format = "nanoad"\n' + IDS, "format: unknown 'nanoad'", "nanoaod"),
        (IDS + 'evnt = "x"\n', "ids: unknown 'evnt'", "event"),
        (IDS + "[references]\naodd = 'Token'\n", "references: unknown 'aodd'", "aod"),
        (
            IDS + '[[collections]]\nname = "M"\ncounter = "nM"\n[collections.members.pt]\nunti = "GeV"\n',
            r"collections\[1\]\.members\.pt: unknown key 'unti'",
            "unit",
        ),
        (
            IDS + '[[slots]]\ncollection = "M"\ncounter = "n"\nslots = "4"\ncolumn = "M{slot}"\nmembers = {}\n',
            r"slots\[1\]: slots is '4', a whole number was expected",
            "",
        ),
    ],
)
def test_errors_name_file_place_and_the_nearest(text: str, place: str, hint: str) -> None:
    with pytest.raises(SchemaError, match=place) as caught:
        parse_source_schema(text, "mine.toml")
    assert hint in caught.value.hint


def test_unknown_standard_schema_names_the_nearest() -> None:
    with pytest.raises(SchemaError, match="nanoad") as caught:
        load_source_schema("nanoad")
    assert "nanoaod" in caught.value.hint


def test_a_schema_file_is_read_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(IDS)
    assert load_source_schema(path).ids == {"run": ("run",), "lumi": ("ls",), "event": ("event",)}
    path.write_bytes(b"\xff")
    with pytest.raises(SchemaError, match="not UTF-8"):
        load_source_schema(path)


def test_first_matching_glob_gives_the_unit() -> None:
    schema = parse_source_schema(IDS + '[units]\n"*.pt" = "GeV"\n"*" = "mm"\n', "mine.toml")
    assert (schema.unit_of("Muon.pt"), schema.unit_of("Muon.x")) == ("GeV", "mm")


def test_the_schema_on_the_documentation_page_is_valid() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "schemas.md"
    text = page.read_text("utf-8").split("```toml\n")[1].split("```")[0]
    schema = parse_source_schema(text, "docs/reference/schemas.md")
    assert [a.name for a in schema.attributes] == [
        "met",
        "weight",
        "status",
        "bcid",
        *(f"LooseMuonPt{k}" for k in (1, 2, 3, 4)),
    ]
    assert schema.ids == {"run": ("RunNumber",), "lumi": 0, "event": ("EventNumber", "evt")}
