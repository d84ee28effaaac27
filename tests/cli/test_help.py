"""`tagsel -h`: daily questions first, then groups, under headings; each summary whole on one line."""

from __future__ import annotations

from collections import Counter

import pytest

from tagsel.cli.main import SECTIONS, cli, run


def test_every_command_stands_under_one_heading() -> None:
    times = Counter(name for names in SECTIONS.values() for name in names)
    assert times == Counter(list(cli.commands))


def test_questions_come_before_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-h"]) == 0
    page = capsys.readouterr().out
    places = [page.index(f"\n{heading}:\n") for heading in SECTIONS]
    assert places == sorted(places)


def test_each_summary_is_whole_on_one_line_of_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["-h"]) == 0
    lines = capsys.readouterr().out.splitlines()
    width = max(map(len, cli.commands))
    for name, command in cli.commands.items():
        (line,) = [line for line in lines if line.startswith(f"  {name:{width}}  ")]
        summary = line[width + 2 :].strip()
        assert summary == command.short_help, "whole, and its own"
        assert len(line) <= 80
