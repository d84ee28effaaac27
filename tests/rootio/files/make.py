"""Make the ROOT files of this folder, which uproot cannot write. Needs a Python with ROOT (6.36 or newer).

    python tests/rootio/files/make.py FOLDER

README.md says what is in each.
"""

from __future__ import annotations

import array
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import ROOT

RNTUPLE = """
#include <ROOT/RNTupleModel.hxx>
#include <ROOT/RNTupleWriter.hxx>

void late() {
  auto model = ROOT::RNTupleModel::Create();
  auto run = model->MakeField<std::uint32_t>("run");
  auto lumi = model->MakeField<std::uint32_t>("luminosityBlock");
  auto event = model->MakeField<std::uint64_t>("event");
  auto met = model->MakeField<float>("MET_pt");
  auto writer = ROOT::RNTupleWriter::Recreate(std::move(model), "Events", "late.root");
  for (int i = 0; i < 100; ++i) {
    *run = 5; *lumi = 1; *event = i + 1; *met = i;
    writer->Fill();
  }
  writer->CommitCluster();
  auto updater = writer->CreateModelUpdater();
  updater->BeginUpdate();
  auto phi = updater->MakeField<float>("MET_phi");
  auto jets = updater->MakeField<std::vector<float>>("Jet_pt");
  auto trigger = updater->MakeField<bool>("HLT_late");
  updater->CommitUpdate();
  for (int i = 100; i < 200; ++i) {
    *run = 5; *lumi = 2; *event = i + 1; *met = i; *phi = 7; *trigger = i % 2;
    jets->clear();
    jets->push_back(i);
    jets->push_back(i + 1);
    writer->Fill();
  }
}
"""


class Events:
    """A tree `Events` with ids and MET_pt, and the variables of its branches by name."""

    def __init__(self) -> None:
        self.tree = ROOT.TTree("Events", "Events")
        self.variables: dict[str, array.array] = {}
        for name, code in (("run", "i"), ("luminosityBlock", "i"), ("event", "l")):
            self.add(name, code, {"i": "I", "l": "L"}[code])
        self.variables["run"][0] = 5
        self.variables["luminosityBlock"][0] = 1

    def add(self, name: str, code: str, kind: str, size: int = 1, length: str = "", packed: str = "") -> array.array:
        """A branch of ROOT's type `code`, kept in an array of Python's type `kind`."""
        self.variables[name] = array.array(kind, [0] * size)
        return self.tree.Branch(name, self.variables[name], f"{name}{length}/{code}{packed}")

    def fill(self, entry: int) -> None:
        """One more entry."""
        self.variables["event"][0] = entry + 1
        self.tree.Fill()


def short() -> None:
    """A branch of 60 entries in a tree of 100."""
    file = ROOT.TFile("short.root", "recreate")
    events = Events()
    events.add("MET_pt", "F", "f")
    for entry in range(100):
        events.variables["MET_pt"][0] = entry
        events.fill(entry)
    branch = events.add("MET_phi", "F", "f")
    for entry in range(60):
        events.variables["MET_phi"][0] = entry
        branch.Fill()
    events.tree.Write()
    file.Close()


def friend() -> None:
    """A tree with a friend."""
    file = ROOT.TFile("friend.root", "recreate")
    other = ROOT.TTree("fr", "fr")
    value = array.array("f", [0])
    other.Branch("DeepMET_w", value, "DeepMET_w/F")
    for entry in range(100):
        value[0] = entry
        other.Fill()
    other.Write()
    events = Events()
    events.add("MET_pt", "F", "f")
    for entry in range(100):
        events.variables["MET_pt"][0] = entry
        events.fill(entry)
    events.tree.AddFriend("fr", "friend.root")
    events.tree.Write()
    file.Close()


def nobranch() -> None:
    """A tree without entries and without branches."""
    file = ROOT.TFile("nobranch.root", "recreate")
    ROOT.TTree("Events", "Events").Write()
    file.Close()


def double32() -> None:
    """Float16_t and Double32_t, alone and in lists, plain and packed into 16 bits."""
    file = ROOT.TFile("double32.root", "recreate")
    events = Events()
    packed = "[0,64,16]"
    events.add("MET_pt", "d", "d")
    events.add("MET_phi", "f", "f")
    events.add("nMuon", "I", "i")
    events.add("Muon_pt", "d", "d", 4, "[nMuon]")
    events.add("Muon_phi", "f", "f", 4, "[nMuon]")
    events.add("PuppiMET_pt", "d", "d", packed=packed)
    events.add("PuppiMET_phi", "f", "f", packed=packed)
    events.add("Muon_eta", "d", "d", 4, "[nMuon]", packed)
    for entry in range(4):
        for name in ("MET_pt", "PuppiMET_pt"):
            events.variables[name][0] = 1.5 * entry
        for name in ("MET_phi", "PuppiMET_phi"):
            events.variables[name][0] = 0.25 * entry
        events.variables["nMuon"][0] = entry
        for name in ("Muon_pt", "Muon_phi", "Muon_eta"):
            for k in range(entry):
                events.variables[name][k] = 10.0 * k + 0.5
        events.fill(entry)
    events.tree.Write()
    file.Close()


def late() -> None:
    """An RNTuple with columns that were added after entry 100."""
    ROOT.gInterpreter.Declare(RNTUPLE)
    ROOT.late()


def entry_list(name: str, entries: Iterable[int], file: str = "a.root") -> ROOT.TEntryList:
    """A list of entries of one file, packed as ROOT packs it; without the folder that ROOT puts before the file."""
    made = ROOT.TEntryList(name, "", "Events", file)
    for entry in entries:
        made.Enter(entry)
    if name != "bits":
        made.OptimizeStorage()
    made.SetFileName(file)
    return made


def lists() -> None:
    """TEntryLists of every kind of block, one of a chain, and a TEventList."""
    entries = {
        "bits": range(191, 200),
        "listed": range(0, 300, 3),
        "blocks": (63_999, 64_000, 130_000),
        "none": (),
        "excluded": [entry for entry in range(64_000) if entry % 6_400],
    }
    file = ROOT.TFile("entry_lists.root", "recreate")
    for name, some in entries.items():
        entry_list(name, some).Write()
    file.Close()
    file = ROOT.TFile("chain.root", "recreate")
    chain = entry_list("chain", (2, 5))
    chain.Add(entry_list("other", (0, 2), "b.root"))
    for part in chain.GetLists():
        part.SetFileName(Path(str(part.GetFileName())).name)
    chain.SetFileName("a.root")
    chain.Write()
    file.Close()
    file = ROOT.TFile("event_list.root", "recreate")
    events = ROOT.TEventList("elist")
    events.Enter(2)
    events.Enter(5)
    events.Write()
    file.Close()


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    for make in (short, friend, nobranch, double32, late, lists):
        make()
