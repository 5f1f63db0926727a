"""Write the pages of docs/reference/ that follow from the code: `python docs/write_reference.py`.

A test runs `pages()` and compares, so that a page cannot fall behind.
"""

from collections.abc import Callable
from pathlib import Path

from generators import cli, http_api, metrics, problems, settings, states

REFERENCE = Path(__file__).parent / "reference"
PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli.page,
    "http-api.md": http_api.page,
    "metrics.md": metrics.page,
    "problems.md": problems.page,
    "settings.md": settings.page,
    "states.md": states.page,
}


def main() -> None:
    """Write every page."""
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
