import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.checkpoint import load_weights
from engine.spec import WEIGHTS_FILE
from engine.train import train_from_scratch
from engine.workloads.digits import DigitsWorkload

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


@dataclass(frozen=True)
class Trained:
    """A first version of the digits workload, as it lies on disk."""

    workload: DigitsWorkload
    folder: Path
    """Holds `weights.safetensors` and `manifest.jsonl`."""

    def model(self) -> nn.Module:
        """The network with the version's weights."""
        model = self.workload.build_model()
        load_weights(model, self.folder / WEIGHTS_FILE)
        return model.eval()


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The digits workload with the network that seed 0 trains, once for all test processes."""
    workload = DigitsWorkload()
    run = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        run = run.parent
    folder = run / "digits"
    with (run / "digits.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = tmp_path_factory.mktemp("unfinished")
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            train_from_scratch(workload, 0, unfinished, lambda *_: None)
            torch.set_num_threads(threads)
            unfinished.rename(folder)
    return Trained(workload, folder)
