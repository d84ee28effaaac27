"""Hypothesis strategies: tables with everything that hurts, and cuts as text in the language.

One schema holds an attribute of every type and shape. Tables come from a seed that hypothesis draws (so a failing
one is printed, and shrinks in rows); cuts are built from weighted alternatives, each of which writes text that binds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tagsel.expr.functions import FUNCTIONS
from tagsel.expr.nodes import Block, LumiTable
from tagsel.schema import Attribute, Menu, Schema


def _lists(collection: str, counter: str, **members: str) -> list[Attribute]:
    made = []
    for member, text in members.items():
        kind, _, unit = text.partition(" ")
        made.append(Attribute(f"{collection}.{member}", kind, unit, is_list=True, counter=counter))
    return made


def _slots(collection: str, counter: str, member: str, kind: str, unit: str = "") -> list[Attribute]:
    return [
        Attribute(f"{collection}{member.title()}{k}", kind, unit, collection=collection, member=member, slot=k, counter=counter)
        for k in (1, 2, 3)
    ]  # fmt: skip


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


# tables

NUMBERS: Mapping[str, tuple[Any, ...]] = {
    "bool": (False, True),
    "int32": (0, 1, 2, 3, -1, -7, 25, 2**31 - 1, -(2**31)),
    "int64": (0, 1, 2, 3, -1, -7, 25, 2**53, 2**53 + 1, 2**62, 2**63 - 1, -(2**63)),
    "bits32": (0, 1, 5, 8, 2**31, 2**32 - 1),
    "bits64": (0, 1, 5, 32, 2**63, 2**64 - 1),
    "float32": (0.0, -0.0, 1.0, 0.1, 2.5, -2.5, 25.0, 25.000002, 1e-40, 3e38, np.nan, np.inf, -np.inf),
    "float64": (0.0, -0.0, 1.0, 0.1, 2.5, -2.5, 25.0, 1e-310, 2.0**53, 1e300, np.nan, np.inf, -np.inf),
    "string": ("", "a", "b c", "it's"),
}
"""Values that hurt, by type."""

DTYPES: Mapping[str, Any] = {
    "bool": np.bool_, "int32": np.int32, "int64": np.int64, "bits32": np.uint32, "bits64": np.uint64,
    "float32": np.float32, "float64": np.float64, "string": object,
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Rows of `SCHEMA`: all columns, flat where lists, and which of them the part lacks.

    `lengths` are the true lengths of the lists by counter.
    """

    rows: int
    columns: Mapping[str, Any]
    lengths: Mapping[str, Any]
    absent: frozenset[str]
    seed: int

    def block(self) -> Block:
        """What the interpreter and the kernel see."""
        return Block(self.rows, {n: a for n, a in self.columns.items() if n not in self.absent})

    def row(self, at: int) -> dict[str, Any]:
        """What the oracle sees: one row as plain Python values."""
        found = {}
        for attribute in SCHEMA:
            array = self.columns[attribute.column]
            if attribute.column in self.absent:
                found[attribute.column] = None
            elif attribute.is_list:
                lengths = self.lengths[attribute.counter]
                start = int(lengths[:at].sum())
                found[attribute.column] = array[start : start + lengths[at]].tolist()
            else:
                found[attribute.column] = array[at] if array.dtype == object else array[at].item()
        return found


def make_table(rows: int, seed: int) -> Table:
    """The table of a seed."""
    rng = np.random.default_rng(seed)
    style = {c: rng.choice(["wild", "small", "constant"], p=[0.4, 0.4, 0.2]) for c in SCHEMA.by_column}
    counters = {a.counter for a in SCHEMA if a.is_list}
    lengths = {c: rng.integers(0, rng.integers(1, 5), rows, endpoint=True).astype(np.int32) for c in sorted(counters)}
    columns = {}
    for a in SCHEMA:
        if a.column in counters:
            columns[a.column] = lengths[a.column]
            continue
        size = int(lengths[a.counter].sum()) if a.is_list else rows
        columns[a.column] = _values(rng, a, size, style[a.column])
    lacks = rng.random(len(SCHEMA)) < rng.choice([0.0, 0.0, 0.08, 0.3])
    absent = frozenset(a.column for a, gone in zip(SCHEMA, lacks, strict=True) if gone)
    return Table(rows, columns, lengths, absent - {"run", "lumi", "event"}, seed)


