"""`python -m tagsel` and the `tagsel` command."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from tagsel import settings
    from tagsel.cli.main import run

    settings.one_answer = True
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
