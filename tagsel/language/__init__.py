"""The cut language: from text to a bound tree, and what that tree means on data.

`parse` and `bind` say what a cut means, or why it means nothing; the other modules are its four meanings. Invariant:
importing this package imports neither lark, numba nor DuckDB.
"""

from tagsel.language.bind import Bound, bind, bind_value, conjuncts, fingerprint
from tagsel.language.functions import FUNCTIONS, CutFunction
from tagsel.language.named import expand
from tagsel.language.parse import parse
from tagsel.language.printer import canonical
from tagsel.language.scope import Scope
from tagsel.language.tree import SEMANTICS, Block, LumiTable, Node

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
