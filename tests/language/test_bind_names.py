"""What names mean: attributes, members, slots, objects, chains, good-run lists, named cuts; and what is unknown."""

from __future__ import annotations

import pytest

from tagsel.errors import CutError
from tagsel.language import Bound, Scope, bind, bind_value, conjuncts, parse
from tagsel.language.named import MAX_NESTED
from tagsel.language.tree import Aggregate, LumiTable, Node, TriggerBits, walk
from tagsel.schema import Attribute, Menu, Schema, pack_order


def leaf(text: str, scope: Scope) -> Node:
    """The left side of a bound comparison."""
    return bind(text, scope).node.args[0]


@pytest.mark.parametrize(
    ("text", "op", "value", "kind"),
    [
        ("run > 1", "column", "run", "int"),
        ("RunNumber > 1", "column", "run", "int"),
        ("MET_pt > 1", "column", "MET_pt", "f32"),
        ("MET.pt > 1", "column", "MET_pt", "f32"),
        ("Muon.pt[0] > 1", "element", ("Muon_pt", "nMuon", 0), "f32"),
        ("Muon_pt[2] > 1", "element", ("Muon_pt", "nMuon", 2), "f32"),
        ("Muon[1].pt > 1", "element", ("Muon_pt", "nMuon", 1), "f32"),
        ("LooseMuonPt2 > 1", "slot", ("LooseMuonPt2", "NLooseMuon", 1), "f32"),
        ("LooseMuon.pt[1] > 1", "slot", ("LooseMuonPt2", "NLooseMuon", 1), "f32"),
        ("LooseMuon_pt[1] > 1", "slot", ("LooseMuonPt2", "NLooseMuon", 1), "f32"),
        ("LooseMuon[1].pt > 1", "slot", ("LooseMuonPt2", "NLooseMuon", 1), "f32"),
        ("word0 > 1", "column", "word0", "int"),
        ("word1 == 1", "column", "word1", "word"),
        ("flag == true", "column", "flag", "bool"),
        ('stream == "a"', "column", "stream", "str"),
        ("x > 1", "column", "x", "f64"),
        ("count(Muon) > 1", "column", "nMuon", "int"),
    ],
)
def test_a_name_is_a_column(scope: Scope, text: str, op: str, value: object, kind: str) -> None:
    node = leaf(text, scope)
    assert (node.op, node.value, node.kind) == (op, value, kind)


def test_scalar_and_list_of_one_spelling() -> None:
    """X_y means X.y only where there is no scalar X_y of its own name."""
    both = Schema(
        (
            Attribute("nMuon", "int32"),
            Attribute("Muon.pt", "float32", is_list=True, counter="nMuon"),
            Attribute("MET_pt", "float32"),
        )
    )
    assert leaf("MET_pt > 1", Scope(both)).op == "column"
    assert leaf("Muon_pt[0] > 1", Scope(both)).op == "element"


def test_chains_of_menus(scope: Scope, menus: tuple[Menu, Menu]) -> None:
    old, new = menus
    both = tuple(sorted([(old.id, "word0", 0), (new.id, "word1", 5)]))
    for text in ("HLT_mu10", 'trigger("HLT_mu10")'):
        bound = bind(text, scope)
        assert bound.node == Node(
            "truth", (Node("trigger", value=TriggerBits("HLT_mu10", both, "menu_id"), kind="bool"),), kind="bool"
        )
        assert bound.triggers == ("HLT_mu10",)
        assert bound.columns == {"menu_id", "word0", "word1"}
    assert leaf("HLT_e20 == false", scope).value.bits == ((old.id, "word0", 31),)
    assert bind('trigger("L1_MU20.5") && HLT_mu10', scope).triggers == ("HLT_mu10", "L1_MU20.5")
    assert bind("present(HLT_e20)", scope).node.op == "present"


def test_an_attribute_comes_before_a_chain(menus: tuple[Menu, Menu]) -> None:
    schema = Schema((Attribute("HLT_mu10", "int32"),))
    assert leaf("HLT_mu10 > 1", Scope(schema, {m.id: m for m in menus})).op == "column"


