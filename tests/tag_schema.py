"""One schema with an attribute of every type and shape, three menus that disagree, and a good-run list."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tagsel.language.tree import LumiTable
from tagsel.schema import Attribute, Menu, Schema


def _lists(collection: str, counter: str, **members: str) -> list[Attribute]:
    made = []
    for member, text in members.items():
        kind, _, unit = text.partition(" ")
        made.append(Attribute(f"{collection}.{member}", kind, unit, is_list=True, counter=counter))
    return made


def _slots(collection: str, counter: str, member: str, kind: str, unit: str = "") -> list[Attribute]:
    shared = {"collection": collection, "member": member, "counter": counter}
    return [Attribute(f"{collection}{member.title()}{k}", kind, unit, slot=k, **shared) for k in (1, 2, 3)]


SCHEMA = Schema(
    (
        Attribute("run", "int32", role="id"),
        Attribute("lumi", "int32", role="id"),
        Attribute("event", "int64", role="id"),
        Attribute("menu", "int64", role="menu"),
        Attribute("i", "int32"),
        Attribute("j", "int64"),
        Attribute("bits", "bits32", role="flag"),
        Attribute("word", "bits64", role="flag"),
        Attribute("x", "float32"),
        Attribute("y", "float64"),
        Attribute("flag", "bool"),
        Attribute("name", "string"),
        Attribute("MET_pt", "float32", "GeV"),
        Attribute("MET_phi", "float32", "rad"),
        Attribute("nMuon", "int32", role="counter"),
        *_lists("Muon", "nMuon", pt="float32 GeV", eta="float32", phi="float32 rad", mass="float32 GeV"),
        *_lists("Muon", "nMuon", charge="int32", big="int64", good="bool", d="float64", id="bits32"),
        Attribute("nJet", "int32", role="counter"),
        *_lists("Jet", "nJet", pt="float32 MeV", eta="float32", phi="float32 rad", mass="float64 MeV"),
        Attribute("NTau", "int32", role="counter"),
        *_slots("Tau", "NTau", "pt", "float32", "GeV"),
        *_slots("Tau", "NTau", "eta", "float64"),
        *_slots("Tau", "NTau", "n", "int32"),
        Attribute("trigger_0", "bits32", role="trigger"),
        Attribute("trigger_1", "bits64", role="trigger"),
    )
)

_MENUS = (
    Menu({"HLT_a": ("trigger_0", 0), "HLT_b": ("trigger_0", 31), "L1_c": ("trigger_1", 63)}),
    Menu({"HLT_a": ("trigger_1", 5), "HLT_b": ("trigger_0", 3)}),
    Menu({"L1_c": ("trigger_0", 7)}),
)
MENUS: Mapping[int, Menu] = {menu.id: menu for menu in _MENUS}

LUMI = LumiTable(
    "good",
    "0" * 64,
    *(np.array(values, np.int32) for values in ([1, 1, 3, 7], [1, 10, 2, 1], [5, 10, 9, 2**31 - 1])),
)
"""A good-run list: run 1: 1 to 5, and 10; run 3: 2 to 9; run 7: 1 to the end."""


def lumi(name: str) -> LumiTable:
    """What `in_lumi("good")` names."""
    assert name == "good"
    return LUMI
