"""The wheel alone, outside the checkout, without the extra `worker`: the API runs on it."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

Environment = dict[str, str]


def _run(arguments: list[str], outside: Environment, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=outside,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def _serving(outside: Environment, folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "expunge", "serve", "--port", str(port)]
    with (folder / "serve.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=outside, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, server)
        yield url
    finally:
        server.terminate()
        server.wait(20)


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(f"{url}/healthz", timeout=5).close()
        except urllib.error.URLError:
            assert server.poll() is None, "the service ended"
            assert time.monotonic() < deadline, "the service does not answer"
            time.sleep(0.1)
        else:
            return


def test_the_wheel_holds_every_package_and_the_migrations(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for file in (
        "app/main.py",
        "app/routes/deletion_requests.py",
        "engine/spec.py",
        "engine/workloads/digits.py",
        "expunge/cli/root.py",
        "migrations/env.py",
        "worker/main.py",
    ):
        assert file in names
    assert any(name.startswith("migrations/versions/0001") for name in names)
    assert not [name for name in names if name.startswith(("tests/", "docs/", "benchmarks/"))]


def test_what_the_package_reads_at_run_time_is_in_the_wheel(wheel: Path) -> None:
    root = Path(__file__).parents[2]
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in ("app", "engine", "expunge", "migrations", "worker"):
        for file in (root / package).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert file.relative_to(root).as_posix() in names


def test_the_service_is_imported_from_the_wheel_and_without_torch(
    outside: Environment, installed: Path, tmp_path: Path
) -> None:
    code = (
        "import app.main, expunge.cli, sys, json;"
        "print(json.dumps([app.main.__file__, sorted(sys.modules)]))"
    )
    file, modules = json.loads(_run(["-c", code], outside, tmp_path))
    assert Path(file) == installed / "app/main.py"
    assert not {"torch", "scipy", "sklearn", "celery", "engine.workload"} & set(modules)


def test_a_database_is_migrated_and_the_service_answers(
    outside: Environment, tmp_path: Path
) -> None:
    _run(["-m", "expunge", "db", "upgrade"], outside, tmp_path)
    assert (tmp_path / "state/expunge.db").is_file()
    made = _run(
        ["-m", "app", "keys", "create", "--name", "test", "--scopes", "admin", "--json"],
        outside,
        tmp_path,
    )
    with _serving(outside, tmp_path) as url:
        with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:
            assert json.load(answer)["status"] == "ok"
        request = urllib.request.Request(
            f"{url}/v1/whoami", headers={"Authorization": f"Bearer {json.loads(made)['key']}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["scopes"] == ["admin"]


def test_what_needs_torch_says_so_in_one_sentence(outside: Environment, tmp_path: Path) -> None:
    for command in ("up", "demo", "worker"):
        done = subprocess.run(
            [sys.executable, "-m", "expunge", command],
            cwd=tmp_path,
            env=outside,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "expunge[worker]" in done.stderr
        assert done.stderr.count("\n") == 1
