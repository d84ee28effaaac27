"""A schema with one attribute of each shape and type, its menus, and scopes over them, for tests of cuts."""

from __future__ import annotations

import numpy as np
import pytest

from tagsel.errors import CutError
from tagsel.language import LumiTable, Scope
from tagsel.schema import Attribute, Menu, Schema
from tagsel.schema.sourcefile import SIGNED


def _lists(collection: str, **members: str) -> list[Attribute]:
    made = []
    for member, text in members.items():
        kind, _, unit = text.partition(" ")
        name = f"{collection}.{member}"
        made.append(Attribute(name, kind, unit, is_list=True, counter=f"n{collection}"))
    return made


def _slots(member: str, kind: str, unit: str, count: int, description: str = "") -> list[Attribute]:
    return [
        Attribute(
            f"LooseMuon{member.title()}{k}",
            kind,
            unit,
            description=description,
            collection="LooseMuon",
            member=member,
            slot=k,
            counter="NLooseMuon",
        )
        for k in range(1, count + 1)
    ]


SCHEMA = Schema(
    (
        Attribute("run", "int32", role="id", aliases=("RunNumber",)),
        Attribute("lumi", "int32", role="id"),
        Attribute("event", "int64", role="id"),
        Attribute("menu_id", "int64", role="menu"),
        Attribute("word0", "bits32", role="trigger"),
        Attribute("word1", "bits64", role="trigger"),
        Attribute("flag", "bool"),
        Attribute("stream", "string"),
        Attribute("x", "float64"),
        Attribute("time", "int32", unit="ns"),
        Attribute("vertex_z", "float32", unit="mm"),
        Attribute("rate", "float64", unit="Hz"),
        Attribute("ht", "float32", unit="MeV"),
        Attribute("MET_pt", "float32", unit="GeV"),
        Attribute("MET_phi", "float32", unit="rad"),
        Attribute("tilt", "float64", unit="deg"),
        Attribute("nMuon", "int32", role="counter"),
        *_lists("Muon", pt="float32 GeV", eta="float32", phi="float32 rad", mass="float32 GeV", charge="int32"),
        *_lists("Muon", big="int64", tight="bool", bits="bits32"),
        Attribute("nElectron", "int32", role="counter"),
        *_lists("Electron", pt="float32 GeV", eta="float32", phi="float32"),
        Attribute("nJet", "int32", role="counter"),
        *_lists("Jet", pt="float32 MeV", eta="float32", phi="float32"),
        Attribute("NLooseMuon", "int32", role="counter"),
        *_slots("pt", "float32", "MeV", 4, SIGNED),
        *_slots("eta", "float32", "", 4),
        *_slots("phi", "float32", "", 4),
        *_slots("n", "int32", "", 2),
    )
)

OLD = Menu({"HLT_mu10": ("word0", 0), "HLT_e20": ("word0", 31)})
NEW = Menu({"HLT_mu10": ("word1", 5), "L1_MU20.5": ("word1", 6)})

NAMED = {"pair": "nMuon >= 2 && @loose", "loose": "any(Muon.pt > 10 GeV)", "circle": "@round", "round": "@circle"}


def lumi(name: str) -> LumiTable:
    """One run, blocks 1 to 9; other names are not there."""
    if name != "good.xml":
        raise CutError(f"no good-run list {name}")
    return LumiTable(name, "d1", *(np.array([n], np.int32) for n in (7, 1, 9)))


def named(name: str) -> str:
    """The text of a named cut."""
    if name not in NAMED:
        raise CutError(f"no named cut @{name}", hint="did you mean @pair?")
    return NAMED[name]


@pytest.fixture(scope="session")
def scope() -> Scope:
    """The scope that most tests bind to."""
    return Scope(SCHEMA, {m.id: m for m in (OLD, NEW)}, lumi, named)


@pytest.fixture(scope="session")
def menus() -> tuple[Menu, Menu]:
    """The two menus of the scope: the old one, the new one."""
    return OLD, NEW
