"""`python -m expunge`: the same as the `expunge` command."""

import sys

from expunge.cli import main

if __name__ == "__main__":
    sys.exit(main())
