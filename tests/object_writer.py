"""Writes cuts on combinations of objects: pairs, triples, products, nesting, `let` with argmin and argmax, `if`."""

from __future__ import annotations

from itertools import pairwise

from cut_writer import COMPARISONS, DECIMAL, ENERGY, WHOLE, Writer

HEADS = (
    (("a", "b"), ("Muon",)),
    (("a", "b"), ("Muon",)),
    (("a", "b"), ("Jet",)),
    (("a", "b"), ("Tau",)),
    (("a", "b", "c"), ("Jet",)),
    (("a", "b", "c"), ("Tau",)),
    (("a",), ("Muon",)),
    (("a",), ("Jet",)),
    (("a",), ("Tau",)),
    (("a",), ("Tau", "Muon")),
    (("a",), ("Muon", "Jet")),
    (("a",), ("Muon", "Muon")),
    (("a", "b"), ("Muon", "Jet")),
)
"""Names of the first collection's objects, and the collections; the others have one object each."""

WHOLES = {"Muon": ("charge", "big", "id"), "Jet": (), "Tau": ("n",)}
NUMBERS = {"Muon": ("eta", "d", "charge"), "Jet": ("eta",), "Tau": ("eta", "n")}

Objects = list[tuple[str, str]]
"""(variable, collection) of the objects at hand."""


