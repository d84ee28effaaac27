"""Selections: plan by zones, scan what is left, count, list, cutflow, pick, and say why."""

from tagsel.selection.cutflow import Cutflow, Step, cutflow
from tagsel.selection.event_list import select
from tagsel.selection.lookup import Picked, pick
from tagsel.selection.plan import Plan, plan
from tagsel.selection.query import DUPLICATES, Input, Query, bind_query, selection_hash
from tagsel.selection.run import Count, count, prepare
from tagsel.selection.why import Why, why
from tagsel.selection.yields import Yield

__all__ = [
    "DUPLICATES",
    "Count",
    "Cutflow",
    "Input",
    "Picked",
    "Plan",
    "Query",
    "Step",
    "Why",
    "Yield",
    "bind_query",
    "count",
    "cutflow",
    "pick",
    "plan",
    "prepare",
    "select",
    "selection_hash",
    "why",
]
