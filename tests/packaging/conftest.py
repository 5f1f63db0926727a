"""The project as a wheel, installed where no checkout is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("app", "engine", "expunge", "migrations", "worker")
WORKER_ONLY = ("torch", "safetensors", "sklearn", "scipy", "celery")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what the Dockerfile copies, with the setuptools at hand."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, source / package, ignore=ignored)
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel was installed into, without its dependencies.

    Beside the package lies a `sitecustomize` that hides what only the extra `worker` brings, and
    the checkout: the dependencies are those of this environment, as a plain install would see them.
    """
    folder = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--quiet", "--no-deps")
    subprocess.run([*pip, "--target", folder, wheel], check=True)
    (folder / "sitecustomize.py").write_text(_HIDE.format(root=str(ROOT), hidden=WORKER_ONLY))
    return folder


@pytest.fixture
def outside(installed: Path, tmp_path: Path) -> dict[str, str]:
    """An environment whose Python imports the installed package, with its state in `tmp_path`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EXPUNGE_")}
    return {**kept, "PYTHONPATH": str(installed), "EXPUNGE_STATE_DIR": str(tmp_path / "state")}


_HIDE = """
import importlib.machinery
import sys

ROOT, HIDDEN = {root!r}, {hidden!r}


class _BaseInstall(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            return None
        return super().find_spec(name, path, target)


sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in repr(f).lower()]
sys.meta_path[sys.meta_path.index(importlib.machinery.PathFinder)] = _BaseInstall
sys.path[:] = [p for p in sys.path if p != ROOT]
"""
