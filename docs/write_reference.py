"""Write the pages of docs/reference/ that follow from the code: `python docs/write_reference.py`.

A test makes each page again and compares, so that a page cannot fall behind. A change of the HTTP
API that would break its callers is told, and written only with `--breaking`.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from generators import api_changes, cli, http_api, metrics, problems, settings, states

REFERENCE = Path(__file__).parent / "reference"
OPENAPI = "openapi.json"
PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli.page,
    "http-api.md": http_api.page,
    "metrics.md": metrics.page,
    OPENAPI: http_api.exported,
    "problems.md": problems.page,
    "settings.md": settings.page,
    "states.md": states.page,
}


def main(*arguments: str) -> int:
    """Write every page; 1, and openapi.json as it was, where it breaks callers and may not."""
    broken = [] if "--breaking" in arguments else breaks(REFERENCE / OPENAPI)
    for name, page in PAGES.items():
        if name != OPENAPI or not broken:
            (REFERENCE / name).write_text(page(), encoding="utf-8")
    if broken:
        print("The HTTP API would break its callers:", *broken, sep="\n- ", file=sys.stderr)
        print("Where that is meant: python docs/write_reference.py --breaking", file=sys.stderr)
    return 1 if broken else 0


def breaks(written: Path) -> list[str]:
    """What callers of the API in this file would miss in the code's; nothing without a file."""
    if not written.exists():
        return []
    former = json.loads(written.read_text(encoding="utf-8"))
    return api_changes.breaking_changes(former, http_api.document())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