def _values(rng: np.random.Generator, a: Attribute, size: int, style: str) -> Any:
    """Values of one column: of everything that hurts, of small numbers, or one value all over."""
    if a.column in ("run", "lumi"):
        return rng.integers(0, 12, size).astype(np.int32)
    if a.column == "NTau":
        return rng.integers(-1, 5, size).astype(np.int32)
    pool = list(NUMBERS[a.type])
    if a.role == "menu":
        pool = [*MENUS, *MENUS, 0]
    elif style == "small" and a.type.startswith(("int", "float")):
        start = float(rng.normal(0, 20))
        spread = start + rng.normal(0, 3, 8)
        pool = np.rint(spread).tolist() if a.type.startswith("int") else spread.tolist()
    chosen = rng.integers(0, len(pool), size)
    if style == "constant":
        chosen = np.full(size, rng.integers(0, len(pool)))
    made = np.empty(size, DTYPES[a.type])
    with np.errstate(all="ignore"):
        made[:] = np.array(pool, DTYPES[a.type])[chosen]
    return made


def tables(most: int = 14) -> st.SearchStrategy[Table]:
    """Tables of 0 to `most` rows."""
    return st.builds(make_table, st.integers(0, most), st.integers(0, 2**32 - 1))


# cuts

Draw = Callable[[st.SearchStrategy[Any]], Any]

WHOLE = ("0", "1", "2", "3", "7", "-1", "25", "9007199254740993", "2147483648", "0x1f")
DECIMAL = ("0.1", "2.5", "25.0", "-2.5", "1.5", "1e10", "0.0", "100.25")
ENERGY = ("25 GeV", "2.5 GeV", "0.1 GeV", "25000 MeV", "-1 GeV", "100")
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")

INTEGERS = {
    "": ("i", "j", "bits", "nMuon", "nJet", "NTau", "run", "event", "Muon.charge[0]", "Muon.big[1]", "Muon.id[0]",
         "Tau.n[1]", "TauN1"),
    "Muon": ("Muon.charge", "Muon.big", "Muon.id"), "Jet": ("i",), "Tau": ("Tau.n",),
}  # fmt: skip
FLOATS = {
    "": ("x", "y", "Muon.eta[0]", "Muon.d[1]", "Jet.eta[0]", "Tau.eta[2]", "TauEta1"),
    "Muon": ("Muon.eta", "Muon.d"), "Jet": ("Jet.eta",), "Tau": ("Tau.eta",),
}  # fmt: skip
ENERGIES = {
    "": ("MET_pt", "Muon.pt[0]", "Muon.mass[1]", "Jet.pt[0]", "Jet.mass[1]", "Tau.pt[0]", "TauPt3"),
    "Muon": ("Muon.pt", "Muon.mass"), "Jet": ("Jet.pt", "Jet.mass"), "Tau": ("Tau.pt",),
}  # fmt: skip
OBJECTS = ("Muon[0]", "Muon[1]", "Jet[0]")
TRUTHS = {"": ("flag", "Muon.good[0]", "HLT_a", "HLT_b", "L1_c", 'trigger("L1_c")'), "Muon": ("Muon.good",)}
ELEMENTARY = tuple(n for n, row in FUNCTIONS.items() if row.form == "elementary")
AGGREGATES = ("Muon", "Jet", "Tau")


