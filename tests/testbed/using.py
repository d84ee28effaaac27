"""What tests that use an engine of the test bed share: waiting for what comes about, and its environment."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest


def wait_for(true: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until a question is answered with yes; AssertionError after so many seconds."""
    patience = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < patience, "it did not come about"
        time.sleep(0.05)


def set_all(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]) -> None:
    """Set variables of the environment for a test."""
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
