"""Writes cuts on `tag_schema.SCHEMA` as text, from weighted alternatives, each of which binds."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from tag_schema import SCHEMA

from tagsel.language.functions import FUNCTIONS

WHOLE = ("0", "1", "2", "3", "7", "-1", "25", "9007199254740993", "2147483648", "0x1f")
DECIMAL = ("0.1", "2.5", "25.0", "-2.5", "1.5", "1e10", "0.0", "100.25")
ENERGY = ("25 GeV", "2.5 GeV", "0.1 GeV", "25000 MeV", "-1 GeV", "100")
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")

INTEGERS = {
    "": (
        "i",
        "j",
        "bits",
        "nMuon",
        "nJet",
        "NTau",
        "run",
        "event",
        "Muon.charge[0]",
        "Muon.big[1]",
        "Muon.id[0]",
        "Tau.n[1]",
        "TauN1",
        "Muon.id[i]",
    ),
    "Muon": ("Muon.charge", "Muon.big", "Muon.id"),
    "Jet": ("i",),
    "Tau": ("Tau.n",),
}
FLOATS = {
    "": ("x", "y", "Muon.eta[0]", "Muon.d[1]", "Jet.eta[0]", "Tau.eta[2]", "TauEta1", "Muon.eta[Muon.charge[0] + 1]"),
    "Muon": ("Muon.eta", "Muon.d"),
    "Jet": ("Jet.eta",),
    "Tau": ("Tau.eta",),
}
ENERGIES = {
    "": (
        "MET_pt",
        "Muon.pt[0]",
        "Muon.mass[1]",
        "Jet.pt[0]",
        "Jet.mass[1]",
        "Tau.pt[0]",
        "TauPt3",
        "Jet.pt[Muon.charge[0]]",
        "Jet.pt[nMuon - 1]",
    ),
    "Muon": ("Muon.pt", "Muon.mass"),
    "Jet": ("Jet.pt", "Jet.mass"),
    "Tau": ("Tau.pt",),
}
OBJECTS = ("Muon[0]", "Muon[1]", "Jet[0]")
TRUTHS = {"": ("flag", "Muon.good[0]", "HLT_a", "HLT_b", "L1_c", 'trigger("L1_c")'), "Muon": ("Muon.good",)}
ELEMENTARY = tuple(n for n, row in FUNCTIONS.items() if row.form == "elementary")
AGGREGATES = ("Muon", "Jet", "Tau")
COUNTED = ("count(Muon)", "count(Tau)", "sum(Muon.charge)", "sum(Muon.big)", "max(Tau.n)", "sum(Muon.good)")
GEOMETRY = ("mass", "mt", "pt", "px", "py", "pz", "energy", "deltaR", "deltaEta", "deltaPhi", "eta", "rapidity")


class Writer:
    """Writes one cut; `over` is the collection whose aggregate we are in, "" outside of any."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def of(self, *options: Any) -> Any:
        """One of the options."""
        return self.random.choice(options)

    def leaf(self, pool: Mapping[str, tuple[str, ...]], over: str) -> str:
        """A name; inside an aggregate mostly one of its objects'."""
        return str(self.of(*pool[over], *pool[over], *pool[""]) if over in pool else self.of(*pool[""]))

    def condition(self, depth: int, over: str = "") -> str:
        """Anything that is true or false."""
        form = self.of("atom", "atom", "and", "or", "not", "and", "choice") if depth > 0 else "atom"
        if form == "choice":
            return f"({self.fact(0, over)} ? {self.condition(depth - 1, over)} : {self.atom(1, over)})"
        if form == "atom":
            return self.atom(2, over)
        if form == "not":
            return self.of("!({})", "not ({})").format(self.condition(depth - 1, over))
        count = self.of(2, 3)
        word = {"and": self.of("&&", "and"), "or": self.of("||", "or")}[form]
        return "(" + f" {word} ".join(self.condition(depth - 1, over) for _ in range(count)) + ")"

    def atom(self, depth: int, over: str) -> str:
        """A condition that has no other beside it."""
        forms = [self.compared, self.compared, self.energies, self.energies, self.chained, self.among]
        forms += [self.bits, self.fact, self.called]
        if not over:
            forms += [self.quantified, self.quantified]
        return str(self.of(*forms)(depth, over))

    def compared(self, depth: int, over: str) -> str:
        side = self.of(self.number, self.integer)
        other = self.of(lambda d, o: self.of(*WHOLE, *DECIMAL), side)
        return f"{side(depth, over)} {self.of(*COMPARISONS)} {other(depth - 1, over)}"

    def called(self, depth: int, over: str) -> str:
        return f"{self.function(depth, over)} {self.of(*COMPARISONS)} {self.of(*DECIMAL)}"

    def energies(self, depth: int, over: str) -> str:
        other = self.of(*ENERGY, "") or self.energy(depth - 1, over)
        return f"{self.energy(depth, over)} {self.of(*COMPARISONS)} {other}"

    def chained(self, depth: int, over: str) -> str:
        low, high = self.of(*WHOLE), self.of(*DECIMAL)
        return f"{low} {self.of('<', '<=')} {self.number(depth - 1, over)} {self.of('<', '<=')} {high}"

    def among(self, depth: int, over: str) -> str:
        word = self.of("in", "not in")
        if self.of(True, False):
            values = self.random.choices(WHOLE, k=self.random.randint(1, 8))
            return f"{self.integer(depth - 1, over)} {word} ({', '.join(values)})"
        if self.of(True, False):
            return f"""name {word} ("a", "it's")"""
        return f"{self.leaf(FLOATS, over)} {word} ({self.of(*DECIMAL)}, {self.of(*DECIMAL)})"

    def bits(self, depth: int, over: str) -> str:
        form = self.of("bit({0}, {1})", "({0} & {2}) {3} {2}", "({0} ^ {4} | {0} >> {1}) {3} 5", "(~{0} & {2}) {3} 0")
        if form.startswith("bit("):
            subject = self.of("bits", "word", "trigger_0")
        else:
            subject = self.of("bits", "word", "(word << 3)", "(word >> 60)", self.leaf(INTEGERS, over))
        mark = self.of("==", "!=")
        return str(form).format(
            subject, self.of("0", "1", "5", "31"), self.of("1", "8", "0xff", "0x80000000"), mark, self.of("0x1", "0xff")
        )

    def fact(self, depth: int, over: str) -> str:
        form = self.of("truth", "present", "test", "test", "lumi", "text", "constant", "bool", "trigger")
        if form == "present":
            kind = self.of(ENERGIES, FLOATS, INTEGERS, TRUTHS)
            return f"present({self.of(self.leaf(kind, over), self.energy(depth - 1, over))})"
        if form == "test":
            number = self.of(self.leaf(FLOATS, over), self.function(depth - 1, over), self.energy(0, over))
            return f"{self.of('isnan', 'isinf', 'isfinite')}({number})"
        if form == "text":
            return f'name {self.of("==", "!=")} "{self.of("a", "b c", "")}"'
        if form == "bool":
            return f"{self.leaf(TRUTHS, over)} {self.of('==', '!=')} {self.of('flag', 'true', '1')}"
        plain = {"lumi": 'in_lumi("good")', "constant": self.of("true", "false"), "trigger": self.of("HLT_a", "L1_c")}
        return plain.get(form) or self.leaf(TRUTHS, over)

    def quantified(self, depth: int, over: str) -> str:
        """any, all, or a count compared."""
        collection = self.of(*AGGREGATES)
        body = self.body(depth - 1, collection)
        if self.of(True, False):
            return f"{self.of('any', 'all')}({body})"
        return f"count({self.of(body, collection)}) {self.of(*COMPARISONS)} {self.of('0', '1', '2', 'nMuon')}"

    def body(self, depth: int, collection: str) -> str:
        """A condition on the objects of a collection, in the short form or with a variable."""
        anchor = f"{self.energy(0, collection, own=True)} {self.of('>', '<=', '!=')} {self.of(*ENERGY)}"
        text = f"{anchor} {self.of('&&', '||')} {self.condition(min(depth, 1), collection)}"
        text = self.of(anchor, text)
        if self.of(True, False):
            return str(text)
        return f"o in {collection}: " + _by_variable(text, collection, "o")

    # numbers

    def number(self, depth: int, over: str) -> str:
        """A float expression without unit."""
        if depth <= 0:
            return self.leaf(FLOATS, over)
        form = self.of(
            "leaf",
            "arithmetic",
            "arithmetic",
            "function",
            "function",
            "function",
            "pick",
            "same",
            "reduced",
            "geometry",
            "geometry",
            "choice",
        )
        if form == "arithmetic":
            other = self.of(self.number, self.integer)(depth - 1, over)
            return f"({self.number(depth - 1, over)} {self.of(*'+-*/')} {other})"
        if form == "function":
            return self.function(depth, over)
        if form == "choice":
            sides = [self.of(self.number, self.integer)(depth - 1, over), self.number(depth - 1, over)]
            return f"({self.fact(0, over)} ? {sides[0]} : {sides[1]})"
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

    def object(self, over: str) -> str:
        """An object with four components; slots of taus have no phi."""
        return str(self.of(*OBJECTS, over if over in ("Muon", "Jet") else "Muon[0]"))

    def geometry(self, over: str) -> str:
        a, b = self.object(over), self.of(*OBJECTS)
        return str(
            self.of(
                f"deltaR({a}, {b})",
                f"deltaEta({a}, {b})",
                f"eta({a}, {b})",
                f"rapidity({a})",
                f"rapidity({a}, {b})",
                f"cos(deltaPhi({a}, MET))",
                f"sin(deltaPhi({b}, {a}))",
            )
        )

    def energy(self, depth: int, over: str, own: bool = False) -> str:
        """An expression in GeV or MeV."""
        if own:
            return str(self.of(*ENERGIES[over]))
        if depth <= 0:
            return self.leaf(ENERGIES, over)
        form = self.of("leaf", "sum", "pick", "same", "reduced", "reduced", "mass", "mass", "mass", "choice")
        if form == "choice":
            sides = [self.energy(depth - 1, over), self.of(*ENERGY, self.energy(depth - 1, over))]
            return f"({self.fact(0, over)} ? {sides[0]} : {sides[1]})"
        if form == "sum":
            return f"({self.energy(depth - 1, over)} {self.of('+', '-')} {self.energy(depth - 1, over)})"
        if form == "pick":
            return f"{self.of('min2', 'max2')}({self.energy(depth - 1, over)}, {self.of(*ENERGY, 'MET_pt')})"
        if form == "same":
            return f"{self.of('abs(', '-(', '2 * (')}{self.energy(depth - 1, over)})"
        if form == "reduced" and not over:
            return f"{self.of('sum', 'min', 'max')}({self.energy(0, self.of(*AGGREGATES), own=True)})"
        if form == "mass":
            a, b = self.object(over), self.of(*OBJECTS)
            return str(
                self.of(
                    f"mass({a}, {b})",
                    f"mass({a}, {b}, Jet[1])",
                    f"mt({a}, MET)",
                    f"pt({a}, {b})",
                    f"px({a})",
                    f"py({a})",
                    f"pz({a})",
                    f"energy({a})",
                    f"hypot({self.leaf(ENERGIES, over)}, MET_pt)",
                )
            )
        return self.leaf(ENERGIES, over)

    def integer(self, depth: int, over: str) -> str:
        """An integer expression."""
        if depth <= 0:
            return self.leaf(INTEGERS, over)
        form = self.of("leaf", "arithmetic", "arithmetic", "modulo", "same", "counted", "shift", "bits", "choice")
        if form == "choice":
            sides = [self.integer(depth - 1, over), self.of(self.integer(depth - 1, over), *WHOLE)]
            return f"({self.compared(0, over)} ? {sides[0]} : {sides[1]})"
        if form == "arithmetic":
            other = self.of(self.integer(depth - 1, over), self.of(*WHOLE))
            return f"({self.integer(depth - 1, over)} {self.of(*'+-*')} {other})"
        if form == "modulo":
            by = self.of("7", "3", "(-5)", "i", "NTau", self.leaf(INTEGERS, over))
            return f"({self.integer(depth - 1, over)} % {by})"
        if form == "same":
            return f"{self.of('abs(', '-(', '~(')}{self.leaf(INTEGERS, over)})"
        if form == "counted" and not over:
            return str(self.of(*COUNTED))
        if form == "shift":
            return f"({self.leaf(INTEGERS, over)} {self.of('<<', '>>')} {self.of('1', '4', '40')})"
        if form == "bits":
            return f"({self.leaf(INTEGERS, over)} {self.of('& 1', '| 255', '^ 0xff', '& bits', '^ (-1)')})"
        return self.leaf(INTEGERS, over)


def _by_variable(text: str, collection: str, symbol: str) -> str:
    """The short form of a body with the objects of `collection` called `symbol`."""
    words = text.replace(f"{collection}.", f"{symbol}.")
    for function in GEOMETRY:
        words = words.replace(f"{function}({collection},", f"{function}({symbol},").replace(
            f"{function}({collection})", f"{function}({symbol})"
        )
    words = words.replace(f", {collection})", f", {symbol})")
    for attribute in SCHEMA:  # what is indexed stays the event's
        if attribute.is_list or attribute.slot:
            member = f"{symbol}.{attribute.member}["
            words = words.replace(member, f"{collection}.{attribute.member}[")
    return words
