"""The cut language: from text to a bound tree, and what that tree means on data.

`parse` and `bind` say what a cut means, or why it means nothing; the other modules are its four meanings. Invariant:
importing this package imports neither lark, numba nor DuckDB.
"""

from tagsel.expr.bind import Bound, bind, bind_value, conjuncts, fingerprint
from tagsel.expr.functions import FUNCTIONS, CutFunction
from tagsel.expr.named import expand
from tagsel.expr.nodes import SEMANTICS, Block, LumiTable, Node
from tagsel.expr.parse import parse
from tagsel.expr.scope import Scope
from tagsel.expr.text import canonical

__all__ = [
    "FUNCTIONS",
    "SEMANTICS",
    "Block",
    "Bound",
    "CutFunction",
    "LumiTable",
    "Node",
    "Scope",
    "bind",
    "bind_value",
    "canonical",
    "conjuncts",
    "expand",
    "fingerprint",
    "parse",
]
