"""Items made one ahead: the same items, the same error, no thread left, the iterator closed."""

import threading
from collections.abc import Generator

import pytest

from tagsel.ingest.ahead import ahead


def counting(stop: int, log: list[str], error: BaseException | None = None) -> Generator[int, None, None]:
    try:
        for n in range(stop):
            log.append(f"made {n}")
            yield n
        if error is not None:
            raise error
    finally:
        log.append("closed")


def none_left() -> bool:
    return not [t for t in threading.enumerate() if t.name == "tagsel-ahead"]


@pytest.mark.parametrize("stop", [0, 1, 2, 50])
def test_the_items_are_those_of_the_iterator(stop: int) -> None:
    log: list[str] = []
    assert list(ahead(counting(stop, log))) == list(range(stop))
    assert log[-1] == "closed"
    assert none_left()


@pytest.mark.parametrize("error", [ValueError("row 7"), KeyboardInterrupt(), StopIteration()])
def test_its_error_comes_after_the_items_before_it(error: BaseException) -> None:
    seen: list[int] = []
    # Python itself makes a RuntimeError of a StopIteration that a generator raises.
    kind = RuntimeError if isinstance(error, StopIteration) else type(error)
    with pytest.raises(kind):
        for item in ahead(counting(3, [], error)):
            seen.append(item)
    assert seen == [0, 1, 2]
    assert none_left()


def test_one_item_is_made_ahead_and_no_more() -> None:
    log: list[str] = []
    items = ahead(counting(10, log))
    assert next(items) == 0
    for thread in threading.enumerate():
        if thread.name == "tagsel-ahead":
            thread.join(0.2)
    assert log == ["made 0", "made 1"]
    items.close()
    assert log == ["made 0", "made 1", "closed"]
    assert none_left()


def test_what_goes_wrong_while_an_item_is_used_ends_the_thread() -> None:
    log: list[str] = []
    items = ahead(counting(10, log))
    assert next(items) == 0
    with pytest.raises(ZeroDivisionError):
        items.throw(ZeroDivisionError())
    assert log[-1] == "closed"
    assert none_left()
