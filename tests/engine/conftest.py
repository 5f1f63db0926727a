from collections.abc import Callable
from pathlib import Path

import pytest

Plugin = Callable[[str], None]


@pytest.fixture
def install_workload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugin:
    """Installs a package `plugin` 1.2 whose workload `theirs` is what the given source defines."""

    def install(source: str) -> None:
        (tmp_path / "their_plugin.py").write_text(source)
        metadata = tmp_path / "plugin-1.2.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.2\n")
        (metadata / "entry_points.txt").write_text(
            "[expunge.workloads]\ntheirs = their_plugin:Theirs\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
        monkeypatch.delitem(__import__("sys").modules, "their_plugin", raising=False)

    return install