def test_in_lumi(scope: Scope) -> None:
    node = bind('in_lumi("good.xml")', scope).node
    assert node.op == "in_lumi"
    assert isinstance(node.value, LumiTable) and node.value.digest == "d1"
    assert [a.value for a in node.args] == ["run", "lumi"]
    with pytest.raises(CutError, match="no good-run list other") as caught:
        bind('true && in_lumi("other")', scope)
    assert caught.value.position == 16
    with pytest.raises(CutError, match="no good-run list"):
        bind('in_lumi("good.xml")', Scope(scope.schema))


# aggregates


@pytest.mark.parametrize(
    ("long", "short"),
    [
        ("count(m in Muon: m.pt > 20 && abs(m.eta) < 2.4) >= 2", "count(Muon.pt > 20 && abs(Muon.eta) < 2.4) >= 2"),
        ("any(m in Muon: deltaR(m, Electron[0]) < 0.4)", "any(deltaR(Muon, Electron[0]) < 0.4)"),
        ("sum(j in Jet: j.pt) > 1 GeV", "sum(Jet.pt) > 1 GeV"),
        ("all(l in LooseMuon: l.n > 1)", "all(LooseMuon.n > 1)"),
        ("max(m in Muon: m.pt / nMuon) > 2", "max(Muon.pt / nMuon) > 2"),
        ("count(a in Muon: a.pt > max(b in Muon: b.pt) / 2) > 1", "count(Muon.pt > max(Muon.pt) / 2) > 1"),
        ("any(m in Muon: any(m in Jet: m.pt > 1) && m.pt > 2)", "any(any(Jet.pt > 1) && Muon.pt > 2)"),
    ],
)
def test_long_and_short_form_are_one_cut(scope: Scope, long: str, short: str) -> None:
    assert bind(long, scope).node == bind(short, scope).node
    assert bind(long, scope).fingerprint == bind(short, scope).fingerprint


def test_what_an_aggregate_runs_over(scope: Scope) -> None:
    over_list = leaf("count(Muon.pt > 2) > 1", scope)
    assert over_list.value == Aggregate("count", "Muon", "nMuon", 0)
    assert over_list.args[0].args[0] == Node("member", value="Muon_pt", kind="f32")
    over_slots = leaf("sum(LooseMuon.eta) > 1", scope)
    assert over_slots.value == Aggregate("sum", "LooseMuon", "NLooseMuon", 4)
    assert leaf("count(LooseMuon.n > 1) > 1", scope).value.slots == 2
    every = leaf("count(LooseMuon) > 1", scope)
    assert every.value.slots == 4
    assert every.args[0].op == "truth"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("count(Muon.pt > 1)", "int"),
        ("any(Muon.tight)", "bool"),
        ("all(Muon.tight)", "bool"),
        ("sum(Muon.charge)", "int"),
        ("sum(Muon.pt)", "f64"),
        ("sum(Muon.tight)", "int"),
        ("min(Muon.pt)", "f32"),
        ("max(Muon.pt * 2)", "f64"),
        ("min(Muon.big)", "int"),
        ("max(Muon.tight)", "int"),
    ],
)
def test_kinds_of_aggregates(scope: Scope, text: str, kind: str) -> None:
    node = bind_value(text, scope).node
    assert (node.op, node.kind) == ("aggregate", kind)


# objects


def test_objects_are_their_members_in_order(scope: Scope) -> None:
    node = leaf("mass(Muon[0], Muon[1]) > 1", scope)
    assert node.op == "call" and node.value == "mass"
    assert [a.op for a in node.args] == ["cast"] * 8
    wanted = [(f"Muon_{m}", "nMuon", k) for k in (0, 1) for m in ("pt", "eta", "phi", "mass")]
    assert [a.args[0].value for a in node.args] == wanted


def test_an_unstored_mass_is_the_pdg_one_in_the_unit_of_pt(scope: Scope) -> None:
    """0.51099895 MeV in GeV; 105.6583755 MeV for a loose muon, whose pt is in MeV and carries the charge."""
    node = leaf("mass(Electron[0], LooseMuon[0]) > 1", scope)
    assert node.args[3] == Node("const", value=0.51099895e-3, kind="f64")
    pt, mass = node.args[4], node.args[7]
    assert mass.value == 0.1056583755  # in GeV, the unit of the first pt
    assert [n.op for n in walk(pt)] == ["div", "cast", "abs", "slot", "const"]
    assert pt.args[1].value == 1000.0


