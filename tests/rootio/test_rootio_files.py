"""ROOT files: damage, cycles, GUIDs, trees and RNTuples by one interface, and reading of given entries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tagsel.errors import AccessError
from tagsel.rootio import EventTree, RootFile, entry_lists, guid_of
from tagsel.rootio.trees import block_runs

GUID = "81FB839F-06FD-F947-8A9F-9E9F5B0E0F9C"
PT = [[30.0, 20.0], [], [5.0], [7.0, 6.0, 5.0]]


def write_blocks(path: Path, kind: str, blocks: int = 10) -> None:
    """A file with `blocks` baskets (or clusters) of four events each; event = entry, pt as in PT."""
    with uproot.recreate(path) as file:
        pt = ak.values_astype(ak.Array(PT), np.float32)
        make = file.mktree if kind == "TTree" else file.mkrntuple
        tree = make("Events", {"event": "uint64", "pt": pt.type if kind == "TTree" else "var * float32"})
        for block in range(blocks):
            tree.extend({"event": np.arange(4 * block, 4 * block + 4, dtype=np.uint64), "pt": pt})


@pytest.fixture(scope="module", params=["TTree", "RNTuple"])
def blocks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rootio") / f"{request.param}.root"
    write_blocks(path, request.param)
    return path


def test_tree_and_rntuple_read_alike(blocks: Path) -> None:
    with RootFile(blocks) as file:
        tree = file.events()
        assert (tree.name, tree.entries) == ("Events", 40)
        arrays = tree.arrays(["event", "pt"], 2, 5)
        assert arrays["event"].tolist() == [2, 3, 4]
        assert arrays["pt"].to_list() == [PT[2], PT[3], PT[0]]
        assert str(tree.column_type("pt")) == "list<float32>"
        assert str(tree.column_type("event")) == "uint64"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(entries=st.lists(st.integers(0, 39), max_size=60))
def test_given_entries_come_in_the_order_asked(blocks: Path, entries: list[int]) -> None:
    with RootFile(blocks) as file:
        tree = file.events()
        found = tree.arrays_of(["pt", "event"], entries)
        assert found["event"].to_list() == entries
        assert found["pt"].to_list() == [PT[e % 4] for e in entries]
        assert tree.arrays_at(["event"], entries)["event"].tolist() == entries


def test_feature_56_only_blocks_that_hold_entries_are_read(blocks: Path) -> None:
    with RootFile(blocks) as file:
        tree = file.events()
        sizes = tree.block_bytes("pt")
        assert len(sizes) == 10
        assert (sizes > 0).all()
        # entries 4 to 7 are block 1, entry 39 is block 9
        assert tree.bytes_of(["pt"], [5, 4, 39]) == sizes[1] + sizes[9]
        assert tree.bytes_of(["pt"], []) == 0
        assert tree.bytes_of(["pt"]) == sizes.sum()


def test_blocks_not_asked_for_are_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "damaged.root"
    write_blocks(path, "TTree")
    with RootFile(path) as file:
        branch = file.events()._tree["event"]  # where uproot says that the basket lies
        seek = int(branch.member("fBasketSeek")[3])
        size = int(branch.basket_compressed_bytes(3))
    data = bytearray(path.read_bytes())
    data[seek : seek + size] = b"\xff" * size
    path.write_bytes(data)
    with RootFile(path) as file:
        tree = file.events()
        assert tree.arrays_of(["event"], [0, 11, 16, 39])["event"].to_list() == [0, 11, 16, 39]
        with pytest.raises(AccessError, match=r"damaged\.root: cannot read column event"):
            tree.arrays_of(["event"], [12])


def test_many_scattered_entries_are_read_through() -> None:
    offsets = np.arange(0, 101, dtype=np.int64)
    every_second = np.arange(0, 100, 2)
    assert block_runs(offsets, every_second) == [(0, 98)]
    assert len(block_runs(offsets, every_second[:16])) == 16  # few: each by itself


@given(st.sets(st.integers(0, 399)), st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_runs_cover_every_entry_once(entries: set[int], sizes: list[int]) -> None:
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    wanted = np.array(sorted(e for e in entries if e < offsets[-1]), dtype=np.int64)
    runs = block_runs(offsets, wanted)
    covered = [e for a, b in runs for e in range(offsets[a], offsets[b + 1])]
    assert len(covered) == len(set(covered))
    assert set(wanted.tolist()) <= set(covered)


def test_fault_27_entry_that_the_file_lacks_is_named(blocks: Path) -> None:
    with RootFile(blocks) as file:
        for bad in (40, -1):
            with pytest.raises(AccessError, match=f"entry {bad} .* 40 entries"):
                file.events().arrays_of(["event"], [0, bad])


def test_unknown_column_is_named_with_the_nearest(blocks: Path) -> None:
    with RootFile(blocks) as file, pytest.raises(AccessError, match="did you mean event"):
        file.events().arrays(["evnt"], 0, 1)


def test_highest_cycle_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "cycles.root"
    with uproot.recreate(path) as file:
        file.mktree("Events", {"event": "int64"}).extend({"event": np.array([1])})
        file.mktree("Events", {"event": "int64"}).extend({"event": np.array([2, 3])})
    with uproot.open(path) as file:
        assert sorted(file.keys()) == ["Events;1", "Events;2"]
    with RootFile(path) as file:
        assert file.trees() == ["Events"]
        assert file.events().arrays(["event"])["event"].tolist() == [2, 3]


def test_guid_is_the_pool_fid_else_the_uuid_of_the_file(tmp_path: Path) -> None:
    plain, pool = tmp_path / "plain.root", tmp_path / "pool.root"
    for path, lines in ((plain, []), (pool, ["[NAME=PFN][VALUE=x]", f"[NAME=FID][VALUE={GUID.lower()}]"])):
        with uproot.recreate(path) as file:
            if lines:
                file.mktree("##Params", {"db_string": "string"}).extend({"db_string": np.array(lines, dtype=object)})
    with uproot.open(plain) as file:
        assert guid_of(plain) == str(file.file.uuid).upper()
    assert guid_of(pool) == GUID


def test_a_colon_or_a_star_in_a_path_is_part_of_the_name(tmp_path: Path) -> None:
    path = tmp_path / "a:Events*[x].root"
    write_blocks(path, "TTree", 1)
    with RootFile(path) as file:
        assert file.events().entries == 4


@pytest.mark.parametrize(
    ("content", "says"), [(b"", "is empty"), (b"PAR1", "not a ROOT file"), (b"root", "cannot read")]
)
def test_what_is_no_root_file_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "bad.root"
    path.write_bytes(content)
    with pytest.raises(AccessError, match=rf"bad\.root.*{says}"):
        RootFile(path)


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match=r"nowhere\.root: cannot be opened: No such file"):
        RootFile(tmp_path / "nowhere.root")
    with pytest.raises(AccessError, match="Is a directory"):
        RootFile(tmp_path)


def test_fault_26_truncated_files_are_refused_or_fail_to_read_named(tmp_path: Path) -> None:
    whole = tmp_path / "whole.root"
    write_blocks(whole, "TTree")
    data = whole.read_bytes()
    for size in np.linspace(4, len(data) - 1, 60).astype(int):
        path = tmp_path / f"cut{size}.root"
        path.write_bytes(data[:size])
        with pytest.raises(AccessError, match=f"cut{size}.root"):
            RootFile(path)


def test_no_tree_of_events_says_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "other.root"
    with uproot.recreate(path) as file:
        file.mktree("dir/ntuple", {"x": "int32"}).extend({"x": np.array([1], dtype=np.int32)})
    with RootFile(path) as file:
        assert file.trees() == ["dir/ntuple"]
        assert file.tree("Events") is None
        with pytest.raises(AccessError, match=r"other\.root: no tree of events.*dir/ntuple"):
            file.events()
        assert file.events("dir/ntuple").entries == 1


def entries_of(tree: EventTree, columns: list[str], entries: list[int]) -> list[dict[str, object]]:
    return tree.arrays_of(columns, entries).to_list()


@pytest.mark.real
def test_feature_56_nanoaod_and_its_rntuple_twin_agree(real: Callable[[str], Path]) -> None:
    columns = ["event", "nMuon", "Muon_pt", "Muon_charge", "HLT_IsoMu24"]
    with RootFile(real("nano_dimuon.root")) as tree, RootFile(real("nano_dimuon_rntuple.root")) as ntuple:
        assert len(tree.events().columns()) == 1601  # data/README.md
        assert set(tree.events().columns()) == set(ntuple.events().columns())
        assert entries_of(tree.events(), columns, [5, 0, 39]) == entries_of(ntuple.events(), columns, [5, 0, 39])
        for file in (tree, ntuple):
            events = file.events()
            assert 0 < events.bytes_of(["Muon_pt"]) < events.bytes_of(["Muon_pt", "Jet_pt"]) < file.bytes


@pytest.mark.real
def test_real_guids(real: Callable[[str], Path]) -> None:
    # data/README.md: [NAME=FID] in ##Params of the highest cycle; else the file's UUID
    assert guid_of(real("uproot-issue-951.root")) == GUID
    assert guid_of(real("uproot-issue-798.root")) == "98D9CF31-D6AF-1F47-B373-0B28FC834EB2"
    with uproot.open(real("nano_dy.root")) as file:
        assert guid_of(real("nano_dy.root")) == str(file.file.uuid).upper()


@pytest.mark.real
def test_branches_that_raise_are_named_and_others_read(real: Callable[[str], Path]) -> None:
    with RootFile(real("PHYSLITE_example.root")) as file:
        tree = file.events()
        assert len(tree.columns()) == 1494
        # what is not split has no type that a TAG could hold, and says so when read
        assert tree.column_type("EventInfo") is None
        with pytest.raises(AccessError, match="column EventInfo of tree CollectionTree"):
            tree.arrays(["EventInfo"], 0, 1)
        assert len(tree.arrays(["EventInfoAuxDyn.eventNumber"])["EventInfoAuxDyn.eventNumber"]) == 100


def test_fault_59_every_form_of_a_block_of_an_entry_list() -> None:
    """Lists that ROOT 6.40 wrote: bits, entries that pass, entries that do not, blocks of 64,000 entries, nothing."""
    expected = {
        "bits": range(191, 200),
        "listed": range(0, 300, 3),
        "excluded": [entry for entry in range(64_000) if entry % 6_400],
        "blocks": [63_999, 64_000, 130_000],
        "none": [],
    }
    with RootFile(Path(__file__).parent / "files" / "entry_lists.root") as file:
        lists = entry_lists(file)
    assert {name: parts[0].entries.tolist() for name, parts in lists.items()} == {n: [*e] for n, e in expected.items()}
    assert {(p.file, p.tree) for parts in lists.values() for p in parts} == {("a.root", "Events")}