class ObjectWriter(Writer):
    """Writes cuts, some of them on combinations; names of objects carry the level at which they are bound."""

    def atom(self, depth: int, over: str) -> str:
        if not over and self.of(True, False, False):
            return self.combined(1, [])
        return super().atom(depth, over)

    def fact(self, depth: int, over: str) -> str:
        """A value that is there on a condition, too."""
        if self.of(*[False] * 5, True):
            value = self.of("i", "x", "Muon.eta[0]", "j")
            condition = super().fact(depth, over)
            return f"({value} if {condition}) {self.of(*COMPARISONS)} {self.of(*DECIMAL)}"
        return super().fact(depth, over)

    def heads(self, level: int) -> tuple[str, Objects]:
        names, collections = self.of(*HEADS) if level == 1 else self.of(*HEADS[6:])
        groups = [names, *((chr(ord("p") + k),) for k in range(len(collections) - 1))]
        objects, written = [], []
        for group, collection in zip(groups, collections, strict=True):
            named = [f"{name}{level}" for name in group]
            objects += [(name, collection) for name in named]
            written.append(f"{', '.join(named)} in {collection}")
        return ", ".join(written), objects

    def combined(self, level: int, around: Objects) -> str:
        """A condition on combinations of objects, and on the objects around it."""
        heads, objects = self.heads(level)
        form = self.of("quantified", "quantified", "counted", "reduced", "reduced", "let", "let", "let_value")
        if form == "quantified":
            return f"{self.of('any', 'all')}({heads}: {self.about(level, objects, around)})"
        if form == "counted":
            body = self.about(level, objects, around)
            return f"count({heads}: {body}) {self.of(*COMPARISONS)} {self.of('0', '1', '2', 'nMuon')}"
        if form == "reduced":
            value, constants = self.value(objects, around)
            if self.of(True, False):
                value = f"{value} if {self.about(level, objects, around)}"
            return f"{self.of('sum', 'min', 'max')}({heads}: {value}) {self.of(*COMPARISONS)} {self.of(*constants)}"
        value, _ = self.value(objects, around)
        if self.of(True, False, False):
            value = f"{value} if {self.about(level, objects, around)}"
        choice = f"{self.of('argmin', 'argmax')}({heads}: {value})"
        chosen = [(f"{name}x", collection) for name, collection in objects]
        names = chosen[0][0] if len(chosen) == 1 else f"({', '.join(name for name, _ in chosen)})"
        if form == "let":
            return f"(let {names} = {choice}; {self.about(level, chosen, around)})"
        rest, constants = self.value(chosen, around)
        return f"(let {names} = {choice}; {rest}) {self.of(*COMPARISONS)} {self.of(*constants)}"

    def about(self, level: int, objects: Objects, around: Objects) -> str:
        """A condition in which every object occurs, and mostly one of those around it."""
        parts = [self.compare_two(*pair) for pair in pairwise(objects)]
        parts += [self.compare_one(objects[0], around)] if not parts or around or self.of(True, False) else []
        if level == 1 and self.of(True, False):
            parts.append(self.inside(objects))
        if self.of(True, False, False):
            parts.append(self.compare_one(self.of(*objects), []))
        word = f" {self.of('&&', '||', '&&')} "
        return word.join(self.of("{}", "{}", "!({})").format(part) for part in parts)

    def inside(self, objects: Objects) -> str:
        """A condition of one more level, which looks at an object of this one."""
        name, _ = self.of(*objects)
        short = f"{self.of('any', 'all')}(Jet.pt > {name}.pt)", f"count(Muon.eta <= {name}.eta) == 1"
        return str(self.of(*short, f"{name}.eta < max(Tau.eta)", *[self.combined(2, objects)] * 5))

    def compare_one(self, one: tuple[str, str], around: Objects) -> str:
        if around:
            return self.compare_two(one, self.of(*around))
        name, collection = one
        constant = self.of(f"{name}.pt {{}} {self.of(*ENERGY)}", f"{name}.eta {{}} {self.of(*DECIMAL)}")
        event = self.of(f"{name}.pt {{}} MET_pt", f"{name}.eta {{}} x", f"present({name}.pt)")
        if collection != "Tau" and self.of(True, False):
            function = self.of("energy", "energy", "px", "py", "pz", "mass")
            return f"{function}({name}) {self.of(*COMPARISONS)} {self.of(*ENERGY)}"
        own = [f"{name}.{member} {{}} {self.of(*WHOLE)}" for member in WHOLES[collection]]
        return str(self.of(constant, event, *own)).format(self.of(*COMPARISONS))

    def compare_two(self, one: tuple[str, str], other: tuple[str, str]) -> str:
        (a, first), (b, second) = one, other
        forms = [f"{a}.pt {{}} {b}.pt", f"{a}.eta {{}} {b}.eta", f"{a}.eta * {b}.eta {{}} {self.of(*DECIMAL)}"]
        if "Tau" not in (first, second):
            forms += [f"deltaR({a}, {b}) {{}} 2.5", f"mass({a}, {b}) {{}} 25 GeV", f"pt({a}, {b}, {a}) {{}} 25 GeV"]
        for left, right in ((one, other), (other, one)):
            forms += [f"{left[0]}.{m} + {right[0]}.eta {{}} {self.of(*WHOLE)}" for m in WHOLES[left[1]]]
        if WHOLES[first] and WHOLES[second]:
            m, n = self.of(*WHOLES[first]), self.of(*WHOLES[second])
            forms += [f"{a}.{m} {{}} {b}.{n}", f"{a}.{m} {self.of(*'*%%+')} {b}.{n} {{}} {self.of(*WHOLE)}"]
        if first == second:
            forms.append(f"{a} {self.of('==', '!=')} {b}")
        return str(self.of(*forms)).format(self.of(*COMPARISONS))

    def value(self, objects: Objects, around: Objects) -> tuple[str, tuple[str, ...]]:
        """A value in which every object occurs, and what to compare it with."""
        form = self.of("energy", "number", "number", "mass")
        more = [self.of(*around)] if around else []
        everyone = [*objects, *more]
        if form == "mass" and not any(collection == "Tau" for _, collection in everyone):
            return f"mass({', '.join(name for name, _ in everyone)})", ENERGY
        if form == "energy":
            return f" {self.of('+', '-')} ".join(f"{name}.pt" for name, _ in everyone), ENERGY
        terms = [f"{name}.{self.of(*NUMBERS[collection])}" for name, collection in everyone]
        text = f" {self.of('+', '-', '*')} ".join(terms)
        return self.of(text, f"abs({text})"), (*DECIMAL, *WHOLE)
