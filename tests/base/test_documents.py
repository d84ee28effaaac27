"""Documents of users are bounded before they cost anything."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tagsel.base.documents import KEY_PARTS, LEVELS, DocumentError, parse_json, parse_toml, parse_xml, read_bounded
from tagsel.errors import TagselError
from tagsel.quality import read_lumi
from tagsel.rootio import read_pool_file_catalog
from tagsel.schema import load_source_schema

DOTS = ".".join(["a"] * 50_000) + " = 1"

MEASURED = """
import pathlib, re, resource, sys
from tagsel.base.documents import DocumentError, parse_toml
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
try:
    parse_toml(sys.stdin.read())
except DocumentError as error:
    print(error)
peak = re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())
print(int(peak[1]) * 1024)
"""


@pytest.mark.parametrize(
    "text",
    [
        DOTS,
        f"[{DOTS.removesuffix(' = 1')}]",
        f"x = {{ {DOTS} }}",
        " . ".join(['"a"'] * 50_000) + " = 1",
        ".".join(["'a'", "b"] * 25_000) + " = 1",
    ],
    ids=["key", "header", "inline table", "quoted parts", "mixed parts"],
)
def test_fault_48_a_toml_key_of_50000_dots_is_refused_at_once(text: str) -> None:
    """It took 57 s and 9.8 GB: now a limit of 20 s of CPU is enough, and 200 MB for the whole process."""
    with pytest.raises(DocumentError, match=f"a key of more than {KEY_PARTS} parts"):
        parse_toml(text)
    done = subprocess.run([sys.executable, "-c", MEASURED], input=text, capture_output=True, text=True, check=True)
    assert int(done.stdout.splitlines()[-1]) < 200_000_000


def test_what_only_looks_like_a_long_key_is_read() -> None:
    dots = ".".join(["a"] * 1000)
    assert parse_toml(f'x = "{dots}" # {dots}\ny = """{dots}"""\nz = \'{dots}\'') == {"x": dots, "y": dots, "z": dots}
    name = ".".join(["a"] * KEY_PARTS)
    document = parse_toml(f"{name} = 1")
    for _ in range(KEY_PARTS):
        document = document["a"]
    assert document == 1


@pytest.mark.parametrize(
    "text",
    ["x" * 4_000_000, '"' * 4_000_000, "a." * 15 * 100_000, "[" * 4_000_000],
    ids=["one word", "quotes", "dots", "brackets"],
)
def test_the_scan_takes_time_in_proportion(text: str) -> None:
    """4 MB of the worst text: within seconds of CPU, where a square would take hours."""
    started = time.process_time()
    with pytest.raises(DocumentError):
        parse_toml(text)
    assert time.process_time() - started < 20.0


def test_fault_48_depth_is_bounded_in_every_form() -> None:
    """One level more than allowed; the parsers of Python and libexpat would go on, or die."""
    most = 1 << 20
    deep = LEVELS + 1
    with pytest.raises(DocumentError, match="levels"):
        parse_toml("x = " + "[" * deep + "]" * deep)
    with pytest.raises(DocumentError, match="levels"):
        parse_xml(b"<a>" * deep + b"</a>" * deep, most)
    with pytest.raises(DocumentError, match="nested too deeply"):
        parse_json("[" * 100_000, most)
    assert parse_toml("x = " + "[" * LEVELS + "]" * LEVELS)["x"]
    assert parse_xml(b"<a>" * LEVELS + b"</a>" * LEVELS, most).tag == "a"


def test_fault_48_size_is_bounded_before_anything_is_read(tmp_path: Path) -> None:
    """A sparse file of 10 TB costs nothing; neither does a device without an end."""
    huge = tmp_path / "huge"
    with huge.open("wb") as stream:
        stream.truncate(10**13)
    for path in (huge, Path("/dev/zero")):
        with pytest.raises(DocumentError, match="larger than 1,000 bytes"):
            read_bounded(path, 1000)


@pytest.mark.parametrize("read", [load_source_schema, read_lumi, read_pool_file_catalog])
def test_fault_48_what_reads_documents_names_the_file(tmp_path: Path, read: object) -> None:
    path = tmp_path / "given.toml"
    path.write_text(DOTS if read is load_source_schema else "<a>" * 1000 + "</a>" * 1000)
    with pytest.raises(TagselError, match="given.toml"):
        read(path)  # type: ignore[operator]