def test_missing_pt_is_an_object_with_pt_and_phi(scope: Scope) -> None:
    node = leaf("mt(Muon[0], MET) > 50", scope)
    assert [a.args[0].value for a in node.args] == [
        ("Muon_pt", "nMuon", 0),
        ("Muon_phi", "nMuon", 0),
        "MET_pt",
        "MET_phi",
    ]
    assert leaf("deltaPhi(Muon[0], MET) > 1", scope) == leaf("deltaPhi(Muon.phi[0], MET_phi) > 1", scope)
    assert leaf("deltaEta(Muon[0], Muon[1]) > 1", scope).op == "sub"


# what is unknown or used wrongly: text, place, message, hint

REFUSED = [
    ("nMoun > 1", "nMoun", "no attribute and no trigger chain", "nMuon"),
    ("HLT_mu11", "HLT_mu11", "no trigger chain", "HLT_mu10"),
    ('trigger("HLT_mu11")', '"HLT_mu11"', "no trigger menu", "HLT_mu10"),
    ("trigger(flag)", "flag", "text in quotes", 'trigger("name")'),
    ("Muon.pd[0] > 1", "Muon.pd", "Muon has no 'pd'", "Muon.pt"),
    ("Muon.pt.real > 1", "Muon.pt.real", "has no", "Muon.pt"),
    ("MET_pt * GeV > 3", "GeV", "no attribute", "25 GeV"),
    ("abs > 1", "abs", "no attribute", "abs(x)"),
    ("AND", "AND", "no attribute", "and, in lower case"),
    ("flag(1)", "flag(1)", "not a function", "Muon.pt[0]"),
    ("Muon.pt(0)", "Muon.pt(0)", "not a function", "Muon.pt[0]"),
    ("Muon.pt[0].eta > 1", "Muon.pt", "Muon.pt is a number, which has no 'eta'", "Muon.eta[0]"),
    ("cso(x) > 1", "cso(x)", "no function", "cos"),
    ("sqrt(x, 2) > 1", "sqrt(x, 2)", "takes 1 argument, 2 given", ""),
    ("max(x, 2, 3) > 1", "max(x, 2, 3)", "takes 1 argument", "max(a, max(b, c))"),
    ("mass() > 1", "mass()", "takes 1 to 16 arguments, 0 given", ""),
    ("Muon.pt > 20", "Muon.pt > 20", "each object of Muon", "any(Muon.pt > 20)"),
    ("nMuon > 1 && Muon.tight", "nMuon > 1 && Muon.tight", "each object of Muon", "any("),
    ("Muon.pt[0] > Electron.pt", "Muon.pt[0] > Electron.pt", "each object of Electron", "any("),
    ("nMuon[0] > 1", "nMuon[0]", "one value an event", "nMuon"),
    ("LooseMuon.pt[4] > 1", "LooseMuon.pt[4]", "keeps 4", "LooseMuon.pt[3]"),
    ("Muon", "Muon", "an object", "count(Muon)"),
    ("Muon[0] > 1", "Muon[0]", "an object, not a number", "Muon[0].pt"),
    ("any(Muon)", "Muon", "an object", "any(Muon.pt"),
    ("count(nMuon > 1) > 1", "nMuon > 1", "no list in it", "count(condition)"),
    ("sum(Muon.pt > 1) > 1", "Muon.pt > 1", "this is a condition", "count"),
    ("any(Muon.pt)", "Muon.pt", "a condition is needed", "compare"),
    ("count(Muon.pt > Jet.pt) > 1", "Muon.pt > Jet.pt", "two lists", "Jet.pt[0]"),
    ("count(LooseMuon.pt > LooseMuon.n) > 1", "LooseMuon.pt > LooseMuon.n", "4 and 2 slots", ""),
    ("any(m in Muon: m.pt > Muon.pt)", "any(m in Muon: m.pt > Muon.pt)", "beside the object m", "m.pt"),
    ("any(m in Muon: Jet.pt > 1)", "any(m in Muon: Jet.pt > 1)", "beside the object m", "m.pt"),
    ("any(m in Muon: nMuon > 1)", "any(m in Muon: nMuon > 1)", "m does not occur", "m.pt"),
    ("any(m in Moun: m.pt > 1)", "m.pt", "no collection", "Muon"),
    ("any(m in Muon: m.pd > 1)", "m.pd", "Muon has no 'pd'", "m.pt"),
    ("any(m in Muon: m[0] > 1)", "m[0]", "one object", "m.pt"),
    ("any(m in MET: m.pt > 1)", "m.pt", "no collection", ""),
    ("sqrt(m in Muon: m.pt) > 1", "sqrt(m in Muon: m.pt)", "does not run over objects", "count"),
    ("m.pt > 1 && any(m in Muon: m.pt > 1)", "m.pt", "no attribute", ""),
    ("mass(Muon.pt[0], Muon.pt[1]) > 1", "Muon.pt[0]", "takes objects", "mass(Muon[0], Muon[1])"),
    ("mass(Muon[0], MET) > 1", "MET", "MET has no 'eta'", "mt("),
    ("mass(Jet[0], Jet[1]) > 1", "Jet[0]", "Jet has no 'mass'", "pt"),
    ("any(a, b in Muon: a.pt > 1)", "any(a, b in Muon: a.pt > 1)", "b does not occur", "b.pt"),
    ("any(a, a in Muon: a.pt > 1)", "any(a, a in Muon: a.pt > 1)", "a stands for two objects", "name of its own"),
    ("any(a in Muon, b in Jet: a.pt > Jet.pt)", "any(a in Muon, b in Jet: a.pt > Jet.pt)", "beside the object a", "a."),
    ("argmin(a in Muon: a.pt)", "argmin(a in Muon: a.pt)", "let names them", "let a = argmin(a in Muon: a.pt); …"),
    ("argmin(a in Muon: a.pt) > 1", "argmin(a in Muon: a.pt)", "let names them", "let a = "),
    ("argmax(a, b in Muon: a.pt + b.pt) > 1", "argmax(a, b in Muon: a.pt + b.pt)", "let names them", "let (a, b) = "),
    ("argmin(Muon.pt) > 1", "argmin(Muon.pt)", "need names", "let m = argmin(m in Muon: m.pt); …"),
    ("let m = argmax(m in Muon: m.pt > 1); m.pt > 1", "m.pt > 1", "takes a value", ""),
    ("let m = argmax(m in Muon: m.pt); m", "m", "an object", ""),
    ("let m = argmax(m in Muon: m.pt); n.pt > 1", "n.pt", "no attribute", ""),
    ("(let m = argmax(m in Muon: m.pt); m.pt > 1) && m.pt > 1", "m.pt", "no attribute", ""),
    ("let m = argmax(m in Muon: m.pt); m[0] > 1", "m[0]", "one object", "m.pt"),
    ("any(m in Muon: any(j in Jet: j.pt > 1))", "any(m in Muon: any(j in Jet: j.pt > 1))", "m does not occur", ""),
    ("any(m in Muon: count(m.pt > 1) > 1)", "m.pt > 1", "no list in it", ""),
    ("(nMuon > 1 if Muon.pt[0] > 1) > 1", "nMuon > 1", "a condition stands where a number", ""),
    ("(nMuon if nMuon) > 1", "nMuon", "stands where a condition is needed", ""),
    ("nMuon if nMuon > 1", "nMuon if nMuon > 1", "stands where a condition is needed", ""),
    (
        "any(a, b, c, d, e, f in Jet: any(g, h, i in Muon: a.pt > b.pt))",
        "any(a, b, c, d, e, f in Jet: any(g, h, i in Muon: a.pt > b.pt))",
        "more than 8 names",
        "",
    ),
    ("@nobody", "@nobody", "no named cut", "@pair"),
]


