import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from expunge.state import in_use, read_connection
from up_tree import environment, up


def expunge(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "expunge", *words),
        capture_output=True,
        text=True,
        env=environment(**settings),
        timeout=60,
        check=False,
    )


def test_it_starts_refuses_a_second_one_and_leaves_nothing_running(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with up(state) as tree:
        with tree.client() as client:
            assert client.health.ready().status == "ok"
            assert client.keys.whoami().scopes == ("admin",)
        assert stat.S_IMODE((state / "client.json").stat().st_mode) == 0o600
        assert in_use(state)

        second = expunge("--state", str(state), "up", "--port", "0")
        assert second.returncode == 1
        assert second.stderr.startswith(
            f"expunge: an `expunge up` (process {tree.process.pid}) already runs on {state}"
        )
        assert second.stderr.count("\n") == 1

        assert len(tree.members()) == 3
        assert tree.interrupt() == []
        assert tree.process.wait(5) == 0
    assert not in_use(state)


def test_a_second_start_keeps_the_key_and_the_data(tmp_path: Path) -> None:
    with up(tmp_path) as tree, tree.client() as client:
        first = read_connection(tmp_path)
        events = client.ledger.verify().events
    with up(tmp_path) as tree, tree.client() as client:
        again = read_connection(tmp_path)
        assert client.ledger.verify().events == events
    assert first is not None
    assert again is not None
    assert first.api_key == again.api_key


def test_a_key_of_another_database_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "client.json").write_text('{"url": "http://x", "api_key": "exp_0_stranger"}')
    with up(tmp_path) as tree, tree.client() as client:
        assert client.keys.whoami().scopes == ("admin",)


def test_what_is_killed_is_started_again(tmp_path: Path) -> None:
    with up(tmp_path) as tree, tree.client() as client:
        (worker,) = tree.running("-m", "worker")
        port = tree.url.rpartition(":")[2]
        (api,) = tree.running("serve", "--host", "127.0.0.1", "--port", port)
        worker.kill()
        api.kill()
        until = time.monotonic() + 30
        while not (now := tree.running("-m", "worker")) or now[0].pid == worker.pid:
            assert time.monotonic() < until
            time.sleep(0.1)
        assert client.keys.whoami().scopes == ("admin",)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of a parent's death")
def test_nothing_outlives_it_even_when_it_is_killed(tmp_path: Path) -> None:
    with up(tmp_path) as tree:
        members = tree.members()
        os.kill(tree.process.pid, signal.SIGKILL)
        tree.process.wait(5)
        assert psutil.wait_procs(members, timeout=20)[1] == []


def test_a_port_in_use_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = expunge("--state", str(tmp_path), "up", "--port", port)
    assert done.returncode == 1
    assert f"cannot listen on port {port}" in done.stderr
    assert "--port 0" in done.stderr


def test_celery_without_a_broker_is_refused(tmp_path: Path) -> None:
    done = expunge("--state", str(tmp_path), "up", "--port", "0", "--celery")
    assert done.returncode == 1
    assert "EXPUNGE_BROKER_URL" in done.stderr


def test_a_database_that_is_not_there_is_told_without_a_trace(tmp_path: Path) -> None:
    done = expunge(
        "--state",
        str(tmp_path),
        "up",
        "--port",
        "0",
        EXPUNGE_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none",
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "database" in done.stderr


def test_a_folder_named_app_where_it_is_started_is_not_the_service(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "__init__.py").write_text("raise SystemExit('the wrong app')")
    process = subprocess.Popen(
        (os.path.join(os.path.dirname(sys.executable), "expunge"), "up", "--port", "0", "--json"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert "url" in json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
    assert (tmp_path / ".expunge" / "client.json").exists()
