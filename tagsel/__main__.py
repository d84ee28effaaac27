"""`python -m tagsel` and the `tagsel` command."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from tagsel.base import settings
    from tagsel.cli import process
    from tagsel.cli.main import run

    process.open_closed_streams()
    process.clean_up_at_sigterm()
    settings.one_answer = True
    code = run(sys.argv[1:])
    if process.terminated:
        process.die_of(signal.SIGTERM)
    sys.exit(code)


if __name__ == "__main__":
    main()