@pytest.mark.parametrize(("text", "place", "message", "hint"), REFUSED)
def test_refused_before_data_is_read(scope: Scope, text: str, place: str, message: str, hint: str) -> None:
    with pytest.raises(CutError) as caught:
        bind(text, scope)
    error = caught.value
    assert error.cut == text
    assert text[error.position : error.position + error.length] == place
    assert message in error.message
    assert hint in error.hint


def test_thousands_of_chains_are_searched_by_pieces(scope: Scope) -> None:
    """The nearest of 3,000 names is found among the 50 that share the most pieces, not by comparing all in full."""
    names = [f"HLT_mu{i}_ivarmedium_L1MU{i % 7}" for i in range(3000)]
    menu = Menu(pack_order(names))
    crowded = Scope(scope.schema, {menu.id: menu})
    with pytest.raises(CutError) as caught:
        bind("HLT_mu1234_ivarmediun_L1MU2", crowded)  # 1234 % 7 = 2
    assert "HLT_mu1234_ivarmedium_L1MU2" in caught.value.hint


# named cuts


def test_named_cuts_are_written_out(scope: Scope) -> None:
    bound = bind("@pair && MET_pt > 50", scope)
    assert bound.text == "nMuon >= 2 && any(Muon.pt > 10 GeV) && MET_pt > 50"
    assert bound.node == bind("nMuon >= 2 && any(Muon.pt > 10 GeV) && MET_pt > 50", scope).node


