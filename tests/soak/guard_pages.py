"""`guard_pages.c`, compiled with the machine's compiler, and put under NumPy and under the maps of tagsel."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
import sysconfig
import threading
from pathlib import Path
from types import ModuleType

import numpy as np

SOURCE = Path(__file__).with_name("guard_pages.c")


def why_not() -> str:
    """Why the allocator cannot be built here; "" where it can."""
    if shutil.which("cc") is None:
        return "there is no C compiler (cc)"
    if not (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file():
        return "Python's header files are not installed"
    return ""


def build(folder: Path) -> Path:
    """The allocator as an extension module in `folder`."""
    library = folder / f"guard_pages{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not library.exists():
        includes = [f"-I{path}" for path in (sysconfig.get_paths()["include"], np.get_include())]
        command = ["cc", "-O1", "-shared", "-fPIC", *includes, "-o", str(library), str(SOURCE), "-lpthread"]
        subprocess.run(command, check=True, capture_output=True)
    return library


def install(library: Path) -> ModuleType:
    """Put all arrays and maps that this process makes from now on against guard pages; call it before tagsel is there.

    NumPy's allocator is that of a thread: every new thread asks for it first.
    """
    described = importlib.util.spec_from_file_location("guard_pages", library)
    assert described is not None and described.loader is not None
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    module.install()
    begin = threading.Thread._bootstrap_inner  # type: ignore[attr-defined]

    def guarded(thread: threading.Thread) -> None:
        module.install()
        begin(thread)

    threading.Thread._bootstrap_inner = guarded  # type: ignore[attr-defined]
    _under_maps(library)
    return module


def _under_maps(library: Path) -> None:
    """Have tagsel map files by the functions of the library."""
    from tagsel.store import bus_error

    ours = ctypes.CDLL(str(library), use_errno=True)
    for name, ours_is in (("mmap", ours.guarded_mmap), ("munmap", ours.guarded_munmap)):
        theirs = getattr(bus_error.libc, name)
        ours_is.restype, ours_is.argtypes = theirs.restype, theirs.argtypes
        setattr(bus_error.libc, name, ours_is)
    from tagsel.store.mapping import Mapping

    Mapping.__del__.__defaults__ = (ours.guarded_munmap, bus_error.mapped.pop)  # type: ignore[attr-defined]
