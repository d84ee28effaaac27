"""`python -m bench`: what scripts/bench runs."""

import sys

from bench.main import main

if __name__ == "__main__":
    sys.exit(main())