def test_named_cuts_in_a_circle(scope: Scope) -> None:
    with pytest.raises(CutError, match="@circle → @round → @circle") as caught:
        bind("flag || @circle", scope)
    assert caught.value.position == 8


@pytest.mark.parametrize(("text", "message"), [("nMuon >", "too soon"), ("nMoun > 1", "nMoun"), ("1 mm > 1 GeV", "mm")])
def test_an_error_in_a_named_cut_points_at_its_name(scope: Scope, text: str, message: str) -> None:
    with pytest.raises(CutError, match="in @broken: ") as caught:
        bind("flag && @broken", Scope(scope.schema, named=lambda name: text))
    assert message in caught.value.message
    assert (caught.value.cut, caught.value.position, caught.value.length) == ("flag && @broken", 8, 7)


def test_fault_21_named_cuts_cannot_explode(scope: Scope) -> None:
    """Each names the next twice: 2**18 terms by 18 names."""
    doubled = {f"n{i}": f"@n{i + 1} || @n{i + 1}" for i in range(18)} | {"n18": "flag"}
    with pytest.raises(CutError, match="bring in more than"):
        bind("@n0", Scope(scope.schema, named=doubled.__getitem__))
    chain = {f"n{i}": f"@n{i + 1}" for i in range(100)}
    with pytest.raises(CutError, match=f"more than {MAX_NESTED} deep"):
        bind("@n0", Scope(scope.schema, named=chain.__getitem__))


def test_fault_21_chains_in_chains_cannot_explode(scope: Scope) -> None:
    """A chain names its middle twice: 2**40 nodes from 40 levels."""
    text = "nMuon"
    for _ in range(40):
        text = f"count(Muon.charge > 0 && 0 < {text} < 9)"
    with pytest.raises(CutError, match="nodes once written out"):
        bind(f"{text} > 1", scope)


def test_without_named_cuts() -> None:
    with pytest.raises(CutError, match="no named cut @x"):
        bind("@x", Scope(Schema(())))


# what a bound cut is


def test_bound_cut_says_what_it_reads(scope: Scope) -> None:
    bound = bind("nMuon>=2 and(Muon.pt[0]>25GeV)", scope)
    assert isinstance(bound, Bound)
    assert bound.text == "nMuon >= 2 && Muon.pt[0] > 25 GeV"
    assert bound.columns == {"nMuon", "Muon_pt"}
    assert (bound.triggers, bound.warnings, bound.unit) == ((), (), "")


