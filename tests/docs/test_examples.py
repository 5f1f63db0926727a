"""What the pages tell people to type works: Bash and Python blocks run in the order of the page.

A block is run if its language is `bash` or `python`; `sh` is for what cannot be run here (it
installs, or wants Docker). A block with a title is a file, and is written.
"""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"
STORIES = {
    "tutorial": [
        "tutorial.md",
        "how-to/verify-a-receipt.md",
        "reference/client.md",
        "how-to/serve-a-model.md",
    ],
    "your own data": ["how-to/your-own-data.md"],
    "workload": ["how-to/workload.md"],
    "method": ["how-to/write-a-method.md"],
    "webhooks": ["how-to/webhooks.md"],
    "backup": ["how-to/backup.md"],
}
_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_SHOWN_ONLY = {"sh", "text", "json", "sql"}


@dataclass(frozen=True)
class Block:
    page: str
    language: str
    title: str | None
    code: str


def _blocks(page: str) -> Iterator[Block]:
    for match in _BLOCK.finditer((DOCS / page).read_text(encoding="utf-8")):
        yield Block(page, match[1], match[2], match[3])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a service that `expunge up` runs in it."""
    folder = tmp_path_factory.mktemp("reader")
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "expunge", "up", "--port", "0", "--json"],
            cwd=folder,
            env=_environment(folder),
            stdout=subprocess.PIPE,
            stderr=log,
        )
    assert process.stdout is not None
    try:
        ready = process.stdout.readline()
        assert ready, (folder / "up.log").read_text()
        json.loads(ready)
        yield folder
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        process.stdout.close()


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EXPUNGE_")}
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        # `pip install` in a page goes into the folder, not into this environment.
        "PIP_TARGET": str(folder / "plugins"),
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PYTHONPATH": str(folder / "plugins"),
        "EXPUNGE_WEBHOOK_ALLOW_LOOPBACK": "true",
        "OMP_NUM_THREADS": "1",
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("pages", STORIES.values(), ids=list(STORIES))
def test_the_examples_of_a_page_run(
    pages: list[str], service: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(service)
    names: dict[str, Any] = {"__name__": "example"}
    for page in pages:
        for block in _blocks(page):
            if block.title:
                file = service / block.title
                file.parent.mkdir(exist_ok=True)
                file.write_text(block.code, encoding="utf-8")
            elif block.language == "bash":
                _run_bash(block, service)
            elif block.language == "python":
                _run_python(block, names)


def _run_bash(block: Block, folder: Path) -> None:
    bash = shutil.which("bash")
    assert bash
    done = subprocess.run(
        [bash, "-euo", "pipefail", "-c", block.code],
        cwd=folder,
        env=_environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{block.page}:\n{block.code}\n{done.stdout}\n{done.stderr}"


def _run_python(block: Block, names: dict[str, Any]) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(block.code, block.page, "exec"), names)


def test_the_workload_of_ones_own_takes_under_forty_lines() -> None:
    (code,) = [b.code for b in _blocks("how-to/workload.md") if b.title and b.title.endswith(".py")]
    assert "nn.Module" in code
    assert len([line for line in code.splitlines() if line.strip()]) < 40


def test_every_block_is_run_or_known_to_be_shown_only() -> None:
    told = {page for pages in STORIES.values() for page in pages}
    for file in sorted(DOCS.rglob("*.md")):
        page = file.relative_to(DOCS).as_posix()
        for block in _blocks(page):
            if block.language in _SHOWN_ONLY or block.title:
                continue
            assert block.language in ("bash", "python"), f"{page}: {block.language}"
            assert page in told, f"{page} has a {block.language} block that nothing runs"


def test_every_fence_of_a_page_names_its_language() -> None:
    for file in sorted(DOCS.rglob("*.md")):
        fences = re.findall(r"^```(.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert all(fences[::2]), file
        assert not any(fences[1::2]), file
