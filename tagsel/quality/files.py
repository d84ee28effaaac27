"""Good-run lists on disk: reading and writing is here, and only here.

Invariant: an error names the file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TextIO

from tagsel.base.documents import LIST_BYTES, DocumentError, read_bounded
from tagsel.base.output_file import output_file
from tagsel.errors import QualityError
from tagsel.quality.forms import format_lumi, parse_lumi
from tagsel.quality.lumi import LumiSet


def read_lumi(path: Path | str) -> LumiSet:
    """The good-run list in a file, XML or JSON by its content.

    QualityError, naming the file, when it cannot be opened, is malformed, or holds an entity or an
    inverted range.
    """
    try:
        return parse_lumi(read_bounded(path, LIST_BYTES))
    except OSError as error:
        raise QualityError(f"good-run list {path}: {error.strerror}", path=str(path)) from error
    except DocumentError as error:
        raise QualityError(f"good-run list {path}: {error}", path=str(path)) from error
    except QualityError as error:
        fields = {**error.fields, "path": str(path)}
        raise QualityError(f"good-run list {path}: {error.message}", hint=error.hint, **fields) from error


def write_lumi(lumi: LumiSet, target: Path | str | TextIO, form: str = "xml", *, force: bool = False) -> None:
    """Write `lumi` as `"xml"` or `"json"` to a path or to an open text file.

    A file that exists is refused (AccessError); `force` replaces one that tagsel wrote.
    """
    text = format_lumi(lumi, form)
    if isinstance(target, str | os.PathLike):
        with output_file(target, force=force) as temporary:
            temporary.write_text(text, encoding="utf-8")
    else:
        target.write(text)