@pytest.mark.parametrize("text", ["  nMuon>=2  and ( Muon.pt[0]>25 GeV )", "66 GeV<MET_pt<116 GeV && flag"])
def test_places_are_those_of_the_canonical_text(scope: Scope, text: str) -> None:
    bound = bind(text, scope)
    again = bind(bound.text, scope)
    assert [(n.pos, n.length) for n in walk(bound.node)] == [(n.pos, n.length) for n in walk(again.node)]
    column = next(n for n in walk(bound.node) if n.op == "column")
    assert bound.text[column.pos : column.pos + column.length] == column.value


def test_conjuncts_are_cuts_of_their_own(scope: Scope) -> None:
    bound = bind("(flag || nMuon > 3) && 66 GeV < MET_pt < 116 GeV && run not in (1, 2) && HLT_e20", scope)
    parts = conjuncts(bound)
    assert [p.text for p in parts] == [
        "flag || nMuon > 3",
        "66 GeV < MET_pt",
        "MET_pt < 116 GeV",
        "run not in (1, 2)",
        "HLT_e20",
    ]
    for part in parts:
        alone = bind(part.text, scope)
        assert (part.node, part.columns, part.triggers, part.fingerprint) == (
            alone.node,
            alone.columns,
            alone.triggers,
            alone.fingerprint,
        )
        assert [(n.pos, n.length) for n in walk(part.node)] == [(n.pos, n.length) for n in walk(alone.node)]
    assert conjuncts(parts[0]) == [parts[0]]
    assert conjuncts(bind("x not in (1, 2)", scope))[0].text == "x not in (1, 2)"


def test_fingerprints_tell_cuts_apart(scope: Scope) -> None:
    texts = [
        "nMuon > 1",
        "nMuon > 2",
        "nMuon >= 1",
        "run > 1",
        "x > 1",
        "MET_pt > 1",
        "MET_pt > 1 MeV",
        "HLT_mu10",
        "HLT_e20",
        "flag",
        "!flag",
        "flag && flag",
        "flag || flag",
        "any(Muon.tight)",
        "all(Muon.tight)",
        "any(LooseMuon.n > 1)",
        "any(Muon.charge > 1)",
        'in_lumi("good.xml")',
        'stream == "a"',
        'stream == "b"',
        "Muon.pt[0] > 1",
        "Muon.pt[1] > 1",
        "sqrt(x) > 1",
        "cos(x) > 1",
        "x in (1, 2)",
        "x in (1, 3)",
        "isnan(x)",
    ]
    assert len({bind(t, scope).fingerprint for t in texts}) == len(texts)
    assert bind("66 < MET_pt", scope).fingerprint == bind("(MET_pt)>66.0 GeV", scope).fingerprint
    assert len(bind("flag", scope).fingerprint) == 64


def test_a_fingerprint_covers_what_a_chain_resolves_to(scope: Scope, menus: tuple[Menu, Menu]) -> None:
    alone = Scope(scope.schema, {menus[0].id: menus[0]})
    assert bind("HLT_mu10", alone).fingerprint != bind("HLT_mu10", scope).fingerprint


def test_a_tree_binds_as_its_text(scope: Scope) -> None:
    text = "nMuon >= 2 && MET_pt > 5"
    assert bind(parse(text), scope) == bind(text, scope)
    with pytest.raises(CutError) as caught:
        bind(parse("true &&  nMoun>2"), scope)
    assert caught.value.cut == "true && nMoun > 2"
    assert caught.value.position == 8


def test_values_have_units(scope: Scope) -> None:
    assert bind_value("genWeight", Scope(Schema((Attribute("genWeight", "float32"),)))).unit == ""
    assert bind_value("max(Muon.pt)", scope).unit == "GeV"
    assert bind_value("pt(Jet[0], Muon[0])", scope).unit == "MeV"
    assert bind_value("deltaPhi(Muon[0], MET)", scope).unit == "rad"
    assert bind_value("1", scope).node == Node("const", value=1, kind="int")
    with pytest.raises(CutError, match="one value for each object of Muon"):
        bind_value("Muon.pt", scope)


def test_fault_21_ten_thousand_terms_bind(scope: Scope) -> None:
    text = " || ".join(f"Muon.pt[{i % 3}] > {i} GeV" for i in range(10_000))
    bound = bind(text, scope)
    assert len(bound.node.args) == 10_000
    assert bound.text == text
