"""The only tree walk of the cut language: no recursion, so a cut of 10,000 terms cannot overflow the stack.

Invariant: every node is entered before its arguments and left after them; a step sees results, never
the stack.

Two forms of one loop:

- `fold(node, combine)`: bottom up; every argument is worked out, then `combine(node, results)`;
- `trampoline(step)`: `step` is a generator that *yields* the calls it would have made (generators, too) and
  returns its result; so it may skip arguments (short circuit) or hand context down.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from tagsel.language.tree import Node

T = TypeVar("T")

Step = Generator[Any, Any, T]
"""What `trampoline` runs: yields other steps, is sent their results, returns its own."""


def trampoline(step: Step[T]) -> T:
    """The result of a generator that yields generators instead of calling itself.

    >>> def depth(node):
    ...     deepest = 0
    ...     for arg in node.args:
    ...         deepest = max(deepest, (yield depth(arg)))
    ...     return deepest + 1
    >>> trampoline(depth(Node("not", (Node("const"),))))
    2
    """
    stack: list[Step[Any]] = [step]
    result: Any = None
    while stack:
        try:
            called = stack[-1].send(result)
        except StopIteration as done:
            stack.pop()
            result = done.value
        else:
            stack.append(called)
            result = None
    return result  # type: ignore[no-any-return]


def fold(node: Node, combine: Callable[[Node, Sequence[T]], T]) -> T:
    """`combine(node, results of its args)` for every node, bottom up, left to right; the root's result.

    >>> fold(Node("and", (Node("const"), Node("const"))), lambda node, below: 1 + sum(below))
    3
    """
    order, stack = [], [node]
    while stack:
        top = stack.pop()
        order.append(top)
        stack.extend(top.args)
    done: list[T] = []
    for n in reversed(order):  # right to left and parents first, reversed: left to right and arguments first
        below = len(done) - len(n.args)
        results = done[below:]
        del done[below:]
        done.append(combine(n, results))
    return done[0]
