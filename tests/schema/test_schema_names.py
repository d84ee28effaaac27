"""Names of attributes within a schema."""

from __future__ import annotations

import pytest

from tagsel.errors import SchemaError
from tagsel.schema import Attribute, Schema


def test_columns_that_differ_in_letter_case_only_are_refused_by_both_names() -> None:
    x, upper = Attribute("Muon.pt", "float32", is_list=True, counter="nMuon"), Attribute("muon_PT", "int32")
    with pytest.raises(SchemaError, match="Muon_pt and muon_PT differ in letter case only"):
        Schema((x, upper))
    with pytest.raises(SchemaError, match="Muon_pt and muon_PT"):
        Schema((x,)).union(Schema((upper,)))


def test_one_column_twice_is_refused() -> None:
    with pytest.raises(SchemaError, match="two attributes share the column a_b"):
        Schema((Attribute("a_b", "int32"), Attribute("a.b", "int32")))
