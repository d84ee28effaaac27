"""A glob of trigger chains outside of quotes, `HLT_IsoMu*`, which a cut writes as `trigger("HLT_IsoMu*")`.

Invariant: only a cut that is refused anyway is looked at, so that a product with a chain stays one.
"""

from __future__ import annotations

import re

from tagsel.errors import CutError
from tagsel.language.parse_errors import placed
from tagsel.language.scope import Scope

_GLOB = re.compile(r"""(?<![\w.])(?P<chain>[A-Za-z0-9]+_\w*)(?P<rest>[*?][\w*?]*)|"[^"\n]*"|'[^'\n]*'""")


def explained(error: CutError, text: str, scope: Scope) -> CutError:
    """The error of a cut, or the one for the first glob of trigger chains that it met."""
    for match in _GLOB.finditer(text):
        if match.group("chain") and _is_glob(match, error, text, scope):
            return placed(_refusal(match, scope), text)
    return error


def _is_glob(match: re.Match[str], error: CutError, text: str, scope: Scope) -> bool:
    """Whether a name with a mark behind it is meant as a glob: neither a product nor a choice would bind."""
    chain, rest = match.group("chain", "rest")
    if not scope.is_called_as_a_chain(chain):
        return False
    if error.position == match.start():
        return "*" in rest and chain not in scope.names and not _is_product(chain, rest, scope)
    lacks_operand = error.position >= match.end() - 1 and not text[match.end() : error.position].strip()
    return lacks_operand and rest[-1] in "*?"


def _is_product(chain: str, rest: str, scope: Scope) -> bool:
    """Whether `*nMuon` behind a name multiplies it: what follows are names, and the whole matches no chain."""
    factors = rest.strip("*").split("*")
    return not chain.endswith("_") and set(factors) <= set(scope.names) and not scope.versions(chain + rest)


def _refusal(match: re.Match[str], scope: Scope) -> CutError:
    pattern = match.group()
    message, hint = f"{pattern} is a glob of trigger chains", f'trigger("{pattern}")'
    if not scope.menus:
        message, hint = f"{message}, and the dataset has no trigger menu", ""
    elif not scope.versions(pattern):
        message, hint = f"no trigger menu has a chain that matches {pattern!r}", scope.hint(pattern.strip("*?"))
    return CutError(message, position=match.start(), length=len(pattern), hint=hint)
