"""Runs the ```console blocks of a page as a user would type them, at a terminal, and compares what is shown.

A line `$ command` is run (a trailing backslash goes on); the lines below it, if there are any, are what it prints,
where `...` stands for anything. `export NAME=value` and `cd` last to the end of the page.
"""

from __future__ import annotations

import doctest
import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from tagsel.base import settings
from tagsel.cli.main import run

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Typed:
    """A command and what the page shows of its output ("" = nothing is shown)."""

    command: str
    shown: str
    line: int


def blocks(page: str, kind: str) -> Iterator[tuple[int, str]]:
    """(line of the page, text) of each fenced block of a kind."""
    for found in BLOCK.finditer(page):
        if found[1] == kind:
            yield page[: found.start()].count("\n") + 2, found[2]


def typed(page: str) -> Iterator[Typed]:
    """Every command of the page's ```console blocks, in order."""
    for line, text in blocks(page, "console"):
        for number, part in enumerate(re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]):
            command, _, shown = re.sub(r"\\\n\s*", "", part).partition("\n")
            yield Typed(command, shown, line + number)


def at_a_terminal(command: str, folder: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """(exit code, all that a terminal would show) of a command."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            read = os.read(ours, 65536)
        except OSError:  # Linux says so that the other side is closed
            break
        if not read:
            break
        said += read
    os.close(ours)
    lines = ESCAPE.sub("", said.decode()).replace("\r\n", "\n").split("\n")
    return process.wait(), "\n".join(line for line in lines if "━" not in line)  # no bar of a slow machine


def in_this_process(arguments: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `tagsel ARGUMENTS` as into a pipe, without the second that a process of its own takes for its imports."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(settings, "one_answer", True)
        for name, value in environment.items():
            patch.setenv(name, value)
        code = run(arguments)
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
    return subprocess.CompletedProcess(["tagsel", *arguments], code, *texts)


def run_page(page: str, folder: Path) -> list[str]:
    """Run a page's commands in `folder`; what differs from what it shows, in words."""
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "120"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    wrong = []
    for step in typed(page):
        verb, _, rest = step.command.partition(" ")
        if verb == "export":
            name, _, value = rest.partition("=")
            environment[name] = value
            continue
        if verb == "cd":
            folder = folder / rest
            continue
        code, said = at_a_terminal(step.command, folder, environment)
        expected = 2 if "tagsel: " in step.shown else 0
        if code != expected or (step.shown and not _same(step.shown, said)):
            wrong.append(f"line {step.line}: $ {step.command}\nshown:\n{step.shown}\nsaid (exit code {code}):\n{said}")
    return wrong


def _same(shown: str, said: str) -> bool:
    return doctest.OutputChecker().check_output(shown, said, FLAGS)