class Writer:
    """Writes one cut; `over` is the collection whose aggregate we are in, "" outside of any."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw

    def of(self, *options: Any) -> Any:
        """One of the options, drawn."""
        return self.draw(st.sampled_from(options))

    def leaf(self, pool: Mapping[str, tuple[str, ...]], over: str) -> str:
        """A name; inside an aggregate mostly one of its objects'."""
        return str(self.of(*pool[over], *pool[over], *pool[""]) if over in pool else self.of(*pool[""]))

    def condition(self, depth: int, over: str = "") -> str:
        """Anything that is true or false."""
        if depth <= 0:
            return self.atom(0, over)
        form = self.of("atom", "atom", "and", "or", "not", "and")
        if form == "atom":
            return self.atom(depth, over)
        if form == "not":
            return self.of("!({})", "not ({})").format(self.condition(depth - 1, over))
        count = self.draw(st.integers(2, 3))
        word = {"and": self.of("&&", "and"), "or": self.of("||", "or")}[form]
        return "(" + f" {word} ".join(self.condition(depth - 1, over) for _ in range(count)) + ")"

    def atom(self, depth: int, over: str) -> str:
        """A condition that has no other beside it."""
        forms = [self.compared, self.compared, self.energies, self.energies, self.chained, self.among, self.bits, self.fact]
        if not over:
            forms += [self.quantified, self.quantified]
        return str(self.of(*forms)(depth, over))

    def compared(self, depth: int, over: str) -> str:
        side = self.of(self.number, self.integer)
        other = self.of(lambda d, o: self.of(*WHOLE, *DECIMAL), side)
        return f"{side(depth, over)} {self.of(*COMPARISONS)} {other(depth - 1, over)}"

    def energies(self, depth: int, over: str) -> str:
        other = self.of(*ENERGY, "") or self.energy(depth - 1, over)
        return f"{self.energy(depth, over)} {self.of(*COMPARISONS)} {other}"

    def chained(self, depth: int, over: str) -> str:
        low, high = self.of(*WHOLE), self.of(*DECIMAL)
        return f"{low} {self.of('<', '<=')} {self.number(depth - 1, over)} {self.of('<', '<=')} {high}"

    def among(self, depth: int, over: str) -> str:
        word = self.of("in", "not in")
        if self.draw(st.booleans()):
            values = self.draw(st.lists(st.sampled_from(WHOLE), min_size=1, max_size=8))
            return f"{self.integer(depth - 1, over)} {word} ({', '.join(values)})"
        if self.draw(st.booleans()):
            return f"""name {word} ("a", "it's")"""
        return f"{self.leaf(FLOATS, over)} {word} ({self.of(*DECIMAL)}, {self.of(*DECIMAL)})"

    def bits(self, depth: int, over: str) -> str:
        form = self.of("bit({0}, {1})", "({0} & {2}) {3} {2}", "({0} ^ {2} | {0} >> {1}) {3} 5", "(~{0} & {2}) {3} 0")
        if form.startswith("bit("):
            subject = self.of("bits", "word", "trigger_0")
        else:
            subject = self.of("bits", "word", "(word << 3)", "(word >> 60)", self.leaf(INTEGERS, over))
        mark = self.of("==", "!=")
        return str(form).format(subject, self.of("0", "1", "5", "31"), self.of("1", "8", "0xff", "0x80000000"), mark)

    def fact(self, depth: int, over: str) -> str:
        form = self.of("truth", "present", "test", "lumi", "text", "constant", "bool", "trigger")
        if form == "present":
            kind = self.of(ENERGIES, FLOATS, INTEGERS, TRUTHS)
            return f"present({self.of(self.leaf(kind, over), self.energy(depth - 1, over))})"
        if form == "test":
            number = self.of(self.leaf(FLOATS, over), self.function(depth - 1, over), self.energy(0, over))
            return f"{self.of('isnan', 'isinf', 'isfinite')}({number})"
        if form == "text":
            return f"name {self.of('==', '!=')} \"{self.of('a', 'b c', '')}\""
        if form == "bool":
            return f"{self.leaf(TRUTHS, over)} {self.of('==', '!=')} {self.of('flag', 'true', '1')}"
        plain = {"lumi": 'in_lumi("good")', "constant": self.of("true", "false"), "trigger": self.of("HLT_a", "L1_c")}
        return plain.get(form) or self.leaf(TRUTHS, over)

    def quantified(self, depth: int, over: str) -> str:
        """any, all, or a count compared."""
        collection = self.of(*AGGREGATES)
        body = self.body(depth - 1, collection)
        if self.draw(st.booleans()):
            return f"{self.of('any', 'all')}({body})"
        return f"count({self.of(body, collection)}) {self.of(*COMPARISONS)} {self.of('0', '1', '2', 'nMuon')}"

    def body(self, depth: int, collection: str) -> str:
        """A condition on the objects of a collection, in the short form or with a variable."""
        anchor = f"{self.energy(0, collection, own=True)} {self.of('>', '<=', '!=')} {self.of(*ENERGY)}"
        text = f"{anchor} {self.of('&&', '||')} {self.condition(min(depth, 1), collection)}"
        text = self.of(anchor, text)
        if self.draw(st.booleans()):
            return str(text)
        return f"o in {collection}: " + _by_variable(text, collection, "o")

    # numbers

    def number(self, depth: int, over: str) -> str:
        """A float expression without unit."""
        if depth <= 0:
            return self.leaf(FLOATS, over)
        form = self.of("leaf", "arithmetic", "arithmetic", "function", "function", "pick", "same", "reduced", "geometry")
        if form == "arithmetic":
            return f"({self.number(depth - 1, over)} {self.of(*'+-*/')} {self.of(self.number, self.integer)(depth - 1, over)})"
        if form == "function":
            return self.function(depth, over)
        if form == "pick":
            other = self.of(self.number(depth - 1, over), self.of(*DECIMAL))
            return f"{self.of('min2', 'max2')}({self.number(depth - 1, over)}, {other})"
        if form == "same":
            return f"{self.of('abs(', '-(')}{self.number(depth - 1, over)})"
        if form == "reduced" and not over:
            pool, collection = self.of(FLOATS, INTEGERS), self.of(*AGGREGATES)
            if collection not in pool or collection == "Jet":
                collection = "Muon"
            body = self.of(*pool[collection])
            body = self.of(body, f"{body} * {self.of('2', '0.5', body)}", f"abs({body})", f"{body} + x")
            return f"{self.of('sum', 'min', 'max')}({body})"
        if form == "geometry":
            return self.geometry(over)
        return self.leaf(FLOATS, over)

    def function(self, depth: int, over: str) -> str:
        """An elementary function."""
        name = self.of(*ELEMENTARY)
        count = FUNCTIONS[name].fewest
        inner = self.of(self.number, self.integer)
        return f"{name}({', '.join(inner(depth - 1, over) for _ in range(count))})"

    def geometry(self, over: str) -> str:
        a, b = self.of(over or "Muon[0]", *OBJECTS), self.of(*OBJECTS)
        return str(
            self.of(
                f"deltaR({a}, {b})", f"deltaEta({a}, {b})", f"eta({a}, {b})", f"rapidity({a})", f"rapidity({a}, {b})",
                f"cos(deltaPhi({a}, MET))", f"sin(deltaPhi({b}, {a}))",
            )
        )  # fmt: skip

    def energy(self, depth: int, over: str, own: bool = False) -> str:
        """An expression in GeV or MeV."""
        if own:
            return str(self.of(*ENERGIES[over]))
        if depth <= 0:
            return self.leaf(ENERGIES, over)
        form = self.of("leaf", "leaf", "sum", "pick", "same", "reduced", "mass", "mass")
        if form == "sum":
            return f"({self.energy(depth - 1, over)} {self.of('+', '-')} {self.energy(depth - 1, over)})"
        if form == "pick":
            return f"{self.of('min2', 'max2')}({self.energy(depth - 1, over)}, {self.of(*ENERGY, 'MET_pt')})"
        if form == "same":
            return f"{self.of('abs(', '-(', '2 * (')}{self.energy(depth - 1, over)})"
        if form == "reduced" and not over:
            return f"{self.of('sum', 'min', 'max')}({self.energy(0, self.of(*AGGREGATES), own=True)})"
        if form == "mass":
            a, b = self.of(over if over != "Tau" and over else "Muon[0]", *OBJECTS), self.of(*OBJECTS)
            return str(
                self.of(
                    f"mass({a}, {b})", f"mass({a}, {b}, Jet[1])", f"mt({a}, MET)", f"pt({a}, {b})", f"px({a})",
                    f"py({a})", f"pz({a})", f"energy({a})", f"hypot({self.leaf(ENERGIES, over)}, MET_pt)",
                )
            )  # fmt: skip
        return self.leaf(ENERGIES, over)

    def integer(self, depth: int, over: str) -> str:
        """An integer expression."""
        if depth <= 0:
            return self.leaf(INTEGERS, over)
        form = self.of("leaf", "arithmetic", "arithmetic", "modulo", "same", "counted", "shift", "bits")
        if form == "arithmetic":
            other = self.of(self.integer(depth - 1, over), self.of(*WHOLE))
            return f"({self.integer(depth - 1, over)} {self.of(*'+-*')} {other})"
        if form == "modulo":
            return f"({self.integer(depth - 1, over)} % {self.of('7', '3', '(-5)', 'i', 'NTau', self.leaf(INTEGERS, over))})"
        if form == "same":
            return f"{self.of('abs(', '-(', '~(')}{self.leaf(INTEGERS, over)})"
        if form == "counted" and not over:
            return f"{self.of('count(Muon)', 'count(Tau)', 'sum(Muon.charge)', 'sum(Muon.big)', 'max(Tau.n)', 'sum(Muon.good)')}"
        if form == "shift":
            return f"({self.leaf(INTEGERS, over)} {self.of('<<', '>>')} {self.of('1', '4', '40')})"
        if form == "bits":
            return f"({self.leaf(INTEGERS, over)} {self.of('&', '|', '^')} {self.of('1', '255', 'bits', '(-1)')})"
        return self.leaf(INTEGERS, over)


def _by_variable(text: str, collection: str, symbol: str) -> str:
    """The short form of a body with the objects of `collection` called `symbol`."""
    words = text.replace(f"{collection}.", f"{symbol}.")
    for function in ("mass", "mt", "pt", "px", "py", "pz", "energy", "deltaR", "deltaEta", "deltaPhi", "eta", "rapidity"):
        words = words.replace(f"{function}({collection},", f"{function}({symbol},").replace(
            f"{function}({collection})", f"{function}({symbol})"
        )
    words = words.replace(f", {collection})", f", {symbol})")
    for attribute in SCHEMA:  # what is indexed stays the event's
        if attribute.is_list or attribute.slot:
            member = f"{symbol}.{attribute.member}["
            words = words.replace(member, f"{collection}.{attribute.member}[")
    return words


@st.composite
def cuts(draw: Draw, depth: int = 3) -> str:
    """The text of a cut on `SCHEMA`."""
    return Writer(draw).condition(depth)
